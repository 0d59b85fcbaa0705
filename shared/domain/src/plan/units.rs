//! What a run asks of the platform, as it was measured.
//!
//! The figures are files of `cli` that commands make (`docs/planner.md`): requests and units a test, which also holds them
//! against what a run asks now; CPU time and log lines the benchmark.

use std::ops::{Add, Mul, Sub};

use serde::{Deserialize, Serialize};

/// What something asks of the table and the queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Requests to the table.
    pub table_requests: u64,
    /// Read units of the table, in halves.
    pub half_read_units: u64,
    /// Write units of the table.
    pub write_units: u64,
    /// Messages sent about runs; what is asked about a delivery is shared by its messages, and not in this.
    pub messages: u64,
}

impl Add for Asked {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }
}

/// What is left; nothing where more is taken than there is.
impl Sub for Asked {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }
}

impl Mul<u64> for Asked {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        self.with(self, |amount, _| amount.saturating_mul(times))
    }
}

impl Asked {
    fn with(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            table_requests: join(self.table_requests, other.table_requests),
            half_read_units: join(self.half_read_units, other.half_read_units),
            write_units: join(self.write_units, other.write_units),
            messages: join(self.messages, other.messages),
        }
    }
}

/// What the parts of a run's life ask, each alone and with commits under 1 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Units {
    /// The day (UTC).
    pub measured_on: String,
    /// `POST /v1/runs`, by a process that knows the tenant, its key and its agent, and has to lease from the rate limits.
    pub create: Asked,
    /// What that asks more in a process that knows none of them.
    pub create_anew: Asked,
    /// `GET /v1/runs/{run}`, by a process that knows the tenant and its key, and has to lease from the rate limits.
    pub poll: Asked,
    /// What that asks more in a process that does not.
    pub poll_anew: Asked,
    /// Driving a run, beside its steps.
    pub run: Asked,
    /// A model call with the tool call that follows.
    pub step: Asked,
    /// A sign of life, every [`super::BEAT_MS`] of a drive, and the look whether somebody else wrote.
    pub beat: Asked,
    /// The janitor's look at a run that has been under way for [`super::LOOK_MS`].
    pub look: Asked,
    /// The janitor's look at what is due, when nothing is.
    pub sweep: Asked,
    /// Counting a run that ended as usage.
    pub count: Asked,
    /// What that asks more for each tenant that a batch of ended runs is of.
    pub count_batch: Asked,
    /// Telling the table of the requests that a process counted of a tenant.
    pub tally: Asked,
    /// Messages that ask for a look at a run, when it is alone.
    pub sweeps_of_a_run: u64,
    /// What is stored.
    pub bytes: Bytes,
}

/// What a run stores, in bytes as the table counts them, with texts of a few dozen characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// The first commit.
    pub creation: u64,
    /// A commit of a step.
    pub step: u64,
    /// The last commit.
    pub end: u64,
    /// The head.
    pub head: u64,
    /// Everything of a run of one step, with its place in the list and the note that it was counted.
    pub run: u64,
}

/// What was timed, on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// The day (UTC).
    pub measured_on: String,
    /// The processor.
    pub processor: String,
    /// Whether the functions were optimised as they are when they are deployed.
    pub optimised: bool,
    /// CPU time of a run without its steps, in microseconds, all functions together.
    pub run_us: u64,
    /// CPU time of a step, in microseconds.
    pub step_us: u64,
    /// CPU time of a poll, in microseconds.
    pub poll_us: u64,
    /// Bytes that all functions write to their logs for a run.
    pub log_bytes: u64,
}
