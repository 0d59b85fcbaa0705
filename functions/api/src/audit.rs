//! The audit trail: who changed what of a tenant, to whom something was refused, and the checkpoints that are signed of it.

use axum::Json;
use axum::extract::State;
use domain::audit::{Checkpoint, Entry};
use domain::id::TenantId;

use crate::address::{Params, Path};
use crate::admin::find;
use crate::auth::{AdminRead, As, AuditRead, OPERATOR, Operator};
use crate::view::List;
use crate::{Api, Problem, schema};

const MAX_PAGE: u32 = 1_000;
const PAGE: u32 = 100;

/// After which entry a page begins, and how much it holds.
fn place(params: &Params) -> Result<(u64, u32), Problem> {
    params.only(&["after", "limit"])?;
    let after = params.number("after", 0..=u64::MAX)?.unwrap_or(0);
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE);
    Ok((after, limit))
}

async fn page(api: &Api, tenant: &TenantId, params: &Params) -> Result<Json<List<Entry>>, Problem> {
    let (after, limit) = place(params)?;
    let page = api.engine.store.audit(tenant, after, limit).await?;
    Ok(Json(List::of(page, |entry| entry)))
}

async fn checkpoints(
    api: &Api,
    tenant: &TenantId,
    params: &Params,
) -> Result<Json<List<Checkpoint>>, Problem> {
    let (after, limit) = place(params)?;
    let page = api.engine.store.checkpoints(tenant, after, limit).await?;
    Ok(Json(List::of(page, |checkpoint| checkpoint)))
}

/// Operators have a trail like tenants have: of their own keys, and of what was refused to them.
async fn check(api: &Api, tenant: &TenantId) -> Result<(), Problem> {
    if tenant.as_str() != OPERATOR {
        find(api, tenant).await?;
    }
    Ok(())
}

/// Read the audit trail
///
/// Of the tenant whose key asks: every change of its settings, keys and agents, and what policy refused to its keys, in order,
/// each chained to the one before by its hash. `skein audit verify` checks an export.
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

/// List the checkpoints of the audit trail
///
/// Each is a signed statement of what the trail was, made within an hour of a change and at the end of a month, and names the
/// archived object that holds the entries since the one before.
#[utoipa::path(
    get,
    path = "/v1/audit/checkpoints",
    operation_id = "list_audit_checkpoints",
    tag = "audit",
    params(
        ("after" = Option<u64>, Query, description = "Only checkpoints of entries after this number; `next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000, 100 unless given"),
    ),
    responses((status = 200, description = "A page", body = List<schema::AuditCheckpoint>)),
    security(("key" = ["audit:read"]))
)]
pub(crate) async fn own_checkpoints(
    who: As<AuditRead>,
    params: Params,
) -> Result<Json<List<Checkpoint>>, Problem> {
    checkpoints(&who.api, &who.tenant, &params).await
}

/// Read a tenant's audit trail
///
/// As `GET /v1/audit`. The operators' own is that of `operator`.
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
    check(&api, &tenant).await?;
    page(&api, &tenant, &params).await
}

/// List the checkpoints of a tenant's audit trail
///
/// As `GET /v1/audit/checkpoints`.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{tenant}/audit/checkpoints",
    operation_id = "list_tenant_audit_checkpoints",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("after" = Option<u64>, Query, description = "Only checkpoints of entries after this number; `next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000, 100 unless given"),
    ),
    responses(
        (status = 200, description = "A page", body = List<schema::AuditCheckpoint>),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn checkpoints_of_tenant(
    _: Operator<AdminRead>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
    params: Params,
) -> Result<Json<List<Checkpoint>>, Problem> {
    check(&api, &tenant).await?;
    checkpoints(&api, &tenant, &params).await
}
