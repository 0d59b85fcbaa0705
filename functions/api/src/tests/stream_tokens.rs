//! Stream tokens: what they open, what they do not, and when they end.

use domain::tenant::Standing;

use super::*;

const MISSING: &str = "run_00000000000000000000000000000000";

impl World {
    /// A run that ended.
    async fn run_of(&self, key: &str) -> String {
        let request = json!({"agent": "echo", "input": "hello"});
        let headers = [("prefer", "wait=10")];
        let answer = self.post_with(key, "/v1/runs", &headers, &request).await;
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn token(&self, key: &str, run: &str, body: &Value) -> String {
        let path = format!("/v1/runs/{run}/stream-tokens");
        let answer = self.post(key, &path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// As a browser's `EventSource` asks.
    async fn watch(&self, run: &str, token: &str) -> Answer {
        let path = format!("{}?access_token={token}", events_of(run));
        let headers = [("accept", "text/event-stream")];
        self.ask(Method::GET, "", &path, &headers, None).await
    }
}

fn events_of(run: &str) -> String {
    format!("/v1/runs/{run}/events")
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), &*answer.code()), (status, code));
}

#[tokio::test]
async fn a_token_opens_the_events_of_its_run_by_header_and_by_parameter() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let run = world.run_of(&key).await;
    let token = world.token(&key, &run, &json!({})).await;
    assert!(token.starts_with("skt_") && token.len() < 300, "{token}");
    let with_key = world.get(&key, &events_of(&run)).await;
    let with_token = world.get(&token, &events_of(&run)).await;
    assert_eq!(with_token.text, with_key.text);
    let watched = world.watch(&run, &token).await;
    assert_eq!(watched.status, StatusCode::OK);
    assert!(watched.text.contains("event: end\n"), "{}", watched.text);

    // Two credentials could be two people's.
    let path = format!("{}?access_token={token}", events_of(&run));
    check(&world.get(&key, &path).await, 400, "invalid_parameter");
}

#[tokio::test]
async fn a_token_opens_no_other_run_and_no_other_route() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let theirs = world.tenant("other").await;
    let run = world.run_of(&key).await;
    let sibling = world.run_of(&key).await;
    let foreign = world.run_of(&theirs).await;
    let token = world.token(&key, &run, &json!({})).await;
    let mut answers = Vec::new();
    for other in [&sibling, &foreign, MISSING, "nonsense"] {
        let answer = world.watch(other, &token).await;
        check(&answer, 404, "not_found");
        let id = answer.header("x-request-id").to_owned();
        answers.push(answer.text.replace(&id, "-"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");

    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let route = path.replace("{run}", &run);
        for method in methods.as_object().unwrap().keys() {
            if !path.starts_with("/v1/") || *path == "/v1/runs/{run}/events" {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let ask = |key, path| world.ask(method.clone(), key, path, &[], None);
            check(&ask(&token, &route).await, 401, "unauthenticated");
            let by_query = format!("{route}?access_token={token}");
            check(&ask("", &by_query).await, 401, "unauthenticated");
        }
    }
    // Nor does it become a parameter that other routes know.
    let listed = world.get(&key, "/v1/runs?access_token=x").await;
    check(&listed, 400, "invalid_parameter");
}

#[tokio::test]
async fn whoever_cannot_read_a_run_makes_no_token_for_it() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let blind = world.key("acme", &["runs:write"]).await;
    let theirs = world.tenant("other").await;
    let run = world.run_of(&key).await;
    let make = async |key: &str, run: &str, body: Value| {
        let path = format!("/v1/runs/{run}/stream-tokens");
        world.post(key, &path, &body).await
    };
    check(&make(&theirs, &run, json!({})).await, 404, "not_found");
    check(&make(&key, MISSING, json!({})).await, 404, "not_found");
    check(&make(&blind, &run, json!({})).await, 403, "scope_missing");
    for wrong in [json!(0), json!(3_601), json!(-1), json!("900")] {
        let answer = make(&key, &run, json!({"lifetime_seconds": wrong})).await;
        check(&answer, 422, "invalid_body");
    }
}

#[tokio::test]
async fn a_token_is_good_for_as_long_as_was_asked_for() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let run = world.run_of(&key).await;
    let usual = world.token(&key, &run, &json!({})).await;
    let short = json!({"lifetime_seconds": 60});
    let short = world.token(&key, &run, &short).await;
    world.pass(59_999);
    assert_eq!(world.watch(&run, &short).await.status, StatusCode::OK);
    world.pass(1);
    let expired = world.watch(&run, &short).await;
    check(&expired, 401, "token_expired");
    assert!(expired.header("www-authenticate").contains("invalid_token"));
    assert_eq!(world.watch(&run, &usual).await.status, StatusCode::OK);
    world.pass(840_000);
    check(&world.watch(&run, &usual).await, 401, "token_expired");
}

#[tokio::test]
async fn a_token_ends_with_the_key_that_made_it() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let run = world.run_of(&key).await;
    let expiring = world
        .key_with("acme", auth::SCOPES, |key| {
            key.expires_at = Some(NOW.plus_ms(90_000));
        })
        .await;
    let of_key = world.token(&key, &run, &json!({})).await;
    let of_expiring = world.token(&expiring, &run, &json!({})).await;
    let id = KeyId::parse(keys::parse(&key).unwrap().id).unwrap();
    let store = &world.api.engine.store;
    let mut stored = store.key(&id).await.unwrap().unwrap();
    stored.revoked_at = Some(NOW);
    store.put_key(&stored).await.unwrap();
    world.pass(30_000);
    check(&world.watch(&run, &of_key).await, 401, "key_revoked");
    let still = world.watch(&run, &of_expiring).await;
    assert_eq!(still.status, StatusCode::OK);
    world.pass(60_000);
    check(&world.watch(&run, &of_expiring).await, 401, "key_expired");
}

#[tokio::test]
async fn a_token_ends_with_its_tenant() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let run = world.run_of(&key).await;
    let token = world.token(&key, &run, &json!({})).await;
    let store = &world.api.engine.store;
    let acme = TenantId::parse("acme").unwrap();
    let old = store.tenant(&acme).await.unwrap().unwrap();
    let mut closing = old.clone();
    closing.standing = Standing::Closing;
    closing.revision += 1;
    store.put_tenant(&closing, Some(&old)).await.unwrap();
    world.pass(60_000);
    check(&world.watch(&run, &token).await, 403, "tenant_closed");
}

#[tokio::test]
async fn a_token_that_is_not_whole_opens_nothing() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let run = world.run_of(&key).await;
    let token = world.token(&key, &run, &json!({})).await;
    for place in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        for wrong in [&forged, &token[..place]] {
            let answer = world.watch(&run, wrong).await;
            check(&answer, 401, "unauthenticated");
        }
    }
    // A key is none: an address ends up in places where no key belongs.
    check(&world.watch(&run, &key).await, 401, "unauthenticated");
}

#[tokio::test]
async fn refusals_of_tokens_stand_in_the_trail_of_the_key_that_made_them() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let run = world.run_of(&key).await;
    let token = world.token(&key, &run, &json!({})).await;
    world.watch(MISSING, &token).await;
    world.pass(900_000);
    world.watch(&run, &token).await;
    let acme = TenantId::parse("acme").unwrap();
    let trail = world.api.engine.store.audit(&acme, 0, 100).await.unwrap();
    let refused = trail.items.iter().map(|entry| &entry.change);
    let refused: Vec<_> = refused
        .filter(|change| change.action == "request.refused")
        .map(|change| (change.by.clone(), change.state["code"].clone()))
        .collect();
    let by = format!("key:{}", keys::parse(&key).unwrap().id);
    let told = ["not_found", "token_expired"].map(|code| (by.clone(), json!(code)));
    assert_eq!(refused, told);
    assert!(
        !serde_json::to_string(&trail.items)
            .unwrap()
            .contains("skt_")
    );
}

#[tokio::test]
async fn pages_of_any_origin_may_read_the_events_and_nothing_else() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let run = world.run_of(&key).await;
    let token = world.token(&key, &run, &json!({})).await;
    let origin = "access-control-allow-origin";
    assert_eq!(world.watch(&run, &token).await.header(origin), "*");
    assert_eq!(world.watch(&run, "skt_").await.header(origin), "*");
    let of_run = world.get(&key, &format!("/v1/runs/{run}")).await;
    assert_eq!(of_run.header(origin), "");

    let asked = [
        ("origin", "https://example.com"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = world
        .ask(Method::OPTIONS, "", &events_of(&run), &asked, None)
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header(origin), "*");
    assert_eq!(answer.header("access-control-allow-methods"), "GET");
    let headers = answer.header("access-control-allow-headers");
    assert!(headers.contains("authorization"), "{headers}");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let request = json!({"agent": "echo", "input": "nobody drives it"});
    let created = world.post(&key, "/v1/runs", &request).await;
    let run = created.json()["id"].as_str().unwrap().to_owned();
    // The spare that a stream leaves of its time is longer: it ends at once, and `end` is not told.
    let short = world
        .token(&key, &run, &json!({"lifetime_seconds": 1}))
        .await;
    let watched = tokio::time::timeout(Duration::from_secs(30), world.watch(&run, &short));
    let watched = watched.await.expect("the stream ends");
    assert_eq!(watched.status, StatusCode::OK);
    assert!(watched.text.contains("event: run_created\n"), "{watched:?}");
    assert!(!watched.text.contains("event: end\n"), "{watched:?}");
}
