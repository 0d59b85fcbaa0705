//! What part of a process's time each of its runs has.
//!
//! A process drives up to ten runs of one invocation at once, and the invocation is billed once. So while n runs are at work,
//! each is given an n-th of the time that passes: together they are given the time in which any was at work, no more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The runs that a process has at work.
#[derive(Default)]
pub(crate) struct Shares(Mutex<Shared>);

#[derive(Default)]
struct Shared {
    at_work: u32,
    /// What a run would have been given that was at work from the beginning on.
    given: Duration,
    /// Up to when that is counted.
    counted_to: Option<Instant>,
}

/// A run's part. It grows until this is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    /// What had been given when it came.
    before: Duration,
}

impl Shares {
    /// A run more is at work.
    pub(crate) fn join(self: &Arc<Self>) -> Share {
        Share {
            shares: Arc::clone(self),
            before: self.lock().join(Instant::now()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// What it has been given so far.
    pub(crate) fn so_far(&self) -> Duration {
        let given = self.shares.lock().given_to(Instant::now());
        given.saturating_sub(self.before)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.lock().leave(Instant::now());
    }
}

impl Shared {
    fn join(&mut self, now: Instant) -> Duration {
        let before = self.given_to(now);
        self.at_work += 1;
        before
    }

    fn leave(&mut self, now: Instant) {
        self.given_to(now);
        self.at_work = self.at_work.saturating_sub(1);
    }

    /// Gives out what has passed since it was done last.
    fn given_to(&mut self, now: Instant) -> Duration {
        if let Some(counted_to) = self.counted_to
            && self.at_work > 0
        {
            self.given += now.saturating_duration_since(counted_to) / self.at_work;
        }
        self.counted_to = Some(now);
        self.given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn runs_at_work_together_share_the_time_and_add_up_to_it() {
        let (mut shared, began) = (Shared::default(), Instant::now());
        let after = |seconds| began + SECOND * seconds;
        let first = shared.join(after(0));
        let second = shared.join(after(3));
        let now = shared.given_to(after(7));
        assert_eq!((now - first, now - second), (SECOND * 5, SECOND * 2));
        shared.leave(after(7));
        assert_eq!(shared.given_to(after(8)) - second, SECOND * 3);
        shared.leave(after(8));
        // Nobody is at work, and nobody pays.
        let third = shared.join(after(100));
        assert_eq!(shared.given_to(after(101)) - third, SECOND);
    }

    #[test]
    fn ten_runs_of_an_invocation_are_given_no_more_than_it_lasts() {
        let (mut shared, began) = (Shared::default(), Instant::now());
        let before: Vec<_> = (0..10).map(|_| shared.join(began)).collect();
        let now = shared.given_to(began + Duration::from_millis(7));
        let given: Duration = before.into_iter().map(|before| now - before).sum();
        assert_eq!(given, Duration::from_millis(7));
    }
}
