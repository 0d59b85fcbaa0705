//! Tenants, read once per process and minute: whatever is charged under settings that have changed since is refused by the
//! ledger, and decided anew under the new ones.

use std::sync::Arc;
use std::time::Duration;

use domain::id::TenantId;
use domain::run::{Command, Head, State, Status};
use domain::tenant::Tenant;
use domain::time::At;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use store::{Cache, Page, RunFilter};

use crate::{Engine, Error, Recorded};

/// Most tenants kept by one process.
const MAX_TENANTS: u32 = 10_000;
/// How long settings are believed where no ledger would refuse outdated ones: rate limits, standing.
const BELIEVED: Duration = Duration::from_secs(60);

/// By whom runs are told of changes.
pub(crate) const OPERATOR: &str = "operator";
/// What a run that has not ended stands as.
pub(crate) const UNENDED: [Status; 3] = [Status::Queued, Status::Running, Status::Parked];
/// Runs that are told or cancelled at the same time.
pub(crate) const AT_ONCE: usize = 16;
const PAGE: u32 = 100;

pub(crate) struct Tenants(Cache<TenantId, Tenant>);

impl Tenants {
    pub(crate) fn new() -> Self {
        Self(Cache::of_changing(MAX_TENANTS, BELIEVED))
    }
}

impl Engine {
    /// A tenant's settings, at most a minute old; none when it was never onboarded, or is gone. Requests at the same time
    /// read once.
    ///
    /// # Errors
    /// [`Error`] when the table fails.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>, Error> {
        let read = Box::pin(self.store.tenant(id));
        if !self.store.may_remember(id) {
            return Ok(read.await?.map(Arc::new));
        }
        Ok(self.tenants.0.get(id, self.now(), read).await?)
    }

    /// Reads a tenant's settings first where the store would read the same record only to learn in which table the rest is.
    pub(crate) async fn meet(&self, id: &TenantId) -> Result<(), Error> {
        if !self.store.has_met(id) {
            self.tenant(id).await?;
        }
        Ok(())
    }

    /// Stores a tenant, new or in place of exactly `old`, and has its runs do what it says now.
    ///
    /// # Errors
    /// [`store::Error::Raced`] when it exists already, or was changed since `old` was read; others when the table or a queue
    /// fails, after which the tenant may be stored and [`Engine::carry_out`] is to be repeated.
    pub async fn put_tenant(&self, new: &Tenant, old: Option<&Tenant>) -> Result<(), Error> {
        self.store.put_tenant(new, old).await?;
        self.tenants.0.forget(&new.id);
        let Some(old) = old else { return Ok(()) };
        if (&old.standing, &old.budgets) == (&new.standing, &new.budgets) {
            // No run waits for what changed, but for a place.
            return self.admit_waiting(&new.id, u32::MAX).await;
        }
        self.carry_out(new).await
    }

    /// Has the runs of a tenant do what its settings say: those of a suspended one park; otherwise those that wait for a
    /// budget or the end of a suspension look again, and those that stand in line begin. May be repeated.
    ///
    /// # Errors
    /// [`Error`] when the table or a queue fails.
    pub async fn carry_out(&self, tenant: &Tenant) -> Result<(), Error> {
        let by = OPERATOR.to_owned();
        let is_active = tenant.is_active();
        let command = if is_active {
            Command::Wake { by }
        } else {
            Command::Suspend { by }
        };
        for status in UNENDED {
            self.tell(tenant, status, &command).await?;
        }
        if is_active {
            self.admit_waiting(&tenant.id, u32::MAX).await?;
        }
        Ok(())
    }

    /// Tells every run of this status what to do, those in line apart; those that look again by it are sent to a driver.
    async fn tell(&self, tenant: &Tenant, status: Status, command: &Command) -> Result<(), Error> {
        let mut cursor = None;
        loop {
            let page = self.page_of(&tenant.id, status, cursor.as_deref()).await?;
            let told = page.items.iter().filter(|head| !head.waiting).map(|head| {
                let told = self.record(&tenant.id, &head.run, command);
                async move {
                    match told.await? {
                        Recorded::Done(state) if is_due(&state, self.now()) => {
                            self.wake(&state, None).await
                        }
                        Recorded::Done(_) | Recorded::Missing => Ok(()),
                    }
                }
            });
            let told: Vec<_> = told.collect();
            stream::iter(told)
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// A page of a tenant's runs of one status, the newest first.
    pub(crate) async fn page_of(
        &self,
        tenant: &TenantId,
        status: Status,
        cursor: Option<&str>,
    ) -> Result<Page<Head>, Error> {
        let filter = RunFilter {
            status: Some(status),
            ..RunFilter::default()
        };
        let page = self.store.runs(tenant, &filter, PAGE, cursor, self.now());
        Ok(Box::pin(page).await?)
    }

    /// Whether the run's tenant lets none of its runs go on.
    pub(crate) async fn is_suspended(&self, state: &State) -> Result<bool, Error> {
        // A run that was told to park is asked about anew: it may have been told by somebody who came too late.
        let tenant = if state.suspend_requested {
            self.tenant_anew(&state.tenant).await?
        } else {
            self.tenant(&state.tenant).await?
        };
        Ok(tenant.is_some_and(|tenant| !tenant.is_active()))
    }

    /// Has the next one who asks for the settings read them.
    pub(crate) fn forget_tenant(&self, id: &TenantId) {
        self.tenants.0.forget(id);
    }

    /// The settings as they stand now.
    pub(crate) async fn tenant_anew(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>, Error> {
        self.forget_tenant(id);
        self.tenant(id).await
    }
}

/// Whether a run waited for other settings and need not any longer.
fn is_due(state: &State, now: At) -> bool {
    let parked = state.parked.as_ref();
    parked.is_some_and(|(reason, until)| reason.heeds_settings() && *until <= now)
}
