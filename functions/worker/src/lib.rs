//! Task queue in: performs the tool calls that take long, and writes their answers into the runs' logs.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use domain::trace::Context;
use engine::{Engine, Performed};
use lambda_runtime::{LambdaEvent, service_fn};
use queue::{Disposition, Record, ToolMessage};
use tracing::Instrument as _;

/// Tool calls of one delivery that are performed at the same time.
const CONCURRENCY: usize = 10;

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    telemetry::init("worker");
    let engine = wiring::engine()?;
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let of_invocation = event.context.xray_trace_id.as_deref();
        let engine = engine.within(of_invocation.and_then(Context::parse_xray));
        async move { Ok::<_, lambda_runtime::Error>(handle(&engine, event.payload).await) }
    }))
    .await
}

/// Performs every tool call of a delivery, and has its spans exported.
pub async fn handle(engine: &Engine, event: SqsEvent) -> SqsBatchResponse {
    let queue = &engine.queue;
    let consumed = queue.consume(event, CONCURRENCY, |record| {
        perform(engine, record).instrument(telemetry::work())
    });
    let response = Box::pin(consumed).await;
    engine.tracer().flush().await;
    response
}

async fn perform(engine: &Engine, record: Record<ToolMessage>) -> Disposition {
    let engine = engine.called_by(record.toll.clone());
    let (message, run) = (
        &record.message,
        (&record.message.tenant, &record.message.run),
    );
    let (engine, mut span) = engine.received("tasks", &record, run, message.trace);
    tracing::Span::current()
        .record("tenant.id", message.tenant.as_str())
        .record("run.id", message.run.as_str())
        .record("step", message.step);
    match Box::pin(engine.perform_tool(message)).await {
        Ok(Performed::Done | Performed::Missing) => Disposition::Done,
        // Whoever performs the call has a message of its own, unless this is that message, delivered again after a crash.
        // Should both be gone, the watch finds the run.
        Ok(Performed::Held { .. }) if record.receive_count == 1 => Disposition::Done,
        Ok(Performed::Held { until }) => {
            Disposition::After(Duration::from_millis(until.since_ms(engine.now())))
        }
        // Where its tenant is at home now the call is sent again.
        Err(error) if error.is_elsewhere() => Disposition::Done,
        Err(error) => {
            span.fail("not_settled");
            tracing::error!(
                tool = message.tool,
                error = %telemetry::chain(&error),
                "a tool call was not settled"
            );
            // What fails for good ends in the dead-letter queue, where somebody sees it.
            Disposition::Again
        }
    }
}

#[cfg(test)]
mod tests {
    use queue::Message as _;

    use super::*;

    #[test]
    fn a_delivery_holds_tool_calls() {
        let event = include_str!("../../../events/worker-task.json");
        let event: SqsEvent = serde_json::from_str(event).unwrap();
        for record in event.records {
            let message = ToolMessage::parse(&record.body.unwrap()).unwrap();
            assert!(domain::tool::builtin(&message.tool).is_some());
        }
    }
}
