//! What a load showed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::memory::Resident;
use crate::mix::Operation;
use crate::spans::Spans;

/// How many parts of the time are told apart, if none would be shorter than [`LEAST_BIN`].
const BINS: u32 = 120;
const LEAST_BIN: Duration = Duration::from_millis(250);

/// What a load showed.
#[derive(Clone, Debug)]
pub struct Measured {
    /// How long requests were made.
    pub lasts: Duration,
    /// Whether somebody stopped it before all requests were made.
    pub is_stopped: bool,
    /// How long a [`Bin`] is.
    pub bin: Duration,
    /// The same by time: of what was due in each part of it.
    pub bins: Vec<Bin>,
    /// How long requests took, from when they were due to the end of the answer.
    pub latency: Spans,
    /// How long after they were due requests were sent, which is this side's doing. Latency holds it too.
    pub late: Spans,
    /// How long those of each operation took, and how many of them failed, in the order of [`Operation::ALL`].
    pub operations: [(Spans, u64); 4],
    /// How many failed, by why.
    pub failures: BTreeMap<String, u64>,
    /// What became of the runs that were created.
    pub runs: Runs,
    /// Memory of functions over time; empty when they are not on this machine.
    pub memory: Vec<Resident>,
}

/// One part of the time.
#[derive(Clone, Debug)]
pub struct Bin {
    /// How long requests took.
    pub latency: Spans,
    /// How many of them failed.
    pub failed: u64,
    /// How long runs waited until they were taken up.
    pub wait: Spans,
    /// How long runs took from creation to end.
    pub whole: Spans,
    /// How many runs did not succeed.
    pub failed_runs: u64,
}

/// What became of runs.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// How many were created.
    pub created: u64,
    /// How many of them succeeded.
    pub succeeded: u64,
    /// How many ended otherwise, by the code of the error or the status.
    pub failed: BTreeMap<String, u64>,
    /// How many the platform does not know, though it said that it had created them.
    pub lost: u64,
    /// How many had not ended when they were waited for no longer.
    pub unfinished: u64,
    /// How long they waited, from creation until they were taken up.
    pub wait: Spans,
    /// How long they took, from creation to end.
    pub whole: Spans,
    /// The same without the time of models, of those whose receipt was read.
    pub overhead: Spans,
    /// How long after the last creation the last run was taken up; none while any waits.
    pub lag_cleared: Option<Duration>,
    /// What they cost.
    pub costs: Costs,
}

impl Runs {
    /// How many did not succeed.
    #[must_use]
    pub fn not_succeeded(&self) -> u64 {
        self.failed.values().sum::<u64>() + self.lost + self.unfinished
    }
}

/// What runs cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// Price of all model calls, in micro-USD.
    pub model_micro_usd: u64,
    /// Receipts that were read.
    pub receipts: u64,
    /// What those say of the platform's price, in pico-USD.
    pub platform_pico_usd: f64,
}

impl Costs {
    /// Price of a run's part of the platform in micro-USD, by the receipts that were read.
    #[must_use]
    pub fn platform_micro_usd_a_run(&self) -> Option<f64> {
        (self.receipts > 0).then(|| self.platform_pico_usd / 1e6 / self.receipts as f64)
    }
}

impl Bin {
    fn new() -> Self {
        Self {
            latency: Spans::coarse(),
            failed: 0,
            wait: Spans::coarse(),
            whole: Spans::coarse(),
            failed_runs: 0,
        }
    }
}

impl Measured {
    /// Nothing yet, of a load that makes requests for so long.
    pub(crate) fn new(lasts: Duration) -> Self {
        let bin = (lasts / BINS).max(LEAST_BIN);
        let count = lasts.as_nanos().div_ceil(bin.as_nanos()).max(1);
        Self {
            lasts,
            is_stopped: false,
            bin,
            bins: (0..count).map(|_| Bin::new()).collect(),
            latency: Spans::new(),
            late: Spans::new(),
            operations: Default::default(),
            failures: BTreeMap::new(),
            runs: Runs::default(),
            memory: Vec::new(),
        }
    }

    /// The part of the time that an instant is in.
    pub(crate) fn bin_at(&mut self, due: Duration) -> &mut Bin {
        let last = self.bins.len() - 1;
        let place = due.as_nanos() / self.bin.as_nanos();
        let place = usize::try_from(place).unwrap_or(last).min(last);
        &mut self.bins[place]
    }

    /// Counts a request that was due at an instant and whose answer was there `took` after that.
    pub(crate) fn answered(
        &mut self,
        operation: Operation,
        due: Duration,
        took: Duration,
        failure: Option<String>,
    ) {
        let failed = u64::from(failure.is_some());
        self.latency.push(took);
        let (spans, failures) = &mut self.operations[operation as usize];
        spans.push(took);
        *failures += failed;
        let bin = self.bin_at(due);
        bin.latency.push(took);
        bin.failed += failed;
        if let Some(failure) = failure {
            *self.failures.entry(failure).or_default() += 1;
        }
    }

    /// Forgets the time that was not used: it was stopped at this instant.
    pub(crate) fn stop(&mut self, at: Duration) {
        self.is_stopped = true;
        self.lasts = at;
        let used = at.as_nanos().div_ceil(self.bin.as_nanos()).max(1);
        self.bins
            .truncate(usize::try_from(used).unwrap_or(usize::MAX));
    }

    /// How many requests were made.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.latency.len()
    }

    /// How many of them failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// One tenth of the time, of those numbered 0 to 9.
    pub(crate) fn tenth(&self, number: usize) -> &[Bin] {
        let place = |number: usize| self.bins.len() * number / 10;
        &self.bins[place(number)..place(number + 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_request_counts_where_it_was_due() {
        let mut measured = Measured::new(SECOND * 240);
        assert_eq!((measured.bins.len(), measured.bin), (120, SECOND * 2));
        measured.answered(Operation::ReadRun, SECOND * 3, SECOND, None);
        // Beyond the end is the end: the last may be due there by a rounding.
        let failure = Some("timeout".to_owned());
        measured.answered(Operation::CreateRun, SECOND * 240, SECOND * 30, failure);
        assert_eq!(measured.bins[1].latency.len(), 1);
        assert_eq!(measured.bins[119].failed, 1);
        assert_eq!((measured.requests(), measured.failed()), (2, 1));
        assert_eq!(measured.operations[1].0.len(), 1);
        assert_eq!(measured.operations[0].1, 1);
    }

    #[test]
    fn a_short_load_has_fewer_parts() {
        let measured = Measured::new(SECOND);
        assert_eq!((measured.bins.len(), measured.bin), (4, SECOND / 4));
        assert_eq!(Measured::new(SECOND / 100).bins.len(), 1);
        // Too short to have tenths: most are empty.
        assert!(measured.tenth(1).is_empty());
    }

    #[test]
    fn tenths_are_of_the_time_that_was_used() {
        let mut measured = Measured::new(SECOND * 120);
        assert_eq!(measured.tenth(9).len(), 12);
        measured.stop(SECOND * 20);
        assert_eq!((measured.bins.len(), measured.tenth(9).len()), (20, 2));
    }
}
