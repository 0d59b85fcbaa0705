//! What a run uses of the platform, for its receipt.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use domain::id::{RunId, TenantId};
use domain::price::UnitPrices;
use domain::run::Used;
use queue::Toll;
use store::Store;
use tokio::time::Instant;

use crate::Engine;
use crate::share::Share;

/// Thousandths of a whole invocation.
const WHOLE: u64 = 1_000;

/// What an engine runs on, as far as it costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Platform {
    /// What its parts cost.
    pub prices: UnitPrices,
    /// Megabytes of the function.
    pub memory_mb: u64,
}

/// What one process uses for one run.
pub(crate) struct Usage {
    run: RunId,
    began: Instant,
    share: Share,
    /// Of the message that brought the run here, if one did.
    toll: Option<Toll>,
    /// What stands in the log already.
    told: Mutex<Used>,
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage").finish_non_exhaustive()
    }
}

impl Engine {
    /// This engine, on a platform that costs something.
    #[must_use]
    pub fn on(self, platform: Platform) -> Self {
        Self { platform, ..self }
    }

    /// This engine, for what one queue message asks: what that message takes stands in the run's receipt.
    #[must_use]
    pub fn called_by(&self, toll: Toll) -> Self {
        Self {
            toll: Some(toll),
            ..self.clone()
        }
    }

    /// This engine with a meter of its own, for this run of this tenant.
    pub(crate) fn metered(&self, tenant: &TenantId, run: &RunId) -> Self {
        Self {
            store: self.store.of(tenant).metered(),
            usage: Some(Arc::new(Usage {
                run: run.clone(),
                began: Instant::now(),
                share: self.shares.join(),
                toll: self.toll.clone(),
                told: Mutex::default(),
            })),
            ..self.clone()
        }
    }

    /// What was used since the run's log was last told; none without a meter for this run. Who ends a run writes to others:
    /// those that wait for its place.
    pub(crate) fn used(&self, run: &RunId) -> Option<Used> {
        let usage = self.usage_of(run)?;
        let told = usage.told.lock().unwrap_or_else(PoisonError::into_inner);
        let used = usage.so_far(&self.store, self.platform.memory_mb);
        let mut used = used.since(&told);
        used.cost = self.platform.prices.of(&used);
        Some(used)
    }

    /// The run's log was told.
    pub(crate) fn told(&self, run: &RunId, used: &Used) {
        if let Some(usage) = self.usage_of(run) {
            let mut told = usage.told.lock().unwrap_or_else(PoisonError::into_inner);
            *told = told.plus(used);
        }
    }

    fn usage_of(&self, run: &RunId) -> Option<&Usage> {
        self.usage.as_deref().filter(|usage| usage.run == *run)
    }
}

impl Usage {
    fn so_far(&self, store: &Store, memory_mb: u64) -> Used {
        let consumed = store.consumed();
        let share_us = u64::try_from(self.share.so_far().as_micros()).unwrap_or(u64::MAX);
        let toll = self.toll.as_ref();
        Used {
            process_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            process_mb_ms: share_us.saturating_mul(memory_mb).div_ceil(1_000),
            milli_invocations: toll.map_or(WHOLE, Toll::milli_invocations),
            queue_milli_requests: toll.map_or(0, Toll::milli_requests),
            reads: consumed.reads,
            read_units: consumed.read_units,
            writes: consumed.writes + consumed.transactions,
            write_units: consumed.write_units,
            payload_reads: consumed.payload_reads,
            payload_writes: consumed.payload_writes,
            ..Used::default()
        }
    }
}
