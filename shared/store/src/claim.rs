//! Claims: what tells the living from the dead while a log says nothing.
//!
//! A driver renews the lease of its run, a worker its claim of one call. Neither guards the log, which its fence does; they
//! keep two from doing the same work, and show the watch who is alive.

use domain::id::{DriverId, FrameId, RunId, TenantId};
use domain::run::LEASE_MS;
use domain::time::At;

use crate::item::{Set, keyed, number, text};
use crate::key::Key;
use crate::table::{Outcome, Write};
use crate::{Error, Store};

/// How long a claim's item is kept after its last renewal, in seconds.
const KEPT_S: u64 = 24 * 3_600;

/// The call of a tool that a worker claims.
#[derive(Clone, Copy, Debug)]
pub struct Claimed<'a> {
    /// Whose run.
    pub tenant: &'a TenantId,
    /// The run that waits.
    pub run: &'a RunId,
    /// The frame that asked.
    pub frame: &'a FrameId,
    /// The step whose answer asked.
    pub step: u32,
    /// The call's place among that answer's calls, from 0.
    pub call: u32,
}

impl Store {
    /// Renews the lease of a driver that has read the log up to `last_event`. False when a driver that has read further
    /// holds it: then this one was replaced and should stop.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn renew(
        &self,
        tenant: &TenantId,
        run: &RunId,
        driver: &DriverId,
        last_event: u64,
        now: At,
    ) -> Result<bool, Error> {
        let mut item = keyed(Key::lease(tenant, run), 4);
        item.set_text("driver", driver.as_str());
        item.set_number("at", now.0);
        item.set_number("fence", last_event);
        item.set_number("ttl", now.0 / 1_000 + KEPT_S);
        let free = "attribute_not_exists(fence) OR fence < :fence \
             OR (driver = :driver AND fence = :fence)";
        let write = Write::new(item, Some(free))
            .with(":fence", number(last_event))
            .with(":driver", text(driver.as_str()));
        self.claim(write).await
    }

    /// Claims a call for `worker`, or renews its claim. False while another worker's claim of this call lasts, and for a
    /// call of a step that is over. One small write.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn claim_call(
        &self,
        claimed: Claimed<'_>,
        worker: &DriverId,
        now: At,
    ) -> Result<bool, Error> {
        let Claimed {
            tenant, run, step, ..
        } = claimed;
        let mut item = keyed(Key::call(tenant, run, claimed.frame, claimed.call), 4);
        item.set_text("driver", worker.as_str());
        item.set_number("seen_at", now.0);
        item.set_number("fence", step.into());
        item.set_number("ttl", now.0 / 1_000 + KEPT_S);
        let free = "attribute_not_exists(fence) OR fence < :fence \
             OR (fence = :fence AND (driver = :driver OR seen_at <= :dead))";
        let write = Write::new(item, Some(free))
            .with(":fence", number(step.into()))
            .with(":driver", text(worker.as_str()))
            .with(":dead", number(now.0.saturating_sub(LEASE_MS)));
        self.claim(write).await
    }

    async fn claim(&self, write: Write) -> Result<bool, Error> {
        match self.put(write).await? {
            Outcome::Done => Ok(true),
            Outcome::Refused(_) => Ok(false),
            Outcome::Conflict => Err(Error::conflict("PutItem")),
        }
    }
}
