//! `skein runs`.

use std::process::ExitCode;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::args::{Runs, Server};
use crate::client::{Client, Sent, events};
use crate::operate;
use crate::operator::text;
use crate::output::{self, Failure};
use crate::run::Watch;

pub(crate) async fn runs(server: &Server, command: Runs) -> Result<ExitCode, Failure> {
    let client = &match command {
        Runs::Stuck(_) => server.operator()?,
        _ => server.client()?,
    };
    match command {
        Runs::Ls {
            status,
            agent,
            limit,
            json,
        } => list(client, status, agent, limit, json).await?,
        Runs::Show { run, json } => show(client, &run, json).await?,
        Runs::Receipt { run, json } => print_receipt(client, &run, json).await?,
        Runs::Events {
            run,
            after,
            follow,
            json,
        } => print_events(client, &run, after, follow, json).await?,
        Runs::Token { run, seconds, json } => make_token(client, &run, seconds, json).await?,
        Runs::Stuck(asked) => return operate::stuck(client, asked).await,
        Runs::Cancel { run, reason } => {
            let body = json!({"reason": reason});
            let request = client
                .request(Method::POST, &format!("/v1/runs/{run}/cancel"))
                .json(&body);
            let run = client.json(request).await?;
            output::line(&format!("{} {}", text(&run, "id"), text(&run, "status")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A number that may not be known yet.
fn number(value: &Value) -> String {
    value
        .as_u64()
        .map_or("-".to_owned(), |number| number.to_string())
}

/// The pinned agent as `id@version`.
fn agent_of(run: &Value) -> String {
    format!("{}@{}", text(&run["agent"], "id"), run["agent"]["version"])
}

async fn list(
    client: &Client,
    status: Option<String>,
    agent: Option<String>,
    limit: u32,
    as_json: bool,
) -> Result<(), Failure> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(status.map(|status| ("status", status)));
    query.extend(agent.map(|agent| ("agent", agent)));
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let page = client.get(&format!("/v1/runs?{}", query.join("&"))).await?;
    if as_json {
        output::line(&page.to_string());
        return Ok(());
    }
    let rows: Vec<Vec<String>> = page["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|run| {
            vec![
                text(run, "id"),
                text(run, "status"),
                agent_of(run),
                run["totals"]["steps"].to_string(),
                output::dollars(&run["totals"]["micro_usd"]),
                text(run, "created_at"),
            ]
        })
        .collect();
    output::table(
        &["RUN", "STATUS", "AGENT", "STEPS", "COST", "CREATED"],
        &rows,
    );
    Ok(())
}

async fn make_token(
    client: &Client,
    run: &str,
    seconds: u64,
    as_json: bool,
) -> Result<(), Failure> {
    let request = client
        .request(Method::POST, &format!("/v1/runs/{run}/stream-tokens"))
        .json(&json!({"lifetime_seconds": seconds}));
    let made = client.json(request).await?;
    if as_json {
        output::line(&made.to_string());
    } else {
        output::line(&text(&made, "token"));
    }
    Ok(())
}

async fn show(client: &Client, run: &str, as_json: bool) -> Result<(), Failure> {
    let shown = client.get(&format!("/v1/runs/{run}")).await?;
    let steps = client.get(&format!("/v1/runs/{run}/steps")).await?;
    if as_json {
        output::line(&json!({"run": shown, "steps": steps["items"]}).to_string());
        return Ok(());
    }
    output::line(&format!("{:<11} {}", "id", text(&shown, "id")));
    output::line(&format!("{:<11} {}", "agent", agent_of(&shown)));
    for name in ["status", "created_at", "started_at", "ended_at"] {
        if let Some(value) = shown[name].as_str() {
            output::line(&format!("{name:<11} {value}"));
        }
    }
    output::line(&format!(
        "{:<11} {}",
        "cost",
        output::dollars(&shown["totals"]["micro_usd"])
    ));
    let rows: Vec<Vec<String>> = steps["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| {
            let tools: Vec<String> = step["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|call| text(call, "tool"))
                .collect();
            vec![
                step["step"].to_string(),
                number(&step["usage"]["input_tokens"]),
                number(&step["usage"]["output_tokens"]),
                output::dollars(&step["cost_micro_usd"]),
                number(&step["duration_ms"]),
                tools.join(" "),
            ]
        })
        .collect();
    output::line("");
    output::table(&["STEP", "IN", "OUT", "COST", "MS", "TOOLS"], &rows);
    match (&shown["output"], &shown["error"]) {
        (Value::Null, Value::Null) => {}
        (Value::Null, error) => output::line(&format!(
            "\n{}: {}",
            text(error, "code"),
            text(error, "message")
        )),
        (answer, _) => output::line(&format!("\n{}", output::readable(answer))),
    }
    Ok(())
}

async fn print_receipt(client: &Client, run: &str, as_json: bool) -> Result<(), Failure> {
    let receipt = client.get(&format!("/v1/runs/{run}/receipt")).await?;
    if as_json {
        output::line(&receipt.to_string());
        return Ok(());
    }
    let row = |name: String, spent: &Value| {
        let tokens = |kind: &str| {
            spent["usage"][kind]
                .as_u64()
                .unwrap_or_default()
                .to_string()
        };
        vec![
            name,
            spent["model_calls"].to_string(),
            spent["lost_calls"].to_string(),
            tokens("input_tokens"),
            tokens("cache_read_tokens"),
            tokens("cache_write_tokens"),
            tokens("output_tokens"),
            spent["lost_tokens"].to_string(),
            spent["model_ms"].to_string(),
            spent["tool_calls"].to_string(),
            spent["tool_ms"].to_string(),
            output::dollars(&spent["cost_micro_usd"]),
        ]
    };
    let items = |name: &str| receipt[name].as_array().cloned().unwrap_or_default();
    let mut rows: Vec<Vec<String>> = items("steps")
        .iter()
        .map(|item| {
            let name = format!("step {}.{}", text(item, "frame"), item["step"]);
            row(name, &item["spent"])
        })
        .collect();
    rows.extend(
        items("agents")
            .iter()
            .map(|item| row(agent_of(item), &item["spent"])),
    );
    let is_final = receipt["is_final"] == true;
    let total = if is_final { "total" } else { "total so far" };
    rows.push(row(total.to_owned(), &receipt["total"]));
    output::table(
        &[
            "",
            "CALLS",
            "LOST",
            "IN",
            "CACHED",
            "CACHE+",
            "OUT",
            "LOST TOKENS",
            "MODEL MS",
            "TOOLS",
            "TOOL MS",
            "COST",
        ],
        &rows,
    );
    print_platform(&receipt);
    Ok(())
}

/// What a run used of the platform, part by part, and what that cost beside what was charged.
fn print_platform(receipt: &Value) {
    let platform = &receipt["platform"];
    // What is not told is nothing.
    let of = |name: &str| platform[name].as_f64().unwrap_or_default();
    let cost = |name: &str| {
        let pico_usd = platform["cost"][name].as_f64().unwrap_or_default();
        format!("${:.9}", pico_usd / 1e12)
    };
    let rows = [
        (
            "table",
            format!(
                "{} reads ({} units), {} writes ({} units)",
                of("reads"),
                of("read_units"),
                of("writes"),
                of("write_units")
            ),
            cost("table_pico_usd"),
        ),
        (
            "payloads",
            format!(
                "{} read, {} written",
                of("payload_reads"),
                of("payload_writes")
            ),
            cost("payload_pico_usd"),
        ),
        (
            "queues",
            format!("{} requests", of("queue_milli_requests") / 1e3),
            cost("queue_pico_usd"),
        ),
        (
            "processes",
            format!(
                "{} ms, of whose memory its part is {:.6} GB-s; {} invocations",
                of("process_ms"),
                of("process_mb_ms") / 1_024_000.0,
                of("milli_invocations") / 1e3,
            ),
            cost("process_pico_usd"),
        ),
        (
            "platform",
            "all of it; no budget is charged for it".to_owned(),
            output::dollars(&receipt["platform_micro_usd"]),
        ),
    ];
    let rows = rows.map(|(name, used, cost)| vec![name.to_owned(), used, cost]);
    output::line("");
    output::table(&["PLATFORM", "USED", "COST"], &rows);
}

async fn print_events(
    client: &Client,
    run: &str,
    after: u64,
    follow: bool,
    as_json: bool,
) -> Result<(), Failure> {
    let mut watch = Watch::new(as_json);
    if follow {
        let request = client
            .request(Method::GET, &format!("/v1/runs/{run}/events?after={after}"))
            .header("Accept", "text/event-stream");
        let mut stream = events(client.send(request).await?);
        while let Some(sent) = stream.next().await {
            watch.show(&sent?);
        }
        return Ok(());
    }
    let mut after = after;
    loop {
        let page = client
            .get(&format!("/v1/runs/{run}/events?after={after}"))
            .await?;
        let empty = Vec::new();
        let found = page["items"].as_array().unwrap_or(&empty);
        for event in found {
            after = event["event"].as_u64().unwrap_or(after);
            watch.show(&Sent {
                id: after.to_string(),
                event: text(event, "type"),
                data: event.to_string(),
            });
        }
        if found.is_empty() || page["ended"] == true {
            return Ok(());
        }
    }
}
