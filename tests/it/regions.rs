//! Two Regions that share a table, which copies item by item, late and in no order: what becomes of runs when one is lost, or
//! only seems to be.

mod drill;

use std::sync::Arc;
use std::time::Duration;

use dev::CloudConfig;
use domain::budget::{Amount, Ledger, Node};
use domain::id::RunId;
use domain::region::Regions;
use domain::run::{Commit, Event, Head, Status};
use domain::tenant::Isolation;
use engine::{Engine, Error, Moved};
use local::table::Copies;
use serde_json::{Value, json};
use store::RunFilter;

use crate::invariants;
use crate::world::{Delivery, World, tenant};

const REGIONS: &str = "us-east-1=https://us.example,eu-west-1=https://eu.example";
/// Inline tools, a tool on the worker and a timer.
const INPUT: &str = "1+1, then research geese, then wait 2 seconds, then 2*3";
const WITHIN: Duration = Duration::from_secs(20);

/// Two Regions. The tenant is at home in the first.
struct Pair {
    us: World,
    eu: World,
    copies: Copies,
}

async fn pair() -> Pair {
    let jumped = Arc::default();
    let config = |own| CloudConfig {
        regions: Regions::parse(REGIONS, own).unwrap(),
        ..CloudConfig::default()
    };
    let mut us = World::bare(config("us-east-1"), Arc::clone(&jumped)).await;
    let mut eu = World::bare(config("eu-west-1"), jumped).await;
    let copies = Copies::between(&mut us.cloud.table, &mut eu.cloud.table);
    let agent = json!({"model": "local.tools", "tools": ["calculator", "slow_research", "wait"]});
    us.furnish(Isolation::Pool, agent).await;
    copies.arrive(false);
    Pair { us, eu, copies }
}

async fn move_to(engine: &Engine, from: &str) -> Moved {
    engine.move_here(&tenant(), from, WITHIN).await.unwrap()
}

async fn log(world: &World, run: &RunId) -> Vec<Commit> {
    invariants::log(&world.cloud.store(), &tenant(), run).await
}

async fn head(world: &World, run: &RunId) -> Head {
    let store = world.cloud.store();
    store.read(&tenant(), run, true).await.unwrap().unwrap().0
}

async fn ledger(world: &World) -> Ledger {
    let store = world.cloud.store();
    let record = store.tenant(&tenant()).await.unwrap().unwrap();
    let ledger = store.ledger(&record, &Node::Tenant).await;
    ledger.unwrap().unwrap()
}

async fn listed(world: &World) -> Vec<Head> {
    let (store, now) = (world.cloud.store(), world.now());
    let (tenant, all) = (tenant(), RunFilter::default());
    let page = store.runs(&tenant, &all, 100, None, now).await;
    page.unwrap().items
}

/// Where a log says that its run moved: the number of the event, and the epoch.
fn moves(log: &[Commit]) -> Vec<(u64, u64)> {
    let events = log.iter().flat_map(Commit::numbered);
    let moves = events.filter_map(|(number, event)| match event {
        Event::Moved { epoch, .. } => Some((number, *epoch)),
        _ => None,
    });
    moves.collect()
}

fn is_elsewhere<T: std::fmt::Debug>(answer: &Result<T, Error>, region: &str) -> bool {
    matches!(answer, Err(Error::Store(store::Error::Elsewhere(there))) if there.name == region)
}

#[tokio::test]
async fn a_run_goes_on_in_the_region_that_its_tenant_moved_to() {
    let Pair { us, eu, copies } = pair().await;
    let process = us.process(Delivery::default());
    let run = us.create(&us.engine(), World::request(1, INPUT)).await;
    us.calls(2).await;
    copies.arrive(true);
    process.crash().await;
    copies.cut(true);
    let before = log(&us, &run).await;

    let moved = move_to(&eu.engine(), "us-east-1").await;
    assert_eq!((moved.tenant.home.epoch, moved.runs), (1, 1));
    assert!(!moved.is_partial);
    let _process = eu.process(Delivery::default());
    let state = eu.ended(std::slice::from_ref(&run)).await.remove(0);
    assert_eq!(state.status, Status::Succeeded);
    let after = log(&eu, &run).await;
    let (cut, epoch) = moves(&after)[0];
    assert_eq!(epoch, 1);
    let kept = after.iter().take_while(|commit| commit.first < cut);
    assert!(kept.clone().count() > 0);
    assert!(kept.zip(&before).all(|(now, then)| now == then));
    let ledger = ledger(&eu).await;
    assert_eq!((ledger.active, ledger.held), (0, Amount::ZERO));
    assert_eq!(ledger.spent, state.totals.amount());
    let again = move_to(&eu.engine(), "us-east-1").await;
    assert_eq!((again.tenant.home.epoch, again.runs), (1, 0), "it is there");
}

#[tokio::test]
async fn a_region_that_only_seemed_lost_changes_nothing_that_counts() {
    let Pair { us, eu, copies } = pair().await;
    let _alive = us.process(Delivery::default());
    let run = us.create(&us.engine(), World::request(1, INPUT)).await;
    copies.arrive(false);
    copies.cut(true);
    // Both go on to the end: neither can know of the other.
    move_to(&eu.engine(), "us-east-1").await;
    let _process = eu.process(Delivery::default());
    let there = eu.ended(std::slice::from_ref(&run)).await.remove(0);
    let void = us.ended(std::slice::from_ref(&run)).await.remove(0);
    assert_eq!(void.epoch, 0, "it never heard of the move");
    let (log_of_eu, ledger_of_eu) = (log(&eu, &run).await, ledger(&eu).await);
    assert_eq!(ledger_of_eu.spent, there.totals.amount());
    let late = us.create(&us.engine(), World::request(2, "1+1")).await;
    us.ended(std::slice::from_ref(&late)).await;

    copies.cut(false);
    while copies.arrive(true) > 0 {}
    for world in [&eu, &us] {
        assert_eq!(log(world, &run).await, log_of_eu, "one log, everywhere");
        assert_eq!(head(world, &run).await.epoch, 1);
        assert_eq!(ledger(world).await, ledger_of_eu);
        let of_run = listed(world).await.into_iter();
        let of_run: Vec<_> = of_run.filter(|head| head.run == run).collect();
        assert_eq!(of_run.len(), 1, "{of_run:?}");
        assert_eq!(of_run[0].epoch, 1);
    }
    let refused = us.engine().create(World::request(3, "1+1")).await;
    assert!(is_elsewhere(&refused, "eu-west-1"), "{refused:?}");
    let refused = us.engine().cancel(&tenant(), &run, "key", None).await;
    assert!(is_elsewhere(&refused, "eu-west-1"), "{refused:?}");

    // Every stream tells of it; it counts once, and as it ended where the tenant is at home.
    let counts = |world: &World, epoch: &str, head: &Head| {
        let pk = format!("T#demo#{epoch}R#{run}");
        let image = json!({"head": {"S": serde_json::to_string(head).unwrap()}});
        let keys = json!({"pk": {"S": pk}, "sk": {"S": "HEAD"}});
        let record = json!({"dynamodb": {"Keys": keys, "NewImage": image}});
        let changes: Value = json!({"Records": [record]});
        (world.engine(), serde_json::from_value(changes).unwrap())
    };
    let now = head(&eu, &run).await;
    let then = Head {
        epoch: 0,
        ..now.clone()
    };
    for (world, epoch, head, expected) in [
        (&us, "@000001#", &now, 0),
        (&us, "", &then, 0),
        (&eu, "", &then, 0),
        (&eu, "@000001#", &now, 1),
        (&eu, "@000001#", &now, 0),
    ] {
        let (engine, changes) = counts(world, epoch, head);
        assert_eq!(relay::handle(&engine, changes).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_has_not_arrived_is_lost_and_what_stands_behind_a_gap_too() {
    let Pair { us, eu, copies } = pair().await;
    let process = us.process(Delivery::default());
    let run = us.create(&us.engine(), World::request(1, INPUT)).await;
    us.ended(std::slice::from_ref(&run)).await;
    process.crash().await;
    let whole = log(&us, &run).await;
    let gap = format!("C#{:012}", whole[1].first);
    copies.arrive_if(false, |_, sk| sk != gap && sk != "HEAD");
    copies.arrive_if(false, |_, sk| sk == "HEAD");
    assert!(copies.under_way() > 0);

    move_to(&eu.engine(), "us-east-1").await;
    // The head says that it has ended, which is not to be proved: it is found as whoever asks again finds it.
    let engine = eu.engine();
    engine.create(World::request(1, INPUT)).await.unwrap();
    let _process = eu.process(Delivery::default());
    eu.ended(std::slice::from_ref(&run)).await;
    let log_of_eu = log(&eu, &run).await;
    assert_eq!(moves(&log_of_eu), [(whole[1].first, 1)]);
    while copies.arrive(false) > 0 {}
    assert_eq!(log(&eu, &run).await, log_of_eu, "the gap came too late");
    assert_eq!(log(&us, &run).await, log_of_eu);
}

#[tokio::test]
async fn a_run_that_arrives_after_the_move_is_taken_over_then() {
    let Pair { us, eu, copies } = pair().await;
    let run = us.create(&us.engine(), World::request(1, "1+1")).await;
    let moved = move_to(&eu.engine(), "us-east-1").await;
    assert_eq!(moved.runs, 0, "nothing is known of it");
    let _process = eu.process(Delivery::default());
    while copies.arrive(false) > 0 {}
    eu.ended(std::slice::from_ref(&run)).await;
    assert_eq!(moves(&log(&eu, &run).await).len(), 1);
}

#[tokio::test]
async fn a_request_that_is_repeated_after_the_move_finds_its_run() {
    let Pair { us, eu, copies } = pair().await;
    let process = us.process(Delivery::default());
    let ended = us.create(&us.engine(), World::request(1, "1+1")).await;
    us.ended(std::slice::from_ref(&ended)).await;
    let queued = us.create(&us.engine(), World::request(2, INPUT)).await;
    process.crash().await;
    copies.arrive(false);
    move_to(&eu.engine(), "us-east-1").await;
    let engine = eu.engine();
    for run in [&ended, &queued] {
        let number = if *run == ended { 1 } else { 2 };
        let again = engine.create(World::request(number, "1+1")).await.unwrap();
        assert!(
            matches!(&again, engine::Admitted::Exists(head) if head.run == *run),
            "{again:?}"
        );
    }
    let cancelled = engine.cancel(&tenant(), &queued, "key", None).await;
    assert!(cancelled.is_ok(), "{cancelled:?}");
    let _process = eu.process(Delivery::default());
    let state = eu.ended(std::slice::from_ref(&queued)).await.remove(0);
    assert_eq!(state.status, Status::Cancelled);
}

#[tokio::test]
async fn a_tenant_comes_home_again() {
    let Pair { us, eu, copies } = pair().await;
    let run = us.create(&us.engine(), World::request(1, INPUT)).await;
    copies.arrive(false);
    move_to(&eu.engine(), "us-east-1").await;
    let process = eu.process(Delivery::default());
    eu.calls(1).await;
    process.crash().await;
    while copies.arrive(true) > 0 {}
    let moved = move_to(&us.engine(), "eu-west-1").await;
    assert_eq!((moved.tenant.home.epoch, moved.runs), (8, 1));
    let _process = us.process(Delivery::default());
    us.ended(std::slice::from_ref(&run)).await;
    let epochs = moves(&log(&us, &run).await).into_iter().map(|it| it.1);
    assert_eq!(epochs.collect::<Vec<_>>(), [1, 8]);
    let store = us.cloud.store();
    let trail = store.audit(&tenant(), 0, 100).await.unwrap();
    let mut entries = trail.items;
    while let Some(after) = entries.last().map(|entry| entry.number) {
        let more = store.audit(&tenant(), after, 100).await.unwrap().items;
        if more.is_empty() {
            break;
        }
        entries.extend(more);
    }
    let moved = |entry: &&domain::audit::Entry| entry.change.action == "tenant.moved";
    assert_eq!(entries.iter().filter(moved).count(), 2);
    let mut pairs = entries.windows(2);
    assert!(
        pairs.all(|pair| pair[1].previous == pair[0].hash),
        "one chain"
    );
}
