//! Keys of API Gateway on usage plans: made, moved, removed, listed.
//!
//! The only crate that names the SDK of API Gateway, and only `admin` has it. It keeps nothing and decides nothing: what
//! there is to be is said in [`domain::gate`] and by whoever calls. Each call may be repeated, whatever became of the one
//! before.

mod error;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_sdk_apigateway::Client;
pub use domain::gate::Gate as Names;
use domain::id::{KeyId, TenantId};
pub use error::Error;
use error::is;
use tokio::sync::OnceCell;

/// Most keys or plans of one page (limit of API Gateway).
const PAGE: i32 = 500;
/// What a key on a plan is, in API Gateway's words.
const KEY_TYPE: &str = "API_KEY";

/// Name and id of something at API Gateway.
#[derive(Debug)]
struct Named {
    name: String,
    id: String,
}

/// The gate keys of one stack. Clones share what was read of its plans.
#[derive(Clone, Debug)]
pub struct Gate {
    client: Client,
    names: Names,
    plans: Arc<OnceCell<Vec<Named>>>,
}

impl Gate {
    /// The gate of this stack. Nothing is asked of API Gateway yet.
    #[must_use]
    pub fn new(client: Client, names: Names) -> Self {
        Self {
            client,
            names,
            plans: Arc::default(),
        }
    }

    /// What its keys and plans are called.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Sees to it that there is a gate key for this API key, on this plan and on no other.
    ///
    /// # Errors
    /// When API Gateway refuses or cannot be reached, or has no such plan.
    pub async fn ensure(&self, tenant: &TenantId, key: &KeyId, plan: &str) -> Result<(), Error> {
        let plan = self.plan(plan).await?;
        let name = self.names.key_name(tenant, key);
        let request = self
            .client
            .create_api_key()
            .name(&name)
            .description("A key of a tenant of Skein; opens nothing by itself")
            .value(self.names.own_value(key))
            .enabled(true);
        let id = match Box::pin(request.send()).await {
            Ok(made) => made.id.unwrap_or_default(),
            Err(error) if is(&error, "ConflictException") => {
                let mut found = self.keys(&name).await?.into_iter();
                let id = found.find(|key| key.name == name).map(|key| key.id);
                id.ok_or(Error::Taken(name))?
            }
            Err(error) => return Err(Error::of_sdk("CreateApiKey", error)),
        };
        if self.join(&id, &plan).await? {
            return Ok(());
        }
        // It is on this plan already, or on another one of the same API.
        let on = self.plans_with(&id).await?;
        for other in on.iter().filter(|other| **other != plan) {
            self.leave(&id, other).await?;
        }
        if !on.contains(&plan) {
            self.join(&id, &plan).await?;
        }
        Ok(())
    }

    /// Sees to it that there is no gate key for this API key.
    ///
    /// # Errors
    /// When API Gateway refuses or cannot be reached.
    pub async fn remove(&self, tenant: &TenantId, key: &KeyId) -> Result<(), Error> {
        let name = self.names.key_name(tenant, key);
        let found = self.keys(&name).await?.into_iter();
        for key in found.filter(|key| key.name == name) {
            let request = self.client.delete_api_key().api_key(key.id);
            match Box::pin(request.send()).await {
                Ok(_) => {}
                Err(error) if is(&error, "NotFoundException") => {}
                Err(error) => return Err(Error::of_sdk("DeleteApiKey", error)),
            }
        }
        Ok(())
    }

    /// The API keys of a tenant that have a gate key.
    ///
    /// # Errors
    /// When API Gateway refuses or cannot be reached.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<KeyId>, Error> {
        let prefix = self.names.names_of(tenant);
        let found = self.keys(&prefix).await?.into_iter();
        let ids = found.filter_map(|key| KeyId::parse(key.name.strip_prefix(&prefix)?).ok());
        Ok(ids.collect())
    }

    /// The gate keys whose names begin so.
    async fn keys(&self, prefix: &str) -> Result<Vec<Named>, Error> {
        let request = self.client.get_api_keys().name_query(prefix).limit(PAGE);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Error::of_sdk("GetApiKeys", error))?;
            let keys = page.items.unwrap_or_default().into_iter();
            found.extend(keys.filter_map(|key| {
                let (name, id) = (key.name?, key.id?);
                name.starts_with(prefix).then_some(Named { name, id })
            }));
        }
        Ok(found)
    }

    /// The id of a plan. Plans are read once: they change by deployments alone.
    async fn plan(&self, plan: &str) -> Result<String, Error> {
        let plans = self.plans.get_or_try_init(|| self.all_plans(None)).await?;
        let name = self.names.plan_name(plan);
        let found = plans.iter().find(|plan| plan.name == name);
        found.map(|plan| plan.id.clone()).ok_or(Error::NoPlan(name))
    }

    /// The ids of the plans that a key is on.
    async fn plans_with(&self, key: &str) -> Result<Vec<String>, Error> {
        let plans = self.all_plans(Some(key)).await?.into_iter();
        Ok(plans.map(|plan| plan.id).collect())
    }

    async fn all_plans(&self, key: Option<&str>) -> Result<Vec<Named>, Error> {
        let request = self.client.get_usage_plans().limit(PAGE);
        let request = request.set_key_id(key.map(str::to_owned));
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Error::of_sdk("GetUsagePlans", error))?;
            let plans = page.items.unwrap_or_default().into_iter();
            found.extend(plans.filter_map(|plan| {
                let (name, id) = (plan.name?, plan.id?);
                Some(Named { name, id })
            }));
        }
        Ok(found)
    }

    /// Puts a key on a plan; false when it is on one of this API already.
    async fn join(&self, key: &str, plan: &str) -> Result<bool, Error> {
        let request = self
            .client
            .create_usage_plan_key()
            .usage_plan_id(plan)
            .key_id(key)
            .key_type(KEY_TYPE);
        match Box::pin(request.send()).await {
            Ok(_) => Ok(true),
            Err(error) if is(&error, "ConflictException") => Ok(false),
            Err(error) => Err(Error::of_sdk("CreateUsagePlanKey", error)),
        }
    }

    async fn leave(&self, key: &str, plan: &str) -> Result<(), Error> {
        let request = self.client.delete_usage_plan_key().usage_plan_id(plan);
        match Box::pin(request.key_id(key).send()).await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, "NotFoundException") => Ok(()),
            Err(error) => Err(Error::of_sdk("DeleteUsagePlanKey", error)),
        }
    }
}
