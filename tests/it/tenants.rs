//! What an operator does, and what then holds: tenants, keys, limits, turns, budgets.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::platform::{Running, shared, within};

/// Onboards a tenant with these overrides and gives it a key.
async fn onboard(running: &Running, id: &str, overrides: Value) -> Client {
    let operator = running.operator();
    let body = json!({"id": id, "name": id, "tier": "business", "overrides": overrides});
    operator.post("/v1/admin/tenants", &body).await.expect(201);
    let path = format!("/v1/admin/tenants/{id}/keys");
    let issued = operator.post(&path, &json!({"label": "first"})).await;
    client(running, &issued.expect(201))
}

fn client(running: &Running, issued: &Value) -> Client {
    Client::new(&running.platform.url, issued["key"].as_str().unwrap())
}

/// An agent that waits for as long as its input says, or counts.
async fn worker(client: &Client) -> String {
    let definition = json!({
        "model": "local.tools",
        "tools": ["wait", "calculator"],
        "inference": {"max_output_tokens": 64},
    });
    client.agent(&definition).await
}

/// Follows a run until it is parked for this reason, and reads it.
async fn parked(client: &Client, run: &str, reason: &str) -> Value {
    let mut stream = client.follow(run, 0).await;
    loop {
        let events = stream.until("parked").await;
        if events
            .last()
            .is_some_and(|last| last.json()["reason"] == reason)
        {
            return client.read(run).await;
        }
    }
}

async fn set_budget(running: &Running, tenant: &str, budgets: Value) -> Answer {
    let operator = running.operator();
    let path = format!("/v1/admin/tenants/{tenant}/budgets/tenant");
    let request = operator.request(Method::PUT, &path);
    operator
        .send(request.json(&json!({ "budgets": budgets })))
        .await
}

#[tokio::test]
async fn runs_over_the_cap_wait_for_their_turn_and_begin_in_order() {
    let running = shared();
    let overrides = json!({"windows": [], "concurrent_runs": 1, "waiting_runs": 2});
    let client = onboard(running, "turns", overrides).await;
    let agent = worker(&client).await;
    let first = client.create(&agent, "wait for 600 s").await;
    let body = |input: &str| json!({"agent": agent, "input": input});
    let second = client
        .post("/v1/runs", &body("count to 2"))
        .await
        .expect(202);
    assert_eq!(
        (&second["waiting"], &second["place_in_line"]),
        (&json!(true), &json!(1))
    );
    // Whoever waits for an answer stands in line as well.
    let path = "/v1/runs";
    let prefer = [("prefer", "wait=1")];
    let third = client
        .post_with(path, &prefer, &body("count to 3"))
        .await
        .expect(202);
    assert_eq!(
        (&third["waiting"], &third["place_in_line"]),
        (&json!(true), &json!(2))
    );
    let full = client.post(path, &body("count to 4")).await;
    full.problem(429, "line_full");
    assert_eq!(full.header("retry-after"), "10");

    let cancel = format!("/v1/runs/{first}/cancel");
    client.post(&cancel, &json!({})).await;
    let mut started = Vec::new();
    for run in [&second, &third] {
        let ended = client.ended(run["id"].as_str().unwrap()).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
        assert!(ended.get("waiting").is_none(), "{ended}");
        started.push(ended["started_at"].as_str().unwrap().to_owned());
    }
    assert!(started.is_sorted(), "{started:?}");
    let accounts = client.get("/v1/budgets").await.expect(200);
    let tenant = &accounts["items"][0];
    assert_eq!(
        (&tenant["runs_active"], &tenant["runs_waiting"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(tenant["held"], json!({"micro_usd": 0, "tokens": 0}));
}

#[tokio::test]
async fn a_run_that_waits_for_its_turn_can_be_cancelled() {
    let running = shared();
    let overrides = json!({"windows": [], "concurrent_runs": 1});
    let client = onboard(running, "impatient", overrides).await;
    let agent = worker(&client).await;
    let first = client.create(&agent, "wait for 600 s").await;
    let second = client.create(&agent, "count to 2").await;
    for run in [&second, &first] {
        client
            .post(&format!("/v1/runs/{run}/cancel"), &json!({}))
            .await;
        assert_eq!(client.ended(run).await["status"], "cancelled");
    }
    let third = client.run(&agent, "count to 2").await;
    assert_eq!(third["status"], "succeeded", "{third}");
}

/// Waits until these are the warnings of the tenant's budgets, in percent.
async fn warned(client: &Client, expected: &[u64]) {
    let come = async {
        loop {
            let trail = client.get("/v1/audit?limit=100").await.expect(200);
            let entries = trail["items"].as_array().unwrap();
            let warnings = entries
                .iter()
                .filter(|one| one["action"] == "budget.warned");
            let percents = warnings.map(|one| one["state"]["percent"].as_u64().unwrap());
            if percents.collect::<Vec<_>>() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(come).await;
}

#[tokio::test]
async fn a_budget_warns_at_each_part_once() {
    let running = shared();
    let client = onboard(running, "warned", json!({"windows": []})).await;
    let agent = worker(&client).await;
    let whole = client.run(&agent, "count to 4").await;
    let price = whole["totals"]["micro_usd"].as_u64().unwrap();
    let budget = json!([{"period": "total", "unit": "micro_usd", "limit": price * 10}]);
    set_budget(running, "warned", budget).await.expect(200);
    for (runs, expected) in [(5, &[50][..]), (3, &[50, 80])] {
        for _ in 0..runs {
            client.run(&agent, "count to 4").await;
        }
        warned(&client, expected).await;
    }
    // More than what is left pays for.
    let run = client.create(&agent, "count to 40").await;
    parked(&client, &run, "budget_reached").await;
    warned(&client, &[50, 80, 100]).await;
    let accounts = client.get("/v1/budgets").await.expect(200);
    let budget = &accounts["items"][0]["budgets"][0];
    assert_eq!(budget["warned_percent"], 100, "{budget}");
    let cancel = format!("/v1/runs/{run}/cancel");
    client.post(&cancel, &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_budget_that_is_reached_parks_a_run_and_a_higher_one_lets_it_go_on() {
    let running = shared();
    let client = onboard(running, "thrifty", json!({"windows": []})).await;
    let agent = worker(&client).await;
    let whole = client.run(&agent, "count to 4").await;
    let price = whole["totals"]["micro_usd"].as_u64().unwrap();

    let budget = |limit: u64| json!([{"period": "total", "unit": "micro_usd", "limit": limit}]);
    let limit = price * 6 / 10;
    set_budget(running, "thrifty", budget(limit))
        .await
        .expect(200);
    let run = client.create(&agent, "count to 4").await;
    let parked = parked(&client, &run, "budget_reached").await;
    assert_eq!(parked["parked"]["reason"], "budget_reached", "{parked}");
    assert_eq!(parked["parked"]["node"], "tenant");
    let body = json!({"agent": agent, "input": "count to 4"});
    let refused = client.post("/v1/runs", &body).await;
    let refused = refused.problem(402, "budget_reached");
    assert!(
        refused["detail"].as_str().unwrap().contains("in all"),
        "{refused}"
    );

    set_budget(running, "thrifty", budget(price * 3))
        .await
        .expect(200);
    let ended = client.ended(&run).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let spent = ended["totals"]["micro_usd"].as_u64().unwrap();
    let accounts = client.get("/v1/budgets").await.expect(200);
    let tenant = &accounts["items"][0];
    assert_eq!(
        tenant["held"],
        json!({"micro_usd": 0, "tokens": 0}),
        "{tenant}"
    );
    assert_eq!(
        tenant["spent"]["micro_usd"],
        price + spent,
        "to the micro-dollar"
    );
    assert_eq!(tenant["budgets"][0]["left"], price * 3 - spent);
    let mut receipts = (0, 0);
    for run in [whole["id"].as_str().unwrap(), &run] {
        let receipt = client.get(&format!("/v1/runs/{run}/receipt")).await;
        let receipt = receipt.expect(200);
        assert_eq!(receipt["is_final"], true, "{receipt}");
        let total = &receipt["total"];
        receipts.0 += total["cost_micro_usd"].as_u64().unwrap();
        let tokens = ["input_tokens", "output_tokens"].map(|kind| &total["usage"][kind]);
        receipts.1 += tokens
            .map(|tokens| tokens.as_u64().unwrap())
            .iter()
            .sum::<u64>();
        assert_eq!(
            receipt["agents"][0]["spent"], *total,
            "one agent did it all"
        );
    }
    let charged = ["micro_usd", "tokens"].map(|unit| tenant["spent"][unit].as_u64().unwrap());
    assert_eq!(receipts, charged.into(), "receipts and ledger agree");
    // That it was reached was told once; a third of the higher one is nothing to warn of.
    warned(&client, &[100]).await;
}

#[tokio::test]
async fn of_five_runs_at_once_a_budget_lets_in_the_three_that_it_holds() {
    const CENTS: u64 = 10_000;
    let running = shared();
    let client = onboard(running, "five-at-once", json!({"windows": []})).await;
    let agent = worker(&client).await;
    let budget = json!([{"period": "total", "unit": "micro_usd", "limit": 45 * CENTS}]);
    set_budget(running, "five-at-once", budget)
        .await
        .expect(200);
    let body = json!({
        "agent": agent,
        "input": "wait for 600 s",
        "caps": {"micro_usd": 15 * CENTS},
    });
    let answers = join_all((0..5).map(|_| client.post("/v1/runs", &body))).await;
    let (admitted, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 202);
    assert_eq!((admitted.len(), refused.len()), (3, 2), "{answers:?}");
    for answer in refused {
        answer.problem(402, "budget_reached");
    }
    let account = async || {
        let accounts = client.get("/v1/budgets").await.expect(200);
        let amount = |name: &str| accounts["items"][0][name]["micro_usd"].as_u64().unwrap();
        let left = accounts["items"][0]["budgets"][0]["left"].as_u64().unwrap();
        (left, amount("held"), amount("spent"))
    };
    assert_eq!(account().await, (0, 45 * CENTS, 0));

    // One that ends gives back what it did not spend, and no more than that can be had.
    let first = admitted[0].json()["id"].as_str().unwrap().to_owned();
    client
        .post(&format!("/v1/runs/{first}/cancel"), &json!({}))
        .await;
    let spent = client.ended(&first).await["totals"]["micro_usd"].clone();
    let spent = spent.as_u64().unwrap();
    assert_eq!(account().await, (15 * CENTS - spent, 30 * CENTS, spent));
    let answers = join_all((0..2).map(|_| client.post("/v1/runs", &body))).await;
    let (left, held, spent) = account().await;
    assert_eq!(left + held + spent, 45 * CENTS, "{answers:?}");
}

#[tokio::test]
async fn a_suspended_tenant_starts_nothing_and_goes_on_when_it_is_resumed() {
    let running = shared();
    let client = onboard(running, "paused", json!({"windows": []})).await;
    let agent = worker(&client).await;
    let run = client.create(&agent, "wait for 2 s, then count to 3").await;
    parked(&client, &run, "timer").await;
    let operator = running.operator();
    let stand = async |what: &str| {
        let path = format!("/v1/admin/tenants/paused/{what}");
        operator.post(&path, &json!({})).await.expect(200)
    };
    assert_eq!(stand("suspend").await["standing"], "suspended");
    let body = json!({"agent": agent, "input": "count to 2"});
    client
        .post("/v1/runs", &body)
        .await
        .problem(403, "tenant_suspended");
    client.get("/v1/runs").await.expect(200);
    parked(&client, &run, "suspended").await;
    assert_eq!(stand("resume").await["standing"], "active");
    assert_eq!(client.ended(&run).await["status"], "succeeded");
    client.post("/v1/runs", &body).await.expect(202);
}

#[tokio::test]
async fn an_operator_reaches_runs_in_line_and_runs_with_large_inputs() {
    let running = shared();
    let overrides = json!({"windows": [], "concurrent_runs": 1});
    let client = onboard(running, "reached", overrides).await;
    let agent = worker(&client).await;
    let large = format!("wait for 600 s{}", " ".repeat(70_000));
    let first = client.create(&agent, &large).await;
    parked(&client, &first, "timer").await;
    let second = client.create(&agent, "wait for 2 s, then count to 3").await;
    assert_eq!(client.read(&second).await["waiting"], true);
    let operator = running.operator();
    let tenant = "/v1/admin/tenants/reached";
    let raise = operator.request(Method::PATCH, tenant);
    let raise = raise.json(&json!({"overrides": {"windows": [], "concurrent_runs": 2}}));
    operator.send(raise).await.expect(200);
    assert_eq!(client.ended(&second).await["status"], "succeeded");
    let suspend = format!("{tenant}/suspend");
    operator.post(&suspend, &json!({})).await.expect(200);
    let refused = running.cloud().iam.refused();
    assert_eq!(refused, 0, "{}", running.last_lines());
}

#[tokio::test]
async fn every_answer_tells_the_limits_and_the_one_too_many_is_refused() {
    let running = shared();
    let windows = json!([{"name": "perhour", "requests": 3, "seconds": 3600, "by": "tenant"}]);
    let client = onboard(running, "limited", json!({ "windows": windows })).await;
    for left in (0..3).rev() {
        let answer = client.get("/v1/agents/none").await;
        answer.problem(404, "not_found");
        assert_eq!(answer.header("ratelimit-policy"), "\"perhour\";q=3;w=3600");
        let standing = answer.header("ratelimit").to_owned();
        // An hour may end while this runs; then the count begins anew.
        let expected = format!("\"perhour\";r={left};t=");
        assert!(standing.starts_with(&expected), "{standing}");
    }
    let refused = client.get("/v1/runs").await;
    let problem = refused.expect(429);
    assert_eq!(problem["code"], "rate_limited");
    assert_eq!(problem["violated-policies"], json!(["perhour"]));
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=3_600).contains(&seconds));
}

#[tokio::test]
async fn keys_are_rotated_with_two_at_once_and_revoked_for_ever() {
    let running = shared();
    let operator = running.operator();
    onboard(running, "locksmith", json!({"windows": []})).await;
    let keys = "/v1/admin/tenants/locksmith/keys";
    let body = json!({"label": "ci", "scopes": ["runs:read"], "project": "web"});
    let old = operator.post(keys, &body).await.expect(201);
    let path = format!("{keys}/{}", old["id"].as_str().unwrap());
    let new = operator.post(&format!("{path}/rotate"), &json!({})).await;
    let new = new.expect(201);
    assert_eq!(
        (&new["scopes"], &new["project"]),
        (&old["scopes"], &old["project"])
    );
    for key in [&old, &new] {
        client(running, key).get("/v1/runs").await.expect(200);
        client(running, key)
            .get("/v1/agents")
            .await
            .problem(403, "scope_missing");
    }
    let read = operator.get(&path).await.expect(200);
    assert!(
        read["expires_at"].is_string() && read["last_used_at"].is_string(),
        "{read}"
    );
    assert!(!read.to_string().contains("skn_"), "{read}");

    // One that nobody used yet, so no process remembers it.
    let third = operator.post(keys, &body).await.expect(201);
    let path = format!("{keys}/{}", third["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(operator.delete(&path).await.status, 204);
    }
    client(running, &third)
        .get("/v1/runs")
        .await
        .problem(401, "key_revoked");
    let again = operator.post(&format!("{path}/rotate"), &json!({})).await;
    again.problem(409, "key_over");
    let listed = operator.get(keys).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 4, "{listed}");
}

#[tokio::test]
async fn what_an_operator_sends_wrong_is_told_all_at_once() {
    let running = shared();
    let operator = running.operator();
    let body =
        json!({"id": "wrong", "name": " ", "tier": "gold", "overrides": {"concurrent_runs": 0}});
    let answer = operator.post("/v1/admin/tenants", &body).await;
    let problem = answer.problem(422, "invalid_body");
    let errors = problem["errors"].as_array().unwrap();
    let pointers: Vec<_> = errors.iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/name", "/tier", "/overrides/concurrent_runs"]);
    let body = json!({"id": "operator", "name": "x", "tier": "free"});
    let answer = operator.post("/v1/admin/tenants", &body).await;
    answer.problem(422, "invalid_body");

    onboard(running, "strict", json!({})).await;
    let body = json!({"id": "strict", "name": "strict", "tier": "free"});
    let answer = operator.post("/v1/admin/tenants", &body).await;
    answer.problem(409, "tenant_exists");
    let body =
        json!({"label": "", "scopes": ["admin:write"], "expires_at": "2001-01-01T00:00:00Z"});
    let answer = operator.post("/v1/admin/tenants/strict/keys", &body).await;
    let problem = answer.problem(422, "invalid_body");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
    let twice = json!({"period": "day", "unit": "tokens", "limit": 1});
    let answer = set_budget(running, "strict", json!([twice, twice])).await;
    answer.problem(422, "invalid_body");
    for path in [
        "nobody",
        "strict/keys/none",
        "nobody/budgets",
        "nobody/keys",
    ] {
        let answer = operator.get(&format!("/v1/admin/tenants/{path}")).await;
        answer.problem(404, "not_found");
    }
}
