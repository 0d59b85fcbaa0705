//! A function's process from its start to its first poll of the Runtime API.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::FUNCTIONS;
use crate::machine::{self, ms};
use crate::report::{Report, Target};

/// Starts of each function; the median counts.
const STARTS: usize = 15;

/// What a function's environment holds. None of these addresses is called before the first event.
const ENVIRONMENT: [(&str, &str); 19] = [
    ("AWS_ACCESS_KEY_ID", "bench"),
    ("AWS_SECRET_ACCESS_KEY", "bench"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
    ("SKEIN_AUDIT_BUCKET", "skein-audit"),
    ("SKEIN_AUDIT_KEY", "alias/skein-audit"),
    ("SKEIN_BUCKET", "skein-payloads"),
    (
        "SKEIN_CURSOR_SECRET",
        "a secret of a process that is never asked",
    ),
    ("SKEIN_QUEUE_BATCH", "http://127.0.0.1:9/0/runs-batch"),
    (
        "SKEIN_QUEUE_INTERACTIVE",
        "http://127.0.0.1:9/0/runs-interactive",
    ),
    ("SKEIN_QUEUE_STANDARD", "http://127.0.0.1:9/0/runs-standard"),
    ("SKEIN_QUEUE_TASKS", "http://127.0.0.1:9/0/tasks"),
    ("SKEIN_QUEUE_SWEEPS", "http://127.0.0.1:9/0/sweeps"),
    ("SKEIN_TABLE", "skein"),
];

pub(crate) fn measure(binaries: &Path, report: &mut Report) -> anyhow::Result<()> {
    const PART: &str = "start";
    report.tell(PART);
    for name in FUNCTIONS {
        let mut starts = Vec::with_capacity(STARTS);
        for _ in 0..STARTS {
            starts.push(start(&binaries.join(name))?);
        }
        starts.sort_unstable();
        let (cpu, resident_bytes) = starts[STARTS / 2];
        report.put(
            PART,
            format!("CPU from start to first poll, `{name}`"),
            ms(cpu),
            "ms",
            Target::Below(8.0),
        );
        report.put(
            PART,
            format!("resident at first poll, `{name}`"),
            resident_bytes as f64 / 1e6,
            "MB",
            Target::None,
        );
    }
    Ok(())
}

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time and resident bytes of a new process at the moment its first poll arrives.
fn start(program: &Path) -> anyhow::Result<(Duration, u64)> {
    let runtime_api = TcpListener::bind(("127.0.0.1", 0)).context("binding a Runtime API")?;
    let child = Command::new(program)
        .env_clear()
        .envs(ENVIRONMENT)
        .env(
            "AWS_LAMBDA_RUNTIME_API",
            runtime_api.local_addr()?.to_string(),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let running = Running(child);
    let (stream, _) = runtime_api.accept()?;
    let mut request = String::new();
    let mut poll = BufReader::new(stream);
    poll.read_line(&mut request)?;
    if !request.contains("/runtime/invocation/next") {
        bail!(
            "{} began with {request:?} instead of a poll",
            program.display()
        );
    }
    let pid = running.0.id();
    let used = (machine::exact_cpu(pid)?, machine::resident_bytes(pid)?);
    // Before its poll is closed, of which it would complain.
    drop(running);
    Ok(used)
}
