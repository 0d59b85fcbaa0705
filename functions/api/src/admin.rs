//! The operator's routes: tenants, their keys and budgets, the tiers; dead letters, stuck runs, maintenance.

pub(crate) mod budgets;
pub(crate) mod closing;
pub(crate) mod dlq;
pub(crate) mod gate;
pub(crate) mod keys;
pub(crate) mod maintenance;
pub(crate) mod regions;
pub(crate) mod slo;
pub(crate) mod stuck;
pub(crate) mod tenants;
pub(crate) mod top;

use domain::id::TenantId;
use domain::tenant::{Standing, Tenant};
use engine::Error;

use crate::auth::OPERATOR;
use crate::{Api, Problem};

/// Races that a change loses before it gives up: each loss means that somebody else changed the tenant.
const MAX_RACES: u32 = 10;

/// Whom the operators' own trail belongs to.
pub(crate) fn operator() -> Result<TenantId, Problem> {
    TenantId::parse(OPERATOR).map_err(|_| Problem::Internal)
}

/// A tenant as it stands now.
pub(crate) async fn find(api: &Api, id: &TenantId) -> Result<Tenant, Problem> {
    let found = api.engine.store.tenant(id).await?;
    found.ok_or(Problem::NotFound)
}

/// A tenant as it stands now, if it is not in a stack of its own.
pub(crate) async fn find_here(api: &Api, id: &TenantId) -> Result<Tenant, Problem> {
    let tenant = find(api, id).await?;
    match tenant.isolation.endpoint() {
        Some(endpoint) => Err(Problem::TenantElsewhere(endpoint.to_owned())),
        None => Ok(tenant),
    }
}

/// A tenant as it stands now, if anything of it may change here.
pub(crate) async fn find_open(api: &Api, id: &TenantId) -> Result<Tenant, Problem> {
    let tenant = find_here(api, id).await?;
    if tenant.standing == Standing::Closing {
        return Err(Problem::TenantClosing);
    }
    Ok(tenant)
}

/// Changes a tenant and has its runs do what it says now. A change that changes nothing does the latter too: whoever asked
/// before may have died in between.
async fn change(
    api: &Api,
    id: &TenantId,
    change: impl Fn(&mut Tenant) -> Result<(), Problem>,
) -> Result<Tenant, Problem> {
    for _ in 0..MAX_RACES {
        let old = find_open(api, id).await?;
        let mut new = old.clone();
        change(&mut new)?;
        if new == old {
            api.engine.carry_out(&old).await?;
            return Ok(old);
        }
        new.revision += 1;
        new.updated_at = api.engine.now();
        match Box::pin(api.engine.put_tenant(&new, Some(&old))).await {
            Ok(()) => return Ok(new),
            Err(Error::Store(store::Error::Raced)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::Unavailable)
}
