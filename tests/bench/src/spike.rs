//! A thousand runs at once, with a model that takes 50 ms.

use std::time::Instant;

use crate::load;
use crate::machine::ms;
use crate::report::{Report, Target};
use crate::stage::{QUEUED, Stage};

const AGENT: &str = "w1-50ms";
const RUNS: u64 = 1_000;

pub(crate) async fn measure(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    const PART: &str = "spike";
    report.tell(PART);
    let (began, before) = (Instant::now(), stage.transactions());
    let counters = stage.counters()?;
    let ids = load::burst(stage, AGENT, RUNS).await?;
    let accepted = began.elapsed();
    stage.settle(before, QUEUED * RUNS).await;
    let drained = began.elapsed();
    let spent = stage.spent(&counters)?;
    let (lost, failed) = stage.verify(&ids).await?;
    report.put(
        PART,
        "1,000 runs accepted after",
        accepted.as_secs_f64(),
        "s",
        Target::None,
    );
    report.put(
        PART,
        "1,000 runs ended after",
        drained.as_secs_f64(),
        "s",
        Target::Below(8.0),
    );
    report.put(
        PART,
        "CPU of our functions per run",
        ms(spent.ours()) / RUNS as f64,
        "ms",
        Target::None,
    );
    report.put(
        PART,
        "CPU of everything, all runs",
        spent.all().as_secs_f64(),
        "s",
        Target::None,
    );
    report.put(
        PART,
        "machine time of other programs meanwhile",
        100.0 * spent.others(),
        "%",
        Target::None,
    );
    report.put(PART, "runs lost", lost as f64, "", Target::AtMost(0.0));
    report.put(PART, "runs failed", failed as f64, "", Target::AtMost(0.0));
    Ok(())
}
