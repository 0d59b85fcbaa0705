//! Every route, which function answers it, and the document that describes them all.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::admin::{
    budgets, closing, dlq, gate, keys, maintenance, regions, slo, stuck, tenants, top,
};
use crate::{Api, agents, audit, create, edge, events, health, runs, stream_token, usage};

/// The OpenAPI 3.1 document of every route. A file, since making it costs more at each cold start than all else the API does
/// then; a test makes it anew from the handlers and compares.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// What the function `api` answers: what a tenant reads and stores, health and the document.
///
/// The gateway's routes (`template.yaml`, `dev::platform`) say the same as these three. Each function calls its own: one that
/// chose among them as it runs would link the handlers of all.
pub(crate) fn api() -> Router<Api> {
    tenant().merge(elsewhere())
}

/// All of them, as clients see them behind the gateway.
pub(crate) fn routes() -> Router<Api> {
    tenant().merge(stream()).merge(admin())
}

fn tenant() -> Router<Api> {
    Router::new()
        .route("/v1/runs", get(runs::list))
        .route("/v1/runs/{run}", get(runs::read))
        .route("/v1/runs/{run}/steps", get(runs::steps))
        .route("/v1/runs/{run}/receipt", get(runs::receipt))
        .route("/v1/runs/{run}/cancel", post(runs::cancel))
        .route("/v1/runs/{run}/stream-tokens", post(stream_token::create))
        .route("/v1/agents", get(agents::list))
        .route(
            "/v1/agents/{agent}",
            post(agents::store_version)
                .get(agents::read)
                .delete(agents::archive),
        )
        .route("/v1/agents/{agent}/versions", get(agents::versions))
        .route(
            "/v1/agents/{agent}/versions/{version}",
            get(agents::read_version),
        )
        .route("/v1/budgets", get(budgets::own))
        .route("/v1/usage", get(usage::own))
        .route("/v1/audit", get(audit::own))
        .route("/v1/audit/checkpoints", get(audit::own_checkpoints))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/openapi.json", get(document))
}

/// What the function `stream` answers: runs are created, and their events followed.
pub(crate) fn stream() -> Router<Api> {
    Router::new().route("/v1/runs", post(create::create)).route(
        "/v1/runs/{run}/events",
        get(events::read).options(edge::preflight),
    )
}

/// What `stream` answers, as far as `api` has to know it: the same paths have other methods here.
fn elsewhere() -> Router<Api> {
    Router::new()
        .route("/v1/runs", post(edge::elsewhere))
        .route("/v1/runs/{run}/events", get(edge::elsewhere))
}

/// What the function `admin` answers: what an operator does, under `/v1/admin`.
pub(crate) fn admin() -> Router<Api> {
    Router::new()
        .route("/v1/admin/tiers", get(tenants::tiers))
        .route("/v1/admin/usage", get(top::list))
        .route("/v1/admin/runs/stuck", get(stuck::list))
        .route("/v1/admin/dlq", get(dlq::list))
        .route("/v1/admin/dlq/{queue}", get(dlq::show))
        .route("/v1/admin/dlq/{queue}/redrive", post(dlq::redrive))
        .route(
            "/v1/admin/maintenance",
            get(maintenance::read)
                .put(maintenance::begin)
                .delete(maintenance::end),
        )
        .route("/v1/admin/slo", get(slo::read))
        .route("/v1/admin/regions/failover", post(regions::fail_over))
        .route(
            "/v1/admin/tenants",
            post(tenants::create).get(tenants::list),
        )
        .route(
            "/v1/admin/tenants/{tenant}",
            get(tenants::read).patch(tenants::patch),
        )
        .route("/v1/admin/tenants/{tenant}/suspend", post(tenants::suspend))
        .route("/v1/admin/tenants/{tenant}/resume", post(tenants::resume))
        .route("/v1/admin/tenants/{tenant}/close", post(closing::close))
        .route(
            "/v1/admin/tenants/{tenant}/keys",
            post(keys::create).get(keys::list),
        )
        .route("/v1/admin/tenants/{tenant}/keys/sync", post(gate::sync))
        .route(
            "/v1/admin/tenants/{tenant}/keys/{key}",
            get(keys::read).delete(keys::revoke),
        )
        .route(
            "/v1/admin/tenants/{tenant}/keys/{key}/rotate",
            post(keys::rotate),
        )
        .route("/v1/admin/tenants/{tenant}/budgets", get(budgets::list))
        .route(
            "/v1/admin/tenants/{tenant}/budgets/{node}",
            put(budgets::set),
        )
        .route("/v1/admin/tenants/{tenant}/usage", get(usage::of_tenant))
        .route("/v1/admin/tenants/{tenant}/audit", get(audit::of_tenant))
        .route(
            "/v1/admin/tenants/{tenant}/audit/checkpoints",
            get(audit::checkpoints_of_tenant),
        )
}

/// Read this document
#[utoipa::path(get, path = "/openapi.json", operation_id = "read_openapi", tag = "health", responses((status = 200, description = "OpenAPI 3.1")))]
pub(crate) async fn document() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], OPENAPI).into_response()
}
