//! The processes behind the functions: started, watched, restarted, ended.

use std::{process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

use super::{
    FunctionConfig, Launcher, LineSink, Mode,
    dispatch::{Ended, Function, Signal, Slot},
    runtime_api,
};

/// The longest pause before a process that keeps ending is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What every supervisor needs.
#[derive(Clone)]
pub(super) struct Supervisor {
    pub(super) launcher: Launcher,
    pub(super) lines: LineSink,
    pub(super) region: String,
    pub(super) closing: CancellationToken,
}

impl Supervisor {
    /// Starts the processes that the function needs now, each watched on its own.
    pub(super) fn start(&self, function: &Arc<Function>) {
        while let Some(slot) = function.reserve() {
            let supervisor = self.clone();
            let function = Arc::clone(function);
            tokio::spawn(async move { supervisor.keep_running(&function, slot).await });
        }
    }

    /// Runs processes one after the other for as long as the function needs one: at once after the first failure, then
    /// with pauses that grow to a second until one answers an event.
    async fn keep_running(&self, function: &Arc<Function>, mut slot: Slot) {
        let mut failures = 0;
        loop {
            let ended = self.run(function, slot).await;
            failures = if ended.answered { 1 } else { failures + 1 };
            tokio::select! {
                () = tokio::time::sleep(pause_after(failures)) => {}
                () = self.closing.cancelled() => return,
            }
            match function.reserve() {
                Some(next) => slot = next,
                None => return,
            }
        }
    }

    async fn run(&self, function: &Arc<Function>, slot: Slot) -> Ended {
        let process = slot.process;
        let reason = match self.launch(function, process).await {
            Ok((mut child, server)) => {
                function.started(process, child.id());
                let reason = watch(&mut child, slot).await;
                server.cancel();
                reason
            }
            Err(error) => format!("it could not be started: {error}"),
        };
        if !self.closing.is_cancelled() {
            tracing::warn!(function.name = %function.config.name, %reason, "function process ended");
        }
        function.ended(process, &reason)
    }

    async fn launch(
        &self,
        function: &Arc<Function>,
        process: u64,
    ) -> std::io::Result<(Child, CancellationToken)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let runtime_api = listener.local_addr()?.to_string();
        let config = &function.config;
        let mut command = (self.launcher)(&config.name);
        set_environment(&mut command, config, &self.region, &runtime_api, process);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(pass_lines(stdout, config.name.clone(), self.lines.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_lines(stderr, config.name.clone(), self.lines.clone()));
        }
        let server = CancellationToken::new();
        tokio::spawn(runtime_api::serve(
            listener,
            Arc::clone(function),
            process,
            server.clone(),
        ));
        Ok((child, server))
    }
}

/// Waits for the end of a process while passing signals on, and says how it ended.
async fn watch(child: &mut Child, mut slot: Slot) -> String {
    // Held open: a process that reads its end knows that this one is gone (see `end_with_parent`).
    let _stdin = child.stdin.take();
    loop {
        tokio::select! {
            status = child.wait() => {
                return match status {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                };
            }
            Some(signal) = slot.signals.recv() => match signal {
                Signal::Terminate => terminate(child),
                // Fails only when the process has ended already.
                Signal::Kill => { let _ = child.start_kill(); }
            },
        }
    }
}

fn terminate(child: &Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // Fails only when the process has ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// The environment that Lambda promises to a function, with the caller's values on top.
fn set_environment(
    command: &mut Command,
    config: &FunctionConfig,
    region: &str,
    runtime_api: &str,
    process: u64,
) {
    let name = &config.name;
    match config.mode {
        Mode::Concurrent { slots } => {
            command.env("AWS_LAMBDA_MAX_CONCURRENCY", slots.to_string());
        }
        Mode::Classic { .. } => {
            command.env_remove("AWS_LAMBDA_MAX_CONCURRENCY");
        }
    }
    command
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env(
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            config.memory_mb.to_string(),
        )
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", format!("local/{process}"))
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
        .env("AWS_REGION", region)
        .env("AWS_DEFAULT_REGION", region)
        .env("_HANDLER", "bootstrap")
        .env("TZ", ":UTC")
        .envs(&config.env);
}

async fn pass_lines(pipe: impl AsyncRead + Unpin, function: String, lines: LineSink) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    // A pipe ends with its process; an error on one means the same.
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        lines(&function, String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

fn pause_after(failures: u32) -> Duration {
    if failures < 2 {
        return Duration::ZERO;
    }
    let doublings = (failures - 2).min(5);
    (Duration::from_millis(50) * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

/// Ends this process when the process that launched it is gone, even if that one was killed.
///
/// For the `main` of a function process: the launcher holds the other end of standard input and never writes to it.
/// Without this, a function whose launcher was killed would poll a Runtime API that is not there for ever.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        // Whatever the outcome, nobody is left to serve.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_nothing_to_a_second() {
        let pauses: Vec<u128> = (1..9).map(|n| pause_after(n).as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1000, 1000]);
    }
}
