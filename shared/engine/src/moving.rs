//! Regions: whose runs are driven here, and what becomes of those whose tenant moves here.
//!
//! Whoever writes for a tenant begins with [`Engine::at_home`], and from there on writes in the epoch that it has looked at
//! and in no other. So a process that does not know of a move writes what nobody reads.

use std::time::{Duration, Instant};

use domain::id::{RunId, TenantId};
use domain::run::{Command, Commit, Head, decide};
use domain::tenant::Tenant;
use domain::time::At;
use queue::RunMessage;
use store::{Loaded, Store, Taken, WATCH_SHARDS};

use crate::tenants::UNENDED;
use crate::{Engine, Error};

/// Most runs of one shard of another Region's watch that one sweep looks at.
const MOST_PER_SHARD: u32 = 250;

/// What became of a tenant that was to move here.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Its record as it is now.
    pub tenant: Tenant,
    /// Runs that were taken over.
    pub runs: u64,
    /// Whether runs may be left, which the janitor takes over as it finds them.
    pub is_partial: bool,
}

impl Engine {
    /// This engine for what is written for a tenant in the epoch of its home, if that is in this Region.
    ///
    /// # Errors
    /// [`store::Error::Elsewhere`] with the Region that it is in; those of the table.
    pub(crate) async fn at_home(&self, tenant: &TenantId) -> Result<Self, Error> {
        if self.store.regions().is_one() {
            return Ok(self.clone());
        }
        let mut settings = self.tenant(tenant).await?;
        let is_elsewhere = |it: &Tenant| self.store.check_home(it).is_err();
        // What is refused is refused by how things stand now.
        if settings.as_deref().is_some_and(is_elsewhere) {
            settings = self.tenant_anew(tenant).await?;
        }
        let Some(settings) = settings else {
            return Ok(self.clone());
        };
        self.store.check_home(&settings)?;
        Ok(Self {
            store: self.store.in_epoch(tenant, settings.home.epoch),
            ..self.clone()
        })
    }

    /// Loads a run to go on with it. One that was left behind when its tenant moved here is taken over first.
    pub(crate) async fn load_at_home(
        &self,
        tenant: &TenantId,
        run: &RunId,
    ) -> Result<Option<Loaded>, Error> {
        let loaded = self.store.load(tenant, run).await?;
        // Who is about to take it over has copied a part of its log, and the rest may come.
        let is_whole = |it: &Loaded| self.store.is_bound_to(it.state.epoch);
        if self.store.regions().is_one() || loaded.as_ref().is_some_and(is_whole) {
            return Ok(loaded);
        }
        if !self.take_over_if_moved(tenant, run).await? {
            return Ok(None);
        }
        Ok(self.store.load(tenant, run).await?)
    }

    /// Takes a run over if its tenant has moved here and it was left behind. False when there is none.
    pub(crate) async fn take_over_if_moved(
        &self,
        tenant: &TenantId,
        run: &RunId,
    ) -> Result<bool, Error> {
        if self.store.regions().is_one() {
            return Ok(false);
        }
        let Some(settings) = self.tenant(tenant).await? else {
            return Ok(false);
        };
        if settings.home.former.is_empty() {
            return Ok(false);
        }
        Ok(self.take_over(&settings, run).await? != Taken::Unknown)
    }

    /// Takes a run over from the epoch before, and sends it to a driver.
    async fn take_over(&self, tenant: &Tenant, run: &RunId) -> Result<Taken, Error> {
        let (epoch, now) = (tenant.home.epoch, self.now());
        let region = self.store.regions().own();
        let region = region.map(|region| region.name.clone());
        let command = Command::Move {
            epoch,
            region: region.unwrap_or_default(),
        };
        let taken = Box::pin(self.store.take_over(tenant, run, |state| {
            let events = decide(state, &command, now).unwrap_or_default();
            (!events.is_empty()).then(|| Commit {
                first: state.next_event(),
                at: now,
                driver: None,
                events,
                used: None,
            })
        }));
        let taken = taken.await?;
        if let Taken::Now(state) = &taken
            && !state.status.is_terminal()
        {
            let message = RunMessage {
                revives: true,
                ..RunMessage::new(tenant.id.clone(), run.clone())
            };
            let lane = Head::of(state).lane;
            self.queue.send_run(lane, &message, 0).await?;
            tracing::info!(
                tenant.id = %tenant.id,
                run.id = %run,
                event = state.last_event,
                "a run was taken over from another Region"
            );
        }
        Ok(taken)
    }

    /// Moves a tenant's home here and takes its runs over, for about as long as `within` says. Repeated, it goes on. `from` is
    /// where it is believed to be at home.
    ///
    /// # Errors
    /// [`store::Error::Missing`] when it was never onboarded, as far as is known here; [`store::Error::Elsewhere`] when it is
    /// at home in a third Region; others when the table or a queue fails, after which it may be repeated.
    pub async fn move_here(
        &self,
        id: &TenantId,
        from: &str,
        within: Duration,
    ) -> Result<Moved, Error> {
        let until = Instant::now() + within;
        let old = self.store.tenant(id).await?.ok_or(store::Error::Missing)?;
        if let Err(elsewhere) = self.store.check_home(&old)
            && !matches!(&elsewhere, store::Error::Elsewhere(region) if region.name == from)
        {
            return Err(elsewhere.into());
        }
        let tenant = self.store.move_home(&old, self.now()).await?;
        self.forget_tenant(id);
        let mut moved = Moved {
            tenant,
            runs: 0,
            is_partial: false,
        };
        let tenant = moved.tenant.clone();
        for former in &tenant.home.former {
            let there = self.store.in_epoch(id, former.epoch);
            for status in UNENDED {
                let of_there = Self {
                    store: there.clone(),
                    ..self.clone()
                };
                let mut cursor = None;
                loop {
                    let page = of_there.page_of(id, status, cursor.as_deref()).await?;
                    for head in &page.items {
                        if Instant::now() >= until {
                            moved.is_partial = true;
                            return Ok(moved);
                        }
                        match Box::pin(self.take_over(&tenant, &head.run)).await {
                            Ok(Taken::Now(_)) => moved.runs += 1,
                            Ok(Taken::Before | Taken::Unknown) => {}
                            Err(error) => {
                                moved.is_partial = true;
                                not_taken(id, &head.run, &error);
                            }
                        }
                    }
                    cursor = page.next;
                    if cursor.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(moved)
    }

    /// Takes over what is due in other Regions of tenants that are at home here: what was left when they moved, or has
    /// arrived since.
    pub(crate) async fn take_over_strays(&self, tables: &[Store], now: At) -> Result<usize, Error> {
        let mut taken = 0;
        for table in tables {
            for region in self.store.regions().first_epochs_elsewhere() {
                for shard in 0..WATCH_SHARDS {
                    let due = table.watched_in(region, shard, now, MOST_PER_SHARD);
                    for (id, run, _) in due.await? {
                        let Some(tenant) = self.tenant(&id).await? else {
                            continue;
                        };
                        if self.store.check_home(&tenant).is_err() {
                            continue;
                        }
                        match Box::pin(self.take_over(&tenant, &run)).await {
                            Ok(Taken::Now(_)) => taken += 1,
                            Ok(Taken::Before | Taken::Unknown) => {}
                            Err(error) => not_taken(&id, &run, &error),
                        }
                    }
                }
            }
        }
        Ok(taken)
    }
}

fn not_taken(tenant: &TenantId, run: &RunId, error: &Error) {
    tracing::warn!(
        tenant.id = %tenant,
        run.id = %run,
        error = %telemetry::chain(error),
        "a run was not taken over yet"
    );
}
