//! Requests, counted for usage: in memory at first, told to the table now and then.
//!
//! **Invariant:** no request waits for this, and no limit and no budget rests on it. A request is counted once, in the minute
//! in which it was answered, if its process lives to tell: one that is killed takes what it has counted in the last
//! [`EVERY`] with it. A process tells when its oldest count is that old, and before it ends. The metric `RequestsPerTenant` is
//! told at the same times.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::id::{KeyId, TenantId};
use domain::time::At;
use domain::usage::{Interval, Row, Subject, Usage};
use engine::Engine;
use futures_util::{StreamExt as _, stream};
use store::{ApiKey, MOST_TALLIED, Tallied, Tally};
use telemetry::{Metrics, Unit};

/// How old a count may be before it is told.
const EVERY: Duration = Duration::from_secs(60);
/// Tenants that are told of at the same time before a process ends.
const AT_ONCE: usize = 16;

/// What this process has counted. Clones share it.
#[derive(Clone)]
pub(crate) struct Tallies(Arc<Inner>);

struct Inner {
    process: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the last tally, whichever tenant's.
    number: u64,
    tenants: HashMap<TenantId, Counts>,
}

/// The requests of one tenant that no answer of the table says are counted.
#[derive(Default)]
struct Counts {
    /// When the oldest of `open` and `closed` was counted.
    since: At,
    minute: u64,
    /// Those of `minute`, by key.
    open: HashMap<KeyId, Row>,
    /// Those of minutes before.
    closed: Vec<Row>,
    /// By method and route, for metrics.
    endpoints: HashMap<Arc<str>, u32>,
    /// What was told and may have been counted.
    told: Option<Tally>,
    /// Held by whoever tells, so that a tally follows the one before.
    telling: Arc<tokio::sync::Mutex<()>>,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CameTo {
    /// An answer, be it that the request is wrong.
    Answer,
    /// Policy refused it.
    Refusal,
    /// We failed: 5xx.
    Failure,
}

/// When a count is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Now: it is old enough.
    Now,
    /// After [`EVERY`], if nobody does before: it is the first one.
    Later,
    /// When that of an earlier one is.
    Settled,
}

impl fmt::Debug for Tallies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tallies").finish_non_exhaustive()
    }
}

impl Counts {
    fn count(&mut self, key: &ApiKey, request: &Arc<str>, came_to: CameTo, now: At) -> Due {
        let due = if self.open.is_empty() && self.closed.is_empty() {
            self.since = now;
            Due::Later
        } else if u128::from(now.since_ms(self.since)) >= EVERY.as_millis() {
            // Once: whoever comes next is early again.
            self.since = now;
            Due::Now
        } else {
            Due::Settled
        };
        if let Some(count) = self.endpoints.get_mut(request) {
            *count = count.saturating_add(1);
        } else {
            self.endpoints.insert(Arc::clone(request), 1);
        }
        let start = Interval::Minute.start(now);
        if start.0 != self.minute {
            self.close();
            self.minute = start.0;
        }
        let one = Usage {
            requests: 1,
            refused_requests: (came_to == CameTo::Refusal).into(),
            failed_requests: (came_to == CameTo::Failure).into(),
            ..Usage::default()
        };
        if let Some(row) = self.open.get_mut(&key.id) {
            row.usage = row.usage.plus(one);
        } else {
            let subject = Subject {
                project: key.project.clone(),
                key: Some(key.id.clone()),
                ..Subject::default()
            };
            let row = Row {
                start,
                subject,
                usage: one,
            };
            self.open.insert(key.id.clone(), row);
        }
        due
    }

    fn close(&mut self) {
        self.closed.extend(self.open.drain().map(|(_, row)| row));
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty() && self.told.is_none()
    }
}

impl Tallies {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            process: uuid::Uuid::new_v4().simple().to_string(),
            state: Mutex::default(),
        }))
    }

    /// Counts a request that was answered, of the tenant that has this key.
    pub(crate) fn count(&self, engine: &Engine, key: &ApiKey, request: &Arc<str>, came_to: CameTo) {
        let now = engine.now();
        let due = {
            let mut state = self.state();
            if let Some(counts) = state.tenants.get_mut(&key.tenant) {
                counts.count(key, request, came_to, now)
            } else {
                let counts = state.tenants.entry(key.tenant.clone()).or_default();
                counts.count(key, request, came_to, now)
            }
        };
        let pause = match due {
            Due::Settled => return,
            Due::Now => Duration::ZERO,
            // Where the process is frozen between requests, one that comes later tells.
            Due::Later => EVERY,
        };
        let (tallies, engine, tenant) = (self.clone(), engine.clone(), key.tenant.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            tallies.tell(&engine, &tenant).await;
        });
    }

    /// Tells the table everything that was counted.
    pub(crate) async fn tell_all(&self, engine: &Engine) {
        let tenants: Vec<TenantId> = self.state().tenants.keys().cloned().collect();
        let told: Vec<_> = tenants
            .iter()
            .map(|tenant| self.tell(engine, tenant))
            .collect();
        stream::iter(told)
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
    }

    /// Tells the table what was counted of a tenant. What it does not take is told with the next.
    async fn tell(&self, engine: &Engine, tenant: &TenantId) {
        let counts = self
            .state()
            .tenants
            .get(tenant)
            .map(|it| it.telling.clone());
        let Some(telling) = counts else { return };
        let _one_after_the_other = telling.lock().await;
        let store = engine.store.of(tenant);
        // What is counted from here on waits for its own minute.
        self.close(tenant);
        while let Some(tally) = self.next(tenant) {
            let told = Box::pin(store.count_requests(tenant, &tally, engine.now())).await;
            match told {
                Ok(Tallied::Now | Tallied::Before) => {}
                Ok(Tallied::Gone) => {
                    tracing::warn!(tenant.id = %tenant, "requests of a tenant that is gone are not counted");
                }
                Err(error) => {
                    tracing::warn!(
                        tenant.id = %tenant,
                        error = %telemetry::chain(&error),
                        "requests are not counted yet"
                    );
                    return;
                }
            }
            self.done(tenant, tally.number);
        }
    }

    fn close(&self, tenant: &TenantId) {
        let mut state = self.state();
        let Some(counts) = state.tenants.get_mut(tenant) else {
            return;
        };
        counts.close();
        let endpoints = std::mem::take(&mut counts.endpoints);
        drop(state);
        for (endpoint, count) in endpoints {
            Metrics::new()
                .put("RequestsPerTenant", Unit::Count, count.into())
                .property("TenantId", tenant.as_str())
                .property("Endpoint", &*endpoint)
                .memory()
                .by(&["TenantId", "Endpoint"]);
        }
    }

    /// The tally to be told: the one before, as long as nobody knows what became of it.
    fn next(&self, tenant: &TenantId) -> Option<Tally> {
        let mut state = self.state();
        let state = &mut *state;
        let counts = state.tenants.get_mut(tenant)?;
        if counts.told.is_none() {
            let rest = counts.closed.len().saturating_sub(MOST_TALLIED);
            let rows = counts.closed.split_off(rest);
            if rows.is_empty() {
                return None;
            }
            state.number += 1;
            counts.told = Some(Tally {
                process: self.0.process.clone(),
                number: state.number,
                rows,
            });
        }
        counts.told.clone()
    }

    /// It is known what became of the tally of this number.
    fn done(&self, tenant: &TenantId, number: u64) {
        let mut state = self.state();
        if let Some(counts) = state.tenants.get_mut(tenant) {
            counts.told.take_if(|told| told.number == number);
            if counts.is_empty() {
                state.tenants.remove(tenant);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
