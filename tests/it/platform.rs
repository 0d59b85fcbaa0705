//! The platform with real function processes: this test binary, run again, is each function.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use api::auth::SCOPES;
use dev::{Cloud, CloudConfig, Isolation, Keys, Launch, Platform, TENANT};
use domain::id::{KeyId, TenantId};
use domain::tenant::{Isolation as Home, Tenant};
use local::lambda::LineSink;
use store::{ApiKey, Store};
use tokio::process::Command;
use tokio::runtime::Runtime;

use crate::client::Client;

/// Names the function that a process of this binary is to be.
const FUNCTION: &str = "SKEIN_TEST_FUNCTION";
/// The test that is that function.
const PROCESS: &str = "platform::function_process";
/// Longer than anything here takes on a busy machine; a test that waits in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(90);
/// Lines of the functions' output that are kept, and those of them that a failing test shows.
const KEPT_LINES: usize = 20_000;
const SHOWN_LINES: usize = 60;

#[test]
fn function_process() {
    let Ok(name) = std::env::var(FUNCTION) else {
        return;
    };
    local::lambda::end_with_parent();
    // One thread, as in the functions' own `main`.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ran = runtime.block_on(async {
        match name.as_str() {
            "api" => api::run().await,
            "admin" => admin::run().await,
            "stream" => stream::run().await,
            "orchestrator" => orchestrator::run().await,
            "worker" => worker::run().await,
            "janitor" => janitor::run().await,
            "relay" => relay::run().await,
            "authorizer" => authorizer::run().await,
            other => panic!("there is no function `{other}`"),
        }
    });
    ran.unwrap();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Waits for something that will happen.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// A running platform.
pub(crate) struct Running {
    pub(crate) platform: Platform,
    keys: Keys,
    lines: Lines,
    issued: AtomicU64,
}

/// What the functions wrote last.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Lines {
    fn sink(&self) -> LineSink {
        let lines = self.clone();
        Arc::new(move |function, line| {
            let mut kept = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(format!("{function}: {line}"));
        })
    }
}

fn launch(lines: &Lines, environment: &[(&str, &str)]) -> Launch {
    let program = std::env::current_exe().unwrap();
    Launch {
        launcher: Arc::new(move |name| {
            let mut command = Command::new(&program);
            command
                .args([PROCESS, "--exact", "--nocapture"])
                .env(FUNCTION, name);
            command
        }),
        lines: lines.sink(),
        classic: false,
        port: 0,
        // So that tests can be the web.
        environment: [("SKEIN_ALLOW_LOOPBACK", "true")]
            .iter()
            .chain(environment)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

impl Running {
    /// A platform over this cloud.
    pub(crate) async fn start(cloud: Cloud) -> Self {
        Self::start_in(cloud, &[]).await
    }

    /// The same, with further variables for its functions.
    async fn start_in(cloud: Cloud, environment: &[(&str, &str)]) -> Self {
        aws::install_crypto();
        let engine = cloud.engine(None);
        let keys = Keys::seed(&engine.store, None, engine.now()).await.unwrap();
        onboard(&engine.store, TENANT).await;
        Self::over(cloud, keys, environment).await
    }

    /// A platform over a cloud that has the items of this one.
    pub(crate) async fn beside(&self, cloud: Cloud) -> Self {
        Self::over(cloud, self.keys.clone(), &[]).await
    }

    async fn over(cloud: Cloud, keys: Keys, environment: &[(&str, &str)]) -> Self {
        let lines = Lines::default();
        let platform = within(Platform::start(cloud, launch(&lines, environment)))
            .await
            .unwrap();
        Self {
            platform,
            keys,
            lines,
            issued: AtomicU64::new(0),
        }
    }

    /// A platform of a test's own, in memory, whose tenants IAM keeps apart as well.
    pub(crate) async fn own() -> Self {
        Self::own_in(&[]).await
    }

    /// The same, with further variables for its functions.
    pub(crate) async fn own_in(environment: &[(&str, &str)]) -> Self {
        let config = CloudConfig {
            isolation: Isolation::Session,
            ..CloudConfig::default()
        };
        Self::start_in(Cloud::open(None, config).await.unwrap(), environment).await
    }

    pub(crate) fn cloud(&self) -> &Cloud {
        &self.platform.cloud
    }

    /// A client of the demo tenant, which has the sample agents.
    pub(crate) fn demo(&self) -> Client {
        Client::new(&self.platform.url, &self.keys.api_key)
    }

    /// A client with an operator's key, which no tenant's route takes.
    pub(crate) fn operator(&self) -> Client {
        Client::new(&self.platform.url, &self.keys.operator_key)
    }

    /// A client without a key.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(&self.platform.url, "")
    }

    /// A client of a tenant with this id.
    pub(crate) async fn tenant(&self, id: &str) -> Client {
        let now = self.cloud().engine(None).now();
        let mut key = self.key(id);
        key.1.created_at = now;
        onboard(&self.cloud().store(), id).await;
        self.cloud().store().put_key(&key.1).await.unwrap();
        Client::new(&self.platform.url, &key.0)
    }

    /// Lets this key act for a tenant.
    pub(crate) async fn admit(&self, tenant: &str, key: &str) {
        let presented = api::keys::parse(key).unwrap();
        onboard(&self.cloud().store(), tenant).await;
        let (_, mut item) = self.key(tenant);
        item.id = KeyId::parse(presented.id).unwrap();
        item.hash = hexadecimal(&presented.sha256());
        // Another test may have done so before.
        let _stored = self.cloud().store().put_key(&item).await;
    }

    /// A key that is not stored yet, and its item.
    pub(crate) fn key(&self, tenant: &str) -> (String, ApiKey) {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let issued = api::keys::issue("test", random(number));
        let item = ApiKey {
            id: KeyId::parse(&issued.id).unwrap(),
            tenant: TenantId::parse(tenant).unwrap(),
            project: None,
            hash: hexadecimal(&issued.sha256),
            scopes: SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
            label: "test".to_owned(),
            created_at: domain::time::At(0),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            gate: None,
        };
        (issued.text, item)
    }

    /// What the functions wrote last, for the message of a failing assertion.
    pub(crate) fn last_lines(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// What the functions wrote.
    pub(crate) fn lines(&self) -> Vec<String> {
        let kept = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}

/// Onboards a tenant without rate limits, unless another test did.
pub(crate) async fn onboard(store: &Store, id: &str) {
    onboard_in(store, id, Home::Pool).await;
}

/// The same for a tenant whose data is elsewhere.
pub(crate) async fn onboard_in(store: &Store, id: &str, isolation: Home) {
    let id = TenantId::parse(id).unwrap();
    let old = store.tenant(&id).await.unwrap();
    let mut new = Tenant::new(id, "a test's", "enterprise", domain::time::At(0));
    new.overrides.windows = Some(Vec::new());
    new.isolation = isolation;
    new.revision += old.as_ref().map_or(0, |old| old.revision);
    if old
        .as_ref()
        .is_none_or(|old| old.overrides != new.overrides)
    {
        let _raced = store.put_tenant(&new, old.as_ref()).await;
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random(number: u64) -> [u8; api::keys::RANDOM_BYTES] {
    let mut bytes = [0x5a; api::keys::RANDOM_BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The demo tenant.
pub(crate) fn demo() -> TenantId {
    TenantId::parse(TENANT).unwrap()
}

/// The platform that all tests of this process share: nothing in it is killed, and tests that look at lists or limits use
/// a tenant of their own.
pub(crate) fn shared() -> &'static Running {
    static SHARED: OnceLock<(Runtime, Running)> = OnceLock::new();
    let (_, running) = SHARED.get_or_init(|| {
        // On a thread of its own: a test's runtime can neither wait for this one nor outlive it.
        let started = std::thread::spawn(|| {
            let runtime = runtime();
            let running = runtime.block_on(Running::own());
            (runtime, running)
        });
        started.join().expect("the platform starts")
    });
    running
}
