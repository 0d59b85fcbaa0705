//! What a run costs in requests. These numbers may fall; whoever lets one grow says why in the commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::receipt::Receipt;
use domain::run::Status;
use local::wire::{Fault, Rule, Snapshot};
use serde_json::{Value, json};

use crate::platform::Running;
use crate::world::{Delivery, World, tenant};

/// Table requests that a run of five model steps may make.
const MOST_TABLE_REQUESTS: u64 = 8;
/// Five model steps with a calculator call between each two.
const W1: &str = "count to 4";
/// Operations of the table that belong to runs and not to the janitor's looks.
const TABLE: [&str; 7] = [
    "PutItem",
    "GetItem",
    "Query",
    "TransactWriteItems",
    "UpdateItem",
    "DeleteItem",
    "BatchGetItem",
];

fn agent() -> Value {
    json!({"model": "local.tools", "tools": ["calculator"]})
}

fn requests(snapshot: &Snapshot) -> BTreeMap<&str, u64> {
    snapshot
        .operations
        .iter()
        .map(|(name, count)| (name.as_str(), count.requests))
        .collect()
}

pub(crate) fn of_the_table(snapshot: &Snapshot) -> u64 {
    TABLE.iter().map(|name| snapshot.of(name).requests).sum()
}

/// Counts from now on the messages that are sent about runs: those that ask for sweeps are shared by all runs of two seconds.
pub(crate) fn messages(world: &World) -> Arc<AtomicU64> {
    let sent = Arc::new(AtomicU64::new(0));
    let counts = sent.clone();
    let never = Rule::new(Fault::Throttle).on("SendMessage");
    world.cloud.faults.add(never.when(move |call| {
        let is_sweep = call.body.windows(7).any(|text| text == b"/sweeps");
        counts.fetch_add(u64::from(!is_sweep), Ordering::Relaxed);
        false
    }));
    sent
}

#[tokio::test]
async fn a_run_of_five_steps_takes_seven_table_requests_and_one_message() {
    let world = World::new(agent()).await;
    let engine = world.engine();
    let _process = world.process(Delivery::default());
    // A process reads a definition once; the second run of it is like every later one.
    world.create(&engine, World::request(1, W1)).await;
    world.idle().await;
    let messages = messages(&world);
    let before = world.cloud.meter.snapshot();
    let run = world.create(&engine, World::request(2, W1)).await;
    world.idle().await;
    let spent = world.cloud.meter.snapshot().since(&before);
    let state = world.ended(&[run]).await.remove(0);
    assert_eq!((state.status, state.totals.steps), (Status::Succeeded, 5));

    assert!(of_the_table(&spent) <= MOST_TABLE_REQUESTS, "{spent:#?}");
    let table: BTreeMap<_, _> = requests(&spent)
        .into_iter()
        .filter(|(name, _)| TABLE.contains(name))
        .collect();
    // Creation, start and end move the head; each step between is one small write.
    assert_eq!(
        table,
        BTreeMap::from([("PutItem", 4), ("TransactWriteItems", 3)])
    );
    assert_eq!(messages.load(Ordering::Relaxed), 1);
    assert_eq!(spent.of("Converse").requests, 5);
}

#[tokio::test]
async fn a_receipt_tells_the_requests_of_the_message_that_brought_the_run() {
    let world = World::new(agent()).await;
    let engine = world.engine();
    let _process = world.process(Delivery::default());
    let run = world.create(&engine, World::request(1, W1)).await;
    world.idle().await;
    let store = world.cloud.store();
    let log = store.commits(&tenant(), &run, 1, 100).await.unwrap();
    let receipt = Receipt::of(&log);
    let used = receipt.platform;
    // Sent, received and deleted, alone; held as often as it took.
    assert!(used.queue_milli_requests >= 3_000, "{used:?}");
    assert_eq!(used.queue_milli_requests % 1_000, 0, "{used:?}");
    assert_eq!(used.milli_invocations, 1_000);
    assert!(used.cost.queue_pico_usd > 0 && receipt.platform_micro_usd > 0);
}

#[tokio::test]
async fn a_waited_for_run_saves_the_message_and_a_write() {
    let world = World::new(agent()).await;
    let engine = world.engine();
    let limits = engine::Limits::within(std::time::Duration::from_secs(25));
    engine
        .create_and_drive(World::request(1, W1), limits, None)
        .await
        .unwrap();
    let messages = messages(&world);
    let before = world.cloud.meter.snapshot();
    engine
        .create_and_drive(World::request(2, W1), limits, None)
        .await
        .unwrap();
    let spent = world.cloud.meter.snapshot().since(&before);
    let mut spent = requests(&spent);
    spent.remove("SendMessage");
    assert_eq!(messages.load(Ordering::Relaxed), 0);
    assert_eq!(
        spent,
        BTreeMap::from([("Converse", 5), ("PutItem", 4), ("TransactWriteItems", 2)])
    );
}

#[tokio::test]
async fn a_run_over_http_stays_within_its_table_requests() {
    const RUNS: u64 = 10;
    let running = Running::own().await;
    let client = running.demo();
    let agent = client.agent(&agent()).await;
    client.run(&agent, W1).await;
    let meter = &running.cloud().meter;
    let mut spent = 0;
    for _ in 0..RUNS {
        let before = meter.snapshot();
        let run = client.create(&agent, W1).await;
        // Looks at this process's own store, which the meter counts too; they are subtracted.
        let (store, run) = (
            running.cloud().store(),
            domain::id::RunId::parse(&run).unwrap(),
        );
        let mut looks = 0;
        while !store
            .read(&crate::platform::demo(), &run, true)
            .await
            .unwrap()
            .unwrap()
            .0
            .status
            .is_terminal()
        {
            looks += 1;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        spent += of_the_table(&meter.snapshot().since(&before)) - looks - 1;
    }
    // The janitor may have looked at its shards once or twice meanwhile.
    let janitor = 3 * u64::from(store::WATCH_SHARDS);
    assert!(
        spent <= RUNS * MOST_TABLE_REQUESTS + janitor,
        "{spent} table requests of {RUNS} runs"
    );
    running.platform.stop().await;
}
