//! Figures of a load, and whether they are what they are to be.

use serde::{Deserialize, Serialize};

use crate::measured::{Bin, Measured};
use crate::spans::Spans;

/// The least number of spans that a percentile of a tenth of the time says something with.
const ENOUGH: u64 = 100;
/// The least time in which growing memory is told from a process that gets warm, in seconds.
const LONG_ENOUGH_S: u64 = 600;

/// A figure that a scenario can have a target for: the most that it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// 95 % of requests are answered within it.
    LatencyP95Ms,
    /// 99 % of requests are answered within it.
    LatencyP99Ms,
    /// How much longer the slowest of a hundred requests takes in the last tenth of the time than in the second.
    LatencyP99DriftPercent,
    /// Requests that fail.
    ErrorsPercent,
    /// Within it 99 % of runs are taken up.
    QueueWaitP99Ms,
    /// The longest that a run waits until it is taken up.
    QueueWaitMaxMs,
    /// How long after the last creation the last run is taken up.
    LagClearedMs,
    /// Within it, from their creation, 95 % of runs end.
    RunP95Ms,
    /// How much longer the slowest of a hundred runs takes in the last tenth of the time than in the second.
    RunP99DriftPercent,
    /// The same as [`Figure::RunP95Ms`] without the time of models.
    OverheadP95Ms,
    /// Runs that fail, are lost or do not end.
    FailedRunsPercent,
    /// How much more memory a process of the function that grew most has in the last tenth of the time than in the second.
    MemoryGrowthPercent,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    Of(f64),
    /// Nothing was measured that should have been.
    Nothing,
    /// It cannot be known here.
    Unknown(&'static str),
}

/// Whether a figure is what it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is.
    Met,
    /// It is not, or nothing was measured.
    Missed,
    /// It cannot be known from this load, and why.
    Unknown(&'static str),
}

/// A figure beside its target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The figure.
    pub figure: Figure,
    /// The most that it may be.
    pub target: f64,
    /// What it is, if it is known.
    pub value: Option<f64>,
    /// What follows.
    pub outcome: Outcome,
}

impl Figure {
    /// What it is, for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::LatencyP95Ms => "latency, p95",
            Self::LatencyP99Ms => "latency, p99",
            Self::LatencyP99DriftPercent => "drift of latency, p99",
            Self::ErrorsPercent => "failed requests",
            Self::QueueWaitP99Ms => "wait in the queue, p99",
            Self::QueueWaitMaxMs => "longest wait in the queue",
            Self::LagClearedMs => "no run waits any more after",
            Self::RunP95Ms => "time of a run, p95",
            Self::RunP99DriftPercent => "drift of the time of a run, p99",
            Self::OverheadP95Ms => "time of a run without models, p95",
            Self::FailedRunsPercent => "runs that did not succeed",
            Self::MemoryGrowthPercent => "growth of memory",
        }
    }

    /// Its unit.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::LatencyP99DriftPercent
            | Self::ErrorsPercent
            | Self::RunP99DriftPercent
            | Self::FailedRunsPercent
            | Self::MemoryGrowthPercent => "%",
            Self::LatencyP95Ms
            | Self::LatencyP99Ms
            | Self::QueueWaitP99Ms
            | Self::QueueWaitMaxMs
            | Self::LagClearedMs
            | Self::RunP95Ms
            | Self::OverheadP95Ms => "ms",
        }
    }

    /// Whether it is of runs that the load creates.
    #[must_use]
    pub fn is_of_runs(self) -> bool {
        match self {
            Self::QueueWaitP99Ms
            | Self::QueueWaitMaxMs
            | Self::LagClearedMs
            | Self::RunP95Ms
            | Self::RunP99DriftPercent
            | Self::OverheadP95Ms
            | Self::FailedRunsPercent => true,
            Self::LatencyP95Ms
            | Self::LatencyP99Ms
            | Self::LatencyP99DriftPercent
            | Self::ErrorsPercent
            | Self::MemoryGrowthPercent => false,
        }
    }

    fn reading(self, of: &Measured) -> Reading {
        let known = |value: Option<f64>| value.map_or(Reading::Nothing, Reading::Of);
        let runs = &of.runs;
        match self {
            Self::LatencyP95Ms => known(of.latency.percentile_ms(95.0)),
            Self::LatencyP99Ms => known(of.latency.percentile_ms(99.0)),
            Self::LatencyP99DriftPercent => drift(of, |bin| &bin.latency),
            Self::ErrorsPercent => known(percent(of.failed(), of.requests())),
            Self::QueueWaitP99Ms => known(runs.wait.percentile_ms(99.0)),
            Self::QueueWaitMaxMs => known(runs.wait.max_ms()),
            Self::LagClearedMs => known(runs.lag_cleared.map(|after| after.as_secs_f64() * 1e3)),
            Self::RunP95Ms => known(runs.whole.percentile_ms(95.0)),
            Self::RunP99DriftPercent => drift(of, |bin| &bin.whole),
            Self::OverheadP95Ms => known(runs.overhead.percentile_ms(95.0)),
            Self::FailedRunsPercent => known(percent(runs.not_succeeded(), runs.created)),
            Self::MemoryGrowthPercent => growth(of),
        }
    }

    /// Holds the figure against its target.
    #[must_use]
    pub fn judge(self, target: f64, of: &Measured) -> Verdict {
        let (value, outcome) = match self.reading(of) {
            Reading::Of(value) if value <= target => (Some(value), Outcome::Met),
            Reading::Of(value) => (Some(value), Outcome::Missed),
            Reading::Nothing => (None, Outcome::Missed),
            Reading::Unknown(why) => (None, Outcome::Unknown(why)),
        };
        Verdict {
            figure: self,
            target,
            value,
            outcome,
        }
    }
}

fn percent(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| 100.0 * part as f64 / all as f64)
}

/// How much more the second is than the first, in percent.
fn more(first: f64, second: f64) -> f64 {
    100.0 * (second / first - 1.0)
}

/// From the second tenth of the time to the last: the first is that in which caches and connections get warm.
fn drift(of: &Measured, spans: impl Fn(&Bin) -> &Spans) -> Reading {
    let p99 = |tenth: usize| {
        let mut all = Spans::coarse();
        for bin in of.tenth(tenth) {
            all.extend(spans(bin));
        }
        (all.len() >= ENOUGH).then(|| all.percentile_ms(99.0))?
    };
    match p99(1).zip(p99(9)) {
        Some((first, last)) => Reading::Of(more(first, last)),
        None => Reading::Unknown("too few in a tenth of the time"),
    }
}

/// The same of memory, of the function that grew most.
fn growth(of: &Measured) -> Reading {
    if of.memory.is_empty() {
        return Reading::Unknown("the functions are not on this machine");
    }
    if of.lasts.as_secs() < LONG_ENOUGH_S {
        return Reading::Unknown("less than ten minutes tell nothing of growth");
    }
    let mean = |name: &str, tenth: u32| {
        let (from, to) = (of.lasts * tenth / 10, of.lasts * (tenth + 1) / 10);
        let there = of.memory.iter().filter(|one| from <= one.at && one.at < to);
        let bytes: Vec<u64> = there
            .filter_map(|one| one.bytes.get(name).copied())
            .collect();
        (!bytes.is_empty()).then(|| bytes.iter().sum::<u64>() as f64 / bytes.len() as f64)
    };
    let names = of.memory.iter().flat_map(|one| one.bytes.keys());
    let grown = names.filter_map(|name| Some(more(mean(name, 1)?, mean(name, 9)?)));
    grown
        .max_by(f64::total_cmp)
        .map_or(Reading::Nothing, Reading::Of)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::memory::Resident;
    use crate::mix::Operation;

    const SECOND: Duration = Duration::from_secs(1);

    fn outcome(figure: Figure, target: f64, of: &Measured) -> Outcome {
        figure.judge(target, of).outcome
    }

    #[test]
    fn a_figure_at_its_target_meets_it_and_one_above_misses_it() {
        let mut measured = Measured::new(SECOND);
        for number in 0..1_000 {
            let failure = (number == 0).then(|| "rate_limited".to_owned());
            measured.answered(Operation::ReadRun, Duration::ZERO, SECOND / 20, failure);
        }
        assert_eq!(outcome(Figure::ErrorsPercent, 0.1, &measured), Outcome::Met);
        assert_eq!(
            outcome(Figure::ErrorsPercent, 0.0, &measured),
            Outcome::Missed
        );
        assert_eq!(outcome(Figure::LatencyP95Ms, 51.0, &measured), Outcome::Met);
        assert_eq!(
            outcome(Figure::LatencyP95Ms, 49.0, &measured),
            Outcome::Missed
        );
    }

    #[test]
    fn where_nothing_was_measured_a_target_is_missed() {
        let measured = Measured::new(SECOND);
        for figure in [
            Figure::LatencyP95Ms,
            Figure::ErrorsPercent,
            Figure::QueueWaitP99Ms,
            Figure::QueueWaitMaxMs,
            Figure::LagClearedMs,
            Figure::OverheadP95Ms,
            Figure::FailedRunsPercent,
        ] {
            assert_eq!(outcome(figure, 1e9, &measured), Outcome::Missed);
        }
    }

    #[test]
    fn runs_that_are_lost_or_do_not_end_did_not_succeed() {
        let mut measured = Measured::new(SECOND);
        measured.runs.created = 100;
        measured.runs.succeeded = 98;
        measured.runs.lost = 1;
        measured.runs.unfinished = 1;
        let verdict = Figure::FailedRunsPercent.judge(0.0, &measured);
        assert_eq!(
            (verdict.value, verdict.outcome),
            (Some(2.0), Outcome::Missed)
        );
    }

    #[test]
    fn drift_is_what_the_last_tenth_is_slower_than_the_second() {
        let mut measured = Measured::new(SECOND * 100);
        for ds in 0..1_000 {
            // The first second is slow, as a cold start is; the last ones are half as slow again as the others.
            let ms = match ds {
                0..10 => 900,
                900.. => 30,
                _ => 20,
            };
            let took = Duration::from_millis(ms);
            measured.answered(Operation::ReadRun, SECOND / 10 * ds, took, None);
        }
        let drift = Figure::LatencyP99DriftPercent.judge(25.0, &measured);
        assert_eq!(drift.outcome, Outcome::Missed);
        assert!(
            (drift.value.unwrap_or_default() - 50.0).abs() < 2.0,
            "{drift:?}"
        );
        let few = Figure::RunP99DriftPercent.judge(25.0, &measured);
        assert_eq!(
            few.outcome,
            Outcome::Unknown("too few in a tenth of the time")
        );
    }

    #[test]
    fn growth_is_of_the_function_that_grew_most() {
        let mut measured = Measured::new(SECOND * 1_000);
        let growth = |of: &Measured| Figure::MemoryGrowthPercent.judge(10.0, of);
        let unknown = growth(&measured).outcome;
        assert_eq!(
            unknown,
            Outcome::Unknown("the functions are not on this machine")
        );
        for second in 0..1_000 {
            let api = if second < 100 { 4_000_000 } else { 10_000_000 };
            let bytes = BTreeMap::from([
                ("api".to_owned(), api),
                ("stream".to_owned(), 10_000_000 + 2_000 * second),
            ]);
            let at = Duration::from_secs(second);
            measured.memory.push(Resident { at, bytes });
        }
        let grown = growth(&measured);
        assert_eq!(grown.outcome, Outcome::Missed);
        assert!(
            (grown.value.unwrap_or_default() - 15.5).abs() < 0.1,
            "{grown:?}"
        );
        measured.lasts = SECOND * 500;
        assert!(matches!(growth(&measured).outcome, Outcome::Unknown(_)));
    }
}
