//! What the planner counts with beside requests: CPU time of runs, steps and polls, and bytes of logs.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use domain::plan::Timed;
use domain::run::Status;
use domain::time::At;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::machine;
use crate::report::{Report, Target};
use crate::stage::Stage;

const AGENT: &str = "w1";
/// Steps of a short and a long run, and what makes them.
const SHORT: (u64, &str) = (1, "hello");
const LONG: (u64, &str) = (20, "count to 19");
/// Runs at once.
const CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(300);

/// CPU time of our functions for runs of one kind, each, and the bytes of logs of all of them.
async fn runs(stage: &Stage, input: &str, runs: u64) -> anyhow::Result<(Duration, u64)> {
    let (began, counters, logs) = (Instant::now(), stage.counters()?, stage.log_bytes());
    let creates = (0..runs).map(|_| stage.create_with(AGENT, input));
    let ids: Vec<String> = futures_util::stream::iter(creates)
        .buffer_unordered(CLIENTS)
        .map_ok(|run| run.id)
        .try_collect()
        .await?;
    while stage.verify(&ids).await?.0 > 0 {
        ensure!(began.elapsed() < PATIENCE, "a run never ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let spent = stage.spent(&counters)?.ours();
    for id in ids.first().into_iter().chain(ids.last()) {
        let status = stage.read(id).await?.status;
        ensure!(
            status == Status::Succeeded,
            "the run {id} ended as {status:?}"
        );
    }
    let count = u32::try_from(runs).context("fewer runs")?;
    Ok((spent / count, (stage.log_bytes() - logs).div_ceil(runs)))
}

pub(crate) async fn measure(
    stage: &Stage,
    count: u64,
    report: &mut Report,
) -> anyhow::Result<Timed> {
    const PART: &str = "units";
    report.tell(PART);
    runs(stage, LONG.1, count / 10).await?;
    let (short, short_logs) = runs(stage, SHORT.1, count).await?;
    let (long, long_logs) = runs(stage, LONG.1, count).await?;
    let known = stage.create_with(AGENT, SHORT.1).await?.id;
    let known = known.as_str();
    let counters = stage.counters()?;
    let polls = (0..count).map(|_| stage.read(known));
    let mut polls = futures_util::stream::iter(polls).buffer_unordered(CLIENTS);
    while let Some(answer) = polls.next().await {
        answer?;
    }
    let poll = stage.spent(&counters)?.functions["api"];

    let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let step_us = us(long.saturating_sub(short)) / (LONG.0 - SHORT.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = At(u64::try_from(now.as_millis())?);
    let timed = Timed {
        measured_on: now.to_string().chars().take(10).collect(),
        processor: machine::Description::read().processor,
        optimised: !cfg!(debug_assertions),
        run_us: us(short).saturating_sub(step_us),
        step_us,
        poll_us: us(poll) / count,
        log_bytes: short_logs.max(long_logs),
    };
    for (name, value, unit) in [
        ("CPU of a run without its steps", timed.run_us, "us"),
        ("CPU of a step", timed.step_us, "us"),
        ("CPU of a poll", timed.poll_us, "us"),
        ("logs of a run", timed.log_bytes, "bytes"),
    ] {
        report.put(PART, name, value as f64, unit, Target::None);
    }
    Ok(timed)
}

/// Writes what `skein plan` is built with.
pub(crate) fn write(timed: &Timed, file: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(timed)? + "\n";
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
