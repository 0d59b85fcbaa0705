//! Definitions, read once per process: a version never changes.

use std::sync::Arc;

use domain::agent::AgentRef;
use domain::id::TenantId;
use domain::run::Known;
use moka::future::Cache;

use crate::{Engine, Error};

/// Most definitions kept by one process.
const MAX_DEFINITIONS: u64 = 2_000;

pub(crate) struct Definitions(Cache<(TenantId, AgentRef), Arc<Known>>);

impl Definitions {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MAX_DEFINITIONS))
    }
}

impl Engine {
    /// The pinned definition, ready for decisions; none when the tenant has no such version.
    pub(crate) async fn known(
        &self,
        tenant: &TenantId,
        agent: &AgentRef,
    ) -> Result<Option<Arc<Known>>, Error> {
        let key = (tenant.clone(), agent.clone());
        if let Some(known) = self.definitions.0.get(&key).await {
            return Ok(Some(known));
        }
        let version = self
            .store
            .agent_version(tenant, &agent.id, agent.version)
            .await?;
        let Some(version) = version else {
            return Ok(None);
        };
        let price = self.gateway.price(&version.definition.model);
        let Ok(known) = Known::new(version.definition.clone(), price) else {
            return Ok(None);
        };
        let known = Arc::new(known);
        self.definitions.0.insert(key, known.clone()).await;
        Ok(Some(known))
    }
}
