//! What a log tells of what a run used of the platform.

use domain::receipt::Receipt;
use domain::run::Used;

use super::*;

impl World {
    async fn platform(&self) -> Used {
        Receipt::of(&self.log().await).platform
    }
}

#[tokio::test]
async fn a_receipt_counts_every_request_but_the_last() {
    let world = World::with_run("local.tools", "calculate 1+1, then 2+2").await;
    let before = world.engine.store.consumed();
    let outcome = world.engine.drive(world.work()).await.unwrap();
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    let after = world.engine.store.consumed();
    let used = world.platform().await;
    let writes = |consumed: &store::Consumed| consumed.writes + consumed.transactions;
    assert_eq!(used.writes, writes(&after) - writes(&before) - 1);
    assert!(used.writes > 0 && used.reads > 0);
}

#[tokio::test]
async fn a_receipt_adds_up_those_who_parked_the_run_the_worker_and_who_ended_it() {
    let world = World::with_run("local.tools", "research geese").await;
    world.parks(&world.wake()).await;
    let parked = world.platform().await;
    assert!(parked.reads > 0, "{parked:?}");
    let tool = world.next_tool().await.unwrap();
    world.engine.perform_tool(&tool).await.unwrap();
    let worked = world.platform().await;
    assert!(worked.reads > parked.reads, "{worked:?}");
    let message = world.next_message().await.unwrap();
    world.succeeds(&message).await;
    let ended = world.platform().await;
    assert!(ended.reads > worked.reads, "{ended:?}");
}

#[tokio::test]
async fn who_lets_the_next_run_in_tells_its_log_nothing() {
    let world = World::new("local.tools").await;
    let store = &world.engine.store;
    let old = store.tenant(&world.tenant).await.unwrap().unwrap();
    let mut new = old.clone();
    new.overrides.concurrent_runs = Some(1);
    new.revision += 1;
    store.put_tenant(&new, Some(&old)).await.unwrap();
    let next = NewRun {
        run: RunId::from_bytes([8; 16]),
        ..world.asks("hi")
    };
    world.engine.create(world.asks("hi")).await.unwrap();
    world.engine.create(next.clone()).await.unwrap();
    world.succeeds(&world.wake()).await;
    let log = store
        .commits(&world.tenant, &next.run, 1, 100)
        .await
        .unwrap();
    let admitted = &log.last().unwrap().events[0];
    assert!(matches!(admitted, Event::Admitted { .. }), "{admitted:?}");
    assert_eq!(Receipt::of(&log).platform, Used::default());
}

#[tokio::test]
async fn a_receipt_prices_the_platform_beside_what_was_charged() {
    let world = World::with_run("local.tools", "calculate 1+1").await;
    world.succeeds(&world.wake()).await;
    let receipt = Receipt::of(&world.log().await);
    let (used, cost) = (receipt.platform, receipt.platform.cost);
    assert_eq!(used.milli_invocations, 1_000, "no message brought it");
    assert!(used.process_mb_ms > 0, "{used:?}");
    let prices = gateway::Prices::builtin().units("us-east-1", std::env::consts::ARCH);
    assert_eq!(cost, prices.of(&used), "one process told it, once");
    assert!(cost.table_pico_usd > 0 && cost.process_pico_usd > 0);
    assert_eq!(receipt.platform_micro_usd, cost.micro_usd());
    let totals = world.folded().await.totals;
    assert_eq!(receipt.total.cost_micro_usd, totals.micro_usd);
}

#[tokio::test]
async fn runs_that_a_process_drives_at_once_share_its_time() {
    let world = World::new("local.slow-300").await;
    let runs = [1, 2, 3].map(|n| RunId::from_bytes([n; 16]));
    for run in &runs {
        let new = NewRun {
            run: run.clone(),
            ..world.asks("hi")
        };
        world.engine.create(new).await.unwrap();
    }
    let began = Instant::now();
    let drives = runs.each_ref().map(|run| {
        let work = Work {
            run: run.clone(),
            ..world.work()
        };
        world.engine.drive(work)
    });
    for driven in futures_util::future::join_all(drives).await {
        assert!(matches!(driven.unwrap(), Outcome::Ended(_)));
    }
    let lasted_ms = u64::try_from(began.elapsed().as_millis()).unwrap() + 1;
    let (mut together, mut alone) = (0, 0);
    for run in &runs {
        let store = &world.engine.store;
        let log = store.commits(&world.tenant, run, 1, 100).await.unwrap();
        let used = Receipt::of(&log).platform;
        together += used.process_mb_ms;
        alone += used.process_ms;
    }
    assert!(alone >= 3 * 300, "each was driven for {alone} ms in all");
    assert!(
        together <= lasted_ms * 256 + 3,
        "{together} MB-ms of {lasted_ms} ms"
    );
}

#[tokio::test]
async fn who_hands_a_run_over_tells_what_it_used() {
    let world = World::with_run("local.tools-50", "count to 3").await;
    let limits = limits(Duration::from_millis(20), Duration::from_secs(60));
    let outcome = world.drive(&world.wake(), limits).await;
    assert!(matches!(outcome, Outcome::HandedOver(_)), "{outcome:?}");
    let handed_over = world.platform().await;
    assert!(handed_over.reads > 0, "{handed_over:?}");
    let message = world.next_message().await.unwrap();
    world.succeeds(&message).await;
    assert!(world.platform().await.milli_invocations > handed_over.milli_invocations);
}
