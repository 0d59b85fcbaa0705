//! HTTP in: agents, runs and their events; tenants, keys and budgets.
//!
//! [`router`] holds every route; the functions `api` (buffered answers) and `stream` (streamed ones) serve the same router,
//! and the gateway's routes decide which of them sees a request. Handlers parse, authenticate, ask `engine` and `store`, and
//! answer; no rule of runs stands here. **Invariants:** status codes of errors stand in [`problem`] alone; the tenant of a
//! request comes from its API key alone; no key is ever logged.

mod address;
mod admin;
mod agents;
pub mod auth;
mod body;
mod create;
mod edge;
mod events;
mod follow;
mod headers;
mod health;
pub mod keys;
mod lambda;
pub mod limit;
pub mod problem;
mod runs;
pub mod schema;
mod steps;
mod stream;
pub mod view;

use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::Engine;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
pub use lambda::{run, run_streaming};
pub use problem::Problem;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What every request needs. A clone is cheap and shares all of it.
#[derive(Clone)]
pub struct Api {
    /// Runs, agents, keys.
    pub engine: Engine,
    /// Settings.
    pub config: Config,
    keys: auth::Keys,
    limiter: limit::Limiter,
}

/// Settings of the API.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How long an answer may take where the invocation does not say. API Gateway streams for 15 minutes at most.
    pub longest_stream: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            longest_stream: Duration::from_secs(14 * 60),
        }
    }
}

impl Api {
    /// An API over this engine.
    #[must_use]
    pub fn new(engine: Engine, config: Config) -> Self {
        Self {
            engine,
            config,
            keys: auth::Keys::new(),
            limiter: limit::Limiter::new(),
        }
    }
}

/// Every route.
pub fn router(api: Api) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(edge::not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .layer(axum::middleware::from_fn(edge::pass))
        .with_state(api)
}

/// The OpenAPI 3.1 document of [`router`], made of the same routes.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut document) = routes().split_for_parts();
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("skn_<tier>_<id>_<secret>")
        .description(Some("An API key; also taken in the header `X-Api-Key`."))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(key));
    document
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Skein",
        description = "Durable runs of AI agents. Errors are problem details (RFC 9457); every answer carries `X-Request-Id`."
    ),
    components(schemas(schema::Event, schema::Problem))
)]
struct Document;

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(create::create, runs::list))
        .routes(routes!(runs::read))
        .routes(routes!(runs::steps))
        .routes(routes!(runs::cancel))
        .routes(routes!(events::read))
        .routes(routes!(agents::list))
        .routes(routes!(
            agents::store_version,
            agents::read,
            agents::archive
        ))
        .routes(routes!(agents::versions))
        .routes(routes!(agents::read_version))
        .routes(routes!(admin::budgets::own))
        .routes(routes!(admin::tenants::tiers))
        .routes(routes!(admin::tenants::create, admin::tenants::list))
        .routes(routes!(admin::tenants::read, admin::tenants::patch))
        .routes(routes!(admin::tenants::suspend))
        .routes(routes!(admin::tenants::resume))
        .routes(routes!(admin::keys::create, admin::keys::list))
        .routes(routes!(admin::keys::read, admin::keys::revoke))
        .routes(routes!(admin::keys::rotate))
        .routes(routes!(admin::budgets::list))
        .routes(routes!(admin::budgets::set))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(document))
}

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let json = serde_json::to_vec(&openapi()).expect("the document is plain data with text keys");
    json.into()
});

/// Read this document
#[utoipa::path(get, path = "/openapi.json", operation_id = "read_openapi", tag = "health", responses((status = 200, description = "OpenAPI 3.1")))]
async fn document() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], DOCUMENT.clone()).into_response()
}

#[cfg(test)]
mod tests;
