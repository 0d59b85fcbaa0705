//! Credentials, unknown routes, headers, health, the document.

use super::*;

#[tokio::test]
async fn without_a_valid_key_nothing_is_told() {
    let world = world().await;
    let key = world.key("acme", auth::SCOPES).await;
    let mut random = [9; keys::RANDOM_BYTES];
    random[..8].fill(0);
    let forged = keys::issue("test", random).text;
    assert_eq!(
        keys::parse(&forged).unwrap().id,
        keys::parse(&key).unwrap().id
    );
    for wrong in ["", "skn_test_0000000000000000_00", &forged] {
        let answer = world.get(wrong, "/v1/runs").await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNAUTHORIZED, "unauthenticated".to_owned())
        );
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(world.get(&key, "/v1/runs").await.status, StatusCode::OK);
    let by_header = world
        .ask(Method::GET, "", "/v1/runs", &[("x-api-key", &key)], None)
        .await;
    assert_eq!(by_header.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_ends_by_expiry_and_by_revocation() {
    let world = world().await;
    let expiring = world
        .key_with("acme", auth::SCOPES, |key| {
            key.expires_at = Some(NOW.plus_ms(10));
        })
        .await;
    let revoked = world
        .key_with("acme", auth::SCOPES, |key| key.revoked_at = Some(NOW))
        .await;
    assert_eq!(
        world.get(&expiring, "/v1/runs").await.status,
        StatusCode::OK
    );
    world.pass(10);
    assert_eq!(world.get(&expiring, "/v1/runs").await.code(), "key_expired");
    assert_eq!(world.get(&revoked, "/v1/runs").await.code(), "key_revoked");
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let world = world().await;
    let key = world.key("acme", &["runs:read"]).await;
    let answer = world.post(&key, "/v1/runs", &json!({})).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::FORBIDDEN, "scope_missing".to_owned())
    );
    assert!(answer.text.contains("`runs:write`"), "{}", answer.text);
}

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn operations_have_names_of_their_own() {
    let document = document();
    let operations = document["paths"].as_object().unwrap().values();
    let mut names: Vec<&str> = operations
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "{names:?}");
}

#[tokio::test]
async fn every_route_but_health_and_the_document_wants_a_key() {
    let world = world().await;
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().unwrap() {
        let is_open = path.starts_with("/health/") || path == "/openapi.json";
        let path = path
            .replace("{agent}", "echo")
            .replace("{version}", "1")
            .replace("{run}", "run_00000000000000000000000000000000");
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            let answer = world
                .ask(method, "", &path, &[], Some("{}".to_owned()))
                .await;
            let is_refused = answer.status == StatusCode::UNAUTHORIZED;
            assert_eq!(is_refused, !is_open, "{path}: {answer:?}");
            assert_eq!(operation.get("security").is_some(), !is_open, "{path}");
        }
    }
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems() {
    let world = world().await;
    let answer = world.get("", "/v2/runs").await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::NOT_FOUND, "not_found".to_owned())
    );
    assert_eq!(answer.json()["instance"], answer.header("x-request-id"));
    let answer = world.ask(Method::PUT, "", "/v1/runs", &[], None).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.code(), "method_not_allowed");
    let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn health_tells_each_dependency() {
    let world = world().await;
    assert_eq!(
        world.get("", "/health/live").await.json(),
        json!({"status": "ok"})
    );
    let ready = world.get("", "/health/ready").await;
    assert_eq!(
        (ready.status, ready.json()),
        (
            StatusCode::OK,
            json!({"status": "ok", "dependencies": {"table": "ok", "payloads": "ok", "queues": "ok"}})
        )
    );
}

/// Field names of a schema in the document.
fn fields(document: &Value, schema: &str) -> Vec<String> {
    let properties = &document["components"]["schemas"][schema]["properties"];
    let mut names: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

#[test]
fn the_document_shows_domain_values_as_they_are() {
    let document = document();
    let agent = domain::agent::Agent {
        description: "d".to_owned(),
        model: "m".to_owned(),
        system: "s".to_owned(),
        inference: domain::model::Inference {
            temperature: Some(0.0),
            top_p: Some(0.0),
            stop_sequences: vec![String::new()],
            ..Default::default()
        },
        prompt_cache: domain::model::PromptCache::OneHour,
        tools: vec!["clock".to_owned()],
        caps: Default::default(),
        output_schema: Some(json!({})),
    };
    let usage = domain::model::Usage {
        input_tokens: 1,
        output_tokens: 1,
        cache_read_tokens: 1,
        cache_write_tokens: 1,
    };
    let limits = domain::tier::find("free").unwrap();
    let overrides = domain::tier::Overrides {
        windows: Some(limits.windows.clone()),
        concurrent_runs: Some(1),
        waiting_runs: Some(1),
        caps: Some(limits.caps),
        payload_bytes: Some(1),
        retention_days: Some(1),
        lane: Some(limits.lane),
    };
    let budget = domain::budget::Budget {
        period: domain::budget::Period::Day,
        unit: domain::budget::Unit::Tokens,
        limit: 1,
    };
    let frame = domain::id::FrameId::root();
    let spent = domain::receipt::Spent::default();
    let step_item = domain::receipt::StepItem {
        frame: frame.clone(),
        step: 1,
        spent,
    };
    let agent_item = domain::receipt::AgentItem {
        frame,
        agent: domain::agent::AgentRef {
            id: domain::id::AgentId::parse("a").unwrap(),
            version: 1,
        },
        spent,
    };
    let cost = domain::run::Cost {
        table_pico_usd: 1,
        payload_pico_usd: 1,
        queue_pico_usd: 1,
        process_pico_usd: 1,
    };
    let used = domain::run::Used {
        process_ms: 1,
        process_mb_ms: 1,
        milli_invocations: 1,
        reads: 1,
        read_units: 0.5,
        writes: 1,
        write_units: 1.0,
        payload_reads: 1,
        payload_writes: 1,
        queue_milli_requests: 1,
        cost,
    };
    let receipt = crate::runs::RunReceipt {
        run: RunId::derived(&TenantId::parse("acme").unwrap(), "1"),
        receipt: domain::receipt::Receipt::default(),
    };
    for (schema, value) in [
        ("Receipt", serde_json::to_value(receipt).unwrap()),
        ("AgentItem", serde_json::to_value(agent_item).unwrap()),
        ("StepItem", serde_json::to_value(step_item).unwrap()),
        ("Used", serde_json::to_value(used).unwrap()),
        ("Cost", serde_json::to_value(cost).unwrap()),
        ("Spent", serde_json::to_value(spent).unwrap()),
        ("Limits", serde_json::to_value(limits).unwrap()),
        ("Overrides", serde_json::to_value(&overrides).unwrap()),
        ("Window", serde_json::to_value(&limits.windows[0]).unwrap()),
        ("Budget", serde_json::to_value(budget).unwrap()),
        (
            "Amount",
            serde_json::to_value(domain::budget::CHUNK).unwrap(),
        ),
        ("Agent", serde_json::to_value(&agent).unwrap()),
        ("Inference", serde_json::to_value(&agent.inference).unwrap()),
        ("Caps", serde_json::to_value(agent.caps).unwrap()),
        ("AskedCaps", serde_json::to_value(agent.caps).unwrap()),
        (
            "Totals",
            serde_json::to_value(domain::caps::Totals::default()).unwrap(),
        ),
        ("Usage", serde_json::to_value(usage).unwrap()),
        (
            "UsageSum",
            serde_json::to_value(domain::usage::Usage::default()).unwrap(),
        ),
    ] {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        assert_eq!(fields(&document, schema), names, "{schema}");
    }
    for (schema, words) in [
        (
            "Period",
            domain::budget::Period::ALL
                .map(domain::budget::Period::as_str)
                .to_vec(),
        ),
        (
            "Unit",
            domain::budget::Unit::ALL
                .map(domain::budget::Unit::as_str)
                .to_vec(),
        ),
        ("Subject", vec!["tenant", "key", "address"]),
    ] {
        let shown = &document["components"]["schemas"][schema]["enum"];
        assert_eq!(*shown, json!(words), "{schema}");
    }
    let statuses = &document["components"]["schemas"]["Status"];
    for status in domain::run::Status::ALL {
        assert!(statuses.to_string().contains(status.as_str()), "{statuses}");
    }
}
