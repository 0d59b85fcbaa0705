//! `skein doctor --stack`: what a tenant does, done once by a tenant of its own, against a deployment.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::args::Server;
use crate::client::{Client, Endpoint, events};
use crate::doctor::explain;
use crate::operator::{TENANTS, text};
use crate::output::{self, Failure};

/// The tenant that the smoke run is of. It is onboarded by the first and stays.
const CANARY: &str = "canary";
/// What the platform of this folder is called.
const LOCAL: &str = "local";
/// How long its key holds, should nobody live to revoke it.
const KEY_MS: u64 = 3_600_000;
/// How long a run may take to its end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Goes through all of it and tells of each step how it went and how long it took. Ends at the first that fails.
pub(crate) async fn smoke(
    server: &Server,
    stack: &str,
    model: Option<String>,
) -> Result<ExitCode, Failure> {
    let model = match model {
        Some(model) => model,
        None if stack == LOCAL => "local.echo".to_owned(),
        None => return Err(other("say which model is to answer: --model <a cheap one>")),
    };
    let server = Server {
        url: Some(address(stack).await?),
        ..server.clone()
    };
    let operator = server.operator()?;
    output::note(&format!("{} as the tenant {CANARY}", operator.url()));
    let mut steps = Steps::default();
    let outcome = all(&server, &operator, &model, &mut steps).await;
    if let Some(key) = steps.key.take() {
        let path = format!("{TENANTS}/{CANARY}/keys/{key}");
        let revoked = async {
            operator
                .send(operator.request(Method::DELETE, &path))
                .await?;
            Ok("it ceases to hold within 30 s".to_owned())
        };
        steps.take("key revoked", revoked).await.ok();
    }
    Ok(match outcome {
        Ok(()) if steps.failed == 0 => ExitCode::SUCCESS,
        Ok(()) | Err(Stopped) => ExitCode::FAILURE,
    })
}

/// A step failed, and was told.
#[derive(Debug)]
struct Stopped;

#[derive(Debug, Default)]
struct Steps {
    failed: usize,
    /// The canary's key, once there is one.
    key: Option<String>,
}

impl Steps {
    /// Does a step and tells how it went.
    async fn take<T: Told>(
        &mut self,
        name: &str,
        step: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Stopped> {
        let began = Instant::now();
        let done = step.await;
        let ms = began.elapsed().as_millis();
        let (mark, told) = match &done {
            Ok(done) => ("ok  ", done.told()),
            Err(failure) => ("FAIL", explain(failure)),
        };
        output::line(&format!("{mark} {name:<12} {ms:>6} ms  {told}"));
        self.failed += usize::from(done.is_err());
        done.map_err(|_| Stopped)
    }
}

/// What a step found, as it is told.
trait Told {
    fn told(&self) -> String;
}

impl Told for String {
    fn told(&self) -> String {
        self.clone()
    }
}

/// A run that ended: its id and how.
struct Ended(String, String);

impl Told for Ended {
    fn told(&self) -> String {
        format!("{} {}", self.0, self.1)
    }
}

/// A key: its public part and all of it, which is told to nobody.
struct Key(String, String);

impl Told for Key {
    fn told(&self) -> String {
        self.0.clone()
    }
}

async fn all(
    server: &Server,
    operator: &Client,
    model: &str,
    steps: &mut Steps,
) -> Result<(), Stopped> {
    steps
        .take("reachable", async {
            operator.get("/health/live").await?;
            Ok("it answers".to_owned())
        })
        .await?;
    steps
        .take("ready", async {
            operator.get("/health/ready").await?;
            Ok("table, bucket and queues answer".to_owned())
        })
        .await?;
    steps.take("tenant", onboard(operator)).await?;
    let Key(id, key) = steps.take("key", issue(operator)).await?;
    steps.key = Some(id);
    let canary = Server {
        key: Some(key),
        ..server.clone()
    };
    let client = match canary.client() {
        Ok(client) => client,
        Err(failure) => {
            return steps
                .take("client", async { Err(failure) })
                .await
                .map(|_: String| ());
        }
    };
    let agent = json!({"model": model, "description": "Says that it lives."});
    steps
        .take("agent", async {
            let path = format!("/v1/agents/{CANARY}");
            let stored = client.json(client.request(Method::POST, &path).json(&agent));
            Ok(format!("version {} of {model}", stored.await?["version"]))
        })
        .await?;
    let Ended(run, _) = steps.take("run", run(&client)).await?;
    steps.take("receipt", receipt(&client, &run)).await?;
    steps.take("stream", stream(&client)).await?;
    steps.take("cancel", cancel(&client)).await?;
    Ok(())
}

async fn onboard(operator: &Client) -> Result<String, Failure> {
    let body = json!({"id": CANARY, "name": "smoke runs", "tier": "business"});
    let request = operator.request(Method::POST, TENANTS).json(&body);
    let tenant = match operator.json(request).await {
        Ok(tenant) => tenant,
        // An operator has changed it since, which is no fault.
        Err(Failure::Problem(problem)) if problem["code"] == "tenant_exists" => {
            operator.get(&format!("{TENANTS}/{CANARY}")).await?
        }
        Err(failure) => return Err(failure),
    };
    match text(&tenant, "standing").as_str() {
        "active" => Ok("active".to_owned()),
        standing => Err(other(&format!("{CANARY} is {standing}"))),
    }
}

async fn issue(operator: &Client) -> Result<Key, Failure> {
    let expires_at = domain::time::At(crate::operator::now().0 + KEY_MS);
    let body = json!({"label": "doctor", "expires_at": expires_at.to_string()});
    let path = format!("{TENANTS}/{CANARY}/keys");
    let issued = operator.json(operator.request(Method::POST, &path).json(&body));
    let issued = issued.await?;
    Ok(Key(text(&issued, "id"), text(&issued, "key")))
}

fn asked(stream: bool) -> Value {
    json!({"agent": CANARY, "input": "Say that you live, in one word.", "stream": stream})
}

async fn run(client: &Client) -> Result<Ended, Failure> {
    let request = client.request(Method::POST, "/v1/runs").json(&asked(false));
    let begun = client.json(request).await?;
    let ended = ended(client, &text(&begun, "id")).await?;
    match text(&ended, "status").as_str() {
        "succeeded" => Ok(Ended(text(&ended, "id"), "succeeded".to_owned())),
        status => Err(other(&format!(
            "{} {status}: {}",
            text(&ended, "id"),
            text(&ended["error"], "message")
        ))),
    }
}

/// A run once it is over.
async fn ended(client: &Client, run: &str) -> Result<Value, Failure> {
    let began = Instant::now();
    loop {
        let found = client.get(&format!("/v1/runs/{run}")).await?;
        if found["ended_at"].is_string() {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            let (status, s) = (text(&found, "status"), PATIENCE.as_secs());
            return Err(other(&format!("{run} is {status} after {s} s")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn receipt(client: &Client, run: &str) -> Result<String, Failure> {
    let receipt = client.get(&format!("/v1/runs/{run}/receipt")).await?;
    let steps = receipt["steps"].as_array().map_or(0, Vec::len);
    match steps {
        0 => Err(other("it has no step")),
        steps => Ok(format!("{steps} step")),
    }
}

async fn stream(client: &Client) -> Result<Ended, Failure> {
    let request = client.request(Method::POST, "/v1/runs").json(&asked(true));
    let mut events = events(client.send(request).await?);
    let streamed = async {
        while let Some(sent) = events.next().await {
            let sent = sent?;
            if sent.event == "end" {
                let end: Value = serde_json::from_str(&sent.data).unwrap_or_default();
                let (last, status) = (&end["last_event"], text(&end, "status"));
                return Ok(Ended(format!("{last} events,"), status));
            }
        }
        Err(other("the stream ended before the run"))
    };
    let streamed = tokio::time::timeout(PATIENCE, streamed).await;
    let Ended(events, status) = streamed.map_err(|_| other("no end within 60 s"))??;
    if status == "succeeded" {
        Ok(Ended(events, status))
    } else {
        Err(other(&format!("the run {status}")))
    }
}

async fn cancel(client: &Client) -> Result<Ended, Failure> {
    let request = client.request(Method::POST, "/v1/runs").json(&asked(false));
    let begun = client.json(request).await?;
    let run = text(&begun, "id");
    let path = format!("/v1/runs/{run}/cancel");
    let body = json!({"reason": "a smoke run"});
    client
        .json(client.request(Method::POST, &path).json(&body))
        .await?;
    let ended = ended(client, &run).await?;
    match text(&ended, "status").as_str() {
        "cancelled" => Ok(Ended(run, "cancelled".to_owned())),
        "succeeded" => Ok(Ended(run, "was faster".to_owned())),
        status => Err(other(&format!("{run} {status}"))),
    }
}

fn other(text: &str) -> Failure {
    Failure::Other(anyhow::anyhow!("{text}"))
}

/// Where a stack answers: the address itself, `local` for the platform of this folder, or the stack's output `Url`, for which the AWS
/// CLI is asked.
async fn address(stack: &str) -> Result<String, Failure> {
    if stack.starts_with("http://") || stack.starts_with("https://") {
        return Ok(stack.to_owned());
    }
    if stack == LOCAL {
        let found = Endpoint::read().map(|found| found.url);
        let hint = "no `skein dev` runs in this folder";
        return found.ok_or_else(|| Failure::Unreachable(hint.to_owned()));
    }
    let query = "Stacks[0].Outputs[?OutputKey=='Url'].OutputValue";
    let asked = Command::new("aws")
        .args(["cloudformation", "describe-stacks", "--stack-name", stack])
        .args(["--query", query, "--output", "text"])
        .output()
        .await;
    let output = match asked {
        Ok(output) => output,
        Err(error) => {
            let hint = format!(
                "the AWS CLI, which knows where the stack {stack} answers, cannot be started ({error}); give the stack's output `Url` instead of its name"
            );
            return Err(Failure::Unreachable(hint));
        }
    };
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && said.starts_with("http") {
        return Ok(said);
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let hint = format!("the AWS CLI does not know where the stack {stack} answers: {why}");
    Err(Failure::Unreachable(
        hint.trim_end_matches([':', ' ']).to_owned(),
    ))
}
