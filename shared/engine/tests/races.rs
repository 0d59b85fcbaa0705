//! Claims that lose a race, over the local cloud.

#![expect(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dev::{Cloud, CloudConfig};
use domain::agent::{Agent, AgentRef};
use domain::caps::Caps;
use domain::id::{AgentId, DriverId, RunId, TenantId};
use domain::run::{Commit, LEASE_MS, Lane, Status};
use domain::tenant::Tenant;
use domain::time::At;
use skein_engine::{Admitted, Engine, Limits, NewRun, Outcome, Work};

const NOW: u64 = 1_700_000_000_000;

struct World {
    engine: Engine,
    clock: Arc<AtomicU64>,
    tenant: TenantId,
    run: RunId,
}

impl World {
    /// A run that one driver has started and given up at once.
    async fn with_a_started_run() -> (Self, DriverId) {
        let cloud = Cloud::open(None, CloudConfig::default()).await.unwrap();
        let clock = Arc::new(AtomicU64::new(NOW));
        let time = clock.clone();
        let engine = cloud.engine(Some(Arc::new(move || At(time.load(Ordering::Relaxed)))));
        let tenant = TenantId::parse("acme").unwrap();
        let agent = AgentId::parse("echo").unwrap();
        let definition: Agent =
            serde_json::from_value(serde_json::json!({"model": "local.echo"})).unwrap();
        let settings = Tenant::new(tenant.clone(), "Acme", "enterprise", At(NOW));
        engine.store.put_tenant(&settings, None).await.unwrap();
        let stored = engine
            .store
            .put_agent(&tenant, &agent, &definition, At(NOW));
        let version = stored.await.unwrap().version;
        let world = Self {
            engine,
            clock,
            tenant,
            run: RunId::from_bytes([7; 16]),
        };
        let new = NewRun {
            tenant: world.tenant.clone(),
            run: world.run.clone(),
            agent: AgentRef { id: agent, version },
            input: "hi".into(),
            caps: Caps::default(),
            lane: Lane::Standard,
            metadata: Default::default(),
            fingerprint: None,
            project: None,
            key: None,
            definitions: None,
        };
        let admitted = world.engine.create(new).await.unwrap();
        assert!(matches!(admitted, Admitted::New { .. }));
        let started = world.drive(None, None, Duration::ZERO).await;
        let Outcome::HandedOver(state) = started else {
            panic!("{started:?}");
        };
        let (driver, _) = state.driver.clone().unwrap();
        (world, driver)
    }

    async fn drive(
        &self,
        first: Option<Commit>,
        handed_over_by: Option<DriverId>,
        remaining: Duration,
    ) -> Outcome {
        let work = Work {
            tenant: self.tenant.clone(),
            run: self.run.clone(),
            first,
            handed_over_by,
            hops: 0,
            wakes_at: None,
            revives: false,
            limits: Limits::within(remaining),
            listener: None,
        };
        self.engine.drive(work).await.unwrap()
    }

    /// What a message from before the start says: a claim built on it is bound to lose its race.
    async fn creation(&self) -> Option<Commit> {
        let log = self.engine.store.commits(&self.tenant, &self.run, 1, 1);
        log.await.unwrap().into_iter().next()
    }
}

#[tokio::test]
async fn a_run_that_was_handed_over_is_taken_up_although_the_claim_lost_a_race() {
    let (world, before) = World::with_a_started_run().await;
    let outdated = world.creation().await;
    let outcome = world
        .drive(outdated, Some(before), Duration::from_secs(60))
        .await;
    assert!(
        matches!(&outcome, Outcome::Ended(state) if state.status == Status::Succeeded),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn an_outdated_message_does_not_take_a_run_from_a_driver_that_renewed_its_lease() {
    let (world, holder) = World::with_a_started_run().await;
    let store = &world.engine.store;
    let renewed = store.renew(&world.tenant, &world.run, &holder, 2, At(NOW + 25_000));
    assert!(renewed.await.unwrap());
    world.clock.store(NOW + 40_000, Ordering::Relaxed);
    let outdated = world.creation().await;
    let outcome = world.drive(outdated, None, Duration::from_secs(60)).await;
    assert!(
        matches!(outcome, Outcome::Held { until, .. } if until == At(NOW + 25_000 + LEASE_MS)),
        "{outcome:?}"
    );
}
