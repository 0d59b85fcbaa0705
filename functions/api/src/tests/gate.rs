//! Keys of API Gateway: made, moved and removed as keys and tenants change, whatever fails in between; and what its
//! authorizer is answered.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use domain::gate::Gate;
use futures_util::future::ready;

use super::*;
use crate::authorizer::{Asked, authorize};
use crate::gate::{Answer as Asking, GateKeys};

/// API Gateway, as far as it is asked: the plan of each key. It may be away.
#[derive(Default)]
struct Standin {
    keys: Mutex<BTreeMap<String, String>>,
    is_away: AtomicBool,
    asked: AtomicU64,
}

impl Standin {
    fn answer<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut BTreeMap<String, String>) -> T,
    ) -> Asking<'_, T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = if self.is_away.load(Ordering::Relaxed) {
            Err("away".into())
        } else {
            Ok(act(&mut self.keys.lock().unwrap()))
        };
        Box::pin(ready(answer))
    }

    fn away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// The plans of all keys.
    fn plans(&self) -> Vec<String> {
        self.keys.lock().unwrap().values().cloned().collect()
    }
}

fn name(tenant: &TenantId, key: &KeyId) -> String {
    format!("{tenant}.{key}")
}

impl GateKeys for Standin {
    fn ensure<'a>(&'a self, tenant: &'a TenantId, key: &'a KeyId, plan: &'a str) -> Asking<'a, ()> {
        self.answer(|keys| {
            keys.insert(name(tenant, key), plan.to_owned());
        })
    }

    fn remove<'a>(&'a self, tenant: &'a TenantId, key: &'a KeyId) -> Asking<'a, ()> {
        self.answer(|keys| {
            keys.remove(&name(tenant, key));
        })
    }

    fn list<'a>(&'a self, tenant: &'a TenantId) -> Asking<'a, Vec<KeyId>> {
        let begins = format!("{tenant}.");
        self.answer(|keys| {
            let ids = keys.keys().filter_map(|name| name.strip_prefix(&begins));
            ids.map(|id| KeyId::parse(id).unwrap()).collect()
        })
    }
}

fn names() -> Gate {
    Gate::parse("stack", "free").unwrap()
}

/// A world behind a gate, with an operator's key.
async fn guarded() -> (World, Arc<Standin>, String) {
    let mut world = world().await;
    let standin = Arc::<Standin>::default();
    world.api = world.api.guarded(names(), standin.clone());
    world.router = router(world.api.clone(), routes::routes());
    let operator = world.operator().await;
    (world, standin, operator)
}

impl World {
    async fn operator(&self) -> String {
        self.key("operator", auth::OPERATOR_SCOPES).await
    }

    async fn onboard(&self, operator: &str, id: &str, tier: &str) {
        let body = json!({"id": id, "name": "A test's", "tier": tier});
        let made = self.post(operator, "/v1/admin/tenants", &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    }

    /// Issues a key: its text, and what is said of it.
    async fn issue(&self, operator: &str, tenant: &str) -> (String, Value) {
        let path = format!("/v1/admin/tenants/{tenant}/keys");
        let issued = self.post(operator, &path, &json!({"label": "test"})).await;
        assert_eq!(issued.status, StatusCode::CREATED, "{issued:?}");
        let view = issued.json();
        (view["key"].as_str().unwrap().to_owned(), view)
    }

    async fn sync(&self, operator: &str, tenant: &str) -> Value {
        let path = format!("/v1/admin/tenants/{tenant}/keys/sync");
        let synced = self.post(operator, &path, &json!({})).await;
        assert_eq!(synced.status, StatusCode::OK, "{synced:?}");
        synced.json()
    }

    /// What the authorizer answers to a request with this header.
    async fn authorized(&self, authorization: &str) -> Value {
        let asked = json!({
            "type": "REQUEST",
            "methodArn": "arn:aws:execute-api:us-east-1:1:api/dev/GET/v1/runs",
            "resource": "/v1/runs",
            "httpMethod": "GET",
            "headers": {"Authorization": authorization},
        });
        self.asked(asked).await
    }

    async fn asked(&self, asked: Value) -> Value {
        let asked: Asked = serde_json::from_value(asked).unwrap();
        let answered = authorize(&self.api, &names(), &asked).await.unwrap();
        serde_json::to_value(answered).unwrap()
    }
}

fn path_of(tenant: &str, view: &Value) -> String {
    let id = view["id"].as_str().unwrap();
    format!("/v1/admin/tenants/{tenant}/keys/{id}")
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[tokio::test]
async fn a_key_has_a_gate_key_on_its_tiers_plan_from_issue_to_revocation() {
    let (world, standin, operator) = guarded().await;
    world.onboard(&operator, "acme", "business").await;
    let (_, first) = world.issue(&operator, "acme").await;
    assert_eq!(first["gateway"], "own");
    assert_eq!(standin.plans(), ["business"]);
    let path = path_of("acme", &first);
    let rotated = world
        .post(&operator, &format!("{path}/rotate"), &json!({}))
        .await;
    assert_eq!(rotated.json()["gateway"], "own");
    assert_eq!(standin.plans(), ["business", "business"]);
    let change = Some(json!({"tier": "enterprise"}).to_string());
    let changed = world
        .ask(
            Method::PATCH,
            &operator,
            "/v1/admin/tenants/acme",
            &[],
            change,
        )
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    assert_eq!(standin.plans(), ["enterprise", "enterprise"]);
    for _ in 0..2 {
        let revoked = world.ask(Method::DELETE, &operator, &path, &[], None).await;
        assert_eq!(revoked.status, StatusCode::NO_CONTENT);
        assert_eq!(standin.plans(), ["enterprise"]);
    }
    let revoked = world.get(&operator, &path).await.json();
    assert_eq!(revoked["gateway"], Value::Null);
    world
        .post(&operator, "/v1/admin/tenants/acme/close", &json!({}))
        .await;
    assert_eq!(standin.plans(), Vec::<String>::new());
}

#[tokio::test]
async fn while_api_gateway_is_away_keys_are_issued_and_revoked_and_nothing_is_lost() {
    let (world, standin, operator) = guarded().await;
    world.onboard(&operator, "acme", "business").await;
    let (kept, lost) = {
        standin.away(true);
        let (_, kept) = world.issue(&operator, "acme").await;
        let (_, lost) = world.issue(&operator, "acme").await;
        (kept, lost)
    };
    assert_eq!(kept["gateway"], "pending");
    let synced = world.sync(&operator, "acme").await;
    assert_eq!(synced, json!({"settled": 0, "pending": 3, "removed": 0}));
    let revoked = world
        .ask(
            Method::DELETE,
            &operator,
            &path_of("acme", &lost),
            &[],
            None,
        )
        .await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    standin.away(false);
    let synced = world.sync(&operator, "acme").await;
    assert_eq!(synced, json!({"settled": 2, "pending": 0, "removed": 0}));
    assert_eq!(standin.plans(), ["business"]);
    let kept = world.get(&operator, &path_of("acme", &kept)).await.json();
    assert_eq!(kept["gateway"], "own");
    let asked = standin.asked.load(Ordering::Relaxed);
    world.sync(&operator, "acme").await;
    let again = standin.asked.load(Ordering::Relaxed) - asked;
    assert_eq!(again, 1, "what is settled is only listed");
}

/// Whoever dies before or after API Gateway does what it was asked leaves a note; and what no note tells of is removed.
#[tokio::test]
async fn what_a_crash_left_anywhere_is_put_right() {
    let (world, standin, operator) = guarded().await;
    let (store, acme) = (&world.api.engine.store, TenantId::parse("acme").unwrap());
    world.onboard(&operator, "acme", "business").await;
    let (_, view) = world.issue(&operator, "acme").await;
    let id = KeyId::parse(view["id"].as_str().unwrap()).unwrap();
    let ready = store.key(&id).await.unwrap().unwrap().gate.unwrap();
    let making = domain::gate::AtGate {
        is_ready: false,
        ..ready.clone()
    };
    // It was made, and that was not noted; or it was not made.
    for is_there in [true, false] {
        store
            .key_at_gate(&id, Some(&ready), Some(&making))
            .await
            .unwrap();
        if !is_there {
            standin.keys.lock().unwrap().clear();
        }
        world.sync(&operator, "acme").await;
        assert_eq!(standin.plans(), ["business"]);
        let noted = store.key(&id).await.unwrap().unwrap().gate;
        assert_eq!(noted.as_ref(), Some(&ready));
    }
    // It was removed, and that was not noted.
    let mut revoked = store.key(&id).await.unwrap().unwrap();
    revoked.revoked_at = Some(NOW);
    store.put_key(&revoked).await.unwrap();
    standin.keys.lock().unwrap().clear();
    world.sync(&operator, "acme").await;
    assert_eq!(store.key(&id).await.unwrap().unwrap().gate, None);
    // One of a key that was revoked while it was made, and one of no key at all.
    let stray = KeyId::parse("stray").unwrap();
    for key in [&id, &stray] {
        standin.ensure(&acme, key, "business").await.unwrap();
    }
    let synced = world.sync(&operator, "acme").await;
    assert_eq!(synced, json!({"settled": 1, "pending": 0, "removed": 2}));
    assert_eq!(standin.plans(), Vec::<String>::new());
}

#[tokio::test]
async fn keys_of_pooled_tiers_share_and_own_limits_count_nothing() {
    let (world, standin, operator) = guarded().await;
    world.onboard(&operator, "pooled", "free").await;
    let (_, view) = world.issue(&operator, "pooled").await;
    assert_eq!(view["gateway"], "shared");
    assert_eq!(standin.plans(), Vec::<String>::new());
    let body = json!({"id": "custom", "name": "C", "tier": "free", "overrides": {"windows": []}});
    world.post(&operator, "/v1/admin/tenants", &body).await;
    let body = json!({"tier": "business"});
    let change = Some(body.to_string());
    let path = "/v1/admin/tenants/custom";
    world.ask(Method::PATCH, &operator, path, &[], change).await;
    world.issue(&operator, "custom").await;
    assert_eq!(standin.plans(), ["custom"]);
}

#[tokio::test]
async fn keys_that_are_older_than_the_plans_get_theirs_and_expired_ones_lose_it() {
    let (world, standin, operator) = guarded().await;
    world.onboard(&operator, "acme", "business").await;
    let expiring = world
        .key_with("acme", auth::SCOPES, |key| {
            key.expires_at = Some(NOW.plus_ms(1_000));
        })
        .await;
    let shared = names().shared_value(&TenantId::parse("acme").unwrap());
    let before = world.authorized(&bearer(&expiring)).await;
    assert_eq!(before["usageIdentifierKey"], shared);
    world.sync(&operator, "acme").await;
    assert_eq!(standin.plans(), ["business"]);
    world.pass(1_000);
    world.sync(&operator, "acme").await;
    assert_eq!(standin.plans(), Vec::<String>::new());
}

#[tokio::test]
async fn without_usage_plans_nothing_is_asked_and_nothing_told() {
    let world = world().await;
    let operator = world.operator().await;
    world.onboard(&operator, "acme", "business").await;
    let (_, view) = world.issue(&operator, "acme").await;
    assert_eq!(view["gateway"], Value::Null);
    let synced = world.sync(&operator, "acme").await;
    assert_eq!(synced, json!({"settled": 0, "pending": 0, "removed": 0}));
    let missing = world
        .post(&operator, "/v1/admin/tenants/nobody/keys/sync", &json!({}))
        .await;
    assert_eq!(missing.code(), "not_found");
}

#[tokio::test]
async fn the_authorizer_names_the_tenant_and_the_gate_key_and_allows_the_whole_stage() {
    let (world, standin, operator) = guarded().await;
    world.onboard(&operator, "acme", "business").await;
    let (key, view) = world.issue(&operator, "acme").await;
    let id = view["id"].as_str().unwrap();
    let answered = world.authorized(&bearer(&key)).await;
    assert_eq!(
        answered,
        json!({
            "principalId": id,
            "policyDocument": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow",
                    "Resource": "arn:aws:execute-api:us-east-1:1:api/dev/*",
                }],
            },
            "context": {"tenant": "acme", "key": id, "tier": "business"},
            "usageIdentifierKey": names().own_value(&KeyId::parse(id).unwrap()),
        })
    );
    assert!(
        !answered.to_string().contains(&key),
        "it is no secret's copy"
    );

    standin.away(true);
    let (pending, _) = world.issue(&operator, "acme").await;
    let shared = names().shared_value(&TenantId::parse("acme").unwrap());
    let answered = world.authorized(&bearer(&pending)).await;
    assert_eq!(answered["usageIdentifierKey"], shared);
    let answered = world.authorized(&bearer(&operator)).await;
    assert_eq!(answered["context"]["tenant"], "operator");
}

#[tokio::test]
async fn the_authorizer_denies_what_the_functions_deny_and_the_trail_is_told_of_it() {
    let (world, _, _) = guarded().await;
    let key = world.key("acme", auth::SCOPES).await;
    let expired = world
        .key_with("acme", auth::SCOPES, |key| key.expires_at = Some(NOW))
        .await;
    let revoked = world
        .key_with("acme", auth::SCOPES, |key| key.revoked_at = Some(NOW))
        .await;
    let mut mistyped = key.clone();
    mistyped.pop();
    for (wrong, code) in [
        (bearer("nonsense"), "unauthenticated"),
        (bearer(&mistyped), "unauthenticated"),
        (format!("Basic {key}"), "unauthenticated"),
        (bearer(&expired), "key_expired"),
        (bearer(&revoked), "key_revoked"),
    ] {
        let answered = world.authorized(&wrong).await;
        let statement = &answered["policyDocument"]["Statement"][0];
        assert_eq!(statement["Effect"], "Deny", "{code}");
        assert_eq!(answered["context"]["code"], code);
        assert_eq!(answered.get("usageIdentifierKey"), None);
    }
    let acme = TenantId::parse("acme").unwrap();
    let trail = world.api.engine.store.audit(&acme, 0, 100).await.unwrap();
    let refused = trail.items.iter().map(|entry| &entry.change);
    let told: Vec<_> = refused
        .filter(|change| change.action == "request.refused")
        .map(|change| (change.subject.clone(), change.state["code"].clone()))
        .collect();
    let by_authorizer = |code: &str| ("GET /v1/runs".to_owned(), json!(code));
    assert_eq!(told, ["key_expired", "key_revoked"].map(by_authorizer));
}

#[tokio::test]
async fn the_authorizer_takes_a_stream_token_where_it_opens_something_and_nowhere_else() {
    let (world, _, _) = guarded().await;
    let key = world.tenant("acme").await;
    let request = json!({"agent": "echo", "input": "hello"});
    let created = world.post(&key, "/v1/runs", &request).await;
    let run = created.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{run}/stream-tokens");
    let made = world.post(&key, &path, &json!({})).await.json();
    let token = made["token"].as_str().unwrap();
    let ask = async |resource: &str, headers: Value, query: Value| {
        let asked = json!({
            "methodArn": "arn:aws:execute-api:us-east-1:1:api/dev/GET/v1/x",
            "resource": resource,
            "httpMethod": "GET",
            "headers": headers,
            "queryStringParameters": query,
        });
        let answered = world.asked(asked).await;
        answered["policyDocument"]["Statement"][0]["Effect"].clone()
    };
    let events = "/v1/runs/{run}/events";
    let (header, query) = (
        json!({"authorization": bearer(token)}),
        json!({"access_token": token}),
    );
    assert_eq!(ask(events, Value::Null, query.clone()).await, "Allow");
    assert_eq!(ask(events, header.clone(), Value::Null).await, "Allow");
    assert_eq!(ask(events, header.clone(), query.clone()).await, "Deny");
    assert_eq!(ask("/v1/runs", header, Value::Null).await, "Deny");
    assert_eq!(ask("/v1/runs", Value::Null, query).await, "Deny");
    world.pass(900_000);
    let query = json!({"access_token": token});
    assert_eq!(ask(events, Value::Null, query).await, "Deny");
}

#[tokio::test]
async fn an_authorizer_that_cannot_look_a_key_up_says_neither_yes_nor_no() {
    let (world, _, _) = guarded().await;
    let key = world.key("acme", auth::SCOPES).await;
    world
        .faults
        .add(local::wire::Rule::new(local::wire::Fault::FailBefore));
    let asked = json!({
        "methodArn": "arn:aws:execute-api:us-east-1:1:api/dev/GET/v1/runs",
        "headers": {"authorization": bearer(&key)},
    });
    let asked: Asked = serde_json::from_value(asked).unwrap();
    let answered = authorize(&world.api, &names(), &asked).await;
    assert!(
        matches!(answered, Err(Problem::Unavailable)),
        "{answered:?}"
    );
}
