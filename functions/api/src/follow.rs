//! Following a run through the table.

use std::time::Duration;

use domain::id::{RunId, TenantId};
use domain::run::Commit;
use store::Store;
use tokio::time::{Instant, sleep, sleep_until};

/// First pause between two looks.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest pause between two looks.
const LONGEST: Duration = Duration::from_secs(1);

/// The pauses between looks: short while things happen, longer while nothing does.
#[derive(Debug)]
pub(crate) struct Pace(Duration);

impl Pace {
    pub(crate) fn new() -> Self {
        Self(SHORTEST)
    }

    pub(crate) fn quicken(&mut self) {
        self.0 = SHORTEST;
    }

    /// Pauses; false, at once, when `until` has come.
    pub(crate) async fn wait_until(&mut self, until: Instant) -> bool {
        let now = Instant::now();
        if now >= until {
            return false;
        }
        if now + self.0 >= until {
            sleep_until(until).await;
        } else {
            sleep(self.0).await;
        }
        self.0 = (self.0 * 2).min(LONGEST);
        true
    }
}

/// A place in a run's log.
#[derive(Debug)]
pub(crate) struct Cursor {
    tenant: TenantId,
    run: RunId,
    /// Number of the last event that was taken.
    pub(crate) last: u64,
    /// Whether `last` is known to be the last event of its commit.
    whole: bool,
}

impl Cursor {
    pub(crate) fn new(tenant: TenantId, run: RunId, last: u64) -> Self {
        Self {
            tenant,
            run,
            whole: last == 0,
            last,
        }
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// What was committed since, in order and without a gap; empty when nothing was. Some events of the first commit may
    /// have been taken already.
    pub(crate) async fn look(
        &self,
        store: &Store,
        limit: u32,
    ) -> Result<Vec<Commit>, store::Error> {
        if self.whole {
            store
                .commits(&self.tenant, &self.run, self.last + 1, limit)
                .await
        } else {
            store
                .events(&self.tenant, &self.run, self.last, limit)
                .await
        }
    }

    /// Takes a whole commit.
    pub(crate) fn take(&mut self, commit: &Commit) {
        if commit.last() >= self.last {
            self.last = commit.last();
            self.whole = true;
        }
    }
}
