//! One line of the log for a drive: at most 1 KB, whatever happened in it.

use std::time::Duration;

use domain::run::State;
use domain::trace::Context;
use telemetry::{Metrics, Unit};

use crate::{Error, Outcome};

/// A drive that is over.
pub(crate) struct Drive<'a> {
    pub(crate) state: &'a State,
    pub(crate) model: &'a str,
    pub(crate) hops: u32,
    pub(crate) took: Duration,
    pub(crate) longest_step: Duration,
    /// What its model calls cost, in micro-USD.
    pub(crate) cost_micro_usd: u64,
    pub(crate) outcome: &'static str,
    /// The trace that it is in, if it is recorded.
    pub(crate) trace: Option<Context>,
}

/// Writes the line: how the drive ended, what the run has used, how long both took. `LLMCost` is in dollars, by the names that
/// dashboards of the systems before had.
pub(crate) fn report(drive: &Drive<'_>) {
    let Drive {
        state,
        hops,
        outcome,
        ..
    } = *drive;
    let totals = state.totals;
    let mut line = Metrics::new();
    line.property("tenant.id", state.tenant.as_str())
        .property("run.id", state.run.as_str())
        .property("outcome", outcome)
        .property("status", state.status.as_str())
        .property("hops", hops)
        .property("steps", totals.steps)
        .property("tool_calls", totals.tool_calls)
        .property("input_tokens", totals.input_tokens)
        .property("output_tokens", totals.output_tokens)
        .property("cost_micro_usd", totals.micro_usd)
        .put("drive_ms", Unit::Milliseconds, milliseconds(drive.took))
        .memory();
    if !drive.longest_step.is_zero() {
        let longest_ms = milliseconds(drive.longest_step);
        line.put("longest_step_ms", Unit::Milliseconds, longest_ms);
    }
    if let Ok(cost @ 1..) = u32::try_from(drive.cost_micro_usd) {
        line.put("LLMCost", Unit::None, f64::from(cost) / 1e6)
            .property("Model", drive.model)
            .property("TenantId", state.tenant.as_str())
            .by(&["Model", "TenantId"]);
    }
    if let Some(trace) = drive.trace {
        line.property("trace.id", format!("{:032x}", trace.trace_id));
    }
    if let Some(created) = &state.created {
        line.property("agent.id", created.agent.id.as_str())
            .property("agent.version", created.agent.version);
    }
    if let Some(ended_at) = state.ended_at {
        let lived = Duration::from_millis(ended_at.since_ms(state.created_at));
        line.put("run_ms", Unit::Milliseconds, milliseconds(lived));
    }
}

fn milliseconds(span: Duration) -> f64 {
    // To a hundredth: more digits are noise and bytes.
    (span.as_secs_f64() * 100_000.0).round() / 100.0
}

/// How a drive ended, as a word.
pub(crate) fn word(driven: &Result<Outcome, Error>) -> &'static str {
    match driven {
        Ok(Outcome::Ended(_)) => "ended",
        Ok(Outcome::Parked(_)) => "parked",
        Ok(Outcome::HandedOver(_)) => "handed_over",
        Ok(Outcome::Held { .. }) => "held",
        Ok(Outcome::Waiting(_)) => "waiting",
        Ok(Outcome::Refused(_)) => "refused",
        Ok(Outcome::Missing) => "missing",
        Ok(Outcome::Exists(_)) => "exists",
        Err(error) if error.is_transient() => "failed_transiently",
        Err(_) => "failed",
    }
}
