//! Requests as usage: counted in memory, told now and then, once.

use domain::usage::{Interval, Usage};
use local::wire::{Fault, Rule};

use super::*;

async fn counted(world: &World, tenant: &str) -> (u64, u64) {
    let tenant = TenantId::parse(tenant).unwrap();
    let store = &world.api.engine.store;
    let (from, to) = (Interval::Day.start(NOW), NOW.plus_ms(86_400_000));
    let rows = store.usage(&tenant, Interval::Minute, from, to).await;
    let usages = rows.unwrap().into_iter().map(|row| row.usage);
    let sum = usages.fold(Usage::default(), Usage::plus);
    (sum.requests, sum.refused_requests)
}

/// Has this process tell what it has counted, as it does before it ends.
async fn ends(world: &World) {
    world.api.tallies.tell_all(&world.api.engine).await;
}

#[tokio::test]
async fn requests_are_told_a_minute_later_in_one_transaction() {
    let world = world().await;
    let key = world.tenant("acme").await;
    for _ in 0..50 {
        world.get(&key, "/v1/agents").await;
    }
    let before = world.api.engine.store.consumed();
    assert_eq!(counted(&world, "acme").await, (0, 0), "in memory");
    world.pass(60_000);
    world.get(&key, "/v1/agents").await;
    let told = async {
        while counted(&world, "acme").await != (52, 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told)
        .await
        .unwrap();
    let after = world.api.engine.store.consumed();
    assert_eq!(after.transactions - before.transactions, 1);
    ends(&world).await;
    assert_eq!(counted(&world, "acme").await, (52, 0), "nothing is left");
}

#[tokio::test]
async fn a_report_tells_requests_and_refusals_by_key_and_no_money_for_them() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let reader = world.key("acme", &["runs:read"]).await;
    let refused = world.get(&reader, "/v1/agents").await;
    assert_eq!(refused.code(), "scope_missing");
    world.get("", "/v1/agents").await;
    world
        .get(
            &world.key(auth::OPERATOR, &["admin:read"]).await,
            "/v1/admin/tenants",
        )
        .await;
    world.key("other", auth::SCOPES).await;
    ends(&world).await;
    let report = world
        .get(&key, "/v1/usage?interval=minute&group_by=key")
        .await;
    let report = report.json();
    assert_eq!(report["total"]["requests"], 2, "{report}");
    assert_eq!(report["total"]["refused_requests"], 1, "{report}");
    assert_eq!(report["items"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!(report["month"]["forecast_micro_usd"], 0, "{report}");
    let csv = world
        .ask(
            Method::GET,
            &key,
            "/v1/usage",
            &[("accept", "text/csv")],
            None,
        )
        .await;
    let lines: Vec<_> = csv.text.lines().collect();
    assert!(
        lines[0].ends_with(",requests,refused_requests"),
        "{lines:?}"
    );
    assert!(lines[1].ends_with(",0,2,1"), "{lines:?}");
    for tenant in ["other", auth::OPERATOR] {
        assert_eq!(counted(&world, tenant).await, (0, 0), "{tenant}");
    }
}

#[tokio::test]
async fn a_tally_whose_answer_was_lost_is_told_again_and_counts_once() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let lost = Rule::new(Fault::LoseResponse).on("TransactWriteItems");
    world.faults.add(lost);
    ends(&world).await;
    world.faults.clear();
    assert_eq!(counted(&world, "acme").await, (1, 0), "it was done");
    for _ in 0..3 {
        world.get(&key, "/v1/agents").await;
    }
    ends(&world).await;
    assert_eq!(counted(&world, "acme").await, (4, 0));
}

#[tokio::test]
async fn a_tally_that_the_table_did_not_take_is_told_with_the_next() {
    let world = world().await;
    let key = world.tenant("acme").await;
    world
        .faults
        .add(Rule::new(Fault::Throttle).on("TransactWriteItems"));
    ends(&world).await;
    assert_eq!(world.get(&key, "/v1/agents").await.status, StatusCode::OK);
    world.faults.clear();
    assert_eq!(counted(&world, "acme").await, (0, 0));
    let elsewhere = world.elsewhere();
    elsewhere.get(&key, "/v1/agents").await;
    ends(&world).await;
    ends(&elsewhere).await;
    assert_eq!(counted(&world, "acme").await, (3, 0));
}

#[tokio::test]
async fn many_keys_and_minutes_are_told_in_as_many_transactions_as_they_need() {
    let world = world().await;
    let mut keys = Vec::new();
    for _ in 0..40 {
        keys.push(world.key("acme", &["runs:read"]).await);
    }
    for key in keys.iter().chain(&keys) {
        assert_eq!(world.get(key, "/v1/runs").await.status, StatusCode::OK);
    }
    let before = world.api.engine.store.consumed();
    ends(&world).await;
    let after = world.api.engine.store.consumed();
    assert_eq!(after.transactions - before.transactions, 2);
    assert_eq!(counted(&world, "acme").await, (80, 0));
}
