//! Closing a tenant: the request, and where it stands.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::closing::{Closing, Phase};
use domain::id::TenantId;
use domain::time::At;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::address::Path;
use crate::auth::{AdminWrite, Operator};
use crate::view::{rfc_3339, rfc_3339_if};
use crate::{Api, Problem, schema};

/// How much of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountsView {
    /// Items of the table.
    items: u64,
    /// Objects of the bucket.
    objects: u64,
}

/// The closing of a tenant: where it stands, and in the end the certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClosingView {
    /// Names this closing; its export stands under `exports/<tenant>/<id>/` in the bucket.
    id: String,
    /// `draining`: runs are cancelled. `exporting`: everything is written to the bucket. `deleting`: what was exported is
    /// deleted. `waiting`: until nobody can be at work any longer. `proving`: table and bucket are read for what remains;
    /// if anything does, it is exported and deleted. `closed`: nothing was found.
    #[schema(value_type = String)]
    phase: &'static str,
    /// Who asked for it.
    requested_by: String,
    /// When.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    requested_at: At,
    /// Whether the tenant can still be resumed.
    can_be_resumed: bool,
    /// What the export holds. What changed after it was exported counts once more.
    exported: CountsView,
    /// What was deleted.
    deleted: CountsView,
    /// When something was deleted last.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    deleted_at: Option<At>,
    /// Times that the whole table was read for it, the last one perhaps in part.
    passes: u32,
    /// Before this, nothing that is found missing is proof.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    proof_from: At,
    /// The object that lists the export's parts with their hashes.
    manifest: Option<String>,
    /// SHA-256 of that object, hexadecimal.
    manifest_sha256: Option<String>,
    /// When it was found that nothing remains.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    closed_at: Option<At>,
}

impl From<Closing> for ClosingView {
    fn from(closing: Closing) -> Self {
        let counts = |counts: domain::closing::Counts| CountsView {
            items: counts.items,
            objects: counts.objects,
        };
        let (manifest, manifest_sha256) = closing
            .manifest
            .as_ref()
            .map(|manifest| (manifest.name.clone(), manifest.sha256.clone()))
            .unzip();
        Self {
            phase: closing.phase_name(),
            can_be_resumed: closing.may_be_taken_back(),
            proof_from: closing.quiet_at(),
            closed_at: match closing.phase {
                Phase::Closed { at } => Some(at),
                Phase::Draining { .. }
                | Phase::Reading { .. }
                | Phase::Deleting
                | Phase::Waiting => None,
            },
            id: closing.id,
            requested_by: closing.by,
            requested_at: closing.requested_at,
            exported: counts(closing.exported),
            deleted: counts(closing.deleted),
            deleted_at: closing.deleted_at,
            passes: closing.passes,
            manifest,
            manifest_sha256,
        }
    }
}

/// A tenant of which nothing is left but its closing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GoneView {
    /// Its id, which nobody gets again.
    #[schema(value_type = String)]
    id: TenantId,
    /// What people called it.
    name: String,
    /// `closing` until it is proven that nothing remains, then `closed`.
    #[schema(value_type = String)]
    standing: &'static str,
    /// Where its closing stands.
    closing: ClosingView,
}

impl From<Closing> for GoneView {
    fn from(closing: Closing) -> Self {
        let standing = if closing.is_closed() {
            "closed"
        } else {
            "closing"
        };
        Self {
            id: closing.tenant.clone(),
            name: closing.name.clone(),
            standing,
            closing: closing.into(),
        }
    }
}

/// Close a tenant
///
/// Nothing of it begins from here on, its keys open nothing within a minute, its runs are cancelled. Then everything it has is
/// exported to the bucket and deleted, and 16 minutes after the last deletion it is proven that nothing remains. Until
/// deletion begins, about two minutes from now, it can be resumed. Asked again, this says where the closing stands.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{tenant}/close",
    operation_id = "close_tenant",
    tag = "admin",
    params(("tenant" = String, Path, description = "The tenant")),
    responses(
        (status = 202, description = "It is being closed", body = ClosingView),
        (status = 200, description = "It is closed", body = ClosingView),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn close(
    who: Operator<AdminWrite>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    let by = who.name();
    let api = api.on_behalf_of(&by);
    let closing = Box::pin(api.engine.close_tenant(&tenant, &by)).await?;
    let closing = closing.ok_or(Problem::NotFound)?;
    super::gate::settle_all_soon(&api, &tenant).await;
    let status = if closing.is_closed() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(ClosingView::from(closing))).into_response())
}
