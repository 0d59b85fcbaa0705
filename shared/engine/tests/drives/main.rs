//! Whole drives of runs, over the local cloud without sockets, on a clock that can be set forward.

#![expect(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod closing;
mod crashes;
mod limits;
mod line;
mod parks;
mod receipts;
mod skew;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dev::{Cloud, CloudConfig};
use domain::agent::{Agent, AgentRef};
use domain::caps::Caps;
use domain::id::{AgentId, RunId, TenantId};
use domain::run::{Commit, Event, Lane, State, Status, fold};
use domain::tenant::Tenant;
use domain::time::At;
use local::sqs::Received;
use queue::{Message, RunMessage, ToolMessage};
use serde_json::json;
use skein_engine::{Clock, Engine, Limits, NewRun, Outcome, Work};
use tokio::time::Instant;

const NOW: u64 = 1_700_000_000_000;
const RUNS: &str = "runs-standard";
const TASKS: &str = "tasks";

/// One tenant, one agent, one run, and a clock that follows the runtime's and can be set forward.
struct World {
    cloud: Cloud,
    engine: Engine,
    clock: Clock,
    ahead_ms: Arc<AtomicU64>,
    tenant: TenantId,
    run: RunId,
    agent: AgentRef,
}

impl World {
    async fn new(model: &str) -> Self {
        let cloud = Cloud::open(None, CloudConfig::default()).await.unwrap();
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let (ahead, began) = (ahead_ms.clone(), Instant::now());
        let clock: Clock = Arc::new(move || {
            let ran_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
            At(NOW + ran_ms + ahead.load(Ordering::Relaxed))
        });
        let engine = cloud.engine(Some(clock.clone()));
        let tenant = TenantId::parse("acme").unwrap();
        let id = AgentId::parse("a").unwrap();
        let definition: Agent = serde_json::from_value(json!({
            "model": model,
            "tools": ["calculator", "clock", "wait", "slow_research"],
            "caps": Caps { steps: 1_000, tool_calls: 1_000, tokens: 1_000_000_000, micro_usd: 1_000_000_000, wall_ms: 3_600_000 },
        }))
        .unwrap();
        let settings = Tenant::new(tenant.clone(), "Acme", "enterprise", At(NOW));
        engine.store.put_tenant(&settings, None).await.unwrap();
        let stored = engine.store.put_agent(&tenant, &id, &definition, At(NOW));
        let version = stored.await.unwrap().version;
        Self {
            cloud,
            engine,
            clock,
            ahead_ms,
            tenant,
            run: RunId::from_bytes([7; 16]),
            agent: AgentRef { id, version },
        }
    }

    /// A world whose run was created, with its first message taken from the queue.
    async fn with_run(model: &str, input: &str) -> Self {
        let world = Self::new(model).await;
        world.engine.create(world.asks(input)).await.unwrap();
        assert!(world.next_message().await.is_some());
        world
    }

    fn asks(&self, input: &str) -> NewRun {
        NewRun {
            tenant: self.tenant.clone(),
            run: self.run.clone(),
            agent: self.agent.clone(),
            input: input.into(),
            caps: Caps {
                steps: 1_000,
                tool_calls: 1_000,
                tokens: 1_000_000_000,
                micro_usd: 1_000_000_000,
                wall_ms: 3_600_000,
            },
            lane: Lane::Standard,
            metadata: std::collections::BTreeMap::new(),
            fingerprint: None,
            project: None,
            key: None,
            definitions: None,
        }
    }

    fn later(&self, ms: u64) {
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// A message that says no more than that the run has something to do.
    fn wake(&self) -> RunMessage {
        RunMessage::new(self.tenant.clone(), self.run.clone())
    }

    fn work(&self) -> Work {
        Work {
            tenant: self.tenant.clone(),
            run: self.run.clone(),
            first: None,
            handed_over_by: None,
            hops: 0,
            wakes_at: None,
            revives: false,
            limits: Limits::within(Duration::from_secs(900)),
            listener: None,
        }
    }

    /// Drives the run as a message of that kind makes the orchestrator do.
    async fn drive(&self, message: &RunMessage, limits: Limits) -> Outcome {
        let work = Work {
            handed_over_by: message.handed_over_by.clone(),
            hops: message.hops,
            wakes_at: message.wakes_at,
            limits,
            ..self.work()
        };
        self.engine.drive(work).await.unwrap()
    }

    async fn parks(&self, message: &RunMessage) -> At {
        match self.drive(message, self.work().limits).await {
            Outcome::Parked(state) => state.parked.unwrap().1,
            other => panic!("{other:?}"),
        }
    }

    async fn succeeds(&self, message: &RunMessage) {
        let outcome = self.drive(message, self.work().limits).await;
        assert!(
            matches!(&outcome, Outcome::Ended(state) if state.status == Status::Succeeded),
            "{outcome:?}"
        );
    }

    async fn receive(&self, queue: &str) -> Option<Received> {
        let mut received = self.cloud.queues.receive(queue, 1, Duration::ZERO).await;
        received.pop()
    }

    async fn next_message(&self) -> Option<RunMessage> {
        let received = self.receive(RUNS).await?;
        Some(RunMessage::parse(&received.body).unwrap())
    }

    async fn next_tool(&self) -> Option<ToolMessage> {
        let received = self.receive(TASKS).await?;
        Some(ToolMessage::parse(&received.body).unwrap())
    }

    async fn log(&self) -> Vec<Commit> {
        let (store, mut log) = (&self.engine.store, Vec::<Commit>::new());
        loop {
            let first = log.last().map_or(1, |commit| commit.last() + 1);
            let more = store.commits(&self.tenant, &self.run, first, 1_000).await;
            let more = more.unwrap();
            if more.is_empty() {
                return log;
            }
            log.extend(more);
        }
    }

    async fn folded(&self) -> State {
        fold(self.tenant.clone(), self.run.clone(), &self.log().await)
    }

    /// How many events of this kind the log holds.
    async fn count(&self, tag: &str) -> usize {
        let log = self.log().await;
        let events = log.iter().flat_map(|commit| &commit.events);
        events.filter(|event| event.tag() == tag).count()
    }

    /// Waits until the model was called that often.
    async fn calls(&self, calls: u64) {
        let called = async {
            while self.cloud.models.calls() < calls {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), called)
            .await
            .unwrap();
    }
}

/// Limits that end what is begun after `begin` and what is under way after `stay`.
fn limits(begin: Duration, stay: Duration) -> Limits {
    let now = Instant::now();
    Limits {
        begin_until: now + begin,
        stay_until: now + stay,
    }
}

fn text(state: &State) -> String {
    let output = state.output.clone().unwrap_or_default();
    output.as_str().unwrap_or_default().to_owned()
}

fn is_model_failure(event: &&Event) -> bool {
    matches!(event, Event::ModelFailed { .. })
}
