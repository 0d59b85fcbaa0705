//! Looking for runs that should have moved on and did not.
//!
//! Messages are hints and can be lost, and a queue hides a message that a dead process had in hand for minutes. So every run
//! that has not ended has an instant, in the watch index, at which somebody looks whether anybody is at work on it. Whoever
//! writes a head with such an instant sees to it that the janitor comes then, once for all runs of two seconds; where
//! nothing runs, nobody comes but once a minute.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::id::{RunId, TenantId};
use domain::run::{LEASE_MS, Lane, ParkReason, Status};
use domain::time::At;
use futures_util::{StreamExt, TryStreamExt, stream};
use queue::{RunMessage, SweepMessage};
use store::{Sight, Store, WATCH_SHARDS};

use crate::{Engine, Error};

/// Sweeps come at multiples of this, in milliseconds, so that the runs of that time share one.
const SLOT_MS: u64 = 2_000;
/// How far ahead sweeps are asked for, in milliseconds: the janitor's own tick, once a minute, sees what comes later.
const HORIZON_MS: u64 = 90_000;
/// How long a write waits for the message that asks for a sweep.
const ASK: Duration = Duration::from_secs(1);
/// How long a run that was woken is left alone at least, in milliseconds. One that has been silent for longer is left alone
/// for as long again: where runs wait because there are too many, more messages would make them wait longer.
const PATIENCE_MS: u64 = 30_000;
/// Most runs of one shard that one sweep looks at; the next one follows at once.
const MOST_PER_SHARD: u32 = 250;
/// Runs of one shard that are looked at at the same time.
const AT_ONCE: usize = 16;
/// Shards that are looked at at the same time.
const SHARDS_AT_ONCE: usize = 4;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs whose time to be looked at had come.
    pub due: usize,
    /// Those of them that were sent to a driver.
    pub woken: usize,
}

/// What a look at a run came to.
struct Look {
    tenant: TenantId,
    run: RunId,
    sight: Sight,
    /// When it is looked at again.
    next: At,
    /// Whether it is to be sent to a driver.
    is_silent: bool,
}

/// What a look at the runs of one shard came to.
struct Shard {
    /// Runs whose time to be looked at had come.
    due: usize,
    /// Those of them that nobody else looks at.
    looks: Vec<Look>,
    /// When the next one of the others is to be looked at.
    later: Option<At>,
}

/// The slots for which this process has asked for a sweep.
#[derive(Default)]
pub(crate) struct Sweeps(Mutex<BTreeSet<u64>>);

/// Asking for one; unless it is done, it does not count.
struct Asking<'a> {
    sweeps: &'a Sweeps,
    slot: u64,
    is_done: bool,
}

impl Sweeps {
    /// None when this slot's sweep was asked for.
    fn ask(&self, slot: u64, current: u64) -> Option<Asking<'_>> {
        let mut asked = self.lock();
        *asked = asked.split_off(&current);
        asked.insert(slot).then(|| Asking {
            sweeps: self,
            slot,
            is_done: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.sweeps.lock().remove(&self.slot);
        }
    }
}

impl Engine {
    /// Has the janitor come right after `at`. A failure is nobody's who writes: the janitor comes once a minute as well.
    pub(crate) async fn expect_sweep(&self, at: At) {
        let now = self.now();
        if at.since_ms(now) > HORIZON_MS {
            return;
        }
        let slot = at.max(now).0 / SLOT_MS + 1;
        let Some(mut asking) = self.sweeps.ask(slot, now.0 / SLOT_MS) else {
            return;
        };
        let up_to = At(slot * SLOT_MS);
        let sent = self.queue.send_sweep(SweepMessage { up_to }, now);
        let missed = "nobody was asked to look for stuck runs; the janitor's next tick will";
        match tokio::time::timeout(ASK, sent).await {
            Ok(Ok(())) => asking.is_done = true,
            Ok(Err(error)) => tracing::warn!(error = %telemetry::chain(&error), "{missed}"),
            Err(_) => tracing::warn!("{missed}"),
        }
    }

    /// [`Engine::sweep`], unless another process has looked as far or further. One that died meanwhile does not count when
    /// its message comes `again`.
    ///
    /// # Errors
    /// As there.
    pub async fn sweep_up_to(&self, up_to: At, again: bool) -> Result<Swept, Error> {
        if !self.store.begin_sweep(up_to.min(self.now())).await? && !again {
            return Ok(Swept::default());
        }
        self.sweep().await
    }

    /// Sends every run to a driver on which nobody is at work though somebody should be: a message that was never sent or
    /// whose process died, a driver without a queue message, a worker. A run that needs nothing answers the message with
    /// nothing; one that cannot be read is passed over, so that it stops no other; what fails in one table is
    /// told when the others are done.
    ///
    /// # Errors
    /// [`Error`] when the table or a queue fails; what was woken until then stays woken.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let now = self.now();
        let mut next = None::<At>;
        let mut woken: BTreeMap<Lane, Vec<RunMessage>> = BTreeMap::new();
        let mut lines = HashSet::new();
        let tables = self.store.tables().await?;
        let shards = tables
            .iter()
            .flat_map(|table| (0..WATCH_SHARDS).map(move |shard| (table, shard)));
        // Collected first: a closure within the stream would not be general enough for a future that is spawned.
        let shards: Vec<_> = shards
            .map(|(table, shard)| Box::pin(look_at(table, shard, now)))
            .collect();
        let mut shards = stream::iter(shards).buffered(SHARDS_AT_ONCE).enumerate();
        let mut failed = None;
        while let Some((number, shard)) = shards.next().await {
            let Shard { due, looks, later } = match shard {
                Ok(shard) => shard,
                Err(error) => {
                    tracing::error!(error = %telemetry::chain(&error), "a shard of a table was not swept");
                    // Of a table that its tenant lost, nothing is to be hoped.
                    let is_stacks = number < usize::from(WATCH_SHARDS);
                    let counts = is_stacks || error.is_transient();
                    failed = failed.or(Some(error).filter(|_| counts));
                    continue;
                }
            };
            next = earlier(next, later);
            swept.due += due;
            for look in looks {
                next = earlier(next, Some(look.next));
                let head = &look.sight.head;
                // Whoever stands in line needs a place and no driver; one of them is enough to see whether there is one.
                let is_in_line = head.waiting && now < head.deadline_at;
                if look.is_silent && (!is_in_line || lines.insert(look.tenant.clone())) {
                    let message = RunMessage {
                        revives: true,
                        ..RunMessage::new(look.tenant, look.run)
                    };
                    woken.entry(head.lane).or_default().push(message);
                }
            }
        }
        for (lane, messages) in woken {
            swept.woken += messages.len();
            for sent in self.queue.send_runs(lane, &messages).await {
                sent?;
            }
        }
        if let Some(next) = next {
            self.expect_sweep(next).await;
        }
        match Box::pin(self.take_over_strays(&tables, now)).await {
            Ok(taken) => swept.woken += taken,
            Err(error) => failed = failed.or(Some(error)),
        }
        failed.map_or(Ok(swept), Err)
    }
}

/// Looks at the runs of one shard of a table that are due.
async fn look_at(table: &Store, shard: u8, now: At) -> Result<Shard, Error> {
    let ahead = now.plus_ms(HORIZON_MS);
    let mut watched = table.watched(shard, ahead, MOST_PER_SHARD).await?;
    let later = watched.split_off(watched.partition_point(|(_, _, at)| *at <= now));
    let is_rest_due = later.is_empty() && watched.len() >= MOST_PER_SHARD as usize;
    let later = later.first().map(|(_, _, at)| *at);
    let due = watched.len();
    let looks: Vec<_> = watched
        .into_iter()
        .map(|(tenant, run, from)| Box::pin(look(table, tenant, run, from, now)))
        .collect();
    let looks: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    Ok(Shard {
        due,
        looks: looks.into_iter().flatten().collect(),
        later: later.or(is_rest_due.then_some(now)),
    })
}

/// Looks at one run, which is watched at `from`, and says when it is looked at next; none when somebody else does, or
/// there is nothing to look at.
async fn look(
    store: &Store,
    tenant: TenantId,
    run: RunId,
    from: At,
    now: At,
) -> Result<Option<Look>, Error> {
    let sight = match store.sight(&tenant, &run).await {
        Ok(Some(sight)) => sight,
        Ok(None) => return Ok(None),
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(error) => {
            tracing::error!(
                tenant.id = %tenant,
                run.id = %run,
                error = %telemetry::chain(&error),
                "a run that should be looked at cannot be read"
            );
            return Ok(None);
        }
    };
    let alive_until = sight.seen_at.plus_ms(LEASE_MS);
    let is_silent = now >= alive_until || !is_at_work(&sight);
    let next = if is_silent {
        now.plus_ms(now.since_ms(sight.seen_at).max(PATIENCE_MS))
    } else {
        alive_until
    };
    let status = sight.head.status;
    let postponed = store.postpone(&tenant, &run, status, from, next);
    Ok(postponed.await?.then_some(Look {
        tenant,
        run,
        sight,
        next,
        is_silent,
    }))
}

/// Whether somebody should be at work on the run, whose claim tells whether anybody is.
fn is_at_work(sight: &Sight) -> bool {
    match sight.head.status {
        Status::Running => true,
        Status::Parked => matches!(sight.head.parked, Some(ParkReason::Tool)),
        Status::Queued
        | Status::Succeeded
        | Status::Failed
        | Status::Cancelled
        | Status::Expired => false,
    }
}

fn earlier(one: Option<At>, other: Option<At>) -> Option<At> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_asked_for_once() {
        let sweeps = Sweeps::default();
        let mut asking = sweeps.ask(7, 5).unwrap();
        assert!(sweeps.ask(7, 5).is_none());
        asking.is_done = true;
        drop(asking);
        assert!(sweeps.ask(7, 6).is_none());
        let failed = sweeps.ask(6, 6);
        assert!(failed.is_some(), "an earlier one is another one");
        drop(failed);
        assert!(sweeps.ask(6, 6).is_some(), "it was not done");
        assert!(sweeps.ask(7, 8).is_some(), "what is past is forgotten");
    }
}
