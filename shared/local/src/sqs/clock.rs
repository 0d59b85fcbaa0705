//! Wall-clock milliseconds that follow tokio's clock, so that paused time moves them too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A relation between tokio's clock and the wall clock, taken once. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    origin_ms: Arc<AtomicU64>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            origin: Instant::now(),
            origin_ms: Arc::new(AtomicU64::new(millis(since_epoch))),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        self.origin_ms()
            .saturating_add(millis(self.origin.elapsed()))
    }

    /// The instant at which [`Self::now_ms`] reaches `at_ms`.
    pub(crate) fn instant(&self, at_ms: u64) -> Instant {
        self.origin + Duration::from_millis(at_ms.saturating_sub(self.origin_ms()))
    }

    /// Lets time pass in a test; whoever sleeps must be woken to see it.
    pub(crate) fn advance(&self, by: Duration) {
        self.origin_ms.fetch_add(millis(by), Ordering::Relaxed);
    }

    fn origin_ms(&self) -> u64 {
        self.origin_ms.load(Ordering::Relaxed)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
