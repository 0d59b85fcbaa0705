//! What one tenant's 5,000 runs mean to another tenant's wait for its turn.

use std::time::{Duration, Instant};

use anyhow::ensure;
use domain::run::Head;

use crate::load::{self, Spans};
use crate::report::{Report, Target};
use crate::stage::{Guest, Stage};

const AGENT: &str = "w1-500ms";
/// Runs of the tenant that has many, and how fast they come: six times what rate limits let a tenant of `enterprise` ask
/// for, and little enough that what is measured is the platform and not who else needs this machine's processors.
const RUNS: u32 = 5_000;
const PACE: Duration = Duration::from_millis(10);
/// As many of them may be under way as in the tier `business`.
pub(crate) const PLACES: u32 = 50;
/// Runs of the other tenant, alone and beside those, and from one to the next.
const ALONE: u32 = 400;
const BESIDE: u32 = 900;
const EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    const PART: &str = "fair";
    report.tell(PART);
    let guest = stage.guest("neighbour").await?;
    waits(&guest, ALONE / 10).await?;
    let mut alone = waits(&guest, ALONE).await?;
    let flood = load::paced(stage, AGENT, RUNS, PACE);
    let (flooded, beside) = tokio::join!(flood, waits(&guest, BESIDE));
    let (flooded, mut beside) = (flooded?, beside?);
    // What is measured is a line: most of the runs must still stand in it.
    let (unended, failed) = stage.verify(&flooded).await?;
    ensure!(failed == 0, "{failed} of the runs failed");
    for (name, value, unit) in [
        ("wait alone, p50", alone.percentile_ms(50), "ms"),
        ("wait alone, p99", alone.percentile_ms(99), "ms"),
        (
            "wait beside 5,000 runs, p50",
            beside.percentile_ms(50),
            "ms",
        ),
        (
            "wait beside 5,000 runs, p99",
            beside.percentile_ms(99),
            "ms",
        ),
        ("of those 5,000, not ended meanwhile", unended as f64, ""),
    ] {
        report.put(PART, name, value, unit, Target::None);
    }
    report.put(
        PART,
        "p99 beside them, as a multiple of alone",
        beside.percentile_ms(99) / alone.percentile_ms(99).max(1.0),
        "",
        Target::AtMost(2.0),
    );
    Ok(())
}

/// From the creation of each run to its start, for runs that come at even intervals.
async fn waits(guest: &Guest, runs: u32) -> anyhow::Result<Spans> {
    let (began, mut ids) = (tokio::time::Instant::now(), Vec::new());
    for number in 0..runs {
        tokio::time::sleep_until(began + EVERY * number).await;
        ids.push(guest.create().await?);
    }
    let (mut spans, until) = (Spans::default(), Instant::now() + PATIENCE);
    for id in ids {
        let wait = loop {
            let head: Head = guest.head(&id).await?;
            if let Some(started_at) = head.started_at {
                break started_at.since_ms(head.created_at);
            }
            ensure!(Instant::now() < until, "the run {id} did not begin");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        spans.push(Duration::from_millis(wait));
    }
    Ok(spans)
}
