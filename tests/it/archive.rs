//! Checkpoints of audit trails: archived and signed once, whatever crashes, and verified without asking anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dev::{AUDIT_BUCKET, Cloud, CloudConfig};
use domain::agent::Agent;
use domain::audit::{Checkpoint, EVERY_MS, Entry, Verifier};
use domain::id::{AgentId, TenantId};
use domain::tenant::Tenant;
use domain::time::At;
use janitor::Archived;
use local::wire::{Fault, Rule};
use reqwest::Method;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::Store;
use tokio::sync::Notify;

use crate::platform::{Running, shared, within};

/// 27 November 2026, 13:11:54 UTC.
const BEGAN: At = At(1_795_785_114_000);
/// More requests than a checkpoint takes.
const MOST_REQUESTS: u64 = 40;

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

/// Adds entries to a trail, one at each of these instants.
async fn change(store: &Store, tenant: &TenantId, instants: &[At]) {
    let agent = AgentId::parse("a").unwrap();
    for at in instants {
        let definition = json!({"model": "local.echo", "description": at.to_string()});
        let definition: Agent = serde_json::from_value(definition).unwrap();
        let store = store.on_behalf_of("operator:1", *at);
        store
            .put_agent(tenant, &agent, &definition, *at)
            .await
            .unwrap();
    }
}

async fn archive(cloud: &Cloud, now: At) -> Archived {
    let (store, bucket, signer) = (cloud.store(), cloud.archive(), cloud.signer());
    janitor::archive(&store, &bucket, &signer, now)
        .await
        .unwrap()
}

/// A trail's entries and checkpoints, each of which fits, is signed, and names the object that holds its entries.
async fn verified(cloud: &Cloud, tenant: &TenantId) -> (Vec<Entry>, Vec<Checkpoint>) {
    let store = cloud.store();
    let (mut entries, mut next) = (Vec::new(), Some(0));
    while let Some(after) = next {
        let page = store.audit(tenant, after, 1_000).await.unwrap();
        entries.extend(page.items);
        next = page.next.map(|next| next.parse().unwrap());
    }
    let checkpoints = store.checkpoints(tenant, 0, 1_000).await.unwrap().items;
    let mut verifier = Verifier::default();
    let mut next = checkpoints.iter().peekable();
    for entry in &entries {
        verifier.take(entry).unwrap();
        while let Some(checkpoint) = next.next_if(|next| next.to == entry.number) {
            verifier.check(checkpoint).unwrap();
        }
    }
    assert_eq!(next.next(), None);
    for checkpoint in &checkpoints {
        assert_signed(checkpoint);
        let object = cloud.archive().object(&checkpoint.object).await.unwrap();
        let lines: Vec<Entry> = String::from_utf8(object.clone())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let covered = entries
            .iter()
            .filter(|entry| (checkpoint.from..=checkpoint.to).contains(&entry.number));
        assert!(lines.iter().eq(covered), "{checkpoint:?}");
        assert_eq!(checkpoint.sha256, hexadecimal(&Sha256::digest(object)));
    }
    (entries, checkpoints)
}

fn assert_signed(checkpoint: &Checkpoint) {
    let key = STANDARD.decode(&checkpoint.public_key).unwrap();
    assert_eq!(checkpoint.key_id, hexadecimal(&Sha256::digest(&key)));
    let signature = STANDARD.decode(&checkpoint.signature).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key[26..])
        .verify(checkpoint.statement().as_bytes(), &signature)
        .unwrap();
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn stretches(checkpoints: &[Checkpoint]) -> Vec<(u64, u64, &str)> {
    let stretch = checkpoints
        .iter()
        .map(|it| (it.from, it.to, it.object.as_str()));
    stretch.collect()
}

async fn cloud() -> Cloud {
    Cloud::open(None, CloudConfig::default()).await.unwrap()
}

#[tokio::test]
async fn a_trail_is_archived_within_the_hour_and_at_the_end_of_its_month() {
    let cloud = cloud().await;
    let (store, acme) = (cloud.store(), tenant("acme"));
    let at = |text: &str| At::parse(text).unwrap();
    let changes = ["2026-11-27T13:00:00Z", "2026-11-27T13:30:00Z"].map(at);
    change(&store, &acme, &changes).await;
    let nothing = Archived::default();
    assert_eq!(archive(&cloud, at("2026-11-27T14:00:00Z")).await, nothing);
    let one = Archived {
        due: 1,
        checkpoints: 1,
        ..Archived::default()
    };
    assert_eq!(archive(&cloud, at("2026-11-27T14:00:01Z")).await, one);
    let ages = at("2027-01-01T00:00:00Z");
    assert_eq!(archive(&cloud, ages).await, nothing, "nothing moved since");

    let changes = ["2026-11-30T23:50:00Z", "2026-12-01T00:00:00Z"].map(at);
    change(&store, &acme, &changes).await;
    assert_eq!(archive(&cloud, at("2026-12-01T00:00:00Z")).await, nothing);
    assert_eq!(archive(&cloud, at("2026-12-01T00:00:01Z")).await, one);
    assert_eq!(archive(&cloud, at("2026-12-01T00:00:02Z")).await, nothing);
    assert_eq!(archive(&cloud, at("2026-12-01T01:00:01Z")).await, one);
    let (_, checkpoints) = verified(&cloud, &acme).await;
    assert_eq!(
        stretches(&checkpoints),
        [
            (1, 2, "tenants/acme/audit/2026/11/000000000001.jsonl"),
            (3, 3, "tenants/acme/audit/2026/11/000000000003.jsonl"),
            (4, 4, "tenants/acme/audit/2026/12/000000000004.jsonl"),
        ]
    );
}

#[tokio::test]
async fn a_long_trail_is_cut_into_objects_that_can_be_held() {
    let cloud = cloud().await;
    let (store, acme) = (cloud.store(), tenant("acme"));
    let mut large = Tenant::new(acme.clone(), &"x".repeat(300_000), "free", BEGAN);
    store.put_tenant(&large, None).await.unwrap();
    for _ in 0..5 {
        let old = large.clone();
        large.revision += 1;
        store.put_tenant(&large, Some(&old)).await.unwrap();
    }
    let made = archive(&cloud, BEGAN.plus_ms(2 * EVERY_MS)).await;
    assert_eq!((made.checkpoints, made.failed), (2, 0));
    let (_, checkpoints) = verified(&cloud, &acme).await;
    let stretches: Vec<_> = checkpoints.iter().map(|it| (it.from, it.to)).collect();
    assert_eq!(stretches, [(1, 4), (5, 6)], "over 1 MiB and the rest");
}

/// Notes what is put into the archive: the bodies by the path.
fn watch(cloud: &Cloud) -> Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>> {
    let seen = Arc::new(Mutex::new(BTreeMap::<_, Vec<_>>::new()));
    let noted = seen.clone();
    let rule = Rule::new(Fault::Throttle)
        .on("PutObject")
        .when(move |call| {
            let path = call.parts.uri.path();
            if path.contains(AUDIT_BUCKET) {
                let mut noted = noted.lock().unwrap();
                noted
                    .entry(path.to_owned())
                    .or_default()
                    .push(call.body.to_vec());
            }
            false
        });
    cloud.faults.add(rule);
    seen
}

/// Archives a trail, crashes right before request number `n`, lets the trail move on and archives again; false when there is
/// no such request.
async fn crashed_at(n: u64) -> bool {
    let cloud = cloud().await;
    let (store, acme) = (cloud.store(), tenant("acme"));
    change(&store, &acme, &[0, 1, 2].map(|ms| BEGAN.plus_ms(ms))).await;
    let objects = watch(&cloud);
    let reached = Arc::new(Notify::new());
    let (told, seen) = (reached.clone(), AtomicU64::new(0));
    let rule = Rule::new(Fault::Delay(Duration::from_secs(24 * 3_600)));
    cloud.faults.add(rule.when(move |_| {
        let is_it = seen.fetch_add(1, Ordering::Relaxed) + 1 == n;
        if is_it {
            told.notify_one();
        }
        is_it
    }));
    let now = BEGAN.plus_ms(EVERY_MS + 1_000);
    let crashed = tokio::select! {
        () = reached.notified() => true,
        _ = archive(&cloud, now) => false,
    };
    cloud.faults.clear();
    let again = watch(&cloud);
    change(&store, &acme, &[now]).await;
    archive(&cloud, now.plus_ms(60_000)).await;

    let (entries, checkpoints) = verified(&cloud, &acme).await;
    assert_eq!(entries.len(), 4);
    assert_eq!(checkpoints.len(), 1, "after a crash at request {n}");
    assert_eq!(checkpoints[0].from, 1);
    let waits = store.trails_due(now.plus_ms(2 * EVERY_MS), 10).await;
    let is_rest = checkpoints[0].to < 4;
    assert_eq!(waits.unwrap().len(), usize::from(is_rest));
    let (before, after) = (objects.lock().unwrap(), again.lock().unwrap());
    let all: Vec<_> = before.values().chain(after.values()).flatten().collect();
    assert!(!all.is_empty());
    assert!(all.iter().all(|body| *body == all[0]), "request {n}");
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    assert_eq!(paths.len(), 1, "after a crash at request {n}");
    crashed
}

#[tokio::test]
async fn a_crash_at_any_request_leads_to_one_checkpoint_of_one_object() {
    let mut crashes = 0;
    for n in 1..=MOST_REQUESTS {
        if !crashed_at(n).await {
            break;
        }
        crashes = n;
    }
    // Trails that wait, tip, plan, entries, plan, public key, signature, object, tip, checkpoint, tip.
    assert!((9..MOST_REQUESTS).contains(&crashes), "{crashes}");
}

#[tokio::test]
async fn two_janitors_at_once_and_lost_answers_make_one_checkpoint() {
    let cloud = cloud().await;
    let (store, acme) = (cloud.store(), tenant("acme"));
    change(&store, &acme, &[0, 1, 2].map(|ms| BEGAN.plus_ms(ms))).await;
    let rule = Rule::new(Fault::LoseResponse);
    cloud.faults.add(rule.with_probability(0.15, 7));
    let now = BEGAN.plus_ms(EVERY_MS + 1_000);
    for minute in 0..10 {
        let at = now.plus_ms(minute * 60_000);
        let engines = [cloud.clone(), cloud.clone(), cloud.clone()];
        let at_once = engines.iter().map(|cloud| async move {
            let (store, bucket, signer) = (cloud.store(), cloud.archive(), cloud.signer());
            // What failed is tried again a minute later.
            let _archived = janitor::archive(&store, &bucket, &signer, at).await;
        });
        futures_util::future::join_all(at_once).await;
    }
    cloud.faults.clear();
    let (_, checkpoints) = verified(&cloud, &acme).await;
    assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
}

#[tokio::test]
async fn a_dependency_that_fails_delays_a_checkpoint_and_nothing_else() {
    let cloud = cloud().await;
    let (store, acme) = (cloud.store(), tenant("acme"));
    change(&store, &acme, &[BEGAN]).await;
    let now = BEGAN.plus_ms(EVERY_MS + 1_000);
    for operation in ["PutObject", "Sign", "GetPublicKey"] {
        cloud.faults.add(Rule::new(Fault::FailBefore).on(operation));
        let made = archive(&cloud, now).await;
        let delayed = Archived {
            due: 1,
            delayed: 1,
            ..Archived::default()
        };
        assert_eq!(made, delayed, "{operation}");
        cloud.faults.clear();
    }
    change(&store, &acme, &[now]).await;
    assert_eq!(archive(&cloud, now.plus_ms(60_000)).await.checkpoints, 1);
    let (_, checkpoints) = verified(&cloud, &acme).await;
    assert_eq!(checkpoints[0].to, 1, "as it was planned");
}

/// Writes into the table past everybody: whoever has the rights to can do so.
async fn tamper(running: &Running, tenant: &str, number: u64, expression: &str, value: Value) {
    let table = &running.platform.environment["AWS_ENDPOINT_URL_DYNAMODB"];
    let request = json!({
        "TableName": running.platform.environment["SKEIN_TABLE"],
        "Key": {"pk": {"S": format!("T#{tenant}#AUDIT")}, "sk": {"S": format!("E#{number:012}")}},
        "UpdateExpression": expression,
        "ExpressionAttributeValues": {":value": value},
    });
    let answer = reqwest::Client::new()
        .request(Method::POST, table)
        .header("x-amz-target", "DynamoDB_20120810.UpdateItem")
        .body(request.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_trail_that_was_touched_is_not_signed_and_stops_no_other() {
    let running = Running::own().await;
    let cloud = running.cloud();
    let (store, touched, whole) = (cloud.store(), tenant("touched"), tenant("whole"));
    for tenant in [&touched, &whole] {
        change(&store, tenant, &[0, 1, 2].map(|ms| BEGAN.plus_ms(ms))).await;
    }
    let entries = store.audit(&touched, 0, 10).await.unwrap().items;
    let mut second = entries[1].clone();
    second.change.by = "nobody".to_owned();
    let forged = json!({"S": serde_json::to_string(&second).unwrap()});
    tamper(&running, "touched", 2, "SET entry = :value", forged).await;
    let now = BEGAN.plus_ms(EVERY_MS + 1_000);
    let made = archive(cloud, now).await;
    assert_eq!((made.checkpoints, made.failed), (1, 1));
    assert_eq!(verified(cloud, &whole).await.1.len(), 1);
    let signed = store.checkpoints(&touched, 0, 10).await.unwrap();
    assert_eq!(signed.items, []);
    let made = archive(cloud, now.plus_ms(60_000)).await;
    assert_eq!(made, Archived::default(), "it is left alone for an hour");
    let made = archive(cloud, now.plus_ms(EVERY_MS + 60_000)).await;
    assert_eq!((made.due, made.failed), (1, 1));
}

#[tokio::test]
async fn the_janitors_tick_makes_the_checkpoints_that_are_due() {
    let running = shared();
    let (store, acme) = (running.cloud().store(), tenant("ticked"));
    change(&store, &acme, &[At(1_700_000_000_000)]).await;
    let tick = include_str!("../../events/janitor-schedule.json");
    let ticked = running.platform.lambda.invoke("janitor", tick.into());
    within(ticked).await.unwrap();
    let (_, checkpoints) = verified(running.cloud(), &acme).await;
    let expected = (1, 1, "tenants/ticked/audit/2023/11/000000000001.jsonl");
    assert_eq!(
        stretches(&checkpoints),
        [expected],
        "{}",
        running.last_lines()
    );
}

#[tokio::test]
async fn trails_that_are_not_archived_are_counted_for_the_alarms() {
    let running = Running::own().await;
    let (cloud, acme) = (running.cloud(), tenant("acme"));
    let store = cloud.store();
    change(&store, &acme, &[At(1_700_000_000_000)]).await;
    let tick = || async {
        let tick = include_str!("../../events/janitor-schedule.json");
        let ticked = running.platform.lambda.invoke("janitor", tick.into());
        within(ticked).await.unwrap();
    };
    cloud.faults.add(Rule::new(Fault::FailBefore).on("Sign"));
    tick().await;
    let lines = running.last_lines();
    assert!(lines.contains(r#""trails_delayed":1.0"#), "{lines}");
    assert!(!lines.contains("trails_failed"), "{lines}");
    cloud.faults.clear();
    let mut first = store.audit(&acme, 0, 1).await.unwrap().items.remove(0);
    first.change.by = "nobody".to_owned();
    let forged = json!({"S": serde_json::to_string(&first).unwrap()});
    tamper(&running, "acme", 1, "SET entry = :value", forged).await;
    tick().await;
    let lines = running.last_lines();
    assert!(lines.contains(r#""trails_failed":1.0"#), "{lines}");
}

#[tokio::test]
async fn tenants_and_operators_read_checkpoints_and_each_tenant_its_own() {
    let running = shared();
    let client = running.tenant("sealed").await;
    let cloud = running.cloud();
    let path = "/v1/audit/checkpoints";
    let none = client.get(path).await.expect(200);
    assert_eq!(none, json!({"items": [], "next_cursor": ""}));
    client.agent(&json!({"model": "local.echo"})).await;
    let later = cloud.engine(None).now().plus_ms(2 * EVERY_MS);
    archive(cloud, later).await;
    let (entries, checkpoints) = verified(cloud, &tenant("sealed")).await;
    let read = client.get(path).await.expect(200);
    let read: Vec<Checkpoint> = serde_json::from_value(read["items"].clone()).unwrap();
    assert_eq!(read, checkpoints);
    assert_eq!(read[0].from, 1);
    assert!(read[0].to <= entries.len() as u64);
    let after = format!("{path}?after={}", read.last().unwrap().to);
    assert_eq!(client.get(&after).await.expect(200), none);

    let operator = running.operator();
    let admin = |tenant: &str| format!("/v1/admin/tenants/{tenant}/audit/checkpoints");
    let seen = operator.get(&admin("sealed")).await.expect(200);
    assert_eq!(seen["items"], serde_json::to_value(&checkpoints).unwrap());
    let missing = operator.get(&admin("nobody-there")).await;
    missing.problem(404, "not_found");
    let own = operator.get("/v1/admin/tenants/operator/audit").await;
    let own = own.expect(200).to_string();
    assert!(
        own.contains("request.refused"),
        "what is refused to operators stands in a trail of theirs: {own}"
    );
    let other = running.tenant("unsealed").await;
    let others = other.get(path).await.expect(200);
    let others: Vec<Checkpoint> = serde_json::from_value(others["items"].clone()).unwrap();
    assert!(others.iter().all(|it| it.tenant == tenant("unsealed")));
}
