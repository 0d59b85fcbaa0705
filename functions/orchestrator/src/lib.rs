//! Run queues in: drives the runs that a delivery names, all at once.
//!
//! A record is done once its run ended, parked or was handed over by a message of its own. What is decided about a run stands
//! in `engine` and `domain`.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use domain::time::At;
use domain::trace::Context;
use engine::{Engine, Error, Limits, Outcome, Work};
use lambda_runtime::{LambdaEvent, service_fn};
use queue::{Disposition, Record, RunMessage};
use tracing::Instrument as _;

/// Runs of one delivery that are driven at the same time; a delivery has ten records at most.
const CONCURRENCY: usize = 10;
/// Bounds of what an invocation can have left; outside them the deadline is not true (some emulators say 1970).
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(900);
/// Added to another driver's claim before its run is looked at again.
const AFTER_CLAIM_MS: u64 = 1_000;

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    telemetry::init("orchestrator");
    let engine = wiring::engine()?;
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let of_invocation = event.context.xray_trace_id.as_deref();
        let engine = engine.within(of_invocation.and_then(Context::parse_xray));
        async move {
            let remaining = remaining(At(event.context.deadline), engine.now());
            Ok::<_, lambda_runtime::Error>(handle(&engine, event.payload, remaining).await)
        }
    }))
    .await
}

/// Drives every run of a delivery for as long as `remaining` allows, and has its spans exported.
pub async fn handle(engine: &Engine, event: SqsEvent, remaining: Duration) -> SqsBatchResponse {
    let limits = Limits::within(remaining);
    let queue = &engine.queue;
    let consumed = queue.consume(event, CONCURRENCY, |record| {
        drive(engine, record, limits).instrument(telemetry::work())
    });
    let response = Box::pin(consumed).await;
    engine.tracer().flush().await;
    response
}

async fn drive(engine: &Engine, record: Record<RunMessage>, limits: Limits) -> Disposition {
    let engine = engine.called_by(record.toll.clone());
    let (message, run) = (
        &record.message,
        (&record.message.tenant, &record.message.run),
    );
    let (engine, mut span) = engine.received("runs", &record, run, message.trace);
    let message = record.message;
    tracing::Span::current()
        .record("tenant.id", message.tenant.as_str())
        .record("run.id", message.run.as_str());
    let is_fresh = record.receive_count == 1;
    let work = Work {
        tenant: message.tenant.clone(),
        run: message.run.clone(),
        // A redelivered message tells of the beginning; the log has moved on.
        first: message.first.filter(|_| is_fresh).map(|first| first.commit),
        handed_over_by: message.handed_over_by,
        hops: message.hops,
        wakes_at: message.wakes_at,
        revives: message.revives || !is_fresh,
        limits,
        listener: None,
    };
    let driven = Box::pin(engine.drive(work)).await;
    if let Err(error) = &driven
        && !error.is_elsewhere()
    {
        span.fail("not_driven");
        tracing::error!(error = %telemetry::chain(error), "a run was not driven to its end");
    }
    disposition(&driven, is_fresh, engine.now())
}

/// What becomes of a run's message.
fn disposition(driven: &Result<Outcome, Error>, is_fresh: bool, now: At) -> Disposition {
    match driven {
        Ok(
            Outcome::Ended(_)
            | Outcome::Parked(_)
            | Outcome::HandedOver(_)
            | Outcome::Waiting(_)
            | Outcome::Refused(_)
            | Outcome::Missing
            | Outcome::Exists(_),
        ) => Disposition::Done,
        // The driver that holds the run has a message of its own, unless this is that message, delivered again after a
        // crash. Should both be gone, the watch finds the run.
        Ok(Outcome::Held { .. }) if is_fresh => Disposition::Done,
        Ok(Outcome::Held { until, .. }) => {
            let wait_ms = until.since_ms(now) + AFTER_CLAIM_MS;
            Disposition::After(Duration::from_millis(wait_ms))
        }
        // Its Region has a message of its own, or its janitor sends one.
        Err(error) if error.is_elsewhere() => Disposition::Done,
        Err(_) => Disposition::Again,
    }
}

fn remaining(deadline: At, now: At) -> Duration {
    let left = Duration::from_millis(deadline.since_ms(now));
    if (SHORTEST..=LONGEST).contains(&left) {
        left
    } else {
        tracing::warn!(deadline = %deadline, "the invocation's deadline is not believed");
        Duration::from_secs(60)
    }
}

#[cfg(test)]
mod tests {
    use queue::Message as _;

    use super::*;

    const NOW: At = At(1_700_000_000_000);

    #[test]
    fn only_the_holders_own_message_waits_for_its_end() {
        let until = NOW.plus_ms(4_000);
        let held = Ok(Outcome::Held { until });
        assert_eq!(disposition(&held, true, NOW), Disposition::Done);
        let after = Disposition::After(Duration::from_secs(5));
        assert_eq!(disposition(&held, false, NOW), after);
    }

    #[test]
    fn a_run_that_could_not_be_driven_is_delivered_again() {
        let failed = Err(Error::Store(store_error()));
        assert_eq!(disposition(&failed, true, NOW), Disposition::Again);
        assert_eq!(
            disposition(&Ok(Outcome::Missing), false, NOW),
            Disposition::Done
        );
    }

    fn store_error() -> store::Error {
        store::Error::Raced
    }

    #[test]
    fn a_deadline_that_cannot_be_true_is_replaced() {
        assert_eq!(remaining(NOW.plus_ms(5_000), NOW), Duration::from_secs(5));
        assert_eq!(remaining(At(0), NOW), Duration::from_secs(60));
    }

    /// The messages of an event; none where a body is malformed.
    fn messages(event: &str) -> Vec<Option<RunMessage>> {
        let event: SqsEvent = serde_json::from_str(event).unwrap();
        let bodies = event.records.into_iter().map(|record| record.body);
        bodies
            .map(|body| RunMessage::parse(&body.unwrap()).ok())
            .collect()
    }

    #[test]
    fn deliveries_are_read_record_by_record() {
        let run = messages(include_str!("../../../events/orchestrator-run.json"));
        assert!(matches!(run.as_slice(), [Some(_)]));
        let batch = messages(include_str!("../../../events/orchestrator-batch.json"));
        let malformed = batch.iter().filter(|message| message.is_none());
        assert_eq!((batch.len(), malformed.count()), (10, 1));
        let poison = messages(include_str!("../../../events/orchestrator-poison.json"));
        assert!(poison.contains(&None));
    }
}
