//! A thousand runs at once of a tenant that may have a hundred under way.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::load;
use crate::machine::ms;
use crate::report::{Report, Target};
use crate::stage::Stage;

const AGENT: &str = "hello";
const RUNS: u64 = 1_000;
const PLACES: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    const PART: &str = "line";
    report.tell(PART);
    stage.limit(PLACES).await?;
    let (began, counters) = (Instant::now(), stage.counters()?);
    let ids = load::burst(stage, AGENT, RUNS).await?;
    let accepted = began.elapsed();
    while stage.verify(&ids).await?.0 > 0 {
        ensure!(began.elapsed() < PATIENCE, "a run in line never began");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ended = began.elapsed();
    let spent = stage.spent(&counters)?;
    for (name, value, unit) in [
        ("1,000 runs accepted after", accepted.as_secs_f64(), "s"),
        ("1,000 runs ended after", ended.as_secs_f64(), "s"),
        (
            "CPU of our functions per run",
            ms(spent.ours()) / RUNS as f64,
            "ms",
        ),
        (
            "table requests per run",
            spent.table_requests() as f64 / RUNS as f64,
            "",
        ),
    ] {
        report.put(PART, name, value, unit, Target::None);
    }
    Ok(())
}
