//! Looking for runs that should have moved on and did not.

use std::collections::BTreeMap;

use domain::run::Lane;
use queue::RunMessage;
use store::WATCH_SHARDS;

use crate::{Engine, Error};

/// How long a run that was woken is left alone at least, in milliseconds. One that has been silent for longer is left alone
/// for as long again: where runs wait because there are too many, a message a minute for each would make them wait longer.
const PATIENCE_MS: u64 = 60_000;
/// Most runs woken from one shard in one sweep.
const MOST_PER_SHARD: u32 = 500;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs whose time to be looked at had come.
    pub due: usize,
    /// Those of them that were sent to a driver.
    pub woken: usize,
}

impl Engine {
    /// Sends every run to a driver that is past the instant by which something should have happened: a first message that
    /// was never sent, a driver that died without a queue message, a wake-up that got lost. A run that needs nothing
    /// answers the message with nothing; one that cannot be read is passed over, so that it stops no other.
    ///
    /// # Errors
    /// [`Error`] when the table or a queue fails; what was woken until then stays woken.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let now = self.now();
        for shard in 0..WATCH_SHARDS {
            let due = self.store.watched(shard, now, MOST_PER_SHARD).await?;
            swept.due += due.len();
            let mut woken: BTreeMap<Lane, Vec<RunMessage>> = BTreeMap::new();
            for (tenant, run, from) in due {
                let (head, newest) = match self.store.read(&tenant, &run, true).await {
                    Ok(Some(read)) => read,
                    Ok(None) => continue,
                    Err(error) if error.is_transient() => return Err(error.into()),
                    Err(error) => {
                        tracing::error!(
                            tenant.id = %tenant,
                            run.id = %run,
                            error = %telemetry::chain(&error),
                            "a run that should be looked at cannot be read"
                        );
                        continue;
                    }
                };
                let to = now.plus_ms(now.since_ms(newest.at).max(PATIENCE_MS));
                if self
                    .store
                    .postpone(&tenant, &run, head.status, from, to)
                    .await?
                {
                    woken
                        .entry(head.lane)
                        .or_default()
                        .push(RunMessage::new(tenant, run));
                }
            }
            for (lane, messages) in woken {
                swept.woken += messages.len();
                for sent in self.queue.send_runs(lane, &messages).await {
                    sent?;
                }
            }
        }
        Ok(swept)
    }
}
