//! Closing a tenant, from the request to the certificate.

use std::collections::BTreeSet;

use domain::closing::{Closing, Counts, Place, QUIET_MS, SETTLING_MS};
use domain::id::DriverId;
use local::wire::{Fault, Rule};
use skein_engine::{Admitted, Refusal, TakenBack};

use super::*;

/// As long as a tick of the janitor works on closings.
const WITHIN: Duration = Duration::from_secs(20);

/// The run of that number, which waits for 600 s once it is driven.
fn waits(world: &World, number: u8) -> NewRun {
    NewRun {
        run: RunId::from_bytes([number; 16]),
        ..world.asks("wait for 600 s")
    }
}

/// Another tenant with an agent, an ended run and one that is queued.
async fn neighbour(world: &World, id: &str) -> TenantId {
    let tenant = TenantId::parse(id).unwrap();
    let settings = Tenant::new(tenant.clone(), id, "enterprise", At(NOW));
    let store = &world.engine.store;
    store.put_tenant(&settings, None).await.unwrap();
    let definition: Agent = serde_json::from_value(json!({"model": "local.echo"})).unwrap();
    let agent = AgentId::parse("a").unwrap();
    let stored = store.put_agent(&tenant, &agent, &definition, At(NOW));
    stored.await.unwrap();
    for number in [1, 2] {
        let new = NewRun {
            tenant: tenant.clone(),
            run: RunId::from_bytes([number; 16]),
            ..world.asks(&"hello ".repeat(15_000))
        };
        world.engine.create(new).await.unwrap();
    }
    let work = Work {
        tenant: tenant.clone(),
        run: RunId::from_bytes([1; 16]),
        ..world.work()
    };
    let outcome = world.engine.drive(work).await.unwrap();
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    tenant
}

/// Everything that a tenant has, line by line, and how much it is.
async fn holdings(world: &World, tenant: &TenantId) -> (BTreeSet<String>, Counts) {
    let (mut lines, mut counts) = (BTreeSet::new(), Counts::default());
    let mut place = Place::Table(None);
    while place != Place::End {
        let found = world.engine.store.holdings(tenant, &place).await.unwrap();
        lines.extend(found.lines().lines().map(str::to_owned));
        counts.items += found.counts.items;
        counts.objects += found.counts.objects;
        place = found.next;
    }
    (lines, counts)
}

/// What the orchestrator does with the tenant's messages that are there; its neighbours are left alone.
async fn drive_all(world: &World) {
    while let Some(message) = world.next_message().await {
        if message.tenant != world.tenant {
            continue;
        }
        let work = Work {
            tenant: message.tenant.clone(),
            run: message.run.clone(),
            ..world.work()
        };
        world.engine.drive(work).await.unwrap();
    }
}

async fn closing(world: &World) -> Closing {
    let read = world.engine.store.closing(&world.tenant).await;
    read.unwrap().unwrap()
}

/// The janitor's tick.
async fn tick(world: &World) -> Closing {
    world.engine.work_on_closings(WITHIN).await.unwrap();
    closing(world).await
}

async fn ask(world: &World) -> Closing {
    let asked = world.engine.close_tenant(&world.tenant, "operator:1");
    asked.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_tenant_is_closed_to_the_end_and_its_neighbours_keep_every_byte() {
    let world = World::new("local.tools").await;
    let mut neighbours = Vec::new();
    for id in ["acme2", "acm", "acme-x"] {
        neighbours.push(neighbour(&world, id).await);
    }
    // One run parked, one that somebody gave up in the middle, one that nobody took up.
    for number in [1, 2, 3] {
        let admitted = world.engine.create(waits(&world, number)).await.unwrap();
        assert!(matches!(admitted, Admitted::New { .. }), "{admitted:?}");
    }
    for (number, given) in [(1, Duration::from_secs(900)), (2, Duration::ZERO)] {
        let work = Work {
            run: RunId::from_bytes([number; 16]),
            limits: Limits::within(given),
            ..world.work()
        };
        world.engine.drive(work).await.unwrap();
    }
    let mut before = Vec::new();
    for tenant in &neighbours {
        before.push(holdings(&world, tenant).await);
    }

    let asked = ask(&world).await;
    assert_eq!(ask(&world).await, asked, "asking again changes nothing");
    let refused = world.engine.create(waits(&world, 4)).await.unwrap();
    assert!(
        matches!(refused, Admitted::Refused(Refusal::Suspended)),
        "{refused:?}"
    );

    assert_eq!(tick(&world).await.phase_name(), "draining");
    while tick(&world).await.look_again_at(At(0)) <= Some(At(10_000)) {
        // Whoever has a run in hand sees that it was cancelled.
        drive_all(&world).await;
        world.later(10_000);
    }
    for number in [1, 2, 3] {
        let run = RunId::from_bytes([number; 16]);
        let (head, _) = world
            .engine
            .store
            .read(&world.tenant, &run, true)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(head.status, Status::Cancelled);
    }
    world.later(SETTLING_MS);
    let (_, all) = holdings(&world, &world.tenant).await;
    let waiting = tick(&world).await;
    assert_eq!(waiting.phase_name(), "waiting");
    assert_eq!((waiting.exported, waiting.deleted), (all, all));
    assert_eq!(holdings(&world, &world.tenant).await.1, Counts::default());

    // Somebody who is still at work writes behind the deletion.
    let run = RunId::from_bytes([1; 16]);
    let late = DriverId::parse("late").unwrap();
    let renewed = world
        .engine
        .store
        .renew(&world.tenant, &run, &late, 9, world.engine.now());
    assert!(renewed.await.unwrap());
    world.later(QUIET_MS - 60_000);
    assert_eq!(tick(&world).await, waiting, "nothing is proven yet");
    world.later(60_000);
    let again = tick(&world).await;
    assert_eq!((again.phase_name(), again.passes), ("waiting", 2));
    assert_eq!(again.deleted.items, all.items + 1);
    assert!(again.quiet_at() > waiting.quiet_at().plus_ms(QUIET_MS - 60_000));

    world.later(QUIET_MS);
    let closed = tick(&world).await;
    assert!(closed.is_closed(), "{closed:?}");
    assert_eq!((closed.passes, closed.by.as_str()), (3, "operator:1"));
    assert_eq!(closed.exported, closed.deleted);
    assert!(closed.manifest.is_some());
    assert_eq!(world.engine.work_on_closings(WITHIN).await.unwrap(), 0);
    for (tenant, before) in neighbours.iter().zip(before) {
        let after = holdings(&world, tenant).await;
        assert!(after == before, "{tenant}: {:?} {:?}", after.1, before.1);
    }

    // The certificate stays, the id is gone.
    assert_eq!(ask(&world).await, closed);
    let again = Tenant::new(world.tenant.clone(), "Acme", "free", At(NOW));
    let onboarded = world.engine.put_tenant(&again, None).await;
    assert!(onboarded.is_err());
    let back = world.engine.take_closing_back(&world.tenant).await.unwrap();
    assert!(matches!(back, TakenBack::TooLate), "{back:?}");
    drive_all(&world).await;
    assert_eq!(holdings(&world, &world.tenant).await.1, Counts::default());
}

/// A world whose tenant is to be closed, and the runs of which have ended.
async fn asked() -> World {
    let world = World::new("local.echo").await;
    for number in 1..=3 {
        let run = RunId::from_bytes([number; 16]);
        let new = NewRun {
            run: run.clone(),
            ..world.asks(&"hello ".repeat(15_000))
        };
        world.engine.create(new).await.unwrap();
        let outcome = world
            .engine
            .drive(Work {
                run,
                ..world.work()
            })
            .await
            .unwrap();
        assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    }
    ask(&world).await;
    world
}

#[tokio::test]
async fn a_closing_whose_process_dies_anywhere_ends_all_the_same() {
    let world = asked().await;
    let all = holdings(&world, &world.tenant).await;
    let mut patience = 0;
    let mut deaths = 0;
    while !closing(&world).await.is_closed() {
        // The process dies as soon as it has sent so many requests.
        let requests = || world.cloud.meter.snapshot().total().requests;
        let most = requests() + patience;
        patience = (patience + 1) % 40;
        tokio::select! {
            biased;
            () = async {
                while requests() < most {
                    tokio::task::yield_now().await;
                }
            } => deaths += 1,
            _ = world.engine.work_on_closings(WITHIN) => {}
        }
        world.later(61_000);
    }
    assert!(deaths > 10, "{deaths}");
    let closed = closing(&world).await;
    assert_eq!(holdings(&world, &world.tenant).await.1, Counts::default());
    assert_eq!(closed.exported, closed.deleted);
    assert!(closed.deleted.items >= all.1.items && closed.deleted.objects == all.1.objects);
}

#[tokio::test]
async fn a_closing_whose_answers_are_lost_or_whose_requests_fail_ends_all_the_same() {
    let world = asked().await;
    for (fault, seed) in [
        (Fault::LoseResponse, 1),
        (Fault::FailBefore, 2),
        (Fault::Duplicate, 3),
    ] {
        world
            .cloud
            .faults
            .add(Rule::new(fault).with_probability(0.1, seed));
    }
    while !closing_if(&world)
        .await
        .is_some_and(|closing| closing.is_closed())
    {
        let _tried_again = world.engine.work_on_closings(WITHIN).await;
        world.later(61_000);
    }
    world.cloud.faults.clear();
    let closed = closing(&world).await;
    assert_eq!(closed.exported, closed.deleted);
    assert_eq!(holdings(&world, &world.tenant).await.1, Counts::default());
}

async fn closing_if(world: &World) -> Option<Closing> {
    world
        .engine
        .store
        .closing(&world.tenant)
        .await
        .ok()
        .flatten()
}

#[tokio::test]
async fn two_that_work_on_a_closing_at_once_come_to_one_end() {
    let world = asked().await;
    // Each step takes so long that the other one believes the first to be dead.
    let slow = Rule::new(Fault::Delay(Duration::from_millis(5))).on("PutItem");
    world.cloud.faults.add(slow);
    while !closing(&world).await.is_closed() {
        let (one, two) = tokio::join!(world.engine.work_on_closings(WITHIN), async {
            // As soon as the first one has it in hand; it may also have nothing to do by now.
            for _ in 0..200 {
                if closing(&world).await.is_held(world.engine.now()) {
                    break;
                }
                tokio::task::yield_now().await;
            }
            world.later(61_000);
            world.engine.work_on_closings(WITHIN).await
        });
        one.unwrap();
        two.unwrap();
        world.later(61_000);
    }
    let closed = closing(&world).await;
    assert_eq!(closed.exported, closed.deleted);
    assert_eq!(holdings(&world, &world.tenant).await.1, Counts::default());
}

#[tokio::test]
async fn a_closing_is_taken_back_until_deletion_begins() {
    let world = asked().await;
    let before = holdings(&world, &world.tenant).await.1;
    tick(&world).await;
    let back = world.engine.take_closing_back(&world.tenant).await.unwrap();
    assert!(
        matches!(&back, TakenBack::Done(tenant) if tenant.is_active()),
        "{back:?}"
    );
    let idle = world.engine.take_closing_back(&world.tenant).await.unwrap();
    assert!(matches!(idle, TakenBack::Idle), "{idle:?}");
    world.later(QUIET_MS);
    assert_eq!(world.engine.work_on_closings(WITHIN).await.unwrap(), 0);
    // A link of the audit trail more.
    let after = holdings(&world, &world.tenant).await.1;
    assert_eq!(
        (after.items, after.objects),
        (before.items + 1, before.objects)
    );
    let admitted = world.engine.create(waits(&world, 9)).await.unwrap();
    assert!(matches!(admitted, Admitted::New { .. }), "{admitted:?}");
}

#[tokio::test]
async fn a_run_that_is_unfinished_after_all_sends_the_closing_back_before_anything_is_deleted() {
    let world = asked().await;
    tick(&world).await;
    world.later(SETTLING_MS);
    // An index that is late hides a run until the table itself is read.
    let store = &world.engine.store;
    let run = RunId::from_bytes([1; 16]);
    let (mut head, _) = store
        .read(&world.tenant, &run, true)
        .await
        .unwrap()
        .unwrap();
    head.run = RunId::from_bytes([9; 16]);
    head.status = Status::Parked;
    head.ended_at = None;
    head.watch_at = Some(world.engine.now());
    let mut log = store.commits(&world.tenant, &run, 1, 1).await.unwrap();
    let first = log.remove(0);
    store.create(&world.tenant, &head, &first).await.unwrap();
    let back = tick(&world).await;
    assert_eq!((back.phase_name(), back.exported.items), ("draining", 0));
    assert_eq!(back.deleted, Counts::default());
    while closing(&world).await.phase_name() == "draining" {
        tick(&world).await;
        drive_all(&world).await;
        world.later(10_000);
    }
}
