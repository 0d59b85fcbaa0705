//! What a run uses of the platform, for its receipt.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use domain::run::Used;
use store::Store;
use tokio::time::Instant;

use crate::Engine;

/// What one process uses for one run.
pub(crate) struct Usage {
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
    /// This engine with a meter of its own, for one run.
    pub(crate) fn metered(&self) -> Self {
        Self {
            store: self.store.metered(),
            usage: Some(Arc::new(Usage {
                began: Instant::now(),
                told: Mutex::default(),
            })),
            ..self.clone()
        }
    }

    /// What was used since the log was last told; none without a meter.
    pub(crate) fn used(&self) -> Option<Used> {
        let usage = self.usage.as_ref()?;
        let told = usage.told.lock().unwrap_or_else(PoisonError::into_inner);
        Some(usage.so_far(&self.store).since(&told))
    }

    /// The log was told.
    pub(crate) fn told(&self, used: &Used) {
        if let Some(usage) = &self.usage {
            let mut told = usage.told.lock().unwrap_or_else(PoisonError::into_inner);
            *told = told.plus(used);
        }
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
