//! Resident memory of processes that serve one event at a time, as on Lambda.

use std::path::Path;

use crate::report::{Report, Target};
use crate::stage::{QUEUED, Stage};

const AGENT: &str = "w1";
/// Runs by the queue, as many that are waited for, and as many reads.
const RUNS: u64 = 100;

pub(crate) async fn measure(binaries: &Path, report: &mut Report) -> anyhow::Result<()> {
    const PART: &str = "memory";
    report.tell(PART);
    let stage = Stage::start(binaries, true).await?;
    for _ in 0..RUNS {
        let before = stage.transactions();
        stage.create(AGENT, false).await?;
        stage.settle(before, QUEUED).await;
        let run = stage.create(AGENT, true).await?;
        stage.read(&run.id).await?;
    }
    put(
        &stage,
        PART,
        "one at a time, 100 runs and reads",
        Target::Below(16.0),
        report,
    )?;
    stage.platform.stop().await;
    Ok(())
}

/// Tells the resident memory of each function that serves runs.
pub(crate) fn put(
    stage: &Stage,
    part: &'static str,
    when: &str,
    target: Target,
    report: &mut Report,
) -> anyhow::Result<()> {
    let sizes = stage.resident_bytes()?;
    for name in ["api", "stream", "orchestrator"] {
        if let Some(bytes) = sizes.get(name) {
            let name = format!("resident, {when}, `{name}`");
            report.put(part, name, *bytes as f64 / 1e6, "MB", target);
        }
    }
    Ok(())
}
