//! Closing tenants: over HTTP as far as it goes at once, and to the end on a clock that jumps.

use std::time::Duration;

use domain::closing::{Closing, Counts, Place};
use domain::id::{RunId, TenantId};
use domain::run::Status;
use reqwest::Method;
use serde_json::{Value, json};
use store::Store;

use crate::client::Client;
use crate::platform::{Running, shared, within};
use crate::world::{Delivery, World, tenant};

/// A tenant with a key that nobody has used yet, so that no process believes its settings.
async fn onboard(running: &Running, id: &str) -> Client {
    let operator = running.operator();
    let body = json!({"id": id, "name": id, "tier": "business", "overrides": {"windows": []}});
    operator.post("/v1/admin/tenants", &body).await.expect(201);
    let path = format!("/v1/admin/tenants/{id}/keys");
    let issued = operator.post(&path, &json!({"label": "first"})).await;
    let key = issued.expect(201)["key"].as_str().unwrap().to_owned();
    Client::new(&running.platform.url, &key)
}

#[tokio::test]
async fn a_tenant_that_is_being_closed_opens_nothing_and_changes_no_more_until_it_is_resumed() {
    let running = shared();
    let operator = running.operator();
    let client = onboard(running, "closing-quiet").await;
    let path = "/v1/admin/tenants/closing-quiet";
    let post = async |what: &str| operator.post(&format!("{path}/{what}"), &json!({})).await;
    let asked = post("close").await.expect(202);
    assert_eq!(asked["phase"], "draining", "{asked}");
    assert_eq!(asked["can_be_resumed"], true);
    let again = post("close").await.expect(202);
    assert_eq!(
        (&again["id"], &again["requested_at"]),
        (&asked["id"], &asked["requested_at"])
    );

    client.get("/v1/runs").await.problem(403, "tenant_closed");
    let body = json!({"agent": "none", "input": "x"});
    let created = client.post("/v1/runs", &body).await;
    created.problem(403, "tenant_closed");
    let key = json!({"label": "late"});
    let refused = operator.post(&format!("{path}/keys"), &key).await;
    refused.problem(409, "tenant_closing");
    let change = operator.request(Method::PATCH, path);
    let changed = operator.send(change.json(&json!({"name": "N"}))).await;
    changed.problem(409, "tenant_closing");
    let budgets = operator.request(Method::PUT, &format!("{path}/budgets/tenant"));
    let set = operator.send(budgets.json(&json!({"budgets": []}))).await;
    set.problem(409, "tenant_closing");
    post("suspend").await.problem(409, "tenant_closing");

    let shown = operator.get(path).await.expect(200);
    assert_eq!(shown["standing"], "closing", "{shown}");
    assert_eq!(shown["closing"]["requested_by"], asked["requested_by"]);
    let resumed = post("resume").await.expect(200);
    assert_eq!(resumed["standing"], "active", "{resumed}");
    let shown = operator.get(path).await.expect(200);
    assert!(shown.get("closing").is_none(), "{shown}");
    operator
        .post(&format!("{path}/keys"), &key)
        .await
        .expect(201);
    let nobody = "/v1/admin/tenants/nobody/close";
    let refused = operator.post(nobody, &json!({})).await;
    refused.problem(404, "not_found");
}

#[tokio::test]
async fn the_runs_of_a_tenant_that_is_being_closed_are_cancelled() {
    let running = shared();
    let client = onboard(running, "closing-busy").await;
    let definition = json!({"model": "local.tools", "tools": ["wait"]});
    let agent = client.agent(&definition).await;
    let run = client.create(&agent, "wait for 600 s").await;
    let operator = running.operator();
    let path = "/v1/admin/tenants/closing-busy/close";
    operator.post(path, &json!({})).await.expect(202);
    let store = running.platform.cloud.store();
    let tenant = TenantId::parse("closing-busy").unwrap();
    let run = RunId::parse(&run).unwrap();
    let cancelled = async {
        loop {
            let (head, _) = store.read(&tenant, &run, true).await.unwrap().unwrap();
            if head.status.is_terminal() {
                return head.status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(within(cancelled).await, Status::Cancelled);
}

/// How much a tenant has.
async fn left(store: &Store, tenant: &TenantId) -> Counts {
    let mut counts = Counts::default();
    let mut place = Place::Table(None);
    while place != Place::End {
        let found = store.holdings(tenant, &place).await.unwrap();
        counts.items += found.counts.items;
        counts.objects += found.counts.objects;
        place = found.next;
    }
    counts
}

#[tokio::test]
async fn a_closing_goes_to_its_end_by_messages_and_ticks_and_nothing_comes_late() {
    let world = World::new(json!({"model": "local.tools", "tools": ["wait"]})).await;
    let _process = world.process(Delivery::default());
    let engine = world.engine();
    for number in 1..=3 {
        let request = World::request(number, "wait for 600 s");
        world.create(&engine, request).await;
    }
    engine
        .close_tenant(&tenant(), "operator:1")
        .await
        .unwrap()
        .unwrap();
    let closing = async || -> Closing {
        let read = engine.store.closing(&tenant()).await;
        read.unwrap().unwrap()
    };
    let mut phases = vec!["draining"];
    while !closing().await.is_closed() {
        world.pass().await;
        let phase = closing().await.phase_name();
        if phases.last() != Some(&phase) {
            phases.push(phase);
        }
    }
    assert_eq!(phases.last(), Some(&"closed"), "{phases:?}");
    assert!(phases.contains(&"waiting"), "{phases:?}");
    let closed = closing().await;
    assert_eq!(closed.exported, closed.deleted);
    assert_eq!(left(&engine.store, &tenant()).await, Counts::default());

    // The stream tells of a run only now.
    let event = include_str!("../../events/relay-run-ended.json");
    let told: Value = serde_json::from_str(event).unwrap();
    assert!(told.to_string().contains("T#demo#R#"));
    let counted = relay::handle(&engine, serde_json::from_value(told).unwrap()).await;
    assert_eq!(counted.unwrap(), 0);
    assert_eq!(left(&engine.store, &tenant()).await, Counts::default());
    let late = engine.create(World::request(9, "x")).await.unwrap();
    assert!(matches!(late, engine::Admitted::Refused(_)), "{late:?}");
    assert_eq!(left(&engine.store, &tenant()).await, Counts::default());
}
