//! What a load takes of the platform, and what that costs a month, before anybody pays for it.
//!
//! The formulas stand in `docs/planner.md`. What a run asks was measured ([`Measured`]); what it costs are prices with source
//! and day; what nobody can measure without an account at AWS is assumed, and stands here as a constant with its reason.
//! **Invariant:** where something is not known it is rounded against us: a bill is not to be higher than its plan.

mod bill;
mod seeds;
mod stored;
mod units;

use serde::{Deserialize, Serialize};

pub use bill::{Line, Plan, Service};
pub use seeds::{SEEDS_NODES, SEEDS_RUNS, SEEDS_TASKS, SeedsNodes, SeedsRuns, SeedsTasks};
pub use units::{Asked, Bytes, Timed, Units};

use crate::price::{Price, StackPrices, UnitPrices};
use crate::run::LEASE_MS;

/// Seconds in a month: AWS bills what is paid by the month for 730 hours.
pub const MONTH_S: u64 = 730 * 3_600;
/// Milliseconds between two signs of life of a driver (`engine`).
pub const BEAT_MS: u64 = 10_000;
/// Milliseconds after which the janitor looks at a run that is under way, again and again.
pub const LOOK_MS: u64 = LEASE_MS;
/// Milliseconds after which an orchestrator hands a run over to the next (`engine::Limits`, for its 300 s).
const LEG_MS: u64 = 235_000;
/// How long a request to the table or a queue takes, in milliseconds: assumed, since there is no AWS here to measure. Both
/// promise single digits.
const REQUEST_MS: u64 = 10;
/// Megabytes at which a function has one CPU to itself; it has its part of one with less
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const CPU_MB: u64 = 1_769;
/// Bytes of a token of text, for what is stored of an answer: assumed, for English.
const TOKEN_BYTES: u64 = 4;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A number is not one that a load can have.
    #[error("{what} must be from {least} to {most}, and is {is}")]
    Range {
        /// Which.
        what: &'static str,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
        /// What it is.
        is: u64,
    },
    /// The peak is lower than what comes on average.
    #[error(
        "the peak must be at least the {average} runs a minute that come on average, and is {is}"
    )]
    LowPeak {
        /// Runs a minute on average, rounded up.
        average: u64,
        /// What it is.
        is: u64,
    },
    /// It comes to more than 64 bits hold.
    #[error("such a load comes to more than can be counted")]
    TooMuch,
}

/// How much more comes at the busiest time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Peak {
    /// So many times the average.
    Factor(u64),
    /// So many runs a minute.
    RunsAMinute(u64),
}

/// What is asked of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Runs a month.
    pub runs: u64,
    /// Model calls of a run; each but the last asks for a tool.
    pub steps: u64,
    /// Tokens that a model call reads, on average over the run.
    pub input_tokens: u64,
    /// Tokens that a model call writes.
    pub output_tokens: u64,
    /// How long a model call takes, with its tool call, in milliseconds.
    pub model_ms: u64,
    /// Bytes of a run's input, and of each tool's result.
    pub payload_bytes: u64,
    /// How often a client asks for a run until it has its end.
    pub polls: u64,
    /// The busiest time.
    pub peak: Peak,
    /// Runs that share one invocation. Lambda delivers up to ten that wait at the same time; where runs come one by one it is
    /// one.
    pub together: u64,
    /// Megabytes of each function.
    pub memory_mb: u64,
    /// Days that runs are kept, by their tenant's tier.
    pub kept_days: u64,
    /// Tenants that are active at the same time: each has counters of its own.
    pub tenants: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            runs: 1_000_000,
            steps: 10,
            input_tokens: 1_000,
            output_tokens: 100,
            model_ms: 2_000,
            payload_bytes: 400,
            polls: 1,
            peak: Peak::Factor(5),
            together: 1,
            memory_mb: 256,
            kept_days: 90,
            tenants: 10,
        }
    }
}

/// What everything costs, in the Region that is planned for.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    /// Of what runs use.
    pub units: UnitPrices,
    /// Of what a stack uses beside.
    pub stack: StackPrices,
    /// Of the model.
    pub model: Price,
}

/// What runs ask and what a stack has, as measured and counted.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Requests and units.
    pub units: Units,
    /// Times.
    pub timed: Timed,
    /// What costs while nothing runs.
    pub idle: Idle,
}

/// What of a small stack is paid for while nothing runs: `scripts/idle_cost.py` counts it in the template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// Metrics that alarms watch.
    pub alarm_metrics: u64,
    /// Dashboards.
    pub dashboards: u64,
    /// Secrets.
    pub secrets: u64,
    /// Keys of KMS.
    pub keys: u64,
    /// Queues that Lambda polls.
    pub queues: u64,
    /// Gauges that the janitor writes once a minute.
    pub gauges: u64,
    /// Milliseconds that the janitor takes for that at most.
    pub tick_ms: u64,
}

impl Load {
    /// Whether such a load can be.
    ///
    /// # Errors
    /// [`Error`] names the first number that cannot.
    pub fn check(&self) -> Result<(), Error> {
        let (factor, a_minute) = match self.peak {
            Peak::Factor(factor) => (factor, 1),
            Peak::RunsAMinute(a_minute) => (1, a_minute),
        };
        for (what, is, least, most) in [
            ("runs a month", self.runs, 0, 10_000_000_000),
            ("steps of a run", self.steps, 1, 10_000),
            ("tokens in", self.input_tokens, 0, 10_000_000),
            ("tokens out", self.output_tokens, 0, 1_000_000),
            ("milliseconds of a model call", self.model_ms, 0, 3_600_000),
            ("payload bytes", self.payload_bytes, 0, 16 << 20),
            ("polls of a run", self.polls, 0, 10_000),
            ("the peak factor", factor, 1, 10_000),
            ("runs a minute at the peak", a_minute, 0, 1_000_000_000),
            ("runs together", self.together, 1, 10),
            ("megabytes of a function", self.memory_mb, 128, 10_240),
            ("days that runs are kept", self.kept_days, 1, 3_650),
            ("tenants", self.tenants, 1, 1_000_000),
        ] {
            if is < least || is > most {
                return Err(Error::Range {
                    what,
                    least,
                    most,
                    is,
                });
            }
        }
        let average = self.runs.div_ceil(MONTH_S / 60);
        match self.peak {
            Peak::RunsAMinute(is) if is < average => Err(Error::LowPeak { average, is }),
            Peak::RunsAMinute(_) | Peak::Factor(_) => Ok(()),
        }
    }

    /// Runs a minute on average, in thousandths, rounded up.
    #[must_use]
    pub fn milli_runs_a_minute(&self) -> u64 {
        self.runs.saturating_mul(1_000).div_ceil(MONTH_S / 60)
    }

    /// Runs a minute at the peak, in thousandths, rounded up.
    #[must_use]
    pub fn milli_runs_a_minute_at_peak(&self) -> u64 {
        match self.peak {
            Peak::Factor(factor) => self.milli_runs_a_minute().saturating_mul(factor),
            Peak::RunsAMinute(runs) => runs.saturating_mul(1_000),
        }
    }
}

/// What a load takes and costs a month.
///
/// # Errors
/// [`Error`] when there can be no such load, or it comes to more than 64 bits hold.
pub fn plan(load: &Load, prices: &Prices, measured: &Measured) -> Result<Plan, Error> {
    load.check()?;
    bill::plan(load, prices, measured)
}

#[cfg(test)]
mod tests;
