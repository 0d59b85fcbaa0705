//! What the platform costs: CPU time, latency, throughput, requests and sizes, each beside its target.
//!
//! Everything is real but AWS: the release binaries of the functions run as processes over the local cloud, and CPU time is
//! what the kernel charges to them. The stand-ins and the load generator run in this process and are reported apart.

mod fair;
mod limits;
mod line;
mod load;
mod machine;
mod memory;
mod report;
mod size;
mod spike;
mod stage;
mod start;
mod tls;
mod units;
mod w1;
mod w2;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};

use crate::report::Report;
use crate::stage::Stage;

/// The functions, by the names of their binaries.
pub(crate) const FUNCTIONS: [&str; 8] = [
    "api",
    "admin",
    "stream",
    "orchestrator",
    "worker",
    "janitor",
    "relay",
    "authorizer",
];

/// Measures what the platform costs, beside its targets.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// What to measure; everything unless given.
    parts: Vec<Part>,
    /// One JSON document instead of lines for people.
    #[arg(long)]
    json: bool,
    /// Runs of W1 at saturation, and half as many requests again of W2.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..))]
    runs: u64,
    /// Folder of the functions' binaries; that of this program unless given.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// File that `units` is written to: `shared/cli/src/plan/timed.json` is what `skein plan` is built with.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Makes one call over TLS to this address and prints what it cost: the child process of `start`.
    #[arg(long, hide = true)]
    call: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A run of five model steps with a tool call between them, at saturation and alone.
    W1,
    /// Reads and creates 80/20 at the API.
    W2,
    /// A thousand runs at once with a model of 50 ms.
    Spike,
    /// A thousand runs at once of a tenant that may have a hundred under way.
    Line,
    /// What a tenant with 5,000 runs means to another one's wait.
    Fair,
    /// What rate limits and budgets cost: W2 with both, with one of them and with neither.
    Limits,
    /// What the planner counts with: CPU of runs, steps and polls, bytes of logs.
    Units,
    /// A process from its start to its first poll; the first call over TLS.
    Start,
    /// Processes after some hundred requests, one at a time.
    Memory,
    /// The binaries.
    Size,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(address) = args.call {
        return tls::call(address).map(|()| ExitCode::SUCCESS);
    }
    aws::install_crypto();
    let binaries = binaries(args.binaries.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = measure(&args, &binaries) => report,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })?;
    report.print(args.json)?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &Args, binaries: &std::path::Path) -> anyhow::Result<Report> {
    let asked = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut report = Report::new(!args.json);
    if asked(Part::Size) {
        size::measure(binaries, &mut report)?;
    }
    if asked(Part::Start) {
        start::measure(binaries, &mut report)?;
        tls::measure(&mut report)?;
    }
    if asked(Part::Memory) {
        memory::measure(binaries, &mut report).await?;
    }
    if asked(Part::Limits) {
        limits::measure(binaries, args.runs, &mut report).await?;
    }
    if asked(Part::Fair) {
        let stage = Stage::start_with(binaries, false, |tenant| {
            tenant.overrides.concurrent_runs = Some(fair::PLACES);
            tenant.overrides.waiting_runs = Some(10_000);
        });
        let stage = stage.await?;
        fair::measure(&stage, &mut report).await?;
        stage.platform.stop().await;
    }
    // Each on a platform of its own: what one leaves in the table slows down the next.
    for part in [Part::W1, Part::W2, Part::Units, Part::Spike, Part::Line] {
        if !asked(part) {
            continue;
        }
        let stage = Stage::start(binaries, false).await?;
        match part {
            Part::W1 => w1::measure(&stage, args.runs, &mut report).await?,
            Part::W2 => w2::measure(&stage, args.runs * 5 / 2, &mut report).await?,
            Part::Units => {
                let timed = units::measure(&stage, args.runs / 5, &mut report).await?;
                if let Some(file) = &args.write {
                    units::write(&timed, file)?;
                }
            }
            Part::Spike => spike::measure(&stage, &mut report).await?,
            Part::Line => line::measure(&stage, &mut report).await?,
            Part::Start | Part::Memory | Part::Size | Part::Limits | Part::Fair => {}
        }
        stage.platform.stop().await;
    }
    Ok(report)
}

/// The folder of the functions' binaries, all of which must be there.
fn binaries(asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let folder = match asked {
        Some(folder) => folder,
        None => std::env::current_exe()
            .context("finding this program")?
            .parent()
            .context("this program stands in no folder")?
            .to_owned(),
    };
    let missing: Vec<_> = FUNCTIONS
        .into_iter()
        .filter(|name| !folder.join(name).is_file())
        .collect();
    if !missing.is_empty() {
        bail!(
            "{} holds no binary of {}; build them with: cargo build --release --workspace --bins",
            folder.display(),
            missing.join(", ")
        );
    }
    Ok(folder)
}
