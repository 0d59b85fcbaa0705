//! The platform without processes, on a clock that jumps: the stand-ins, and functions that are tasks.
//!
//! The functions are production's, fed as Lambda feeds them. To end a process is to drop its tasks, wherever they stand. While
//! nobody has anything to do but wait for a timer, a delay or the end of a claim, time passes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use dev::{Cloud, CloudConfig, Isolation, QUEUES};
use domain::agent::{Agent, AgentRef};
use domain::caps::Caps;
use domain::id::{AgentId, RunId, TenantId};
use domain::run::{Lane, State};
use domain::tenant::Isolation as Home;
use domain::time::At;
use engine::{Clock, Engine, NewRun};
use local::sqs::{self, Received};
use serde_json::{Value, json};
use store::Store;
use tokio::task::JoinSet;

use crate::invariants;
use crate::platform::{onboard_in, within};

/// How often the janitor looks (template: every minute).
const JANITOR_EVERY_MS: u64 = 60_000;
/// How long the janitor works on closings then (`functions/janitor`).
const JANITOR: Duration = Duration::from_secs(20);
/// How far time jumps at once.
const JUMP: Duration = Duration::from_secs(1);
/// What those get who are at work, between two looks whether they still are.
const MOMENT: Duration = Duration::from_millis(4);
/// Longest life of a run here, on the clock that jumps.
const PATIENCE_MS: u64 = 2 * 3_600_000;
/// Messages of one delivery.
const BATCH: usize = 10;

pub(crate) struct World {
    pub(crate) cloud: Cloud,
    clock: Clock,
    /// Milliseconds that time has jumped.
    jumped_ms: Arc<AtomicU64>,
    /// Deliveries that are being handled.
    busy: Arc<AtomicUsize>,
    swept_at: AtomicU64,
}

/// How deliveries reach a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// How long one invocation may take.
    pub(crate) remaining: Duration,
    /// Each message is delivered twice, at the same time.
    pub(crate) twice: bool,
    /// Each message comes alone, the last one first.
    pub(crate) reversed: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            remaining: Duration::from_secs(300),
            twice: false,
            reversed: false,
        }
    }
}

/// Tasks that are a process; dropping it is a crash.
pub(crate) struct Process(JoinSet<()>);

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("demo").unwrap()
}

impl World {
    /// A new world with one agent, named `agent`.
    pub(crate) async fn new(definition: Value) -> Self {
        Self::with(CloudConfig::default(), definition).await
    }

    /// The same over a cloud of another kind. Its first table for a tenant is this tenant's.
    pub(crate) async fn with(config: CloudConfig, definition: Value) -> Self {
        let own_table = config.tenant_tables.first().cloned();
        let world = Self::bare(config, Arc::default()).await;
        let isolation = own_table.map_or(Home::Pool, |table| Home::Bridge { table });
        world.furnish(isolation, definition).await;
        world
    }

    /// A world in which nobody is at home, on a clock that has jumped so far.
    pub(crate) async fn bare(config: CloudConfig, jumped_ms: Arc<AtomicU64>) -> Self {
        let cloud = Cloud::open(None, config).await.unwrap();
        let jumped = jumped_ms.clone();
        // No two looks see the same instant, as on a machine that is slow.
        let clock: Clock = Arc::new(move || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            At(u64::try_from(since.as_millis()).unwrap() + jumped.fetch_add(1, Ordering::Relaxed))
        });
        let swept_at = AtomicU64::new(clock().0);
        Self {
            cloud,
            clock,
            jumped_ms,
            busy: Arc::default(),
            swept_at,
        }
    }

    /// Onboards the tenant and stores its agent.
    pub(crate) async fn furnish(&self, isolation: Home, definition: Value) {
        let agent: Agent = serde_json::from_value(definition).unwrap();
        let store = self.cloud.store();
        onboard_in(&store, tenant().as_str(), isolation).await;
        let id = AgentId::parse("agent").unwrap();
        store
            .put_agent(&tenant(), &id, &agent, self.now())
            .await
            .unwrap();
    }

    pub(crate) fn now(&self) -> At {
        (self.clock)()
    }

    /// An engine of this function's own.
    pub(crate) fn engine_of(&self, function: &str) -> Engine {
        let cloud = self.cloud.as_function(function);
        cloud.engine(Some(self.clock.clone()))
    }

    /// An engine with caches of its own, as each process has.
    pub(crate) fn engine(&self) -> Engine {
        self.cloud.engine(Some(self.clock.clone()))
    }

    /// Request number `number` for a run.
    pub(crate) fn request(number: u64, input: &str) -> NewRun {
        NewRun {
            tenant: tenant(),
            run: RunId::derived(&tenant(), &number.to_string()),
            agent: AgentRef {
                id: AgentId::parse("agent").unwrap(),
                version: 1,
            },
            input: json!(input),
            caps: Caps::default(),
            lane: Lane::Standard,
            metadata: std::collections::BTreeMap::new(),
            fingerprint: Some(number.to_string()),
            project: None,
            key: None,
            definitions: None,
        }
    }

    /// Creates a run as a client does that repeats its request until it is answered.
    pub(crate) async fn create(&self, engine: &Engine, new: NewRun) -> RunId {
        let run = new.run.clone();
        while let Err(error) = engine.create(new.clone()).await {
            assert!(error.is_transient(), "{error:?}");
            tokio::time::sleep(MOMENT).await;
        }
        run
    }

    /// A process that serves every queue.
    pub(crate) fn process(&self, delivery: Delivery) -> Process {
        let engine = self.engine();
        let mut tasks = JoinSet::new();
        for queue in QUEUES {
            let serving = Serving {
                cloud: self.cloud.clone(),
                engine: match (self.cloud.isolation, queue) {
                    (Isolation::Pool, _) => engine.clone(),
                    (Isolation::Session, "tasks") => self.engine_of("worker"),
                    (Isolation::Session, "sweeps") => self.engine_of("janitor"),
                    (Isolation::Session, _) => self.engine_of("orchestrator"),
                },
                queue,
                delivery,
                busy: self.busy.clone(),
            };
            tasks.spawn(serve(serving));
        }
        Process(tasks)
    }

    /// A delivery that nobody handles.
    pub(crate) async fn receive(&self, queue: &str) -> Vec<Received> {
        self.cloud
            .queues
            .receive(queue, BATCH, Duration::ZERO)
            .await
    }

    /// Waits until the model was called that often.
    pub(crate) async fn calls(&self, calls: u64) {
        until(|| self.cloud.models.calls() >= calls).await;
    }

    /// Waits until one more such request was answered.
    pub(crate) async fn requested(&self, operation: &str) {
        let requests = || self.cloud.meter.snapshot().of(operation).requests;
        let before = requests();
        until(|| requests() > before).await;
    }

    /// A moment for those who are at work; while nobody is, time jumps, and the janitor looks once a minute.
    pub(crate) async fn pass(&self) {
        let was_quiet = self.is_quiet();
        tokio::time::sleep(MOMENT).await;
        if !was_quiet || !self.is_quiet() {
            return;
        }
        self.jumped_ms
            .fetch_add(u64::try_from(JUMP.as_millis()).unwrap(), Ordering::Relaxed);
        self.cloud.queues.advance(JUMP);
        let now = self.now().0;
        if now >= self.swept_at.load(Ordering::Relaxed) + JANITOR_EVERY_MS {
            self.swept_at.store(now, Ordering::Relaxed);
            // What fails now is looked at again in a minute.
            let _swept = self.engine().sweep().await;
            let _worked = self.engine().work_on_closings(JANITOR).await;
        }
    }

    fn is_quiet(&self) -> bool {
        let visible = QUEUES
            .into_iter()
            .map(|queue| self.cloud.queues.depth(queue).visible);
        self.busy.load(Ordering::Relaxed) == 0 && visible.sum::<usize>() == 0
    }

    /// Waits until no queue holds a message about a run, so that no process has anything to do.
    pub(crate) async fn idle(&self) {
        let is_empty = |queue| {
            let depth = self.cloud.queues.depth(queue);
            depth.visible + depth.in_flight + depth.delayed == 0
        };
        let queues = QUEUES.into_iter().filter(|queue| *queue != "sweeps");
        while !queues.clone().all(is_empty) {
            self.pass().await;
        }
    }

    /// Waits for the ends of these runs and checks their logs. Faults are over by then.
    pub(crate) async fn ended(&self, runs: &[RunId]) -> Vec<State> {
        let store = self.cloud.store();
        let patience = self.now().plus_ms(PATIENCE_MS);
        for run in runs {
            while !self.has_ended(&store, run).await {
                if self.now() > patience {
                    self.cloud.faults.clear();
                    let log = invariants::log(&store, &tenant(), run).await;
                    panic!("{run} does not end\n{}", invariants::show(&log));
                }
                for _ in 0..8 {
                    self.pass().await;
                }
            }
        }
        self.cloud.faults.clear();
        let mut states = Vec::new();
        for run in runs {
            let (head, _) = store.read(&tenant(), run, true).await.unwrap().unwrap();
            let log = invariants::log(&store, &tenant(), run).await;
            states.push(invariants::check(&tenant(), run, &log, &head));
        }
        states
    }

    async fn has_ended(&self, store: &Store, run: &RunId) -> bool {
        let read = store.read(&tenant(), run, true).await;
        matches!(read, Ok(Some((head, _))) if head.status.is_terminal())
    }
}

#[derive(Clone)]
struct Serving {
    cloud: Cloud,
    engine: Engine,
    queue: &'static str,
    delivery: Delivery,
    busy: Arc<AtomicUsize>,
}

/// Looks again and again until it holds.
async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(held).await;
}

/// One who is at work, for as long as this lives.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn of(busy: &Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(busy.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(serving: Serving) {
    let mut deliveries = JoinSet::new();
    loop {
        let queues = &serving.cloud.queues;
        let mut batch = queues
            .receive(serving.queue, BATCH, Duration::from_secs(20))
            .await;
        let batches = if serving.delivery.reversed {
            batch.reverse();
            batch.into_iter().map(|message| vec![message]).collect()
        } else {
            vec![batch]
        };
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            if serving.delivery.twice {
                deliveries.spawn(deliver(
                    serving.clone(),
                    batch.clone(),
                    Busy::of(&serving.busy),
                ));
            }
            deliveries.spawn(deliver(serving.clone(), batch, Busy::of(&serving.busy)));
        }
        while deliveries.try_join_next().is_some() {}
    }
}

/// Has a function handle a batch, and deletes what it does not report as failed.
async fn deliver(serving: Serving, batch: Vec<Received>, _busy: Busy) {
    let Serving {
        cloud,
        engine,
        queue,
        delivery,
        ..
    } = serving;
    let event = event(queue, &batch);
    let response = match queue {
        "tasks" => worker::handle(&engine, event).await,
        // What fails is delivered again.
        "sweeps" if janitor::sweep(&engine, &event).await.is_err() => return,
        "sweeps" => SqsBatchResponse::default(),
        _ => orchestrator::handle(&engine, event, delivery.remaining).await,
    };
    let failed = |message: &Received| {
        response
            .batch_item_failures
            .iter()
            .any(|failure| failure.item_identifier == message.message_id)
    };
    for message in batch.iter().filter(|message| !failed(message)) {
        cloud.queues.delete(queue, &message.receipt_handle);
    }
}

/// The event that Lambda makes of a batch.
pub(crate) fn event(queue: &str, batch: &[Received]) -> SqsEvent {
    let records: Vec<Value> = batch
        .iter()
        .map(|message| {
            json!({
                "messageId": message.message_id,
                "receiptHandle": message.receipt_handle,
                "body": message.body,
                "md5OfBody": message.md5_of_body,
                "attributes": message.attributes,
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": sqs::arn(queue),
                "awsRegion": "us-east-1",
            })
        })
        .collect();
    serde_json::from_value(json!({"Records": records})).unwrap()
}

impl Process {
    /// Ends the process where it stands, and waits until nothing of it is left.
    pub(crate) async fn crash(mut self) {
        self.0.shutdown().await;
    }
}
