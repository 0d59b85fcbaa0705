//! The third ring around tenants: a table of a tenant's own in the same stack, and tenants with a stack of their own.

use std::path::Path as File;
use std::time::Duration;

use dev::{CloudConfig, Isolation};
use domain::audit::{EVERY_MS, Entry, Verifier};
use domain::closing::{Counts, Place};
use domain::id::{AgentId, RunId, TenantId};
use domain::run::Status;
use engine::{Limits, NewRun};
use local::wire::{Call, Fault, Rule};
use reqwest::Method;
use serde_json::{Value, json};
use store::{RunFilter, Store};

use crate::client::{Client, types};
use crate::crashes::crashed_inline_at;
use crate::platform::{Running, onboard, within};
use crate::world::{Delivery, World, tenant};

/// The table that the demo tenant of [`World`] has for itself.
const OWN: &str = "skein-demo";

fn config(isolation: Isolation, tables: &[&str]) -> CloudConfig {
    CloudConfig {
        isolation,
        tenant_tables: tables.iter().map(|&table| table.to_owned()).collect(),
        ..CloudConfig::default()
    }
}

fn agent() -> Value {
    json!({"model": "local.tools", "tools": ["calculator", "slow_research", "wait"]})
}

/// The keys of a tenant's items in one table.
async fn keys(store: &Store, tenant: &TenantId, table: Place) -> Vec<String> {
    let (mut keys, mut place) = (Vec::new(), table);
    let bucket = |place: &Place| matches!(place, Place::Bucket(_) | Place::End);
    let own = matches!(place, Place::Own(..));
    while !bucket(&place) && own == matches!(place, Place::Own(..)) {
        let found = store.holdings(tenant, &place).await.unwrap();
        for line in found.lines().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let of = |name: &str| line["item"][name]["S"].as_str().unwrap().to_owned();
            keys.push(format!("{} {}", of("pk"), of("sk")));
        }
        place = found.next;
    }
    keys
}

/// Looks that nothing of a bridge stands in the stack's table but its record, its keys and the note of its table.
async fn assert_apart(store: &Store, tenant: &TenantId, own: &str) -> Vec<String> {
    let in_stack = keys(store, tenant, Place::Table(None)).await;
    for key in &in_stack {
        let is_found_by = *key == format!("T#{tenant} TENANT")
            || *key == format!("BRIDGES {own}")
            || (key.starts_with("K#") && key.ends_with(" KEY"));
        assert!(is_found_by, "{key} stands in the stack's table");
    }
    let there = keys(store, tenant, Place::Own(own.to_owned(), None)).await;
    let own_prefix = format!("T#{tenant}#");
    assert!(
        there.iter().all(|key| key.starts_with(&own_prefix)),
        "{there:#?}"
    );
    there
}

#[tokio::test]
async fn runs_of_a_bridge_are_driven_parked_and_brought_back_with_its_session_alone() {
    let world = World::with(config(Isolation::Session, &[OWN]), agent()).await;
    let first = world.process(Delivery::default());
    let client = world.engine_of("stream").of(&tenant());
    let input = "1+1, then research geese, then wait 2 seconds, then 2*3";
    let mut runs = vec![
        world.create(&client, World::request(1, input)).await,
        world
            .create(&client, World::request(2, &"x".repeat(100_000)))
            .await,
        world
            .create(&client, World::request(3, "wait 60 seconds, then 1+1"))
            .await,
    ];
    world.calls(2).await;
    // All processes end at once, wherever they stand; one run was never in a queue.
    first.crash().await;
    let inline = world.engine_of("stream");
    let new = World::request(4, "count to 4");
    runs.push(new.run.clone());
    {
        let limits = Limits::within(Duration::from_secs(25));
        let calls = world.cloud.models.calls();
        tokio::select! {
            () = world.calls(calls + 2) => {}
            driven = inline.create_and_drive(new, limits, None) => {
                panic!("it is over before it could be ended: {driven:?}");
            }
        }
    }
    let _second = world.process(Delivery::default());
    let ended = world.ended(&runs).await;
    let outputs: Vec<_> = ended.iter().map(|state| state.output.clone()).collect();
    for (run, end) in [(0, "2*3 is 6."), (2, "1+1 is 2."), (3, "3 + 1 is 4.")] {
        let output = outputs[run].as_ref().and_then(Value::as_str);
        assert!(output.is_some_and(|text| text.ends_with(end)), "{output:?}");
    }
    assert!(
        ended.iter().all(|state| state.status == Status::Succeeded),
        "{outputs:?}"
    );
    assert_eq!(world.cloud.iam.refused(), 0);

    let (demo, all) = (tenant(), RunFilter::default());
    let listed = client.store.runs(&demo, &all, 10, None, world.now());
    assert_eq!(Box::pin(listed).await.unwrap().items.len(), 4);
    let there = assert_apart(&world.cloud.store(), &tenant(), OWN).await;
    for run in &runs {
        let log = format!("T#demo#R#{run} C#000000000001");
        assert!(there.contains(&log), "{log}");
    }

    // Its trail is archived like any other.
    let (store, later) = (world.cloud.store(), world.now().plus_ms(2 * EVERY_MS));
    let (bucket, signer) = (world.cloud.archive(), world.cloud.signer());
    let archived = janitor::archive(&store, &bucket, &signer, later)
        .await
        .unwrap();
    assert_eq!((archived.due, archived.failed), (1, 0));
    let entries = store.audit(&tenant(), 0, 100).await.unwrap().items;
    let checkpoints = store.checkpoints(&tenant(), 0, 100).await.unwrap().items;
    let last = checkpoints.last().map(|checkpoint| checkpoint.to);
    assert_eq!(last, Some(entries.len() as u64));
    assert_apart(&store, &tenant(), OWN).await;
}

#[tokio::test]
async fn a_bridges_run_whose_stream_dies_at_any_request_is_finished_all_the_same() {
    let mut crashes = 0;
    let bridged = || config(Isolation::Pool, &[OWN]);
    while let Some(state) = crashed_inline_at(crashes + 1, bridged()).await {
        assert_eq!(state.output, Some(json!("1+1 is 2. 2*3 is 6.")));
        crashes += 1;
    }
    assert!(crashes >= 5, "{crashes} requests were crashed at");
}

#[tokio::test]
async fn a_table_that_does_not_answer_keeps_nobody_elses_runs_from_being_looked_at() {
    let world = World::with(config(Isolation::Pool, &[OWN]), agent()).await;
    let (store, other) = (world.cloud.store(), TenantId::parse("other").unwrap());
    onboard(&store, "other").await;
    let (id, definition) = (AgentId::parse("agent").unwrap(), agent());
    let definition = serde_json::from_value(definition).unwrap();
    let stored = store.put_agent(&other, &id, &definition, world.now());
    stored.await.unwrap();
    let engine = world.engine();
    for tenant in [tenant(), other] {
        let new = World::request(1, "1+1");
        world.create(&engine, NewRun { tenant, ..new }).await;
    }
    // Both messages are lost, and nobody sweeps until that shows.
    assert_eq!(world.receive("runs-standard").await.len(), 2);
    let began_at = world.now();
    while world.now().since_ms(began_at) < 40_000 {
        world.receive("sweeps").await;
        world.pass().await;
    }
    let silent = Rule::new(Fault::Throttle).on("Query");
    let asks = |call: &Call<'_>| call.body.windows(12).any(|text| text == b"\"skein-demo\"");
    world.cloud.faults.add(silent.when(asks));
    let woken = || world.cloud.queues.depth("runs-standard").visible;
    assert!(engine.sweep().await.unwrap_err().is_transient());
    assert_eq!(woken(), 1);
    world.cloud.faults.clear();
    assert_eq!(engine.sweep().await.unwrap().woken, 1);
    assert_eq!(woken(), 2);
}

#[tokio::test]
async fn a_bridge_is_closed_to_the_end_and_both_tables_are_proven_empty() {
    let world = World::with(config(Isolation::Session, &[OWN]), agent()).await;
    let _process = world.process(Delivery::default());
    let client = world.engine_of("stream").of(&tenant());
    for number in 1..=3 {
        let request = World::request(number, "wait for 600 s");
        world.create(&client, request).await;
    }
    let store = world.cloud.store();
    let there = assert_apart(&store, &tenant(), OWN).await.len() as u64;
    let engine = world.engine();
    engine
        .close_tenant(&tenant(), "operator:1")
        .await
        .unwrap()
        .unwrap();
    let closing = loop {
        world.pass().await;
        let closing = store.closing(&tenant()).await.unwrap().unwrap();
        if closing.is_closed() {
            break closing;
        }
    };
    assert_eq!(closing.exported, closing.deleted);
    // The runs' ends and the link that tells of the closing came later.
    let in_stack = 2;
    assert!(
        closing.deleted.items > there + in_stack,
        "{:?}",
        closing.deleted
    );
    for place in [Place::Own(OWN.to_owned(), None), Place::Table(None)] {
        let left = store.holdings(&tenant(), &place).await.unwrap();
        assert_eq!(left.counts, Counts::default(), "{}", left.lines());
    }
    assert_eq!(store.tables().await.unwrap().len(), 1);
}

/// A client of a tenant that an operator onboards so.
async fn onboarded(running: &Running, id: &str, isolation: Value) -> Client {
    let operator = running.operator();
    let body = json!({
        "id": id, "name": id, "tier": "business", "overrides": {"windows": []}, "isolation": isolation,
    });
    operator.post("/v1/admin/tenants", &body).await.expect(201);
    operator.post("/v1/admin/tenants", &body).await.expect(200);
    let path = format!("/v1/admin/tenants/{id}");
    let issued = operator
        .post(&format!("{path}/keys"), &json!({"label": "first"}))
        .await;
    let key = issued.expect(201)["key"].as_str().unwrap().to_owned();
    let budgets = operator.request(Method::PUT, &format!("{path}/budgets/tenant"));
    let budget = json!({"budgets": [{"period": "day", "unit": "micro_usd", "limit": 1_000_000}]});
    operator.send(budgets.json(&budget)).await.expect(200);
    Client::new(&running.platform.url, &key)
}

#[tokio::test]
async fn a_bridge_is_served_by_every_route_and_counted_from_the_stream_of_its_table() {
    let tables = ["skein-globex", "skein-initech"];
    let cloud = dev::Cloud::open(None, config(Isolation::Session, &tables)).await;
    let running = Running::start(cloud.unwrap()).await;
    let isolation = json!({"mode": "bridge", "table": "skein-globex"});
    let client = onboarded(&running, "globex", isolation.clone()).await;
    let pool = onboarded(&running, "hooli", json!({"mode": "pool"})).await;
    let operator = running.operator();
    let shown = operator.get("/v1/admin/tenants/globex").await.expect(200);
    assert_eq!(shown["isolation"], isolation);

    let definition = json!({"model": "local.tools", "tools": ["calculator", "wait"]});
    let agent = client.agent(&definition).await;
    pool.agent(&definition).await;
    let queued = client.run(&agent, "count to 2").await;
    let body = json!({"agent": agent, "input": "count to 1"});
    let waited = client
        .post_with("/v1/runs", &[("prefer", "wait=20")], &body)
        .await;
    assert_eq!(waited.expect(200)["output"], "0 + 1 is 1.");
    let streamed = json!({"agent": agent, "input": "count to 3", "stream": true});
    let mut stream = client
        .stream(client.request(Method::POST, "/v1/runs").json(&streamed))
        .await;
    assert!(stream.rest().await.len() > 5);
    let parked = client.run(&agent, "wait 1 second, then 1+1").await;
    assert_eq!(parked["status"], "succeeded");
    let (listed, _) = client.list("/v1/runs", &[]).await;
    assert_eq!(listed.len(), 4, "{listed:?}");
    let id = queued["id"].as_str().unwrap();
    for path in ["steps", "receipt"] {
        client
            .get(&format!("/v1/runs/{id}/{path}"))
            .await
            .expect(200);
    }
    assert!(types(&client.events(id).await).contains(&"succeeded"));
    pool.get(&format!("/v1/runs/{id}"))
        .await
        .problem(404, "not_found");

    let usage = async {
        loop {
            let report = client.get("/v1/usage").await.expect(200);
            if report["total"]["runs"] == 4 {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let usage = within(usage).await;
    let accounts = client.get("/v1/budgets").await.expect(200);
    let spent = &accounts["items"][0]["spent"]["micro_usd"];
    assert_eq!(usage["total"]["cost_micro_usd"], *spent);
    let trail = client.get("/v1/audit").await.expect(200);
    let entries: Vec<Entry> = serde_json::from_value(trail["items"].clone()).unwrap();
    let mut verifier = Verifier::default();
    for entry in &entries {
        verifier.take(entry).unwrap();
    }
    assert!(entries.len() >= 4, "{trail}");
    let store = running.cloud().store();
    let globex = TenantId::parse("globex").unwrap();
    let there = assert_apart(&store, &globex, "skein-globex").await;
    for part in [
        "#AUDIT TIP",
        "#B#tenant LEDGER",
        "#U#day#0 ",
        "#A#",
        &format!("#R#{id} HEAD"),
    ] {
        assert!(
            there.iter().any(|key| key.contains(part)),
            "{part} of {there:#?}"
        );
    }
    let run = RunId::parse(id).unwrap();
    assert!(store.read(&globex, &run, true).await.unwrap().is_some());
    assert_eq!(running.cloud().iam.refused(), 0, "{}", running.last_lines());

    // What cannot be had.
    let taken = json!({"id": "umbrella", "name": "U", "tier": "free", "isolation": isolation});
    let taken = operator.post("/v1/admin/tenants", &taken).await;
    let taken = taken.problem(422, "invalid_body");
    assert_eq!(taken["errors"][0]["pointer"], "/isolation/table");
    for (isolation, pointer) in [
        (
            json!({"mode": "bridge", "table": "skein-nowhere"}),
            "/isolation/table",
        ),
        (
            json!({"mode": "bridge", "table": "skein"}),
            "/isolation/table",
        ),
        (json!({"mode": "bridge"}), "/isolation"),
        (
            json!({"mode": "pool", "table": "skein-initech"}),
            "/isolation",
        ),
        (
            json!({"mode": "silo", "endpoint": "http://plain"}),
            "/isolation/endpoint",
        ),
    ] {
        let body = json!({"id": "umbrella", "name": "U", "tier": "free", "isolation": isolation});
        let refused = operator.post("/v1/admin/tenants", &body).await;
        let refused = refused.problem(422, "invalid_body");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    let path = "/v1/admin/tenants/globex";
    let patch = async |isolation: Value| {
        let request = operator.request(Method::PATCH, path);
        operator
            .send(request.json(&json!({"isolation": isolation})))
            .await
    };
    patch(isolation).await.expect(200);
    let moved = patch(json!({"mode": "pool"})).await;
    moved.problem(409, "isolation_settled");
    let moved = patch(json!({"mode": "bridge", "table": "skein-initech"})).await;
    moved.problem(409, "isolation_settled");
    running.platform.stop().await;
}

#[tokio::test]
async fn of_a_tenant_with_a_stack_of_its_own_nothing_is_here_but_where_that_is() {
    let running = crate::platform::shared();
    let operator = running.operator();
    let endpoint = "https://api.initrode.example/prod";
    let isolation = json!({"mode": "silo", "endpoint": endpoint});
    let body = json!({"id": "initrode", "name": "I", "tier": "enterprise", "isolation": isolation});
    operator.post("/v1/admin/tenants", &body).await.expect(201);
    let path = "/v1/admin/tenants/initrode";
    let shown = operator.get(path).await.expect(200);
    assert_eq!(shown["isolation"]["endpoint"], endpoint);
    let elsewhere = |answer: crate::client::Answer| {
        let problem = answer.problem(409, "tenant_elsewhere");
        assert!(
            problem["detail"].as_str().unwrap().contains(endpoint),
            "{problem}"
        );
    };
    elsewhere(
        operator
            .post(&format!("{path}/keys"), &json!({"label": "x"}))
            .await,
    );
    elsewhere(operator.post(&format!("{path}/suspend"), &json!({})).await);
    elsewhere(operator.get(&format!("{path}/budgets")).await);
    elsewhere(operator.get(&format!("{path}/usage")).await);
    let budgets = operator.request(Method::PUT, &format!("{path}/budgets/tenant"));
    elsewhere(operator.send(budgets.json(&json!({"budgets": []}))).await);
    let change = operator.request(Method::PATCH, path);
    elsewhere(operator.send(change.json(&json!({"name": "N"}))).await);
    let trail = operator.get(&format!("{path}/audit")).await.expect(200);
    assert_eq!(trail["items"].as_array().unwrap().len(), 1);
    operator
        .post(&format!("{path}/close"), &json!({}))
        .await
        .expect(202);
}

/// From one line to another, without comments and what differs on purpose.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| !line.contains(from));
    let lines = lines.take_while(|line| !line.contains(to));
    lines
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect()
}

#[test]
fn a_table_of_a_tenants_own_is_made_as_the_stacks_is() {
    let root = File::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (stack, own) = (read("template.yaml"), read("bridge.yaml"));
    for (from, to) in [
        ("BillingMode: PAY_PER_REQUEST", "Replicas:"),
        ("StartingPosition:", "'{\"dynamodb"),
    ] {
        assert_eq!(between(&own, from, to), between(&stack, from, to));
        assert!(between(&own, from, to).len() > 3);
    }
    let told = |text: &str| -> Option<String> {
        let line = text.lines().find(|line| line.contains("'{\"dynamodb"));
        line.map(|line| line.trim().to_owned())
    };
    assert!(told(&own).is_some() && told(&own) == told(&stack));
    // What may be done at the stack's table may be done at these, but for what concerns no tenant's own items.
    let policies = between(&stack, "Resources:", "Outputs:").join("\n");
    let of_stack = policies.matches("!GetAtt Table.Arn").count();
    let of_both = policies.matches("- !GetAtt Table.Arn\n").count();
    assert_eq!(
        (of_stack - of_both, of_both),
        (6, 9),
        "keys by three functions, a tenant's record, and maintenance by two functions"
    );
}
