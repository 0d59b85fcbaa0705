//! What operators do, under `/v1/admin`: tenants, their keys, budgets, usage and audit trail. A function of its own, so that
//! what tenants reach has no right and no code that it does not need.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use api::gate::{Answer, GateKeys};
use domain::id::{KeyId, TenantId};
use gate::Gate;

/// The client of API Gateway, as the API asks it.
struct Keys(Gate);

impl GateKeys for Keys {
    fn ensure<'a>(&'a self, tenant: &'a TenantId, key: &'a KeyId, plan: &'a str) -> Answer<'a, ()> {
        answer(self.0.ensure(tenant, key, plan))
    }

    fn remove<'a>(&'a self, tenant: &'a TenantId, key: &'a KeyId) -> Answer<'a, ()> {
        answer(self.0.remove(tenant, key))
    }

    fn list<'a>(&'a self, tenant: &'a TenantId) -> Answer<'a, Vec<KeyId>> {
        answer(self.0.list(tenant))
    }
}

fn answer<'a, T>(asked: impl Future<Output = Result<T, gate::Error>> + Send + 'a) -> Answer<'a, T> {
    Box::pin(async {
        asked
            .await
            .map_err(|error| Box::new(error) as Box<dyn Error + Send + Sync>)
    })
}

/// The client of API Gateway for [`api::Api::guarded`].
#[must_use]
pub fn keys(gate: Gate) -> Arc<dyn GateKeys> {
    Arc::new(Keys(gate))
}

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_http::Error> {
    let gate = wiring::gate()?;
    api::run_admin(gate.map(|gate| (gate.names().clone(), keys(gate)))).await
}
