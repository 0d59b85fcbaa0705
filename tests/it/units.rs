//! What a run asks of the platform is what the planner counts with: requests and units exactly.
//!
//! `UPDATE_EXPECT=1` writes what is measured into `shared/cli/src/plan/units.json`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::Api;
use api::auth::SCOPES;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use domain::agent::Agent;
use domain::id::{AgentId, DriverId, KeyId, RunId, TenantId};
use domain::plan::{Asked, Bytes, Units};
use domain::tenant::Tenant;
use domain::time::At;
use domain::usage::{Interval, Row, Subject, Usage};
use engine::Engine;
use local::wire::Snapshot;
use serde_json::{Value, json};
use store::{ApiKey, Consumed, Store, Tally};
use tower::ServiceExt as _;

use crate::requests::{messages, of_the_table};
use crate::world::{World, event};

const TENANT: &str = "units";
/// The lane of runs that nobody waits for.
const QUEUE: &str = "runs-standard";
/// Numbers of steps, and what the model is asked so that it takes as many.
const RUNS: [(u64, &str); 4] = [
    (1, "hello"),
    (3, "count to 2"),
    (5, "count to 4"),
    (10, "count to 9"),
];
/// Bytes by which what is stored may differ from run to run: numbers have more or fewer digits.
const DIGITS: u64 = 64;

/// A platform whose functions are called one at a time, so that nothing is asked at the same time as what is measured.
struct Measured {
    world: World,
    tenant: TenantId,
    key: String,
    stream: Router,
    api: Router,
    orchestrator: Engine,
    /// Messages about runs; the others ask for sweeps.
    messages: Arc<AtomicU64>,
}

fn queue_messages(snapshot: &Snapshot) -> u64 {
    snapshot.of("SendMessage").requests
}

impl Measured {
    async fn new() -> Self {
        let agent = json!({"model": "local.tools", "tools": ["calculator"]});
        let world = World::new(agent.clone()).await;
        let store = world.cloud.store();
        let tenant = TenantId::parse(TENANT).unwrap();
        // With rate limits, as every tenant has them.
        let settings = Tenant::new(tenant.clone(), "a test's", "business", At(0));
        store.put_tenant(&settings, None).await.unwrap();
        let agent: Agent = serde_json::from_value(agent).unwrap();
        let id = AgentId::parse("agent").unwrap();
        store
            .put_agent(&tenant, &id, &agent, world.now())
            .await
            .unwrap();
        let issued = api::keys::issue("test", [9; api::keys::RANDOM_BYTES]);
        let hash = issued.sha256.iter().map(|byte| format!("{byte:02x}"));
        let key = ApiKey {
            id: KeyId::parse(&issued.id).unwrap(),
            tenant: tenant.clone(),
            project: None,
            hash: hash.collect(),
            scopes: SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
            label: "test".to_owned(),
            created_at: world.now(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            gate: None,
        };
        store.put_key(&key).await.unwrap();
        let process = || api::all_routes(Api::new(world.engine(), api::Config::default()));
        Self {
            tenant,
            key: issued.text,
            stream: process(),
            api: process(),
            orchestrator: world.engine(),
            messages: messages(&world),
            world,
        }
    }

    /// What is asked while this is done, and how many sweeps are asked for.
    async fn asked<T>(&self, work: impl Future<Output = T>) -> (T, Asked, u64) {
        let before = self.world.cloud.meter.snapshot();
        let messages_before = self.messages.load(Ordering::Relaxed);
        let done = work.await;
        let spent = self.world.cloud.meter.snapshot().since(&before);
        let messages = self.messages.load(Ordering::Relaxed) - messages_before;
        let total = spent.total();
        let asked = Asked {
            table_requests: of_the_table(&spent),
            half_read_units: halves(total.read_units),
            write_units: whole(total.write_units),
            messages,
        };
        (done, asked, queue_messages(&spent) - messages)
    }

    async fn request(&self, router: &Router, method: Method, path: &str, body: Value) -> Value {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        let request = request.body(body).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        assert!(status.is_success(), "{status} {text:?}");
        serde_json::from_slice(&text).unwrap()
    }

    async fn create(&self, input: &str) -> RunId {
        let body = json!({"agent": "agent", "input": input});
        let run = self.request(&self.stream, Method::POST, "/v1/runs", body);
        RunId::parse(run.await["id"].as_str().unwrap()).unwrap()
    }

    async fn poll(&self, run: &RunId) -> Value {
        let path = format!("/v1/runs/{run}");
        self.request(&self.api, Method::GET, &path, Value::Null)
            .await
    }

    /// Drives what was created last.
    async fn drive(&self) {
        let batch = self.world.receive(QUEUE).await;
        assert_eq!(batch.len(), 1, "one run at a time");
        let handled = orchestrator::handle(
            &self.orchestrator,
            event(QUEUE, &batch),
            Duration::from_secs(300),
        );
        assert!(handled.await.batch_item_failures.is_empty());
        let queues = &self.world.cloud.queues;
        queues.delete(QUEUE, &batch[0].receipt_handle);
    }

    /// Every item of the stack's table, as the table answers.
    async fn items(&self) -> Vec<Value> {
        let request = Request::post("/")
            .header("x-amz-target", "DynamoDB_20120810.Scan")
            .header("content-type", "application/x-amz-json-1.0")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
            )
            .header("x-amz-date", "20260101T000000Z")
            .body(Body::from(json!({"TableName": "skein"}).to_string()));
        let router = self.world.cloud.table.router();
        let answer = router.oneshot(request.unwrap()).await.unwrap();
        let text = to_bytes(answer.into_body(), 1 << 24).await.unwrap();
        let mut answer: Value = serde_json::from_slice(&text).unwrap();
        assert!(answer["LastEvaluatedKey"].is_null(), "one page holds all");
        match answer["Items"].take() {
            Value::Array(items) => items,
            other => panic!("{other} {}", String::from_utf8_lossy(&text)),
        }
    }

    /// The items of a run.
    async fn items_of(&self, run: &RunId) -> Vec<Value> {
        let of_run = |item: &Value| item["pk"]["S"].as_str().unwrap().contains(run.as_str());
        self.items().await.into_iter().filter(of_run).collect()
    }

    /// Counts runs as usage that are like this one.
    async fn count(&self, relay: &Engine, head: &Value, numbers: &[u8]) {
        let pk = head["pk"]["S"].as_str().unwrap();
        let like = pk.rsplit('#').next().unwrap();
        let records: Vec<Value> = numbers
            .iter()
            .map(|number| {
                let run = RunId::from_bytes([*number; 16]).to_string();
                let image = head["head"]["S"].as_str().unwrap().replace(like, &run);
                let keys = json!({"pk": {"S": pk.replace(like, &run)}, "sk": {"S": "HEAD"}});
                json!({"dynamodb": {"Keys": keys, "NewImage": {"head": {"S": image}}}})
            })
            .collect();
        let changes = serde_json::from_value(json!({"Records": records})).unwrap();
        let counted = relay::handle(relay, changes).await.unwrap();
        assert_eq!(counted, numbers.len());
    }
}

/// Of the same request: the one that has to lease from its rate limits, as not every one has to.
fn most(asked: &[Asked]) -> Asked {
    *asked.iter().max_by_key(|it| it.table_requests).unwrap()
}

/// What a store was asked.
fn consumed(store: &Store) -> Asked {
    let Consumed {
        reads,
        writes,
        transactions,
        read_units,
        write_units,
        ..
    } = store.consumed();
    Asked {
        table_requests: reads + writes + transactions,
        half_read_units: halves(read_units),
        write_units: whole(write_units),
        messages: 0,
    }
}

fn halves(units: f64) -> u64 {
    whole(units * 2.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "units are few, and whole or halves"
)]
fn whole(units: f64) -> u64 {
    assert_eq!(units.fract(), 0.0, "{units}");
    units as u64
}

/// What DynamoDB counts of an item: names and values, of a number half its digits and one, and 100 for keeping it.
fn bytes_of(item: &Value) -> u64 {
    fn value(value: &Value) -> usize {
        let (kind, inner) = value.as_object().unwrap().iter().next().unwrap();
        match (kind.as_str(), inner) {
            ("N", Value::String(digits)) => digits.len().div_ceil(2) + 1,
            ("S", Value::String(text)) => text.len(),
            ("BOOL" | "NULL", _) => 1,
            (kind, inner) => panic!("an attribute of kind {kind}: {inner}"),
        }
    }
    let item = item.as_object().unwrap();
    let attributes = item.iter().map(|(name, it)| name.len() + value(it));
    u64::try_from(attributes.sum::<usize>()).unwrap() + 100
}

/// What a run of some steps stores.
fn bytes_of_run(items: &[Value]) -> Bytes {
    let sort = |item: &Value| item["sk"]["S"].as_str().unwrap().to_owned();
    let mut commits: Vec<&Value> = items
        .iter()
        .filter(|item| sort(item).starts_with("C#"))
        .collect();
    commits.sort_by_key(|item| sort(item));
    let head = items.iter().find(|item| sort(item) == "HEAD").unwrap();
    let all: u64 = items.iter().map(bytes_of).sum();
    // The first is the creation, the second the start, the last the end.
    let steps = commits.get(2..commits.len() - 1).unwrap_or_default();
    Bytes {
        creation: bytes_of(commits[0]),
        step: steps.iter().map(|item| bytes_of(item)).max().unwrap_or(0),
        end: bytes_of(commits[commits.len() - 1]),
        head: bytes_of(head),
        // The index of lists has the head again.
        run: all + bytes_of(head),
    }
}

#[tokio::test]
async fn a_run_asks_what_the_planner_counts_with() {
    let m = Measured::new().await;
    let (first, create_first, sweeps) = m.asked(m.create("hello")).await;
    let ((), _, more_sweeps) = m.asked(m.drive()).await;
    let (_, poll_first, _) = m.asked(m.poll(&first)).await;
    let mut polls = Vec::new();
    for _ in 0..8 {
        polls.push(m.asked(m.poll(&first)).await.1);
    }
    let poll = most(&polls);

    let mut creates = Vec::new();
    let mut drives = Vec::new();
    let mut stored = Vec::new();
    for (steps, input) in RUNS {
        let (run, create, _) = m.asked(m.create(input)).await;
        creates.push(create);
        let ((), drive, _) = m.asked(m.drive()).await;
        drives.push((steps, drive));
        let shown = m.poll(&run).await;
        assert_eq!(shown["status"], "succeeded", "{shown}");
        assert_eq!(shown["totals"]["steps"], steps, "{shown}");
        stored.push((steps, bytes_of_run(&m.items_of(&run).await)));
    }
    let create = most(&creates);
    let (one, ten) = (drives[0].1, drives[3].1);
    let step = Asked {
        table_requests: (ten.table_requests - one.table_requests) / 9,
        half_read_units: (ten.half_read_units - one.half_read_units) / 9,
        write_units: (ten.write_units - one.write_units) / 9,
        messages: 0,
    };
    let run = one - step;
    for (steps, drive) in &drives {
        assert_eq!(*drive, run + step * *steps, "{drives:?}");
    }

    let relay = m.world.engine();
    let items = m.items_of(&first).await;
    let head = items.iter().find(|item| item["sk"]["S"] == "HEAD").unwrap();
    m.count(&relay, head, &[100]).await;
    let ((), counted_one, _) = m.asked(m.count(&relay, head, &[101])).await;
    let ((), counted_three, _) = m.asked(m.count(&relay, head, &[102, 103, 104])).await;
    let both = counted_three - counted_one;
    let count = Asked {
        table_requests: both.table_requests / 2,
        half_read_units: both.half_read_units / 2,
        write_units: both.write_units / 2,
        messages: 0,
    };

    let store = m.world.cloud.store();
    let tally = store.metered();
    let row = Row {
        start: Interval::Minute.start(m.world.now()),
        subject: Subject {
            key: Some(KeyId::parse("0123456789abcdef").unwrap()),
            ..Subject::default()
        },
        usage: Usage {
            requests: 7,
            ..Usage::default()
        },
    };
    let told = Tally {
        process: "a".repeat(32),
        number: 1,
        rows: vec![row],
    };
    tally
        .count_requests(&m.tenant, &told, m.world.now())
        .await
        .unwrap();

    let waiting = m.create("hello").await;
    let now = m.world.now();
    let beat = store.metered();
    let driver = DriverId::parse(&"d".repeat(32)).unwrap();
    beat.renew(&m.tenant, &waiting, &driver, 1, now)
        .await
        .unwrap();
    beat.read(&m.tenant, &waiting, true).await.unwrap();
    let janitor = m.world.engine();
    let (_, sweep, _) = m.asked(janitor.sweep_up_to(now, false)).await;
    let look = store.metered();
    let sight = look.sight(&m.tenant, &waiting).await.unwrap().unwrap();
    let (status, from) = (sight.head.status, sight.head.watch_at.unwrap());
    let postponed = look.postpone(&m.tenant, &waiting, status, from, now.plus_ms(60_000));
    assert!(postponed.await.unwrap());

    let bytes = Bytes {
        creation: stored[0].1.creation,
        step: stored[1].1.step,
        end: stored[0].1.end,
        head: stored[0].1.head,
        run: stored[0].1.run + note(&m, &first).await,
    };
    let known: Units = serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap();
    let measured = Units {
        measured_on: known.measured_on.clone(),
        create,
        create_anew: create_first - create,
        poll,
        poll_anew: poll_first - poll,
        run,
        step,
        beat: consumed(&beat),
        look: consumed(&look),
        sweep,
        count,
        count_batch: counted_one - count,
        tally: consumed(&tally),
        sweeps_of_a_run: sweeps + more_sweeps,
        bytes,
    };
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        write(measured, m.world.now());
        return;
    }
    compare(&known, measured);
}

/// The note that a run was counted, as long as another one's.
async fn note(m: &Measured, run: &RunId) -> u64 {
    let other = RunId::from_bytes([101; 16]);
    assert_eq!(other.as_str().len(), run.as_str().len());
    let notes = m.items_of(&other).await;
    notes.iter().map(bytes_of).sum()
}

fn write(mut measured: Units, now: At) {
    measured.measured_on = now.to_string()[..10].to_owned();
    let text = serde_json::to_string_pretty(&measured).unwrap() + "\n";
    std::fs::write(file(), text).unwrap();
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cli/src/plan/units.json")
}

fn compare(known: &Units, mut measured: Units) {
    let each = |bytes: &Bytes| {
        [
            bytes.creation,
            bytes.step,
            bytes.end,
            bytes.head,
            bytes.run / 8,
        ]
    };
    for (known, measured) in each(&known.bytes).into_iter().zip(each(&measured.bytes)) {
        assert!(
            known.abs_diff(measured) <= DIGITS,
            "{known} bytes are {measured}; UPDATE_EXPECT=1 writes what is measured"
        );
    }
    measured.bytes = known.bytes;
    assert_eq!(
        *known, measured,
        "UPDATE_EXPECT=1 writes what is measured; what grows, grows on the bill"
    );
}
