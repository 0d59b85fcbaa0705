//! What service runs and requests got, by the hour: how many ended how, and how long they waited and took.

use crate::run::{Head, Status};

/// Longest times, in milliseconds, that are told apart: up to the first, up to the second, and so on; what takes longer than
/// the last is counted as that. Stored rows count by place, so none may ever change.
pub const BOUNDS_MS: [u64; 11] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000,
];

/// How many times were up to each of [`BOUNDS_MS`] and over the bound before; the last, how many were longer than all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread(pub [u64; BOUNDS_MS.len() + 1]);

impl Spread {
    /// One time.
    #[must_use]
    pub fn of(ms: u64) -> Self {
        let mut spread = Self::default();
        spread.0[BOUNDS_MS.partition_point(|bound| *bound < ms)] = 1;
        spread
    }

    /// How many times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The bound that at least `percent` of a hundred times did not pass, in milliseconds; none when that is only the time
    /// over all of them, or nothing was counted.
    #[must_use]
    pub fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let wanted = self.count().saturating_mul(percent).div_ceil(100).max(1);
        let mut within = 0;
        BOUNDS_MS
            .into_iter()
            .zip(self.0)
            .find_map(|(bound, count)| {
                within += count;
                (within >= wanted).then_some(bound)
            })
    }

    fn plus(mut self, more: Self) -> Self {
        for (sum, more) in self.0.iter_mut().zip(more.0) {
            *sum = sum.saturating_add(more);
        }
        self
    }
}

/// What service runs got that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Those that ended with an answer.
    pub succeeded: u64,
    /// Those that ended without one by themselves.
    pub failed: u64,
    /// Those that somebody ended.
    pub cancelled: u64,
    /// Those that reached their deadline.
    pub expired: u64,
    /// From a run's creation until a driver took it up, its tenant's line included.
    pub waits: Spread,
    /// From a run's creation to its end.
    pub lives: Spread,
}

impl Service {
    /// What one run got; none while it goes on.
    #[must_use]
    pub fn of(head: &Head) -> Option<Self> {
        let ended_at = head.ended_at?;
        let is = |status| u64::from(head.status == status);
        let waited = head.started_at.map(|at| at.since_ms(head.created_at));
        head.status.is_terminal().then(|| Self {
            succeeded: is(Status::Succeeded),
            failed: is(Status::Failed),
            cancelled: is(Status::Cancelled),
            expired: is(Status::Expired),
            waits: waited.map(Spread::of).unwrap_or_default(),
            lives: Spread::of(ended_at.since_ms(head.created_at)),
        })
    }

    /// This and `more`.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            succeeded: self.succeeded.saturating_add(more.succeeded),
            failed: self.failed.saturating_add(more.failed),
            cancelled: self.cancelled.saturating_add(more.cancelled),
            expired: self.expired.saturating_add(more.expired),
            waits: self.waits.plus(more.waits),
            lives: self.lives.plus(more.lives),
        }
    }

    /// Which part of the runs that nobody cancelled succeeded; none without any.
    #[must_use]
    pub fn success(&self) -> Option<f64> {
        part(self.succeeded, self.succeeded + self.failed + self.expired)
    }
}

/// `some` of `all`, to a millionth, rounded down: nothing is perfect that is not. None of nothing.
#[must_use]
pub fn part(some: u64, all: u64) -> Option<f64> {
    const MILLION: u32 = 1_000_000;
    let millionths = u128::from(some.min(all)) * u128::from(MILLION);
    let millionths = millionths.checked_div(all.into())?;
    let millionths = u32::try_from(millionths).unwrap_or(MILLION);
    Some(f64::from(millionths) / f64::from(MILLION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bound_that_so_many_did_not_pass() {
        let times = [0, 100, 101, 900, 3_600_000];
        let spread = times.map(Spread::of).into_iter();
        let spread = spread.fold(Spread::default(), Spread::plus);
        assert_eq!(spread.count(), 5);
        let percentiles = [1, 40, 41, 80, 95].map(|percent| spread.percentile_ms(percent));
        let bounds = [100, 100, 250, 1_000, 3_600_000].map(Some);
        assert_eq!(percentiles, bounds);
        let longest = spread.plus(Spread::of(3_600_001));
        assert_eq!(longest.percentile_ms(99), None);
        assert_eq!(Spread::default().percentile_ms(50), None);
    }

    #[test]
    fn nothing_is_perfect_that_is_not() {
        assert_eq!(part(0, 0), None);
        assert_eq!(part(3, 3), Some(1.0));
        assert_eq!(part(u64::MAX - 1, u64::MAX), Some(0.999_999));
        assert_eq!(part(1, 3), Some(0.333_333));
    }
}
