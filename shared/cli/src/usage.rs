//! `skein usage`: requests, and what ended runs used and cost.

use std::process::ExitCode;

use anyhow::Context;
use reqwest::Method;
use serde_json::Value;

use crate::args::Usage;
use crate::client::Client;
use crate::output::{self, Failure};

/// What usage can be told apart by, in the order of the columns.
const DIMENSIONS: [&str; 4] = ["project", "key", "agent", "model"];

pub(crate) async fn usage(client: &Client, asked: Usage) -> Result<ExitCode, Failure> {
    let path = match &asked.tenant {
        Some(tenant) => format!("/v1/admin/tenants/{tenant}/usage"),
        None => "/v1/usage".to_owned(),
    };
    let mut query = vec![
        ("interval", asked.interval.clone()),
        ("group_by", asked.by.clone()),
    ];
    query.extend(asked.from.map(|from| ("from", from)));
    query.extend(asked.to.map(|to| ("to", to)));
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    let request = client.request(Method::GET, &format!("{path}?{query}"));
    if asked.csv {
        let response = client.send(request.header("accept", "text/csv")).await?;
        let text = response.text().await.context("reading the answer")?;
        output::piece(&text);
        return Ok(ExitCode::SUCCESS);
    }
    let report = client.json(request).await?;
    if asked.json {
        output::line(&report.to_string());
    } else {
        show(&report, &asked.by);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &Value, by: &str) {
    let shown = DIMENSIONS.map(|name| by.split(',').any(|asked| asked == name));
    let shown: Vec<&str> = DIMENSIONS
        .into_iter()
        .zip(shown)
        .filter_map(|(name, is_shown)| is_shown.then_some(name))
        .collect();
    let row = |start: String, item: &Value| {
        let text = |name: &&str| item[name].as_str().unwrap_or_default().to_owned();
        let mut cells = vec![start];
        cells.extend(shown.iter().map(text));
        let counts = [
            "requests",
            "refused_requests",
            "runs",
            "failed_runs",
            "steps",
            "tool_calls",
            "input_tokens",
            "output_tokens",
        ];
        cells.extend(counts.map(|name| item[name].to_string()));
        cells.push(output::dollars(&item["cost_micro_usd"]));
        cells
    };
    let items = report["items"].as_array().into_iter().flatten();
    let mut rows: Vec<_> = items
        .map(|item| row(start(item, &report["interval"]), item))
        .collect();
    rows.push(row("total".to_owned(), &report["total"]));
    let names: Vec<String> = shown.iter().map(|name| name.to_uppercase()).collect();
    let mut headings = vec!["FROM (UTC)"];
    headings.extend(names.iter().map(String::as_str));
    headings.extend([
        "REQUESTS",
        "REFUSED",
        "RUNS",
        "FAILED",
        "STEPS",
        "TOOL CALLS",
        "TOKENS IN",
        "TOKENS OUT",
        "COST",
    ]);
    output::table(&headings, &rows);
    let month = &report["month"];
    let name = month["start"].as_str().unwrap_or_default();
    output::line(&format!(
        "{} so far {}, at this rate {} by its end",
        name.get(..7).unwrap_or(name),
        output::dollars(&month["cost_micro_usd"]),
        output::dollars(&month["forecast_micro_usd"]),
    ));
}

/// Where an item's stretch begins, as finely as the interval needs.
fn start(item: &Value, interval: &Value) -> String {
    let start = item["start"].as_str().unwrap_or_default();
    let text = match interval.as_str() {
        Some("day") => start.get(..10),
        _ => start.get(..16),
    };
    text.unwrap_or(start).replace('T', " ")
}
