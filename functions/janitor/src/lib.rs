//! The sweeps queue in, at the instants at which runs may be stuck, and a schedule, once a minute: wakes runs that are stuck.
//! Once a minute it also tells how full the queues are, and makes the checkpoints of audit trails that are due. Tenants
//! are closed here, too, a few seconds at a time.

mod archive;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub use archive::{Archived, Error as ArchiveError, archive};
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use domain::run::Lane;
use engine::{Engine, Error, Swept};
use lambda_runtime::{LambdaEvent, service_fn};
use queue::{ClosingMessage, Malformed, Message as _, SweepMessage};
use serde::Deserialize;
use serde::de::IgnoredAny;
use telemetry::{Gauges, Metrics, Unit};

/// How long a tick sees to audit trails at most: an invocation that runs out of time ends the process, and sweeps with it.
const ARCHIVING: Duration = Duration::from_secs(30);
/// How long the messages of a delivery have closings worked on: not longer, since runs that are stuck are to be noticed
/// within 30 s.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a tick does, which holds up no message, but sees to audit trails as well.
const CLOSINGS: Duration = Duration::from_secs(10);

/// What brings the janitor.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Cause {
    /// Somebody expects that runs may be stuck by now.
    Sweeps(SqsEvent),
    /// A minute is over.
    Tick(IgnoredAny),
}

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    telemetry::init("janitor");
    let engine = wiring::engine()?;
    let gauges = wiring::gauges("janitor");
    let (bucket, signer) = wiring::audit()?;
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<Cause>| {
        let (engine, gauges) = (engine.clone(), gauges.clone());
        let (bucket, signer) = (bucket.clone(), signer.clone());
        async move {
            match event.payload {
                Cause::Sweeps(messages) => {
                    Box::pin(sweep(&engine, &messages)).await?;
                }
                Cause::Tick(_) => {
                    // Runs first; trails can wait. Neither is left out because the other failed.
                    let swept = Box::pin(tick(&engine, &gauges)).await;
                    let (store, now) = (&engine.store, engine.now());
                    let archiving = Box::pin(archive(store, &bucket, &signer, now));
                    match tokio::time::timeout(ARCHIVING, archiving).await {
                        Ok(archived) => show(archived?),
                        Err(_) => {
                            tracing::warn!("audit trails wait for the next tick");
                            tell_of_trails(1, 0);
                        }
                    }
                    swept?;
                }
            }
            Ok::<_, lambda_runtime::Error>(())
        }
    }))
    .await
}

fn show(archived: Archived) {
    if archived.due > 0 {
        tracing::info!(
            due = archived.due,
            checkpoints = archived.checkpoints,
            delayed = archived.delayed,
            failed = archived.failed,
            "audit trails were archived"
        );
    }
    tell_of_trails(archived.delayed, archived.failed);
}

/// Metrics of trails that are not archived. An alarm stands on each; a minute without is no line.
fn tell_of_trails(delayed: usize, failed: usize) {
    let mut metrics = Metrics::new();
    for (name, trails) in [("trails_delayed", delayed), ("trails_failed", failed)] {
        if trails > 0 {
            metrics.put(name, Unit::Count, count(trails));
        }
    }
}

/// Sweeps once for all messages of a delivery, and goes on with the closings that they name. What is no such message is
/// logged and let go: the watch is swept by the minute all the same.
///
/// # Errors
/// When the sweep fails; the messages are delivered again.
pub async fn sweep(engine: &Engine, event: &SqsEvent) -> Result<Swept, Error> {
    let mut newest = None;
    let mut again = false;
    let mut closings = BTreeSet::new();
    for record in &event.records {
        let body = record.body.as_deref().unwrap_or_default();
        match SweepMessage::parse(body) {
            Ok(message) => newest = newest.max(Some(message.up_to)),
            Err(Malformed::Type { .. }) => match ClosingMessage::parse(body) {
                Ok(message) => {
                    closings.insert(message.tenant);
                }
                Err(error) => malformed(record, &error),
            },
            Err(error) => malformed(record, &error),
        }
        let received = record.attributes.get("ApproximateReceiveCount");
        again |= received.is_some_and(|count| count != "1");
    }
    let mut swept = Swept::default();
    if let Some(newest) = newest {
        swept = engine.sweep_up_to(newest, again).await?;
        tell(swept);
    }
    let until = Instant::now() + CLOSING;
    for tenant in closings {
        // Each goes on by a step at least.
        let left = until.saturating_duration_since(Instant::now());
        engine.work_on_closing(&tenant, left).await;
    }
    Ok(swept)
}

fn malformed(record: &SqsMessage, error: &Malformed) {
    tracing::error!(
        message_id = record.message_id,
        error = error as &dyn std::error::Error,
        "a queue message is malformed"
    );
}

fn tell(swept: Swept) {
    if swept.woken > 0 {
        tracing::info!(
            due = swept.due,
            woken = swept.woken,
            "stuck runs were woken"
        );
    }
}

/// Sweeps, goes on with closings, and reports gauges. Those are best effort: a sweep is worth having without them.
///
/// # Errors
/// When the sweep fails; the next one begins where it matters most.
pub async fn tick(engine: &Engine, gauges: &Gauges) -> Result<Swept, Error> {
    // Whatever fails, the rest is done: one table may be out of order for long.
    let swept = engine.sweep().await;
    if let Err(error) = Box::pin(engine.work_on_closings(CLOSINGS)).await {
        tracing::error!(error = %telemetry::chain(&error), "closings do not go on");
    }
    let mut values = Vec::new();
    if let Ok(swept) = &swept {
        tell(*swept);
        values.push(("runs_due", Unit::Count, count(swept.due)));
        values.push(("runs_woken", Unit::Count, count(swept.woken)));
    }
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
    swept
}

/// A gauge's value: beyond 4 G nobody counts.
fn count(number: impl TryInto<u32>) -> f64 {
    number.try_into().unwrap_or(u32::MAX).into()
}
