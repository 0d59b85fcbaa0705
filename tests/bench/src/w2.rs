//! W2: reads of runs and creations of runs at the API, four to one.

use anyhow::Context as _;
use futures_util::StreamExt as _;

use crate::machine::ms;
use crate::report::{Report, Target};
use crate::stage::{Spent, Stage};

/// The agent whose runs are created: one model step, so that driving them does not drown what is measured.
const AGENT: &str = "hello";
const CLIENTS: usize = 16;
const WARM_UP: u64 = 200;
/// Passes, of which the cheapest counts: what else the machine does only adds.
const PASSES: u32 = 3;

pub(crate) async fn measure(
    stage: &Stage,
    requests: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    const PART: &str = "W2";
    report.tell(PART);
    mixed(stage, WARM_UP).await?;
    let mut passes = Vec::new();
    for _ in 0..PASSES {
        let counters = stage.counters()?;
        mixed(stage, requests).await?;
        passes.push(stage.spent(&counters)?);
    }
    let cpu = |spent: &Spent| spent.functions["api"] + spent.functions["stream"];
    let cheapest = passes.into_iter().min_by_key(cpu);
    let spent = cheapest.context("there are passes")?;
    let (reads, creates) = (spent.functions["api"], spent.functions["stream"]);
    // Every fifth request is a creation.
    let created = requests.div_ceil(5);
    let each = |cpu, count: u64| ms(cpu) / count as f64;
    report.put(
        PART,
        "CPU of `api` and `stream` per request",
        each(reads + creates, requests),
        "ms",
        Target::AtMost(0.4),
    );
    report.put(
        PART,
        "of that a read (`api`)",
        each(reads, requests - created),
        "ms",
        Target::None,
    );
    report.put(
        PART,
        "of that a creation (`stream`)",
        each(creates, created),
        "ms",
        Target::None,
    );
    report.put(
        PART,
        "throughput, 16 clients",
        requests as f64 / spent.wall.as_secs_f64(),
        "requests/s",
        Target::None,
    );
    Ok(())
}

/// So many requests, of which every fifth creates a run.
pub(crate) async fn mixed(stage: &Stage, requests: u64) -> anyhow::Result<()> {
    let known = stage.create(AGENT, true).await?.id;
    let known = known.as_str();
    let calls = (0..requests).map(|number| async move {
        if number % 5 == 0 {
            stage.create(AGENT, false).await
        } else {
            stage.read(known).await
        }
    });
    let mut calls = futures_util::stream::iter(calls).buffer_unordered(CLIENTS);
    while let Some(answer) = calls.next().await {
        answer?;
    }
    Ok(())
}
