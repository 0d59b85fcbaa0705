//! Definitions, read once per process: a version never changes.

use std::sync::Arc;

use domain::agent::AgentRef;
use domain::id::TenantId;
use domain::run::Known;
use store::Cache;

use crate::{Engine, Error};

/// Most definitions kept by one process.
const MAX_DEFINITIONS: u32 = 2_000;

pub(crate) struct Definitions(Cache<(TenantId, AgentRef), Known>);

impl Definitions {
    pub(crate) fn new() -> Self {
        Self(Cache::of_constants(
            MAX_DEFINITIONS,
            MAX_DEFINITIONS.into(),
            |_| 1,
        ))
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
        let read = async {
            let version = self.store.agent_version(tenant, &agent.id, agent.version);
            let Some(version) = version.await? else {
                return Ok(None);
            };
            let agent = &version.definition;
            let price = self.gateway.price(&agent.model, agent.prompt_cache);
            Ok(Known::new(agent.clone(), price).ok())
        };
        if !self.store.may_remember(tenant) {
            return Ok(Box::pin(read).await?.map(Arc::new));
        }
        Ok(self
            .definitions
            .0
            .get(&key, self.now(), Box::pin(read))
            .await?)
    }
}
