//! One line of the log for a drive: at most 1 KB, whatever happened in it.

use std::time::Duration;

use domain::run::State;
use telemetry::{Metrics, Unit};
use tokio::time::Instant;

use crate::{Error, Outcome};

/// Writes the line: how the drive ended, what the run has used, how long both took.
pub(crate) fn report(state: &State, hops: u32, began: Instant, driven: &Result<Outcome, Error>) {
    let totals = state.totals;
    let mut line = Metrics::new();
    line.property("tenant.id", state.tenant.as_str())
        .property("run.id", state.run.as_str())
        .property("outcome", word(driven))
        .property("status", state.status.as_str())
        .property("hops", hops)
        .property("steps", totals.steps)
        .property("tool_calls", totals.tool_calls)
        .property("input_tokens", totals.input_tokens)
        .property("output_tokens", totals.output_tokens)
        .property("cost_micro_usd", totals.micro_usd)
        .put(
            "drive_ms",
            Unit::Milliseconds,
            milliseconds(began.elapsed()),
        );
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

fn word(driven: &Result<Outcome, Error>) -> &'static str {
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
