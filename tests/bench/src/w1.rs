//! W1: runs of five model steps with a calculator call between them; the model answers at once.

use std::time::Instant;

use crate::load::{self, CLIENTS, Spans};
use crate::machine::ms;
use crate::memory;
use crate::report::{Report, Target};
use crate::stage::{QUEUED, Spent, Stage};

const AGENT: &str = "w1";
/// Runs before anything is measured.
const WARM_UP: u64 = 100;
/// Runs of the one client.
const ALONE: u64 = 300;

#[derive(Clone, Copy)]
enum Mode {
    Queued,
    Waited,
}

pub(crate) async fn measure(stage: &Stage, runs: u64, report: &mut Report) -> anyhow::Result<()> {
    for (part, mode) in [("W1 queued", Mode::Queued), ("W1 waited", Mode::Waited)] {
        report.tell(part);
        saturated(stage, mode, WARM_UP).await?;
        let (mut spans, table_requests) = alone(stage, mode).await?;
        let counters = stage.counters()?;
        let ids = saturated(stage, mode, runs).await?;
        let spent = stage.spent(&counters)?;
        stage.all_well(&ids).await?;
        put(part, runs, &spent, &mut spans, report);
        report.put(
            part,
            "table requests of a run",
            table_requests as f64,
            "",
            Target::AtMost(8.0),
        );
        memory::put(stage, part, "64 at a time", Target::None, report)?;
    }
    Ok(())
}

async fn saturated(stage: &Stage, mode: Mode, runs: u64) -> anyhow::Result<Vec<String>> {
    match mode {
        Mode::Queued => load::queued(stage, AGENT, runs, CLIENTS as u64).await,
        Mode::Waited => load::waited(stage, AGENT, runs, CLIENTS).await,
    }
}

/// From the request to the terminal state, one run at a time, and the median of their requests to the table: the janitor asks
/// too, now and then. Without a wait the end is seen at the table, up to 2 ms late.
async fn alone(stage: &Stage, mode: Mode) -> anyhow::Result<(Spans, u64)> {
    let mut spans = Spans::default();
    let mut requests = Vec::new();
    for _ in 0..ALONE {
        let counters = stage.counters()?;
        let (began, before) = (Instant::now(), stage.transactions());
        match mode {
            Mode::Queued => {
                stage.create(AGENT, false).await?;
                stage.settle(before, QUEUED).await;
            }
            Mode::Waited => {
                stage.create(AGENT, true).await?;
            }
        }
        spans.push(began.elapsed());
        requests.push(stage.spent(&counters)?.table_requests());
    }
    requests.sort_unstable();
    Ok((spans, requests[requests.len() / 2]))
}

fn put(part: &'static str, runs: u64, spent: &Spent, spans: &mut Spans, report: &mut Report) {
    let each = |total: f64| total / runs as f64;
    report.put(
        part,
        "CPU of our functions per run",
        each(ms(spent.ours())),
        "ms",
        Target::AtMost(4.0),
    );
    for (name, cpu) in &spent.functions {
        if each(ms(*cpu)) >= 0.01 {
            let name = format!("of that `{name}`");
            report.put(part, name, each(ms(*cpu)), "ms", Target::None);
        }
    }
    report.put(
        part,
        "CPU of stand-ins and load per run",
        each(ms(spent.stand_ins)),
        "ms",
        Target::None,
    );
    report.put(
        part,
        "our functions' share of that CPU",
        100.0 * spent.share(),
        "%",
        Target::None,
    );
    report.put(
        part,
        "machine time of other programs meanwhile",
        100.0 * spent.others(),
        "%",
        Target::None,
    );
    report.put(
        part,
        "throughput, 64 clients",
        runs as f64 / spent.wall.as_secs_f64(),
        "runs/s",
        Target::AtLeast(150.0),
    );
    report.put(
        part,
        "POST to end, one client, p50",
        spans.percentile_ms(50),
        "ms",
        Target::Below(20.0),
    );
    report.put(
        part,
        "POST to end, one client, p95",
        spans.percentile_ms(95),
        "ms",
        Target::Below(60.0),
    );
    report.put(
        part,
        "table requests per run, saturated, the janitor's included",
        each(spent.table_requests() as f64),
        "",
        Target::None,
    );
    report.put(
        part,
        "requests to all services per run",
        each(spent.requests.total().requests as f64),
        "",
        Target::None,
    );
}
