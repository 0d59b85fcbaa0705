//! Usage: what ended runs used, as the table's stream tells of them.

use std::time::Duration;

use domain::id::TenantId;
use domain::usage::{Interval, Usage};
use serde_json::{Value, json};

use crate::client::Client;
use crate::platform::{Running, onboard, shared, within};

/// The report, once it counts that many runs.
async fn counting(client: &Client, query: &str, runs: u64) -> Value {
    let path = format!("/v1/usage?{query}");
    let counted = async {
        loop {
            let report = client.get(&path).await.expect(200);
            if report["total"]["runs"].as_u64().unwrap() >= runs {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(counted).await
}

/// What the ledger says was spent, in micro-USD and tokens.
async fn charged(client: &Client) -> (u64, u64) {
    let accounts = client.get("/v1/budgets").await.expect(200);
    let spent = &accounts["items"][0]["spent"];
    let of = |unit: &str| spent[unit].as_u64().unwrap();
    (of("micro_usd"), of("tokens"))
}

fn counted(usage: &Value) -> (u64, u64) {
    let of = |name: &str| usage[name].as_u64().unwrap();
    (
        of("cost_micro_usd"),
        of("input_tokens") + of("output_tokens"),
    )
}

#[tokio::test]
async fn usage_is_what_budgets_were_charged_whatever_it_is_told_apart_by() {
    let running = shared();
    let client = running.tenant("counted").await;
    let definition = json!({"model": "local.tools", "tools": ["calculator", "wait"]});
    let adder = client.agent(&definition).await;
    let waiter = client.agent(&definition).await;
    for n in 1..=3 {
        client.run(&adder, &format!("count to {n}")).await;
    }
    let cancelled = client.create(&waiter, "wait for 600 s").await;
    client
        .post(&format!("/v1/runs/{cancelled}/cancel"), &json!({}))
        .await;
    client.ended(&cancelled).await;

    let report = counting(&client, "interval=minute&group_by=agent,model", 4).await;
    let total = &report["total"];
    assert_eq!(
        (&total["runs"], &total["failed_runs"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(
        counted(total),
        charged(&client).await,
        "to the micro-dollar"
    );
    // Requests, which may have been told meanwhile, are for no agent.
    let items = report["items"].as_array().unwrap().iter();
    let items: Vec<_> = items.filter(|item| item["runs"] != 0).collect();
    let of_adder = items.iter().filter(|item| item["agent"] == adder.as_str());
    let steps = of_adder.map(|item| item["steps"].as_u64().unwrap());
    assert_eq!(steps.sum::<u64>(), 2 + 3 + 4, "{report}");
    assert!(items.iter().all(|item| item["model"] == "local.tools"));
    assert!(
        items.iter().all(|item| item["key"].is_null()),
        "not asked for"
    );

    let day = counting(&client, "group_by=project,key", 4).await;
    assert_eq!(counted(&day["total"]), counted(total));
    assert_eq!(day["month"]["cost_micro_usd"], total["cost_micro_usd"]);
    let forecast = day["month"]["forecast_micro_usd"].as_u64().unwrap();
    assert!(forecast >= counted(total).0);

    let request = client.request(reqwest::Method::GET, "/v1/usage?group_by=agent");
    let csv = client.send(request.header("accept", "text/csv")).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let lines: Vec<&str> = csv.text.lines().collect();
    assert!(lines[0].starts_with("start,project,key,agent,model,runs,"));
    assert!(lines.iter().any(|line| line.contains(&adder)), "{lines:?}");

    let operator = running.operator();
    let path = "/v1/admin/tenants/counted/usage";
    let told = operator.get(path).await.expect(200);
    assert_eq!(counted(&told["total"]), counted(total));
    let missing = operator.get("/v1/admin/tenants/nobody/usage").await;
    missing.problem(404, "not_found");
    let other = running.tenant("uncounted").await;
    assert_eq!(other.get("/v1/usage").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let client = shared().demo();
    for query in [
        "interval=week",
        "group_by=agent,colour",
        "group_by=",
        "from=yesterday",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "interval=minute&from=2026-01-01T00:00:00Z&to=2026-01-04T00:00:00Z",
        "interval=day&from=1970-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "limit=3",
    ] {
        let answer = client.get(&format!("/v1/usage?{query}")).await;
        answer.problem(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn a_relay_that_is_killed_counts_every_run_once() {
    const RUNS: u64 = 60;
    let running = Running::own().await;
    onboard(&running.cloud().store(), "killed").await;
    let client = running.tenant("killed").await;
    let agent = client.agent(&json!({"model": "local.echo"})).await;
    for n in 0..RUNS {
        if n % 6 == 0 {
            let _none_yet = running.platform.lambda.kill("relay");
        }
        client.create(&agent, &format!("number {n}")).await;
    }
    let report = counting(&client, "", RUNS).await;
    assert_eq!(report["total"]["runs"], RUNS);
    assert_eq!(counted(&report["total"]), charged(&client).await);
    running.platform.stop().await;
}

#[tokio::test]
async fn requests_are_counted_before_their_processes_end() {
    let running = Running::own().await;
    let client = running.tenant("asking").await;
    let agent = client.agent(&json!({"model": "local.echo"})).await;
    for _ in 0..5 {
        client.get("/v1/agents").await.expect(200);
    }
    client.create(&agent, "by another function").await;
    client
        .get("/v1/admin/tenants")
        .await
        .problem(403, "scope_missing");
    running.platform.stop().await;
    let tenant = TenantId::parse("asking").unwrap();
    let now = running.cloud().engine(None).now();
    let (from, to) = (Interval::Day.start(now), now.plus_ms(86_400_000));
    // The test may have begun before midnight.
    let from = domain::time::At(from.0 - 86_400_000);
    let store = running.cloud().store();
    let rows = store.usage(&tenant, Interval::Day, from, to).await.unwrap();
    let usages = rows.into_iter().map(|row| row.usage);
    let usage = usages.fold(Usage::default(), Usage::plus);
    assert_eq!(usage.requests, 7, "{}", running.last_lines());
    assert_eq!(
        usage.refused_requests, 0,
        "operators' routes are not counted"
    );
}
