//! Bad input: each has a clear error, and does no harm to anything else.

use domain::id::TenantId;
use reqwest::Method;
use serde_json::{Value, json};
use store::{CURSOR_LIFETIME_MS, RunFilter};

use crate::client::Client;
use crate::platform::{onboard, shared};

/// Another run of the same tenant goes as if nothing had happened.
pub(crate) async fn assert_unharmed(client: &Client) {
    assert_eq!(
        client.run("hello", "still here").await["output"],
        "still here"
    );
}

fn places(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap();
    let place = |error: &Value| {
        ["pointer", "parameter", "header"]
            .iter()
            .find(|kind| error[**kind].is_string())
            .copied()
    };
    errors
        .iter()
        .map(|error| error[place(error).unwrap()].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn malformed_json_is_told_with_its_place() {
    let client = shared().demo();
    for body in [
        "{\"agent\": \"hello\",",
        "{\"agent\": \"hello\" \"input\": 1}",
        "",
        "nonsense",
        "{\"agent\": \"hello\", \"input\": \"x\"} x",
    ] {
        let problem = client
            .post_text("/v1/runs", body)
            .await
            .problem(400, "malformed_json");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("line 1 column"),
            "{body}: {problem}"
        );
    }
    assert_unharmed(&client).await;
}

#[tokio::test]
async fn unknown_fields_and_wrong_types_are_told_with_a_pointer() {
    let client = shared().demo();
    for (body, pointer) in [
        (
            json!({"agent": "hello", "input": "x", "unknown_member": "y"}),
            "/unknown_member",
        ),
        (
            json!({"agent": "hello", "input": "x", "caps": {"stepz": 1}}),
            "/caps/stepz",
        ),
        (json!({"agent": 7, "input": "x"}), "/agent"),
        (
            json!({"agent": "hello", "input": "x", "caps": {"steps": "many"}}),
            "/caps/steps",
        ),
        (
            json!({"agent": "hello", "input": "x", "caps": {"steps": -1}}),
            "/caps/steps",
        ),
        (
            json!({"agent": "hello", "input": "x", "lane": "fast"}),
            "/lane",
        ),
        (
            json!({"agent": "hello", "input": "x", "metadata": {"a": 1}}),
            "/metadata/a",
        ),
        (json!({"agent": "hello", "input": "  "}), "/input"),
        (
            json!({"agent": "hello", "input": "x", "version": 0}),
            "/version",
        ),
        (
            json!({"agent": "hello", "input": "x", "version": 99}),
            "/version",
        ),
        (json!({"agent": "absent", "input": "x"}), "/agent"),
        (json!({"agent": "no slug!", "input": "x"}), "/agent"),
    ] {
        let problem = client
            .post("/v1/runs", &body)
            .await
            .problem(422, "invalid_body");
        assert_eq!(places(&problem), [pointer], "{body}: {problem}");
    }
    for (body, pointer) in [
        (
            json!({"model": "local.echo", "unheard_of": "x"}),
            "/unheard_of",
        ),
        (json!({"model": ["local.echo"]}), "/model"),
        (json!({"model": ""}), "/model"),
        (
            json!({"model": "local.echo", "tools": ["clock", "hammer"]}),
            "/tools/1",
        ),
        (
            json!({"model": "local.echo", "inference": {"temperature": 3.5}}),
            "/inference/temperature",
        ),
        (
            json!({"model": "local.echo", "output_schema": {"type": "nonsense"}}),
            "/output_schema",
        ),
    ] {
        let problem = client
            .post("/v1/agents/bad-definition", &body)
            .await
            .problem(422, "invalid_body");
        assert_eq!(places(&problem), [pointer], "{body}: {problem}");
    }
    client
        .get("/v1/agents/bad-definition")
        .await
        .problem(404, "not_found");
    assert_unharmed(&client).await;
}

#[tokio::test]
async fn every_broken_rule_of_a_definition_is_told_at_once() {
    let client = shared().demo();
    let body = json!({"model": "", "tools": ["hammer"], "caps": {"steps": 0}});
    let problem = client
        .post("/v1/agents/bad-definition", &body)
        .await
        .problem(422, "invalid_body");
    assert_eq!(places(&problem), ["/model", "/caps/steps", "/tools/0"]);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_not_json_is_refused() {
    let client = shared().demo();
    let large = json!({"agent": "hello", "input": "x".repeat(300 * 1024)});
    let problem = client
        .post("/v1/runs", &large)
        .await
        .problem(413, "body_too_large");
    assert!(
        problem["detail"].as_str().unwrap().contains("262144"),
        "{problem}"
    );
    let large = json!({"model": "local.echo", "description": "x".repeat(70 * 1024)});
    client
        .post("/v1/agents/large", &large)
        .await
        .problem(413, "body_too_large");
    let text = client
        .request(Method::POST, "/v1/runs")
        .header("content-type", "text/plain")
        .body("{}");
    client
        .send(text)
        .await
        .problem(415, "unsupported_media_type");
    assert_unharmed(&client).await;
}

#[tokio::test]
async fn what_cannot_be_an_id_names_nothing() {
    let client = shared().demo();
    for id in [
        "run_",
        "nonsense",
        "run_0123456789ABCDEF0123456789ABCDEF",
        "T%23demo%23R",
        "..%2f..%2fetc",
        &"a".repeat(500),
    ] {
        client
            .get(&format!("/v1/runs/{id}"))
            .await
            .problem(404, "not_found");
        client
            .get(&format!("/v1/runs/{id}/events"))
            .await
            .problem(404, "not_found");
    }
    client
        .get("/v1/agents/No%20Slug")
        .await
        .problem(404, "not_found");
    let answer = client
        .post("/v1/agents/No%20Slug", &json!({"model": "local.echo"}))
        .await;
    assert_eq!(places(&answer.problem(400, "invalid_parameter")), ["agent"]);
    client.get("/v1/nothing").await.problem(404, "not_found");
    let wrong = client
        .send(client.request(Method::DELETE, "/v1/runs"))
        .await;
    wrong.problem(405, "method_not_allowed");
    assert_unharmed(&client).await;
}

#[tokio::test]
async fn wrong_parameters_and_headers_are_told_by_name() {
    let client = shared().demo();
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("status=done", "status"),
        ("agent=No!", "agent"),
        ("created_after=yesterday", "created_after"),
        ("limt=1", "limt"),
        ("limit=1&limit=2", "limit"),
    ] {
        let problem = client
            .get(&format!("/v1/runs?{query}"))
            .await
            .problem(400, "invalid_parameter");
        assert_eq!(places(&problem), [name], "{query}");
    }
    let body = json!({"agent": "hello", "input": "x"});
    let answer = client
        .post_with("/v1/runs", &[("idempotency-key", "\"open")], &body)
        .await;
    assert_eq!(
        places(&answer.problem(400, "invalid_header")),
        ["Idempotency-Key"]
    );
    let run = client.run("hello", "x").await;
    let path = format!("/v1/runs/{}/events", run["id"].as_str().unwrap());
    let answer = client
        .send(
            client
                .request(Method::GET, &path)
                .header("last-event-id", "x"),
        )
        .await;
    assert_eq!(
        places(&answer.problem(400, "invalid_header")),
        ["Last-Event-ID"]
    );
    assert_eq!(
        places(
            &client
                .get(&format!("{path}?after=99"))
                .await
                .problem(400, "invalid_parameter")
        ),
        ["after"]
    );
}

#[tokio::test]
async fn keys_that_do_not_open_are_told_apart() {
    let running = shared();
    running
        .stranger()
        .get("/v1/runs")
        .await
        .problem(401, "unauthenticated");
    let (text, _never_stored) = running.key("keys");
    let client = Client::new(&running.platform.url, &text);
    let unknown = client.get("/v1/runs").await;
    unknown.problem(401, "unauthenticated");
    assert!(unknown.header("www-authenticate").starts_with("Bearer"));
    Client::new(&running.platform.url, &format!("{text}0"))
        .get("/v1/runs")
        .await
        .problem(401, "unauthenticated");

    // An unknown key is remembered as such for a while, so each of these is a new one.
    let store = running.cloud().store();
    let (expired, mut item) = running.key("keys");
    item.expires_at = Some(domain::time::At(1));
    store.put_key(&item).await.unwrap();
    Client::new(&running.platform.url, &expired)
        .get("/v1/runs")
        .await
        .problem(401, "key_expired");
    let (revoked, mut item) = running.key("keys");
    item.revoked_at = Some(domain::time::At(1));
    store.put_key(&item).await.unwrap();
    Client::new(&running.platform.url, &revoked)
        .get("/v1/runs")
        .await
        .problem(401, "key_revoked");
    let (narrow, mut item) = running.key("keys");
    item.scopes = vec!["runs:read".to_owned()];
    store.put_key(&item).await.unwrap();
    onboard(&store, "keys").await;
    let narrow = Client::new(&running.platform.url, &narrow);
    narrow.get("/v1/runs").await.expect(200);
    narrow
        .post("/v1/runs", &json!({"agent": "a", "input": "x"}))
        .await
        .problem(403, "scope_missing");
    running
        .operator()
        .get("/v1/runs")
        .await
        .problem(403, "scope_missing");
    assert_unharmed(&running.demo()).await;
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_and_for_a_day() {
    let running = shared();
    let (client, other) = (
        running.tenant("cursors").await,
        running.tenant("cursors-other").await,
    );
    client
        .post("/v1/agents/quick", &json!({"model": "local.echo"}))
        .await
        .expect(201);
    for _ in 0..3 {
        client.run("quick", "x").await;
    }
    let page = client.get("/v1/runs?limit=1").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    client
        .get(&format!("/v1/runs?limit=1&cursor={cursor}"))
        .await
        .expect(200);
    other
        .get(&format!("/v1/runs?cursor={cursor}"))
        .await
        .problem(400, "invalid_cursor");
    client
        .get(&format!("/v1/runs?status=queued&cursor={cursor}"))
        .await
        .problem(400, "invalid_cursor");
    client
        .get(&format!("/v1/agents?cursor={cursor}"))
        .await
        .problem(400, "invalid_cursor");
    client
        .get("/v1/runs?cursor=nonsense")
        .await
        .problem(400, "invalid_cursor");

    let (store, now) = (running.cloud().store(), running.cloud().engine(None).now());
    let yesterday = domain::time::At(now.0 - CURSOR_LIFETIME_MS - 1_000);
    let tenant = TenantId::parse("cursors").unwrap();
    let old = store
        .runs(&tenant, &RunFilter::default(), 1, None, yesterday)
        .await
        .unwrap();
    let old = old.next.unwrap();
    client
        .get(&format!("/v1/runs?limit=1&cursor={old}"))
        .await
        .problem(400, "expired_cursor");
}
