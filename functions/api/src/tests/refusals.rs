//! What policy refuses stands in the trail of whoever asked.

use std::time::Instant;

use domain::audit::{Change, Verifier};
use domain::tenant::Standing;
use local::wire::{Fault, Rule};

use super::*;

const MINUTE_MS: u64 = 60_000;

impl World {
    /// What a tenant's trail tells of refused requests.
    async fn refused(&self, tenant: &str) -> Vec<Change> {
        let tenant = TenantId::parse(tenant).unwrap();
        let trail = self.api.engine.store.audit(&tenant, 0, 1_000).await;
        let trail = trail.unwrap().items;
        let mut verifier = Verifier::default();
        trail.iter().for_each(|entry| verifier.take(entry).unwrap());
        let changes = trail.into_iter().map(|entry| entry.change);
        changes
            .filter(|change| change.action == "request.refused")
            .collect()
    }
}

fn id(key: &str) -> &str {
    keys::parse(key).unwrap().id
}

#[tokio::test]
async fn a_refusal_is_told_with_who_asked_for_what_and_why() {
    let world = world().await;
    let whole = world.tenant("acme").await;
    let narrow = world.key("acme", &["runs:read"]).await;
    let expired = world
        .key_with("acme", auth::SCOPES, |key| key.expires_at = Some(NOW))
        .await;
    let revoked = world
        .key_with("acme", auth::SCOPES, |key| key.revoked_at = Some(NOW))
        .await;
    let missing = "/v1/runs/run_00000000000000000000000000000000";
    for (key, path) in [
        (&narrow, "/v1/agents/echo"),
        (&whole, missing),
        (&whole, "/v1/runs?cursor=nonsense"),
        (&whole, "/v1/admin/tenants/acme"),
        (&expired, "/v1/runs"),
        (&revoked, "/v1/runs"),
    ] {
        let answer = world.get(key, path).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
    }
    let told = world.refused("acme").await;
    let told: Vec<_> = told
        .iter()
        .map(|change| {
            let state = &change.state;
            (
                change.by.clone(),
                change.subject.as_str(),
                state["code"].as_str().unwrap(),
                state["status"].as_u64().unwrap(),
                state["detail"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let by = |key: &str| format!("key:{}", id(key));
    let lacks = |scope: &str| format!("This needs the scope `{scope}`.");
    let (agents, admin) = (lacks("definitions:read"), lacks("admin:read"));
    let run = "GET /v1/runs/{run}";
    let (runs, tenant) = ("GET /v1/runs", "GET /v1/admin/tenants/{tenant}");
    let cursor =
        "Start over without a cursor; a cursor goes with the filters it was given out for.";
    assert_eq!(
        told,
        [
            (
                by(&narrow),
                "GET /v1/agents/{agent}",
                "scope_missing",
                403,
                &*agents
            ),
            (by(&whole), run, "not_found", 404, ""),
            (by(&whole), runs, "invalid_cursor", 400, cursor),
            (by(&whole), tenant, "scope_missing", 403, &*admin),
            (by(&expired), runs, "key_expired", 401, ""),
            (by(&revoked), runs, "key_revoked", 401, ""),
        ]
    );
}

#[tokio::test]
async fn what_a_tenant_may_not_do_now_is_told() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let store = &world.api.engine.store;
    let acme = TenantId::parse("acme").unwrap();
    let old = store.tenant(&acme).await.unwrap().unwrap();
    let mut new = old.clone();
    new.revision += 1;
    new.standing = Standing::Suspended;
    world.api.engine.put_tenant(&new, Some(&old)).await.unwrap();
    let request = json!({"agent": "echo", "input": "hello"});
    let answer = world.post(&key, "/v1/runs", &request).await;
    assert_eq!(answer.code(), "tenant_suspended");
    let told = world.refused("acme").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&*told[0].subject, &told[0].state["code"]),
        ("POST /v1/runs", &json!("tenant_suspended"))
    );
}

#[tokio::test]
async fn requests_that_are_wrong_or_unknown_are_told_to_no_trail() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let stranger = keys::issue("test", [77; keys::RANDOM_BYTES]).text;
    world.get(&stranger, "/v1/runs").await;
    world.get("", "/v1/runs").await;
    world.get(&key, "/v1/runs?limit=0").await;
    world.get(&key, "/v2/nothing").await;
    world.post(&key, "/v1/agents/bad", &json!({})).await;
    assert_eq!(world.refused("acme").await, []);
    // Another tenant's run is looked for among one's own.
    let other = world.tenant("other").await;
    let request = json!({"agent": "echo", "input": "hello"});
    let run = world.post(&other, "/v1/runs", &request).await.json();
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    assert_eq!(world.get(&key, &path).await.code(), "not_found");
    assert_eq!(world.refused("acme").await.len(), 1);
    assert_eq!(world.refused("other").await, []);
}

#[tokio::test]
async fn the_refusals_of_operators_stand_in_the_operators_trail() {
    let world = world().await;
    let key = world.key(auth::OPERATOR, &["admin:read"]).await;
    world.get(&key, "/v1/runs").await;
    let told = world.refused(auth::OPERATOR).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].by, format!("operator:{}", id(&key)));
}

#[tokio::test]
async fn a_flood_of_refusals_is_one_entry_a_minute_and_costs_nothing_more() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let flood = async || {
        let store = &world.api.engine.store;
        let before = store.consumed();
        for _ in 0..50 {
            let missing = world.get(&key, "/v1/agents/none").await;
            assert_eq!(missing.status, StatusCode::NOT_FOUND);
        }
        store.consumed().transactions - before.transactions
    };
    assert_eq!(flood().await, 1);
    world.pass(MINUTE_MS);
    // One more may count the requests of the minute before.
    let again = flood().await;
    assert!((1..=2).contains(&again), "{again}");
    let told = world.refused("acme").await;
    let untold: Vec<_> = told.iter().map(|change| &change.state["untold"]).collect();
    assert_eq!(untold, [&json!(0), &json!(49)]);
}

#[tokio::test]
async fn the_answer_is_the_same_when_the_trail_cannot_be_written() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let refused = async || world.get(&key, "/v1/agents/none").await;
    let well = refused().await;
    let faults = [Fault::FailBefore, Fault::Delay(Duration::from_secs(3_600))];
    for fault in faults {
        world.pass(MINUTE_MS);
        world.faults.clear();
        world.faults.add(Rule::new(fault).on("TransactWriteItems"));
        let began = Instant::now();
        for _ in 0..3 {
            let ill = refused().await;
            assert_eq!((ill.status, ill.code()), (well.status, well.code()));
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{fault:?}");
    }
    world.faults.clear();
    world.pass(MINUTE_MS);
    refused().await;
    let told = world.refused("acme").await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1].state["untold"], 6);
}

#[tokio::test]
async fn of_two_processes_one_tells_and_the_other_tells_later_what_it_did_not() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let other = world.elsewhere();
    let missing = "/v1/agents/none";
    world.get(&key, missing).await;
    other.get(&key, missing).await;
    assert_eq!(world.refused("acme").await.len(), 1);
    world.pass(MINUTE_MS);
    other.get(&key, missing).await;
    world.get(&key, missing).await;
    let told = world.refused("acme").await;
    assert_eq!((told.len(), &told[1].state["untold"]), (2, &json!(1)));
}
