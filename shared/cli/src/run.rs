//! `skein run`.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::args::Run;
use crate::client::{Client, Sent, events};
use crate::output::{self, Failure, RUN_FAILED};

pub(crate) async fn run(client: &Client, run: Run) -> Result<ExitCode, Failure> {
    let input = match run.input.as_deref() {
        Some("-") | None => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("reading standard input")?;
            text
        }
        Some(text) => text.to_owned(),
    };
    let mut body = json!({"agent": run.agent, "input": input});
    if let Some(version) = run.version {
        body["version"] = version.into();
    }
    if run.follow {
        follow(client, body, run.json).await
    } else {
        wait(client, body, run.json).await
    }
}

/// Creates the run and waits for its end, however long it takes.
async fn wait(client: &Client, body: Value, as_json: bool) -> Result<ExitCode, Failure> {
    let spinner = output::spinner("running");
    let request = client
        .request(Method::POST, "/v1/runs")
        .header("Prefer", "wait=25")
        .json(&body);
    let mut run = client.json(request).await?;
    let id = run["id"].as_str().unwrap_or_default().to_owned();
    let mut after = 0;
    while !is_over(&run) {
        spinner.set_message(format!(
            "{} {id}",
            run["status"].as_str().unwrap_or_default()
        ));
        let page = client
            .get(&format!("/v1/runs/{id}/events?after={after}&wait=20"))
            .await?;
        after = page["next_after"].as_u64().unwrap_or(after);
        run = client.get(&format!("/v1/runs/{id}")).await?;
    }
    spinner.finish_and_clear();
    Ok(conclude(&run, as_json))
}

/// Creates the run and shows what happens in it.
async fn follow(client: &Client, mut body: Value, as_json: bool) -> Result<ExitCode, Failure> {
    body["stream"] = true.into();
    let response = client
        .send(client.request(Method::POST, "/v1/runs").json(&body))
        .await?;
    let mut stream = events(response);
    let mut watch = Watch::new(as_json);
    while let Some(sent) = stream.next().await {
        watch.show(&sent?);
    }
    if watch.run.is_empty() {
        return Err(Failure::Unreachable(
            "the stream ended before the run was created".to_owned(),
        ));
    }
    let run = client.get(&format!("/v1/runs/{}", watch.run)).await?;
    if !is_over(&run) {
        output::note(&format!(
            "the stream ended early; go on with: skein runs events {} --follow",
            watch.run
        ));
    }
    Ok(if as_json {
        code(&run)
    } else {
        conclude_followed(&run, &watch.text)
    })
}

/// Shows events as they come.
#[derive(Default)]
pub(crate) struct Watch {
    as_json: bool,
    run: String,
    /// Whether text of the model was written that has not been ended by a line yet.
    open: bool,
    /// What the model has written in its current step.
    text: String,
}

impl Watch {
    pub(crate) fn new(as_json: bool) -> Self {
        Self {
            as_json,
            ..Self::default()
        }
    }

    pub(crate) fn show(&mut self, sent: &Sent) {
        let data: Value = serde_json::from_str(&sent.data).unwrap_or(Value::Null);
        if let Some(run) = data["run"].as_str() {
            run.clone_into(&mut self.run);
        }
        if self.as_json {
            output::line(&sent.data);
            return;
        }
        if sent.event == "delta" {
            let text = data["text"].as_str().unwrap_or_default();
            output::piece(text);
            self.text.push_str(text);
            self.open = true;
            return;
        }
        if sent.event == "step_started" {
            self.text.clear();
        }
        if std::mem::take(&mut self.open) {
            output::piece("\n");
        }
        if let Some(text) = describe(&sent.event, &data) {
            output::note(&format!("{:>4}  {text}", sent.id));
        }
    }
}

/// One line for a person about an event; nothing for those that only programs need.
pub(crate) fn describe(event: &str, data: &Value) -> Option<String> {
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    Some(match event {
        "run_created" => format!("created {}", text("run")),
        "run_started" => "started".to_owned(),
        "taken_over" => "taken over by another worker".to_owned(),
        "resumed" => "resumed".to_owned(),
        "step_started" => format!("step {}: asking the model", data["step"]),
        "model_answered" => format!(
            "step {}: {} tokens in, {} out, {}, {} ms",
            data["step"],
            data["usage"]["input_tokens"],
            data["usage"]["output_tokens"],
            output::dollars(&data["cost_micro_usd"]),
            data["duration_ms"],
        ),
        "model_failed" => format!(
            "step {}: the model failed: {}",
            data["step"],
            text("message")
        ),
        "answer_rejected" => format!("step {}: asking again: {}", data["step"], text("detail")),
        "tool_called" => format!("step {}: calling {}", data["step"], text("tool")),
        "tool_returned" => {
            let result = text("text");
            let short: String = result.chars().take(200).collect();
            let verb = if data["is_error"] == true {
                "failed"
            } else {
                "returned"
            };
            format!(
                "step {}: {verb} {short}{}",
                data["step"],
                if short.len() < result.len() {
                    "…"
                } else {
                    ""
                }
            )
        }
        "parked" => format!("waiting ({}) until {}", text("reason"), text("until")),
        "cancel_requested" => format!("cancel requested by {}", text("by")),
        "succeeded" => "succeeded".to_owned(),
        "failed" => format!(
            "failed: {}",
            data["error"]["message"].as_str().unwrap_or_default()
        ),
        "cancelled" => "cancelled".to_owned(),
        "expired" => "expired".to_owned(),
        _ => return None,
    })
}

fn is_over(run: &Value) -> bool {
    matches!(
        run["status"].as_str(),
        Some("succeeded" | "failed" | "cancelled" | "expired")
    )
}

fn code(run: &Value) -> ExitCode {
    if run["status"] == "succeeded" {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(RUN_FAILED)
    }
}

fn conclude(run: &Value, as_json: bool) -> ExitCode {
    if as_json {
        output::line(&run.to_string());
        return code(run);
    }
    if run["status"] == "succeeded" {
        output::line(&output::readable(&run["output"]));
        let totals = &run["totals"];
        let id = run["id"].as_str().unwrap_or_default();
        let steps = totals["steps"].as_u64().unwrap_or_default();
        let noun = if steps == 1 { "step" } else { "steps" };
        output::note(&format!(
            "{id}: {steps} {noun}, {}",
            output::dollars(&totals["micro_usd"])
        ));
    } else {
        explain(run);
    }
    code(run)
}

/// After a stream the answer stands on the screen already, unless it was written by another process or is no text.
fn conclude_followed(run: &Value, seen: &str) -> ExitCode {
    if run["status"] != "succeeded" {
        explain(run);
    } else if run["output"].as_str() != Some(seen) {
        output::line(&output::readable(&run["output"]));
    }
    code(run)
}

fn explain(run: &Value) {
    let status = run["status"].as_str().unwrap_or_default();
    let id = run["id"].as_str().unwrap_or_default();
    output::note(&match run["error"]["message"].as_str() {
        Some(message) => format!("{id} {status}: {message}"),
        None => format!("{id} {status}"),
    });
}
