//! The store against the local table and object store, through the real SDK clients.

mod agents;
mod audit;
mod bridges;
mod bucket;
mod cache;
mod checkpoints;
mod closings;
mod conditions;
mod cost;
mod interleavings;
mod ledgers;
mod limits;
mod lists;
mod maintenance;
mod payloads;
mod regions;
mod requests;
mod runs;
mod sessions;
mod usage;

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use axum::Router;
use domain::agent::AgentRef;
use domain::caps::Caps;
use domain::id::{AgentId, DriverId, FrameId, KeyId, RunId, TenantId};
use domain::model::{Answer, Content, StopReason, Usage};
use domain::run::{Commit, Created, Event, Head, Lane, State, evolve, fold};
use domain::tenant::Tenant;
use domain::time::At;
use local::s3::Payloads;
use local::table::Table;
use local::wire::{Faults, connector};
use serde_json::json;

use crate::{ApiKey, Config, Creation, Store};

/// The instant at which the runs of the tests begin.
const NOW: At = At(1_700_000_000_000);

/// For how long those runs are kept, in milliseconds.
const KEPT_MS: u64 = 8 * 86_400_000;

/// A store of its own, the wire to it, and how its bucket is asked.
struct World {
    store: Store,
    faults: Faults,
    payloads: SdkConfig,
}

async fn world() -> World {
    world_with(|_| {}).await
}

async fn world_with(change: impl FnOnce(&mut Config)) -> World {
    let faults = Faults::none();
    let mut table = Table::open(None).unwrap();
    table.tell(None, "ended_at").unwrap();
    let table = faults.wrap(table.router());
    let payloads = faults.wrap(Payloads::open(None).unwrap().router());
    let mut config = Config::new("skein", "payloads", *b"a secret that only tests may know");
    change(&mut config);
    let table = aws_sdk_dynamodb::Client::new(&sdk(table));
    let payloads = sdk(payloads);
    let store = Store::new(table, &payloads, config);
    store.provision().await.unwrap();
    // As in a process that has worked for them: most tests have no record of a tenant.
    for id in ["acme", "evil", "ab", "abc", "other"] {
        store.learn(&Tenant::new(tenant(id), id, "business", NOW));
    }
    World {
        store,
        faults,
        payloads,
    }
}

/// The SDK's configuration over a stand-in of a service.
fn sdk(router: Router) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url("http://cloud.local")
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "any", "thing", None, None, "test",
        )))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .http_client(connector(router))
        .build()
}

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn run(n: u8) -> RunId {
    RunId::from_bytes([n; 16])
}

/// A key that holds, for reading runs.
fn api_key(id: &str, tenant: &TenantId) -> ApiKey {
    ApiKey {
        id: KeyId::parse(id).unwrap(),
        tenant: tenant.clone(),
        project: None,
        hash: "ab".repeat(32),
        scopes: vec!["runs:read".to_owned()],
        label: "test".to_owned(),
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        gate: None,
    }
}

fn driver(id: &str) -> DriverId {
    DriverId::parse(id).unwrap()
}

fn created(agent: &str, at: At) -> Event {
    Event::RunCreated(Box::new(Created {
        agent: AgentRef {
            id: AgentId::parse(agent).unwrap(),
            version: 1,
        },
        input: json!("What is the answer?"),
        caps: Caps::default(),
        lane: Lane::Standard,
        deadline_at: at.plus_ms(3_600_000),
        kept_until: Some(at.plus_ms(KEPT_MS)),
        metadata: [("team".to_owned(), "blue".to_owned())].into(),
        fingerprint: None,
        project: None,
        key: None,
        admission: None,
        epoch: 0,
    }))
}

fn step(step: u32) -> Event {
    Event::StepStarted {
        frame: FrameId::root(),
        step,
        attempt: 0,
        max_output_tokens: 1_024,
        reserved_tokens: 2_000,
        reserved_micro_usd: 500,
    }
}

fn answered(step: u32, text: &str) -> Event {
    Event::ModelAnswered {
        frame: FrameId::root(),
        step,
        answer: Answer {
            content: vec![Content::Text { text: text.into() }],
            stop_reason: StopReason::EndTurn,
            usage: Usage {
                input_tokens: 100,
                output_tokens: 20,
                ..Usage::default()
            },
            cost_micro_usd: 12,
            duration_ms: 800,
        },
    }
}

fn succeeded() -> Event {
    Event::Succeeded {
        output: json!("42"),
    }
}

/// The writer of one run: keeps the log and what it folds to.
struct Script {
    tenant: TenantId,
    run: RunId,
    log: Vec<Commit>,
    state: State,
}

impl Script {
    fn new(tenant: &TenantId, run: &RunId) -> Self {
        Self {
            tenant: tenant.clone(),
            run: run.clone(),
            log: Vec::new(),
            state: State::empty(tenant.clone(), run.clone()),
        }
    }

    /// A run that stands in the store, queued.
    async fn created(store: &Store, tenant: &TenantId, run: &RunId) -> Self {
        let mut script = Self::new(tenant, run);
        let commit = script.next(None, vec![created("clerk", NOW)]);
        let head = script.head();
        let creation = store.create(tenant, &head, &commit).await.unwrap();
        assert_eq!(creation, Creation::New);
        script
    }

    /// The next commit, folded.
    fn next(&mut self, driver: Option<&str>, events: Vec<Event>) -> Commit {
        let commit = Commit {
            first: self.state.next_event(),
            at: NOW.plus_ms(self.log.len() as u64 * 1_000),
            driver: driver.map(|id| DriverId::parse(id).unwrap()),
            events,
            used: None,
        };
        evolve(&mut self.state, &commit);
        self.log.push(commit.clone());
        commit
    }

    fn head(&self) -> Head {
        Head::of(&self.state)
    }

    /// Writes the next commit; with a head when one of its events moves it.
    async fn append(&mut self, store: &Store, events: Vec<Event>) {
        let moves = events.iter().any(Event::moves_head);
        let commit = self.next(Some("d1"), events);
        let head = self.head();
        let head = moves.then_some(&head);
        store
            .append(&self.tenant, &self.run, &commit, head)
            .await
            .unwrap();
    }

    fn folded(&self) -> State {
        fold(self.tenant.clone(), self.run.clone(), &self.log)
    }
}
