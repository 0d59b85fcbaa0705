//! Tenants with a table of their own: what stands where, how it is found, and which tables are taken.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use domain::budget::Node;
use domain::closing::{Closing, Counts, Place};
use domain::run::Status;
use domain::service::Service;
use domain::tenant::{Isolation, Standing};
use domain::tier::{Subject as By, Window};
use domain::usage::{Interval, Subject, Usage};
use futures_util::future::join_all;
use local::wire::{Fault, Rule};
use serde_json::Value;

use super::*;
use crate::item::Read;
use crate::{Claimed, Ended, Error, Plan, Refused, RunFilter, WATCH_SHARDS};

const OWN: &str = "skein-globex";

/// No test knows of it beforehand.
fn globex() -> Tenant {
    let mut globex = Tenant::new(tenant("globex"), "Globex", "business", NOW);
    globex.isolation = bridge(OWN);
    globex
}

fn bridge(table: &str) -> Isolation {
    Isolation::Bridge {
        table: table.to_owned(),
    }
}

async fn with_bridge() -> (World, Tenant) {
    let world = world().await;
    world.store.provision_table(OWN).await.unwrap();
    let globex = globex();
    world.store.put_tenant(&globex, None).await.unwrap();
    (world, globex)
}

/// The store of another process.
fn elsewhere(world: &World) -> Store {
    let config = world.store.inner.config.clone();
    Store::new(world.store.access.table.clone(), &world.payloads, config)
}

/// The keys of all items of a table.
async fn keys(store: &Store, table: &str) -> BTreeSet<String> {
    let scanned = store.access.table.scan().table_name(table).send();
    let items = scanned.await.unwrap().items.unwrap();
    let key = |item: &crate::item::Item| format!("{} {}", item.text("pk").unwrap(), item.sort());
    items.iter().map(key).collect()
}

fn key_of(id: &TenantId) -> ApiKey {
    api_key(&format!("{id}1"), id)
}

/// Has a tenant write whatever a tenant can.
async fn work(store: &Store, of: &Tenant) {
    let id = &of.id;
    store.put_key(&key_of(id)).await.unwrap();
    store.key_used(id, &key_of(id).id, NOW).await.unwrap();
    let agent = serde_json::from_value(json!({"model": "local.echo"})).unwrap();
    let clerk = AgentId::parse("clerk").unwrap();
    store.put_agent(id, &clerk, &agent, NOW).await.unwrap();
    let mut script = Script::created(store, id, &run(1)).await;
    script.append(store, vec![step(1)]).await;
    store.snapshot(&script.state).await.unwrap();
    let call = Claimed {
        tenant: id,
        run: &run(1),
        frame: &FrameId::root(),
        step: 1,
        call: 0,
    };
    assert!(store.claim_call(call, &driver("w1"), NOW).await.unwrap());
    script.append(store, vec![answered(1, "x")]).await;
    script.append(store, vec![succeeded()]).await;
    let ended = Ended {
        run: run(1),
        at: NOW,
        subject: Subject::default(),
        usage: Usage {
            runs: 1,
            ..Usage::default()
        },
        service: Service::default(),
    };
    assert_eq!(store.count_usage(id, &[ended]).await.unwrap(), 1);
    let window = Window {
        name: "minute".to_owned(),
        seconds: 60,
        requests: 10,
        by: By::Tenant,
    };
    store.lease(id, &window, None, 7, 5).await.unwrap();
    let refused = Refused {
        tenant: id,
        key: &key_of(id).id,
        code: "not_found",
        request: "GET /v1/runs/{run}",
        state: Value::Null,
        at: NOW,
    };
    assert!(store.tell_refusal(&refused).await.unwrap());
    let plan = Plan { to: 2, at: NOW };
    store.plan_checkpoint(id, 1, plan).await.unwrap();
    let mut changed = of.clone();
    changed.revision += 1;
    store.put_tenant(&changed, Some(of)).await.unwrap();
}

#[tokio::test]
async fn all_of_a_bridge_stands_in_its_own_table_but_what_it_is_found_by() {
    let (world, globex) = with_bridge().await;
    work(&world.store, &globex).await;
    let in_stack = keys(&world.store, "skein").await;
    assert_eq!(
        in_stack,
        ["BRIDGES skein-globex", "K#globex1 KEY", "T#globex TENANT"]
            .map(str::to_owned)
            .into()
    );
    let own = keys(&world.store, OWN).await;
    assert!(
        own.iter().all(|key| key.starts_with("T#globex#")),
        "{own:?}"
    );

    // The same work of a tenant in the pool makes the same items, all in the stack's table.
    let initech = Tenant::new(tenant("initech"), "Initech", "business", NOW);
    world.store.put_tenant(&initech, None).await.unwrap();
    work(&world.store, &initech).await;
    let of_pool = keys(&world.store, "skein").await;
    let mirrored = own
        .iter()
        .chain(&in_stack)
        .filter(|key| !key.starts_with("BRIDGES"));
    let mirrored = mirrored.map(|key| key.replace("globex", "initech"));
    assert!(mirrored.clone().count() > 15);
    for key in mirrored {
        assert!(of_pool.contains(&key), "{key}");
    }
    assert_eq!(keys(&world.store, OWN).await, own);
}

#[tokio::test]
async fn whoever_never_met_a_tenant_finds_its_table_and_reads_its_record_once() {
    let (world, globex) = with_bridge().await;
    let initech = Tenant::new(tenant("initech"), "Initech", "business", NOW);
    world.store.put_tenant(&initech, None).await.unwrap();
    for of in [&globex, &initech] {
        Script::created(&world.store, &of.id, &run(1)).await;
        let cold = elsewhere(&world);
        assert!(!cold.has_met(&of.id));
        // However many ask at once.
        let asked = run(1);
        let loads = join_all((0..5).map(|_| cold.load(&of.id, &asked))).await;
        assert!(loads.into_iter().all(|loaded| loaded.unwrap().is_some()));
        assert_eq!(cold.consumed().reads, 6, "{}", of.id);

        // Who has read the record for another reason reads it no more.
        let warm = elsewhere(&world);
        warm.tenant(&of.id).await.unwrap().unwrap();
        assert!(warm.has_met(&of.id));
        warm.load(&of.id, &run(1)).await.unwrap().unwrap();
        assert_eq!(warm.consumed().reads, 2, "{}", of.id);
        let all = RunFilter::default();
        let listed = warm.runs(&of.id, &all, 10, None, NOW);
        assert_eq!(listed.await.unwrap().items.len(), 1, "{}", of.id);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_leaves_nothing_in_a_wrong_table() {
    let (world, globex) = with_bridge().await;
    let cold = elsewhere(&world);
    let mut script = Script::new(&globex.id, &run(1));
    let commit = script.next(None, vec![created("clerk", NOW)]);
    world.faults.add(Rule::new(Fault::Throttle).on("GetItem"));
    let created = cold.create(&globex.id, &script.head(), &commit).await;
    assert!(created.unwrap_err().is_transient());
    world.faults.clear();
    cold.create(&globex.id, &script.head(), &commit)
        .await
        .unwrap();
    assert!(
        keys(&world.store, OWN)
            .await
            .contains(&format!("T#globex#R#{} HEAD", run(1)))
    );
    assert_eq!(keys(&world.store, "skein").await.len(), 2);
}

#[tokio::test]
async fn a_tenant_that_is_not_there_yet_is_not_taken_for_one_of_the_pool() {
    let world = world().await;
    world.store.provision_table(OWN).await.unwrap();
    let early = elsewhere(&world);
    assert!(early.load(&globex().id, &run(1)).await.unwrap().is_none());
    world.store.put_tenant(&globex(), None).await.unwrap();
    Script::created(&early, &globex().id, &run(1)).await;
    assert_eq!(keys(&world.store, "skein").await.len(), 2);
}

#[tokio::test]
async fn a_table_is_one_tenants_alone() {
    let (world, globex) = with_bridge().await;
    let mut other = Tenant::new(tenant("initech"), "Initech", "business", NOW);
    other.isolation = bridge(OWN);
    let refused = world.store.put_tenant(&other, None).await;
    assert!(
        matches!(&refused, Err(Error::Unfit(why)) if why == "is another tenant's"),
        "{refused:?}"
    );
    assert_eq!(world.store.tenant(&other.id).await.unwrap(), None);
    assert!(
        !keys(&world.store, OWN)
            .await
            .iter()
            .any(|key| key.contains("initech"))
    );
    // Whoever repeats its own request, or lost the answer to it, is told no such thing.
    world.store.put_tenant(&globex, None).await.unwrap();
    let mut later = globex.clone();
    later.name = "Later".to_owned();
    let raced = world.store.put_tenant(&later, None).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");

    let (own, another) = (bridge("skein-a"), bridge("skein-b"));
    let mut first = Tenant::new(tenant("first"), "First", "business", NOW);
    first.isolation = own;
    world.store.provision_table("skein-a").await.unwrap();
    world.store.provision_table("skein-b").await.unwrap();
    world.faults.add(
        Rule::new(Fault::LoseResponse)
            .on("TransactWriteItems")
            .nth(1),
    );
    world.store.put_tenant(&first, None).await.unwrap();
    let mut moved = first.clone();
    moved.isolation = another;
    let raced = world.store.put_tenant(&moved, None).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    assert!(keys(&world.store, "skein-b").await.is_empty());
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_with_all_that_is_wrong_with_it() {
    let world = world().await;
    let mut globex = globex();
    let refusal = async |store: &Store, tenant: &Tenant| match store.put_tenant(tenant, None).await
    {
        Err(Error::Unfit(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(&world.store, &globex).await, "does not exist");
    let text = |name: &str| {
        let text = AttributeDefinition::builder().attribute_name(name);
        text.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str, kind| {
        let key = KeySchemaElement::builder().attribute_name(name);
        key.key_type(kind).build().unwrap()
    };
    let strange = world
        .store
        .access
        .table
        .create_table()
        .table_name(OWN)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(vec![text("pk"), text("id")]))
        .set_key_schema(Some(vec![
            key("pk", KeyType::Hash),
            key("id", KeyType::Range),
        ]));
    strange.send().await.unwrap();
    assert_eq!(
        refusal(&world.store, &globex).await,
        "does not fit: its keys are not the texts `pk` and `sk`; it has no index `list` of the texts `list_pk` and \
         `list_sk` with `head`; it has no index `watch` of the texts `watch_pk` and `watch_sk`; items do not expire by `ttl`"
    );
    globex.isolation = bridge("other-globex");
    assert!(
        refusal(&world.store, &globex)
            .await
            .starts_with("must be `skein-`")
    );
    assert!(keys(&world.store, "skein").await.is_empty());

    // One whose changes nobody is told of.
    let silent = Table::open(None).unwrap();
    let silent = aws_sdk_dynamodb::Client::new(&sdk(silent.router()));
    let config = world.store.inner.config.clone();
    let silent = Store::new(silent, &world.payloads, config);
    silent.provision().await.unwrap();
    silent.provision_table(OWN).await.unwrap();
    globex.isolation = bridge(OWN);
    assert_eq!(
        refusal(&silent, &globex).await,
        "does not fit: it has no stream with new images"
    );
}

#[tokio::test]
async fn each_table_tells_what_is_due_in_it_and_all_are_found() {
    let (world, globex) = with_bridge().await;
    let initech = Tenant::new(tenant("initech"), "Initech", "business", NOW);
    world.store.put_tenant(&initech, None).await.unwrap();
    let runs = [(&globex.id, run(1)), (&initech.id, run(2))];
    for (id, run) in &runs {
        Script::created(&world.store, id, run).await;
    }
    let far = NOW.plus_ms(86_400_000);
    let due = async |store: &Store| {
        let mut due = Vec::new();
        for shard in 0..WATCH_SHARDS {
            due.extend(store.watched(shard, far, 10).await.unwrap());
        }
        due
    };
    let cold = elsewhere(&world).metered();
    let tables = cold.tables().await.unwrap();
    assert_eq!((tables.len(), cold.consumed().reads), (2, 1));
    for (store, (id, run)) in tables.iter().zip([&runs[1], &runs[0]]) {
        let found = due(store).await;
        let [(tenant, found, at)] = &*found else {
            panic!("{found:?}");
        };
        assert_eq!((tenant, found), (*id, run));
        assert!(store.sight(tenant, run).await.unwrap().is_some());
        let moved = store.postpone(tenant, run, Status::Queued, *at, far);
        assert!(moved.await.unwrap());
        let trails = store.trails_due(far, 10).await.unwrap();
        assert_eq!(trails.len(), 1);
        assert_eq!(trails[0].0, **id);
        assert!(store.trail(id).await.unwrap().is_some());
    }
    // The janitor needs nobody's record for that.
    let looks = 2 * (u64::from(WATCH_SHARDS) + 3);
    assert_eq!(cold.consumed().reads, 1 + looks);
}

#[tokio::test]
async fn closing_a_bridge_exports_and_empties_both_tables_and_sets_its_table_free() {
    let (world, globex) = with_bridge().await;
    let store = &world.store;
    let initech = Tenant::new(tenant("initech"), "Initech", "business", NOW);
    store.put_tenant(&initech, None).await.unwrap();
    work(store, &initech).await;
    let untouched = keys(store, "skein").await.len() - 2;
    work(store, &globex).await;
    // By a bug it has something in the stack's table too: the proof is about what is there.
    let stray = store.in_table(Arc::clone(&store.inner.table));
    Script::created(&stray, &globex.id, &run(9)).await;
    let all = keys(store, OWN).await.len() + 3 + 2;

    let old = store.tenant(&globex.id).await.unwrap().unwrap();
    let mut new = old.clone();
    (new.standing, new.revision) = (Standing::Closing, old.revision + 1);
    let closing = Closing::new(&old, "operator:1", NOW);
    store.close_tenant(&new, &old, &closing).await.unwrap();
    let mut closing = closing.drained(NOW).begin_pass().held(NOW);
    store.put_closing(&closing, None).await.unwrap();
    for proves in [false, true] {
        // A process that knows nothing of the tenant, whose record is gone the second time.
        let store = &elsewhere(&world);
        let mut place = Place::Own(OWN.to_owned(), None);
        let mut places = 0;
        while place != Place::End {
            let found = store.holdings(&globex.id, &place).await.unwrap();
            assert!(
                !proves || found.counts == Counts::default(),
                "{}",
                found.lines()
            );
            place = found.next.clone();
            let part = store.export(&closing, found).await.unwrap();
            closing = closing.read_on(part.as_ref(), place.clone()).held(NOW);
            store.put_closing(&closing, part.as_ref()).await.unwrap();
            places += 1;
        }
        assert_eq!(places, 3, "both tables and the bucket");
        while closing.emptied < closing.parts {
            let deleted = store.empty_part(&closing, closing.emptied + 1).await;
            closing = closing.emptied_part(deleted.unwrap(), NOW).held(NOW);
            store.put_closing(&closing, None).await.unwrap();
        }
    }
    // The link that tells of the closing is one more.
    assert_eq!(closing.exported.items, all as u64 + 1);
    assert_eq!(closing.deleted, closing.exported);
    assert!(keys(store, OWN).await.is_empty());
    let left = keys(store, "skein").await;
    assert!(
        !left
            .iter()
            .any(|key| key.contains("globex") && !key.starts_with("CLOSED#"))
    );
    assert_eq!(
        left.iter().filter(|key| key.contains("initech")).count(),
        untouched
    );

    assert_eq!(store.tables().await.unwrap().len(), 1);
    let mut heir = Tenant::new(tenant("heir"), "Heir", "business", NOW);
    heir.isolation = bridge(OWN);
    store.put_tenant(&heir, None).await.unwrap();
    let usage = store
        .usage(&heir.id, Interval::Day, NOW, NOW.plus_ms(1))
        .await;
    assert!(usage.unwrap().is_empty());
    assert!(store.ledger(&heir, &Node::Tenant).await.unwrap().is_some());
}
