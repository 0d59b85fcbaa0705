//! HTTP in: agents, runs and their events; tenants, keys and budgets.
//!
//! Three functions answer parts of one API: `api` what tenants read and store, `stream` runs as they are created and
//! followed, `admin` what operators do. `routes.rs` says which; the gateway's routes send each request there. Handlers parse,
//! authenticate, ask `engine` and `store`, and answer; no rule of runs stands here. **Invariants:** status codes of errors
//! stand in [`problem`] alone; the tenant of a request comes from its API key alone; no key is ever logged.

mod address;
mod admin;
mod agents;
mod audit;
pub mod auth;
pub mod authorizer;
mod body;
mod create;
mod edge;
mod events;
mod follow;
pub mod gate;
mod headers;
mod health;
pub mod keys;
mod lambda;
pub mod limit;
mod maintenance;
pub mod problem;
mod refusal;
mod routes;
mod runs;
pub mod schema;
mod steps;
mod stream;
mod stream_token;
mod tallies;
mod trace;
mod usage;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use domain::gate::Gate;
use domain::id::TenantId;
use engine::Engine;
pub use lambda::{run, run_admin, run_streaming};
pub use problem::Problem;
pub use routes::OPENAPI;

/// What every request needs. A clone is cheap and shares all of it.
#[derive(Clone)]
pub struct Api {
    /// Runs, agents, keys.
    pub engine: Engine,
    /// Settings.
    pub config: Config,
    keys: auth::Keys,
    limiter: limit::Limiter,
    refusals: refusal::Refusals,
    tallies: tallies::Tallies,
    maintenance: maintenance::Known,
    gate: Option<gate::Guarded>,
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
    /// This API for the work of one tenant.
    pub(crate) fn of(&self, tenant: &TenantId) -> Self {
        Self {
            engine: self.engine.of(tenant),
            ..self.clone()
        }
    }

    /// This API, acting for whoever asks: so the audit trail names who made a change.
    pub(crate) fn on_behalf_of(&self, who: &str) -> Self {
        Self {
            engine: self.engine.on_behalf_of(who),
            ..self.clone()
        }
    }

    /// An API over this engine.
    #[must_use]
    pub fn new(engine: Engine, config: Config) -> Self {
        Self {
            engine,
            config,
            keys: auth::Keys::new(),
            limiter: limit::Limiter::new(),
            refusals: refusal::Refusals::new(),
            tallies: tallies::Tallies::new(),
            maintenance: maintenance::Known::new(),
            gate: None,
        }
    }

    /// This API, which has API Gateway know of the keys that it changes.
    #[must_use]
    pub fn guarded(self, gate: Gate, keys: Arc<dyn gate::GateKeys>) -> Self {
        let gate = Some(gate::Guarded { gate, keys });
        Self { gate, ..self }
    }
}

/// Every route in one process, as clients see them behind the gateway: no function has all.
pub fn all_routes(api: Api) -> Router {
    router(api, routes::routes())
}

/// These routes, with what every request passes.
fn router(api: Api, routes: Router<Api>) -> Router {
    routes
        .fallback(edge::not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(
            api.clone(),
            edge::pass,
        ))
        .with_state(api)
}

#[cfg(test)]
mod tests;
