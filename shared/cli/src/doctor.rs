//! `skein doctor`.

use std::process::ExitCode;

use crate::args::Server;
use crate::output::{self, Failure};

/// Checks one thing after the other and says what to do about the first that is wrong.
pub(crate) async fn doctor(server: &Server) -> Result<ExitCode, Failure> {
    let client = server.client()?;
    let mut checks = Checks::default();
    checks.note(
        "reachable",
        client
            .get("/health/live")
            .await
            .map(|_| client.url().to_owned())
            .map_err(|failure| explain(&failure)),
    );
    match client.get("/health/ready").await {
        Ok(ready) => {
            for (name, state) in ready["dependencies"].as_object().into_iter().flatten() {
                let state = state["status"]
                    .as_str()
                    .or(state.as_str())
                    .unwrap_or_default()
                    .to_owned();
                checks.note(name, if state == "ok" { Ok(state) } else { Err(state) });
            }
        }
        Err(failure) => checks.note("ready", Err(explain(&failure))),
    }
    let agents = client.get("/v1/agents?limit=100").await;
    checks.note(
        "key",
        agents
            .map(|page| {
                format!(
                    "accepted; {} agents stored",
                    page["items"].as_array().map_or(0, Vec::len)
                )
            })
            .map_err(|failure| explain(&failure)),
    );
    Ok(checks.exit_code())
}

/// What was looked at, each told as a line.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    failed: usize,
}

impl Checks {
    pub(crate) fn note(&mut self, name: &str, found: Result<String, String>) {
        self.failed += usize::from(found.is_err());
        let mark = if found.is_ok() { "ok  " } else { "FAIL" };
        let (Ok(text) | Err(text)) = found;
        output::line(&format!("{mark} {name:<12} {text}"));
    }

    /// Whether all was well.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

pub(crate) fn explain(failure: &Failure) -> String {
    match failure {
        Failure::Unreachable(text) => text.clone(),
        Failure::Problem(problem) => format!(
            "{}: {}",
            problem["title"].as_str().unwrap_or_default(),
            problem["detail"].as_str().unwrap_or_default()
        ),
        Failure::Other(error) => format!("{error:#}"),
    }
}
