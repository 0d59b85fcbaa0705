//! Whether this process lives, and whether what it depends on answers.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::run::Lane;
use http::StatusCode;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::Api;

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// That the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Live {
    /// Always `ok`.
    status: &'static str,
}

/// How things stand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ok` when every dependency is, otherwise `unavailable`.
    status: &'static str,
    /// Each dependency.
    dependencies: Dependencies,
}

/// What this depends on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Dependencies {
    /// The table: `ok` or `unavailable`.
    table: &'static str,
    /// The bucket of large payloads: `ok` or `unavailable`.
    payloads: &'static str,
    /// The run queues: `ok` or `unavailable`.
    queues: &'static str,
}

/// Tell whether the process lives
///
/// Asks nothing of anybody.
#[utoipa::path(get, path = "/health/live", operation_id = "read_liveness", tag = "health", responses((status = 200, description = "It does", body = Live)))]
pub(crate) async fn live() -> Json<Live> {
    Json(Live { status: "ok" })
}

/// Tell whether requests can be served
///
/// Asks each dependency.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "read_readiness",
    tag = "health",
    responses(
        (status = 200, description = "They can", body = Ready),
        (status = 503, description = "A dependency does not answer", body = Ready),
    )
)]
pub(crate) async fn ready(State(api): State<Api>) -> Response {
    let (table, payloads, queues) = tokio::join!(
        state(api.engine.store.ping()),
        state(api.engine.store.ping_payloads()),
        state(api.engine.queue.lane_depth(Lane::Standard)),
    );
    let is_ready = [table, payloads, queues] == ["ok"; 3];
    let (code, status) = if is_ready {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    let dependencies = Dependencies {
        table,
        payloads,
        queues,
    };
    (
        code,
        Json(Ready {
            status,
            dependencies,
        }),
    )
        .into_response()
}

async fn state<T, E: std::error::Error>(asked: impl Future<Output = Result<T, E>>) -> &'static str {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(_)) => "ok",
        Ok(Err(error)) => {
            tracing::warn!(error = %telemetry::chain(&error), "a dependency does not answer");
            "unavailable"
        }
        Err(_) => "unavailable",
    }
}
