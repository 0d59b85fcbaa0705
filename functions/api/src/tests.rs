//! The router over an engine in this process, on the local table, object store, queues and models.

mod agents;
mod edge;
mod events;
mod gate;
mod lambda_events;
mod openapi;
mod operate;
mod refusals;
mod regions;
mod requests;
mod runs;
mod slo;
mod stream_tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use axum::body::Body;
use domain::id::{KeyId, RunId, TenantId};
use domain::region::Regions;
use domain::tenant::Tenant;
use domain::time::At;
use engine::tools::{self, Tools};
use gateway::{Gateway, Prices};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use local::bedrock::Models;
use local::s3::Payloads;
use local::sqs::Queues;
use local::table::Table;
use local::wire::{Faults, connector};
use queue::{Beat, Queue};
use serde_json::{Value, json};
use store::{ApiKey, Store};
use tower::ServiceExt as _;

use super::*;

const NOW: At = At(1_700_000_000_000);
const QUEUES: [&str; 5] = ["interactive", "standard", "batch", "tasks", "sweeps"];

/// A platform of its own.
struct World {
    router: Router,
    api: Api,
    /// Makes another process of the same platform.
    process: Arc<dyn Fn() -> Api>,
    queues: Queues,
    /// Between the API and its table.
    faults: Faults,
    clock: Arc<AtomicU64>,
    issued: std::sync::atomic::AtomicU8,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// The SDK's configuration over a stand-in of a service.
pub(crate) fn sdk(router: Router) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url("http://cloud.local")
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "any", "thing", None, None, "test",
        )))
        .http_client(connector(router))
        .build()
}

async fn world() -> World {
    world_in(Table::open(None).unwrap(), Regions::default()).await
}

/// A platform over this table, in one of these Regions.
async fn world_in(table: Table, regions: Regions) -> World {
    let queues = Queues::open(None).unwrap();
    for name in QUEUES {
        queues.create(name, &BTreeMap::new()).unwrap();
    }
    let faults = Faults::none();
    let table = sdk(faults.wrap(table.router()));
    let payloads = sdk(Payloads::open(None).unwrap().router());
    let sqs = sdk(queues.router());
    let models = sdk(Models::new(Default::default()).router());
    let clock = Arc::new(AtomicU64::new(NOW.0));
    let ticking = Arc::clone(&clock);
    let process: Arc<dyn Fn() -> Api> = Arc::new(move || {
        let secret = *b"a secret that only tests may know";
        let mut config = store::Config::new("skein", "payloads", secret);
        config.regions = regions.clone();
        let store = Store::new(aws_sdk_dynamodb::Client::new(&table), &payloads, config);
        let queue = Queue::new(aws_sdk_sqs::Client::new(&sqs), None, queue_config());
        let models = aws_sdk_bedrockruntime::Client::new(&models);
        let ticking = Arc::clone(&ticking);
        let engine = Engine::with_clock(
            store,
            queue,
            Gateway::new(models, Prices::builtin()),
            Tools::new(tools::Config::default()),
            Arc::new(move || At(ticking.load(Ordering::Relaxed))),
        );
        Api::new(engine, Config::default())
    });
    let api = process();
    api.engine.store.provision().await.unwrap();
    World {
        router: router(api.clone(), routes::routes()),
        api,
        process,
        queues,
        faults,
        clock,
        issued: Default::default(),
    }
}

fn queue_config() -> queue::Config {
    let [
        interactive_url,
        standard_url,
        batch_url,
        tasks_url,
        sweeps_url,
    ] = QUEUES.map(local::sqs::url);
    queue::Config {
        interactive_url,
        standard_url,
        batch_url,
        tasks_url,
        sweeps_url,
        timers: None,
        beat: Beat::default(),
    }
}

impl World {
    /// The same platform as another process serves it.
    fn elsewhere(&self) -> Self {
        let api = (self.process)();
        Self {
            router: router(api.clone(), routes::routes()),
            api,
            process: Arc::clone(&self.process),
            queues: self.queues.clone(),
            faults: self.faults.clone(),
            clock: Arc::clone(&self.clock),
            issued: Default::default(),
        }
    }

    /// A key of a tenant with these scopes.
    async fn key(&self, tenant: &str, scopes: &[&str]) -> String {
        self.key_with(tenant, scopes, |_| {}).await
    }

    async fn key_with(
        &self,
        tenant: &str,
        scopes: &[&str],
        change: impl FnOnce(&mut ApiKey),
    ) -> String {
        let random = [self.issued.fetch_add(1, Ordering::Relaxed); keys::RANDOM_BYTES];
        self.key_of(random, tenant, scopes, change).await
    }

    async fn key_of(
        &self,
        random: [u8; keys::RANDOM_BYTES],
        tenant: &str,
        scopes: &[&str],
        change: impl FnOnce(&mut ApiKey),
    ) -> String {
        let issued = keys::issue("std", random);
        let tenant = TenantId::parse(tenant).unwrap();
        let store = &self.api.engine.store;
        if store.tenant(&tenant).await.unwrap().is_none() {
            let tenant = Tenant::new(tenant.clone(), "a test's", "enterprise", NOW);
            store.put_tenant(&tenant, None).await.unwrap();
        }
        let mut key = ApiKey {
            id: KeyId::parse(&issued.id).unwrap(),
            tenant: tenant.clone(),
            project: None,
            hash: keys::hexadecimal(&issued.sha256),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            label: "test".to_owned(),
            created_at: NOW,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            gate: None,
        };
        change(&mut key);
        store.put_key(&key).await.unwrap();
        issued.text
    }

    /// A key that may do everything, and an agent called `echo`.
    async fn tenant(&self, tenant: &str) -> String {
        let key = self.key(tenant, auth::SCOPES).await;
        let agent = json!({"model": "local.echo"});
        let stored = self.post(&key, "/v1/agents/echo", &agent).await;
        assert_eq!(stored.status, StatusCode::CREATED, "{stored:?}");
        key
    }

    fn pass(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    async fn get(&self, key: &str, path: &str) -> Answer {
        self.ask(Method::GET, key, path, &[], None).await
    }

    async fn post(&self, key: &str, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, key, path, &[], Some(body.to_string()))
            .await
    }

    async fn post_with(
        &self,
        key: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        self.ask(Method::POST, key, path, headers, Some(body.to_string()))
            .await
    }

    async fn ask(
        &self,
        method: Method,
        key: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let declared = headers.iter().any(|(name, _)| *name == "content-type");
        if body.is_some() && !declared {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, Body::from);
        let request = request.body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Drives a run as the orchestrator would.
    async fn drive(&self, tenant: &str, run: &str) -> engine::Outcome {
        let work = engine::Work {
            tenant: TenantId::parse(tenant).unwrap(),
            run: RunId::parse(run).unwrap(),
            first: None,
            handed_over_by: None,
            hops: 0,
            wakes_at: None,
            revives: false,
            limits: engine::Limits::within(Duration::from_secs(60)),
            listener: None,
        };
        self.api.engine.drive(work).await.unwrap()
    }
}
