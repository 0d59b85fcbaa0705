//! What stops tenants from beginning anything while there is maintenance.

use std::sync::Arc;
use std::time::Duration;

use domain::maintenance::Maintenance;
use store::Cache;

use crate::{Api, Problem};

/// How long it is believed that there is maintenance or none: half of the 60 s within which it must hold.
const BELIEVED: Duration = Duration::from_secs(30);

/// What this process knows of it. Clones share it.
#[derive(Clone)]
pub(crate) struct Known(Arc<Cache<(), Maintenance>>);

impl Known {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Cache::of_changing(1, BELIEVED)))
    }
}

/// Lets a request pass that begins or changes something, unless there is maintenance. `api` acts as the process itself: what
/// is said is no tenant's. While the table cannot say, requests pass: what they need of it will tell them.
pub(crate) async fn pass(api: &Api) -> Result<(), Problem> {
    let read = Box::pin(api.engine.store.maintenance(false));
    match api.maintenance.0.get(&(), api.engine.now(), read).await {
        Ok(None) => Ok(()),
        Ok(Some(said)) => Err(Problem::Maintenance(said)),
        Err(error) => {
            tracing::warn!(error = %telemetry::chain(&error), "whether there is maintenance was not read");
            Ok(())
        }
    }
}
