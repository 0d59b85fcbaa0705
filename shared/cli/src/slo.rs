//! `skein slo`: what service the platform gave.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;

use crate::args::Slo;
use crate::client::Client;
use crate::output::{self, Failure};

pub(crate) async fn slo(client: &Client, asked: Slo) -> Result<ExitCode, Failure> {
    let parameters = [
        ("from", asked.from),
        ("to", asked.to),
        ("tenant", asked.tenant),
    ];
    let given = parameters
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(given)
        .finish();
    let request = client.request(Method::GET, &format!("/v1/admin/slo?{query}"));
    let report = client.json(request).await?;
    if asked.json {
        output::line(&report.to_string());
    } else {
        show(&report, asked.hours);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &Value, by_hour: bool) {
    let instant = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.get(..16).unwrap_or(text).replace('T', " ")
    };
    let row = |start: String, it: &Value| {
        let (wait, life) = (&it["run_wait"], &it["run_duration"]);
        vec![
            start,
            it["requests"].to_string(),
            it["failed_requests"].to_string(),
            percent(&it["availability"]),
            ended(&it["runs"]).to_string(),
            percent(&it["run_success"]),
            at_most(wait, "p50_ms"),
            at_most(wait, "p95_ms"),
            at_most(wait, "p99_ms"),
            at_most(life, "p50_ms"),
            at_most(life, "p95_ms"),
        ]
    };
    let hours = report["hours"].as_array().into_iter().flatten();
    let mut rows: Vec<_> = hours
        .filter(|_| by_hour)
        .map(|hour| row(instant(&hour["start"]), hour))
        .collect();
    rows.push(row("total".to_owned(), &report["total"]));
    output::table(
        &[
            "HOUR (UTC)",
            "REQUESTS",
            "5XX",
            "AVAILABLE",
            "RUNS",
            "SUCCEEDED",
            "WAIT P50",
            "WAIT P95",
            "WAIT P99",
            "TOOK P50",
            "TOOK P95",
        ],
        &rows,
    );
    let tenants = match report["tenants"].as_u64() {
        Some(1) => "1 tenant".to_owned(),
        count => format!("{} tenants", count.unwrap_or_default()),
    };
    output::line(&format!(
        "{} to {}, {tenants}; times are at most so long, and cancelled runs count for neither success nor failure",
        instant(&report["from"]),
        instant(&report["to"]),
    ));
}

fn ended(runs: &Value) -> u64 {
    let of = |name: &str| runs[name].as_u64().unwrap_or_default();
    of("succeeded") + of("failed") + of("cancelled") + of("expired")
}

fn percent(part: &Value) -> String {
    let part = part.as_f64();
    // Rounded down: nothing is perfect that is not.
    part.map_or_else(
        || "-".to_owned(),
        |part| format!("{:.3}%", (part * 100_000.0).floor() / 1_000.0),
    )
}

/// A percentile, of which it is known that it is not longer.
fn at_most(spread: &Value, name: &str) -> String {
    match (spread[name].as_u64(), spread["count"].as_u64()) {
        (Some(ms), _) if ms < 1_000 => format!("{ms} ms"),
        (Some(ms), _) if ms.is_multiple_of(3_600_000) => format!("{} h", ms / 3_600_000),
        (Some(ms), _) if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        (Some(ms), _) => {
            let tenths = ms / 100;
            match tenths % 10 {
                0 => format!("{} s", tenths / 10),
                part => format!("{}.{part} s", tenths / 10),
            }
        }
        (None, Some(1..)) => "over 1 h".to_owned(),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_and_parts_are_shown_as_people_say_them() {
        let shown = |ms: Value| at_most(&json!({"p95_ms": ms, "count": 1}), "p95_ms");
        let times = [250, 2_500, 30_000, 60_000, 3_600_000].map(|ms| shown(json!(ms)));
        assert_eq!(times, ["250 ms", "2.5 s", "30 s", "1 min", "1 h"]);
        assert_eq!(shown(Value::Null), "over 1 h");
        assert_eq!(at_most(&json!({"p95_ms": null, "count": 0}), "p95_ms"), "-");
        assert_eq!(percent(&json!(0.999_999)), "99.999%");
        assert_eq!(percent(&json!(1.0)), "100.000%");
        assert_eq!(percent(&Value::Null), "-");
    }
}
