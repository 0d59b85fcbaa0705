//! Writing commits: with the head that lists show and with what the tenant's ledgers enter, all or nothing.

use domain::budget::Denial;
use domain::run::{Commit, Event, Head, ParkReason, State};
use store::{Charge, Creation, Written};

use crate::{Engine, Error};

/// Changes of a tenant's settings that a commit meets before it is given up.
const MAX_STALE: u32 = 5;

/// What became of a commit.
#[derive(Debug)]
pub(crate) enum Put {
    /// It is stored.
    Done,
    /// It was to create a run that exists.
    Exists(Box<Head>),
    /// A ledger refused it; nothing was written.
    Denied(Denial),
    /// It rests on settings that have changed since; nothing was written.
    Stale,
    /// It was to create a run of an agent that may have changed since; nothing was written.
    Redefined,
}

impl Engine {
    /// Writes a commit, which `state` holds already. When it frees a place, the next run in line begins.
    pub(crate) async fn put(&self, state: &State, commit: &Commit) -> Result<Put, Error> {
        self.put_if(state, commit, None).await
    }

    /// [`Engine::put`], if the tenant's definitions were changed just so many times.
    pub(crate) async fn put_if(
        &self,
        state: &State,
        commit: &Commit,
        definitions: Option<u64>,
    ) -> Result<Put, Error> {
        let put = self.put_charged(state, commit, definitions).await?;
        if let (Put::Done, Some(used)) = (&put, &commit.used) {
            self.told(&state.run, used);
        }
        Ok(put)
    }

    async fn put_charged(
        &self,
        state: &State,
        commit: &Commit,
        definitions: Option<u64>,
    ) -> Result<Put, Error> {
        let entry = state.entry(&commit.events);
        let heeds_settings = commit.events.iter().any(Event::heeds_settings);
        let account = state.account.as_ref();
        let Some(account) = account.filter(|_| heeds_settings || !entry.is_empty()) else {
            return self.put_under(state, commit, None).await;
        };
        let creates = commit.first == 1;
        let mut tenant = self.tenant(&state.tenant).await?;
        for _ in 0..MAX_STALE {
            let Some(settings) = &tenant else {
                // The tenant is gone: its runs may still end, none may begin.
                return if creates {
                    Ok(Put::Stale)
                } else {
                    self.put_under(state, commit, None).await
                };
            };
            // Who decided in an epoch that is over is not charged where the tenant is now.
            self.store.check_home(settings)?;
            let limits = settings.limits();
            let charge = Charge {
                tenant: settings,
                most: (limits.concurrent_runs.into(), limits.waiting_runs.into()),
                nodes: &account.nodes,
                entry,
                at: commit.at,
                definitions,
                line: self.turnstile.believes_in_line(&state.tenant),
            };
            match self.put_under(state, commit, Some(&charge)).await? {
                Put::Stale => tenant = self.tenant_anew(&state.tenant).await?,
                put => return Ok(put),
            }
            if creates || heeds_settings {
                return Ok(Put::Stale);
            }
        }
        Err(store::Error::Raced.into())
    }

    async fn put_under(
        &self,
        state: &State,
        commit: &Commit,
        charge: Option<&Charge<'_>>,
    ) -> Result<Put, Error> {
        let moves_head = commit.events.iter().any(Event::moves_head);
        let head = moves_head.then(|| Head::of(state));
        let (store, tenant, run) = (&self.store, &state.tenant, &state.run);
        if let Some(head) = head.as_ref().filter(|_| commit.first == 1) {
            let created = Box::pin(store.create_charged(tenant, head, commit, charge));
            let (created, ()) = tokio::join!(created, self.watch(head));
            return Ok(match created? {
                Creation::New => Put::Done,
                Creation::Exists(head) => Put::Exists(head),
                Creation::Denied(denial) => Put::Denied(denial),
                Creation::Stale => Put::Stale,
                Creation::Redefined => Put::Redefined,
            });
        }
        let kept_until = state
            .created
            .as_ref()
            .and_then(|created| created.kept_until);
        let written = store.append_charged(tenant, run, commit, head.as_ref(), charge, kept_until);
        let written = Box::pin(written);
        let written = match &head {
            Some(head) => tokio::join!(written, self.watch(head)).0,
            None => written.await,
        };
        match written? {
            Written::Done { waiting } => {
                if waiting {
                    self.turnstile.saw_line(tenant, true);
                    self.next_in_line(&state.tenant).await;
                }
                for event in &commit.events {
                    if let Event::Parked {
                        reason: ParkReason::BudgetReached { node, period, unit },
                        ..
                    } = event
                    {
                        self.warn_reached(tenant, node, *period, *unit).await;
                    }
                }
                Ok(Put::Done)
            }
            Written::Denied(denial) => Ok(Put::Denied(denial)),
            Written::Stale => Ok(Put::Stale),
            Written::Redefined => Ok(Put::Redefined),
        }
    }

    /// Has the janitor come when the run of this head is to be looked at.
    async fn watch(&self, head: &Head) {
        if let Some(at) = head.watch_at {
            self.expect_sweep(at).await;
        }
    }
}
