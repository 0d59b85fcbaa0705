//! The audit trail: who changed what of a tenant.

use axum::Json;
use axum::extract::State;
use domain::audit::Entry;
use domain::id::TenantId;

use crate::address::{Params, Path};
use crate::admin::find;
use crate::auth::{AdminRead, As, AuditRead, Operator};
use crate::view::List;
use crate::{Api, Problem, schema};

const MAX_PAGE: u32 = 1_000;
const PAGE: u32 = 100;

async fn page(api: &Api, tenant: &TenantId, params: &Params) -> Result<Json<List<Entry>>, Problem> {
    params.only(&["after", "limit"])?;
    let after = params.number("after", 0..=u64::MAX)?.unwrap_or(0);
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE);
    let page = api.engine.store.audit(tenant, after, limit).await?;
    Ok(Json(List::of(page, |entry| entry)))
}

/// Read the audit trail
///
/// Of the tenant whose key asks: every change of its settings, keys and agents, in order, each chained to the one before by
/// its hash. `skein audit verify` checks an export.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "read_audit",
    tag = "audit",
    params(
        ("after" = Option<u64>, Query, description = "Only entries after this number; `next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000, 100 unless given"),
    ),
    responses((status = 200, description = "A page", body = List<schema::AuditEntry>)),
    security(("key" = ["audit:read"]))
)]
pub(crate) async fn own(who: As<AuditRead>, params: Params) -> Result<Json<List<Entry>>, Problem> {
    let api = &who.api;
    page(api, &who.tenant, &params).await
}

/// Read a tenant's audit trail
///
/// As `GET /v1/audit`.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{tenant}/audit",
    operation_id = "read_tenant_audit",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("after" = Option<u64>, Query, description = "Only entries after this number; `next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000, 100 unless given"),
    ),
    responses(
        (status = 200, description = "A page", body = List<schema::AuditEntry>),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn of_tenant(
    _: Operator<AdminRead>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
    params: Params,
) -> Result<Json<List<Entry>>, Problem> {
    find(&api, &tenant).await?;
    page(&api, &tenant, &params).await
}
