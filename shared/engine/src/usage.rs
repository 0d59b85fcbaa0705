//! What a run uses of the platform, for its receipt.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use domain::id::{RunId, TenantId};
use domain::run::Used;
use store::Store;
use tokio::time::Instant;

use crate::Engine;

/// What one process uses for one run.
pub(crate) struct Usage {
    run: RunId,
    began: Instant,
    /// What stands in the log already.
    told: Mutex<Used>,
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage").finish_non_exhaustive()
    }
}

impl Engine {
    /// This engine with a meter of its own, for this run of this tenant.
    pub(crate) fn metered(&self, tenant: &TenantId, run: &RunId) -> Self {
        Self {
            store: self.store.of(tenant).metered(),
            usage: Some(Arc::new(Usage {
                run: run.clone(),
                began: Instant::now(),
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
        Some(usage.so_far(&self.store).since(&told))
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
    fn so_far(&self, store: &Store) -> Used {
        let consumed = store.consumed();
        Used {
            process_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            reads: consumed.reads,
            read_units: consumed.read_units,
            writes: consumed.writes + consumed.transactions,
            write_units: consumed.write_units,
            payload_reads: consumed.payload_reads,
            payload_writes: consumed.payload_writes,
        }
    }
}
