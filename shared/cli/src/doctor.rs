//! `skein doctor`.

use std::process::ExitCode;

use crate::args::Server;
use crate::output::{self, Failure};

/// Checks one thing after the other and says what to do about the first that is wrong.
pub(crate) async fn doctor(server: &Server) -> Result<ExitCode, Failure> {
    let client = server.client()?;
    let mut well = true;
    let mut check = |name: &str, found: Result<String, String>| {
        let (mark, text) = match &found {
            Ok(text) => ("ok  ", text),
            Err(text) => ("FAIL", text),
        };
        well &= found.is_ok();
        output::line(&format!("{mark} {name:<12} {text}"));
    };
    check(
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
                check(name, if state == "ok" { Ok(state) } else { Err(state) });
            }
        }
        Err(failure) => check("ready", Err(explain(&failure))),
    }
    let agents = client.get("/v1/agents?limit=100").await;
    check(
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
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn explain(failure: &Failure) -> String {
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
