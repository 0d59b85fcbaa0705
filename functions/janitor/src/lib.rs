//! A schedule in, once a minute: wakes runs that are stuck, and tells how full the queues are.

use domain::run::Lane;
use engine::{Engine, Error, Swept};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use telemetry::{Gauges, Unit};

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    telemetry::init("janitor");
    let engine = wiring::engine()?;
    let gauges = wiring::gauges("janitor");
    lambda_runtime::run_concurrent(service_fn(move |_: LambdaEvent<Value>| {
        let (engine, gauges) = (engine.clone(), gauges.clone());
        async move {
            Box::pin(handle(&engine, &gauges)).await?;
            Ok::<_, lambda_runtime::Error>(())
        }
    }))
    .await
}

/// Sweeps once. Gauges are best effort: a sweep is worth having without them.
///
/// # Errors
/// When the sweep fails; the next one begins where it matters most.
pub async fn handle(engine: &Engine, gauges: &Gauges) -> Result<Swept, Error> {
    let swept = engine.sweep().await?;
    if swept.woken > 0 {
        tracing::info!(
            due = swept.due,
            woken = swept.woken,
            "stuck runs were woken"
        );
    }
    let mut values = vec![
        ("runs_due", Unit::Count, count(swept.due)),
        ("runs_woken", Unit::Count, count(swept.woken)),
    ];
    for (name, lane) in [
        ("queue_interactive", Lane::Interactive),
        ("queue_standard", Lane::Standard),
        ("queue_batch", Lane::Batch),
    ] {
        match engine.queue.lane_depth(lane).await {
            Ok(depth) => values.push((name, Unit::Count, count(depth.visible))),
            Err(error) => {
                tracing::warn!(error = %telemetry::chain(&error), "a queue's depth is not known");
            }
        }
    }
    match engine.queue.tasks_depth().await {
        Ok(depth) => values.push(("queue_tasks", Unit::Count, count(depth.visible))),
        Err(error) => {
            tracing::warn!(error = %telemetry::chain(&error), "a queue's depth is not known");
        }
    }
    if let Err(error) = gauges.put(&values).await {
        tracing::warn!(error = %telemetry::chain(&error), "gauges were not stored");
    }
    Ok(swept)
}

/// A gauge's value: beyond 4 G nobody counts.
fn count(number: impl TryInto<u32>) -> f64 {
    number.try_into().unwrap_or(u32::MAX).into()
}
