//! Looking, for an operator, at the runs on which nobody is at work. It changes nothing: waking them is the janitor's.
//!
//! The watch index names every run that has not ended, by the instant at which somebody looks again. That instant moves when
//! the janitor has woken a run in vain, so it does not tell for how long a run has been silent: each run's head and claims do.

use domain::id::TenantId;
use domain::run::{Head, Stuck, stuck};
use domain::time::At;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use store::{Store, WATCH_SHARDS};

use crate::{Engine, Error};

/// Most runs of one shard that are looked at, those first that are due first.
const MOST_PER_SHARD: u32 = 1_000;
/// Runs of one shard that are looked at at the same time.
const AT_ONCE: usize = 16;
/// Later than any run is watched.
const EVER: At = At(9_999_999_999_999);

/// A run on which nobody is at work.
#[derive(Clone, Debug, PartialEq)]
pub struct StuckRun {
    /// Whose.
    pub tenant: TenantId,
    /// The run.
    pub head: Head,
    /// Why nobody is.
    pub why: Stuck,
    /// The last sign of life, or when somebody should have come.
    pub since: At,
}

/// What a search for stuck runs came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// What it found, the longest stuck first.
    pub found: Vec<StuckRun>,
    /// How many runs it looked at: a small read each.
    pub looked_at: usize,
    /// Whether these were all runs that have not ended.
    pub is_whole: bool,
}

impl Engine {
    /// The runs of all tenants on which nobody is at work for `patience_ms` milliseconds, among up to a thousand of each
    /// shard of each table.
    ///
    /// # Errors
    /// [`Error`] when the stack's table fails. A tenant's own table that does is logged, and the search is not whole then.
    pub async fn stuck(&self, patience_ms: u64) -> Result<Search, Error> {
        let mut search = Search {
            is_whole: true,
            ..Search::default()
        };
        let now = self.now();
        let tables = self.store.tables().await?;
        for (number, table) in tables.iter().enumerate() {
            for shard in 0..WATCH_SHARDS {
                match Box::pin(look(table, shard, now, patience_ms)).await {
                    Ok((looked_at, found)) => {
                        search.looked_at += looked_at;
                        search.is_whole &= looked_at < MOST_PER_SHARD as usize;
                        search.found.extend(found);
                    }
                    Err(error) if number == 0 => return Err(error),
                    Err(error) => {
                        tracing::warn!(error = %telemetry::chain(&error), "a tenant's own table was not looked at");
                        search.is_whole = false;
                    }
                }
            }
        }
        search.found.sort_by_key(|found| found.since);
        Ok(search)
    }
}

async fn look(
    table: &Store,
    shard: u8,
    now: At,
    patience_ms: u64,
) -> Result<(usize, Vec<StuckRun>), Error> {
    let watched = table.watched(shard, EVER, MOST_PER_SHARD).await?;
    let looked_at = watched.len();
    let looks: Vec<_> = watched
        .into_iter()
        .map(|(tenant, run, _)| {
            Box::pin(async move {
                let sight = match table.sight(&tenant, &run).await {
                    Ok(Some(sight)) => sight,
                    Ok(None) => return Ok(None),
                    Err(error) if error.is_transient() => return Err(error),
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
                let found = stuck(&sight.head, sight.seen_at, now, patience_ms);
                Ok(found.map(|(why, since)| StuckRun {
                    tenant,
                    head: sight.head,
                    why,
                    since,
                }))
            })
        })
        .collect();
    let found: Vec<_> = stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok((looked_at, found.into_iter().flatten().collect()))
}
