//! Usage plans: the authorizer and API Gateway's own keys before the functions.

use std::fs;
use std::path::Path;

use dev::{Cloud, CloudConfig, Isolation};
use domain::gate::{FREE_HAND_PLAN, SHARED_KEYS, SHARED_PLAN, throttle_of};
use domain::tier;
use local::gate::Plan;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::platform::{Running, within};

/// A platform of its own behind usage plans, in memory.
async fn guarded() -> Running {
    let config = CloudConfig {
        isolation: Isolation::Session,
        usage_plans: true,
        ..CloudConfig::default()
    };
    Running::start(Cloud::open(None, config).await.unwrap()).await
}

/// Onboards a tenant as an operator does, and issues a key: a client with it, and what was said of it.
async fn onboard(running: &Running, tenant: &str, tier: &str) -> (Client, Value) {
    let operator = running.operator();
    let body = json!({"id": tenant, "name": "A test's", "tier": tier});
    operator.post("/v1/admin/tenants", &body).await.expect(201);
    let path = format!("/v1/admin/tenants/{tenant}/keys");
    let issued = operator.post(&path, &json!({"label": "test"})).await;
    let issued = issued.expect(201);
    let key = issued["key"].as_str().unwrap();
    (Client::new(&running.platform.url, key), issued)
}

#[tokio::test]
async fn behind_usage_plans_the_platform_does_what_it_does_without() {
    let running = guarded().await;
    let (client, issued) = onboard(&running, "acme", "business").await;
    assert_eq!(issued["gateway"], "own");
    let agent = json!({"model": "local.echo"});
    client.post("/v1/agents/echo", &agent).await.expect(201);
    let run = client.run("echo", "hello").await;
    assert_eq!(run["output"], "hello");

    // A browser's token, which no header carries.
    let run = run["id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/stream-tokens");
    let token = client.post(&path, &json!({})).await.expect(201);
    let token = token["token"].as_str().unwrap();
    let events = format!("/v1/runs/{run}/events");
    let stranger = running.stranger();
    let watched = stranger
        .get(&format!("{events}?access_token={token}"))
        .await;
    assert_eq!(watched.expect(200)["ended"], true);
    let preflight = stranger.request(Method::OPTIONS, &events);
    assert_eq!(stranger.send(preflight).await.status, 204);

    // What is open stays open, and operators' routes are the functions' own affair.
    stranger.get("/health/live").await.expect(200);
    stranger.get("/openapi.json").await.expect(200);
    stranger
        .get("/v1/admin/tiers")
        .await
        .problem(401, "unauthenticated");
    running.operator().get("/v1/admin/tiers").await.expect(200);

    // A tenant of a pooled tier, and one that is older than its gate key.
    let (pooled, issued) = onboard(&running, "pooled", "free").await;
    assert_eq!(issued["gateway"], "shared");
    pooled.get("/v1/runs").await.expect(200);
    running.demo().get("/v1/runs").await.expect(200);
    within(running.platform.stop()).await;
}

#[tokio::test]
async fn the_gateway_refuses_what_has_no_key_that_holds_with_the_functions_words() {
    let running = guarded().await;
    let (client, issued) = onboard(&running, "acme", "business").await;
    client.get("/v1/runs").await.expect(200);
    for (wrong, code) in [("", "unauthenticated"), ("skn_x", "unauthenticated")] {
        let answer = Client::new(&running.platform.url, wrong)
            .get("/v1/runs")
            .await;
        let problem = answer.expect(401);
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&json!(code), &json!(401))
        );
        assert_eq!(problem["instance"], answer.header("x-amzn-requestid"));
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    // What answers are kept by must be in the request.
    let stranger = running.stranger();
    let key = issued["key"].as_str().unwrap();
    let by_header = stranger
        .request(Method::GET, "/v1/runs")
        .header("x-api-key", key);
    stranger.send(by_header).await.expect(401);

    // Another key of the tenant, revoked before it is used: nothing is kept of it anywhere.
    let operator = running.operator();
    let path = "/v1/admin/tenants/acme/keys";
    let second = operator
        .post(path, &json!({"label": "second"}))
        .await
        .expect(201);
    let id = second["id"].as_str().unwrap();
    operator.delete(&format!("{path}/{id}")).await.expect(204);
    let revoked = Client::new(&running.platform.url, second["key"].as_str().unwrap());
    assert_eq!(
        revoked.get("/v1/runs").await.expect(401)["code"],
        "key_revoked"
    );
    within(running.platform.stop()).await;
}

#[tokio::test]
async fn the_exact_limit_is_met_before_the_plan_and_the_plan_before_the_functions() {
    let running = guarded().await;
    let (slow, _) = onboard(&running, "slow", "free").await;
    // Twice as many as a minute has at most, should it end meanwhile.
    let mut refused = None;
    for _ in 0..=20 {
        let answer = slow.get("/v1/runs").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.expect(429)["code"], "rate_limited");
    assert!(!refused.header("ratelimit").is_empty(), "it is Skein's own");

    let (client, issued) = onboard(&running, "acme", "business").await;
    let gate = &running.cloud().gate;
    let plan = |throttle, per_day| gate.add_plan("skeindev.business", Plan { throttle, per_day });
    for (throttle, per_day, after) in [(Some((0.0, 0)), None, "1"), (None, Some(0), "3600")] {
        plan(throttle, per_day);
        let answer = client.get("/v1/runs").await;
        assert_eq!(answer.expect(429)["code"], "rate_limited");
        assert_eq!(answer.header("retry-after"), after);
        assert!(answer.header("ratelimit").is_empty(), "no function saw it");
    }

    // Whoever removes a gate key by hand takes the key from the gateway until it is synced.
    plan(None, None);
    let keys = running.cloud().gate_keys().unwrap();
    let id = issued["id"].as_str().unwrap();
    let (tenant, id) = ("acme".to_owned(), id.to_owned());
    let (tenant, id) = (tenant.try_into().unwrap(), id.try_into().unwrap());
    keys.remove(&tenant, &id).await.unwrap();
    let answer = client.get("/v1/runs").await;
    assert_eq!(answer.expect(403)["code"], "gateway_forbidden");
    within(running.platform.stop()).await;
}

#[tokio::test]
async fn the_sample_of_an_authorizers_event_is_answered() {
    let running = guarded().await;
    let key = "skn_std_0707070707070707_07070707070707070707070707070707070707070707070779dbe8a2";
    running.admit("samples", key).await;
    let event = include_str!("../../events/authorizer-request.json");
    let reply = running.platform.lambda.invoke("authorizer", event.into());
    let answer = within(within(reply).await.unwrap().bytes()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let statement = &answer["policyDocument"]["Statement"][0];
    assert_eq!(statement["Effect"], "Allow");
    let stage = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/dev/*";
    assert_eq!(statement["Resource"], stage);
    let counted = answer["usageIdentifierKey"].as_str().unwrap();
    assert!(counted.contains("sharedkey"), "{counted}");
    within(running.platform.stop()).await;
}

fn template() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join("template.yaml")).unwrap()
}

/// The number behind a name in a piece of the template; none when it is not there.
fn number(piece: &str, name: &str) -> Option<f64> {
    let rest = piece.split(&format!("{name}: ")).nth(1)?;
    let digits = rest.split([',', ' ', '}', '\n']).next()?;
    digits.parse().ok()
}

#[test]
fn the_templates_plans_let_through_what_the_local_ones_do() {
    let template = template();
    let tiers = tier::all().keys().map(String::as_str);
    for plan in tiers.chain([FREE_HAND_PLAN, SHARED_PLAN]) {
        let piece = template.split(&format!(", .{plan}]]")).nth(1);
        let piece = piece.unwrap_or_else(|| panic!("no plan {plan}"));
        let piece = piece.split("\n\n").next().unwrap();
        let throttle = throttle_of(plan);
        let rate = number(piece, "RateLimit");
        match (rate, throttle) {
            (Some(rate), Some(throttle)) => {
                let differs = (rate - throttle.rate).abs() / throttle.rate;
                assert!(differs < 0.001, "{plan}: {rate}");
            }
            (rate, throttle) => assert!(rate.is_none() && throttle.is_none(), "{plan}"),
        }
        let burst = throttle.map(|throttle| f64::from(throttle.burst));
        assert_eq!(number(piece, "BurstLimit"), burst, "{plan}");
        let per_day = throttle.and_then(|throttle| throttle.per_day);
        assert_eq!(number(piece, "{ Limit"), per_day.map(f64::from), "{plan}");
    }
    for number in 0..SHARED_KEYS {
        let value = format!(", skeinsharedkeynumber{number}]]");
        assert_eq!(template.matches(&value).count(), 1, "{value}");
    }
    assert!(!template.contains(&format!("skeinsharedkeynumber{SHARED_KEYS}")));
}

#[test]
fn the_templates_answers_are_those_of_the_local_front_door() {
    let template = template();
    for (kind, status, code) in [
        ("UNAUTHORIZED", 401, "unauthenticated"),
        ("ACCESS_DENIED", 401, "$context.authorizer.code"),
        ("INVALID_API_KEY", 403, "gateway_forbidden"),
        ("THROTTLED", 429, "rate_limited"),
        ("QUOTA_EXCEEDED", 429, "rate_limited"),
        ("AUTHORIZER_FAILURE", 503, "unavailable"),
    ] {
        let piece = template.split(&format!("\n        {kind}:\n")).nth(1);
        let piece = piece.unwrap_or_else(|| panic!("no answer {kind}"));
        let body = piece.lines().find(|line| line.contains("\"type\""));
        let body = body.unwrap();
        assert!(
            piece
                .trim_start()
                .starts_with(&format!("StatusCode: {status}"))
        );
        for part in [
            format!("\"status\":{status}"),
            format!("\"code\":\"{code}\""),
        ] {
            assert!(body.contains(&part), "{kind}: {body}");
        }
    }
}
