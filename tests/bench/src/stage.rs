//! The platform that is measured, its own client, and counters of both.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use dev::{Cloud, CloudConfig, Keys, Launch, Platform};
use domain::agent::Agent;
use domain::id::{AgentId, RunId, TenantId};
use domain::run::{Head, Status};
use domain::tenant::Tenant;
use futures_util::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Store;
use tokio::process::Command;

use crate::FUNCTIONS;
use crate::machine;

/// Model steps of a W1 run: four that ask the calculator, and the answer.
pub(crate) const STEPS: u32 = 5;
/// Input that makes `local.tools` take that many steps.
const INPUT: &str = "count to 4";
/// Agents: id and model.
const AGENTS: [(&str, &str); 3] = [
    ("w1", "local.tools"),
    ("w1-50ms", "local.tools-50"),
    ("w1-500ms", "local.tools-500"),
];
/// Transactions of a run that comes by the queue: at its creation, when it is taken up, and at its end.
pub(crate) const QUEUED: u64 = 3;
/// Bytes that CloudWatch counts for each line beside its text (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/>).
const LOG_EVENT: u64 = 26;
/// Errors of functions that are shown.
const SHOWN: usize = 10;
/// How long runs may take in all before they count as lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running platform with the agents of the workloads.
pub(crate) struct Stage {
    pub(crate) platform: Platform,
    store: Store,
    tenant: TenantId,
    client: reqwest::Client,
    key: String,
    operator_key: String,
    logged: Arc<AtomicU64>,
}

/// Another tenant of the same platform, with an agent that answers at once.
pub(crate) struct Guest {
    tenant: TenantId,
    store: Store,
    client: reqwest::Client,
    url: String,
    key: String,
}

/// A run as the API tells of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) status: Status,
}

/// Counters at one moment.
pub(crate) struct Counters {
    at: Instant,
    functions: BTreeMap<&'static str, Duration>,
    stand_ins: Duration,
    machine: Duration,
    requests: local::wire::Snapshot,
}

/// What happened between two moments.
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    /// CPU time by function.
    pub(crate) functions: BTreeMap<&'static str, Duration>,
    /// CPU time of this process: stand-ins and load.
    pub(crate) stand_ins: Duration,
    /// CPU time of everything on this machine.
    machine: Duration,
    pub(crate) requests: local::wire::Snapshot,
}

impl Spent {
    /// CPU time of all our functions.
    pub(crate) fn ours(&self) -> Duration {
        self.functions.values().sum()
    }

    /// CPU time of the platform, the stand-ins and the load.
    pub(crate) fn all(&self) -> Duration {
        self.ours() + self.stand_ins
    }

    /// Our functions' share of that.
    pub(crate) fn share(&self) -> f64 {
        self.ours().as_secs_f64() / self.all().as_secs_f64()
    }

    /// How much of the machine others had, who have no place in a measurement of wall time.
    pub(crate) fn others(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let others = self.machine.saturating_sub(self.all()).as_secs_f64();
        others / (cores * self.wall.as_secs_f64())
    }

    /// Requests to the table.
    pub(crate) fn table_requests(&self) -> u64 {
        const TABLE: [&str; 7] = [
            "GetItem",
            "BatchGetItem",
            "Query",
            "PutItem",
            "UpdateItem",
            "DeleteItem",
            "TransactWriteItems",
        ];
        TABLE
            .iter()
            .map(|operation| self.requests.of(operation).requests)
            .sum()
    }
}

impl Stage {
    /// Starts the platform in memory, with the function binaries in this folder; with one event per process when `classic`.
    pub(crate) async fn start(binaries: &Path, classic: bool) -> anyhow::Result<Self> {
        Self::start_with(binaries, classic, |_| {}).await
    }

    /// The same, with these changes of the demo tenant's settings.
    pub(crate) async fn start_with(
        binaries: &Path,
        classic: bool,
        change: impl FnOnce(&mut Tenant),
    ) -> anyhow::Result<Self> {
        let cloud = Cloud::open(None, CloudConfig::default()).await?;
        let engine = cloud.engine(None);
        let (store, now) = (engine.store.clone(), engine.now());
        let keys = Keys::seed(&store, None, now).await?;
        let tenant = TenantId::parse(dev::TENANT)?;
        unlimit(&store, &tenant, change).await?;
        for (id, model) in AGENTS {
            let agent: Agent =
                serde_json::from_value(json!({"model": model, "tools": ["calculator"]}))?;
            let id = AgentId::parse(id)?;
            store.put_agent(&tenant, &id, &agent, now).await?;
        }
        let logged = Arc::new(AtomicU64::new(0));
        let launch = launch(binaries, classic, logged.clone());
        let platform = Platform::start(cloud, launch).await?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .context("making a client")?;
        Ok(Self {
            platform,
            store,
            tenant,
            client,
            key: keys.api_key,
            operator_key: keys.operator_key,
            logged,
        })
    }

    /// Onboards another tenant, as an operator does.
    pub(crate) async fn guest(&self, id: &str) -> anyhow::Result<Guest> {
        let url = &self.platform.url;
        let post = |path: &str, key: &str, body: Value| {
            let request = self.client.post(format!("{url}{path}"));
            answer(request.bearer_auth(key).json(&body), StatusCode::CREATED)
        };
        let tenant = json!({"id": id, "name": id, "tier": "enterprise"});
        let _tenant: Value = post("/v1/admin/tenants", &self.operator_key, tenant).await?;
        let keys = format!("/v1/admin/tenants/{id}/keys");
        let issued: Value = post(&keys, &self.operator_key, json!({"label": "bench"})).await?;
        let agent = json!({"model": "local.echo"});
        let key = issued["key"].as_str().context("the key is told once")?;
        let _agent: Value = post("/v1/agents/echo", key, agent).await?;
        Ok(Guest {
            tenant: TenantId::parse(id)?,
            store: self.store.clone(),
            client: self.client.clone(),
            url: url.clone(),
            key: key.to_owned(),
        })
    }

    /// Has at most so many runs be under way from here on.
    pub(crate) async fn limit(&self, runs: u32) -> anyhow::Result<()> {
        let old = self.store.tenant(&self.tenant).await?;
        let old = old.context("the demo tenant is seeded")?;
        let mut new = old.clone();
        new.overrides.concurrent_runs = Some(runs);
        new.revision += 1;
        self.store.put_tenant(&new, Some(&old)).await?;
        Ok(())
    }

    /// What everything has used so far.
    pub(crate) fn counters(&self) -> anyhow::Result<Counters> {
        let mut functions = BTreeMap::new();
        for name in FUNCTIONS {
            let mut sum = Duration::ZERO;
            for pid in self.platform.lambda.pids(name) {
                sum += machine::cpu(pid)?;
            }
            functions.insert(name, sum);
        }
        Ok(Counters {
            at: Instant::now(),
            functions,
            stand_ins: machine::cpu(std::process::id())?,
            machine: machine::all_cpu()?,
            requests: self.platform.cloud.meter.snapshot(),
        })
    }

    /// What was used since.
    pub(crate) fn spent(&self, since: &Counters) -> anyhow::Result<Spent> {
        let now = self.counters()?;
        let mut functions = now.functions;
        for (name, cpu) in &mut functions {
            let before = since.functions[name];
            // A process that was started again begins at nothing.
            *cpu = cpu
                .checked_sub(before)
                .with_context(|| format!("the function `{name}` ended in between"))?;
        }
        Ok(Spent {
            wall: now.at - since.at,
            functions,
            stand_ins: now.stand_ins.saturating_sub(since.stand_ins),
            machine: now.machine.saturating_sub(since.machine),
            requests: now.requests.since(&since.requests),
        })
    }

    /// Bytes that functions have written to their logs, as CloudWatch counts them.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.logged.load(Ordering::Relaxed)
    }

    /// Transactions that the table accepted, which tell how many runs ended without asking anybody: see [`QUEUED`].
    pub(crate) fn transactions(&self) -> u64 {
        let count = self
            .platform
            .cloud
            .meter
            .snapshot()
            .of("TransactWriteItems");
        count.requests - count.errors
    }

    /// Resident memory of the largest process of each function, in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<BTreeMap<&'static str, u64>> {
        let mut sizes = BTreeMap::new();
        for name in FUNCTIONS {
            for pid in self.platform.lambda.pids(name) {
                let bytes = machine::resident_bytes(pid)?;
                sizes
                    .entry(name)
                    .and_modify(|largest: &mut u64| *largest = bytes.max(*largest))
                    .or_insert(bytes);
            }
        }
        Ok(sizes)
    }

    /// Creates a run of an agent with this input, by the queue.
    pub(crate) async fn create_with(&self, agent: &str, input: &str) -> anyhow::Result<Run> {
        let request = self.request(Method::POST, "/v1/runs");
        let request = request.json(&json!({"agent": agent, "input": input}));
        answer(request, StatusCode::ACCEPTED).await
    }

    /// Creates a run of an agent; waited for when `waits`.
    pub(crate) async fn create(&self, agent: &str, waits: bool) -> anyhow::Result<Run> {
        let request = self
            .request(Method::POST, "/v1/runs")
            .json(&json!({"agent": agent, "input": INPUT}));
        let request = if waits {
            request.header("prefer", "wait=25")
        } else {
            request
        };
        let expected = if waits {
            StatusCode::OK
        } else {
            StatusCode::ACCEPTED
        };
        let run: Run = answer(request, expected).await?;
        ensure!(
            !waits || run.status.is_terminal(),
            "the run {} did not end while it was waited for",
            run.id
        );
        Ok(run)
    }

    /// Reads a run.
    pub(crate) async fn read(&self, run: &str) -> anyhow::Result<Run> {
        let request = self.request(Method::GET, &format!("/v1/runs/{run}"));
        answer(request, StatusCode::OK).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.platform.url))
            .bearer_auth(&self.key)
    }

    /// Waits until that many transactions more were accepted than at `before`, whatever comes of it.
    pub(crate) async fn settle(&self, before: u64, transactions: u64) {
        let until = Instant::now() + PATIENCE;
        while self.transactions() < before + transactions && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many of these runs have not ended, and how many ended otherwise than well.
    pub(crate) async fn verify(&self, runs: &[String]) -> anyhow::Result<(u64, u64)> {
        let (mut lost, mut failed) = (0, 0);
        let reads: Vec<_> = runs.iter().map(|run| self.head(run)).collect();
        let mut heads = stream::iter(reads).buffer_unordered(16);
        while let Some(head) = heads.next().await {
            match head? {
                (Status::Succeeded, STEPS) => {}
                (status, _) if status.is_terminal() => failed += 1,
                _ => lost += 1,
            }
        }
        Ok((lost, failed))
    }

    /// Fails unless every one of these runs ended well.
    pub(crate) async fn all_well(&self, runs: &[String]) -> anyhow::Result<()> {
        let (lost, failed) = self.verify(runs).await?;
        ensure!(
            lost == 0 && failed == 0,
            "of {} runs {lost} did not end and {failed} did not end well",
            runs.len()
        );
        Ok(())
    }

    async fn head(&self, run: &str) -> anyhow::Result<(Status, u32)> {
        let run = RunId::parse(run)?;
        let Some((head, _)) = self.store.read(&self.tenant, &run, true).await? else {
            return Ok((Status::Queued, 0));
        };
        Ok((head.status, head.totals.steps))
    }
}

impl Guest {
    /// Creates a run.
    pub(crate) async fn create(&self) -> anyhow::Result<String> {
        let request = self.client.post(format!("{}/v1/runs", self.url));
        let body = json!({"agent": "echo", "input": INPUT});
        let request = request.bearer_auth(&self.key).json(&body);
        let run: Run = answer(request, StatusCode::ACCEPTED).await?;
        Ok(run.id)
    }

    /// Reads a run as the table has it.
    pub(crate) async fn head(&self, run: &str) -> anyhow::Result<Head> {
        let run = RunId::parse(run)?;
        let read = self.store.read(&self.tenant, &run, true).await?;
        let (head, _) = read.context("a run that was created is there")?;
        Ok(head)
    }
}

async fn answer<T: serde::de::DeserializeOwned>(
    request: reqwest::RequestBuilder,
    expected: StatusCode,
) -> anyhow::Result<T> {
    let response = request.send().await.context("calling the API")?;
    let status = response.status();
    if status != expected {
        let problem: Value = response.json().await.unwrap_or_default();
        bail!("the API answered {status}, not {expected}: {problem}");
    }
    response.json().await.context("reading an answer")
}

/// The binaries as they are on AWS, with the log as it is there; errors are shown.
fn launch(binaries: &Path, classic: bool, logged: Arc<AtomicU64>) -> Launch {
    let (folder, shown) = (binaries.to_owned(), AtomicUsize::new(0));
    Launch {
        launcher: Arc::new(move |name| Command::new(folder.join(name))),
        lines: Arc::new(move |function, line| {
            let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
            logged.fetch_add(bytes + LOG_EVENT, Ordering::Relaxed);
            let is_bad = ["WARN", "ERROR", "panicked"]
                .iter()
                .any(|word| line.contains(word));
            if is_bad && shown.fetch_add(1, Ordering::Relaxed) < SHOWN {
                use std::io::Write as _;
                // Nobody may be there to read it.
                let _ = writeln!(std::io::stderr(), "{function}: {line}");
            }
        }),
        classic,
        port: 0,
        environment: BTreeMap::new(),
    }
}

/// Widens the demo tenant's limits, so that they are counted and never reached, and changes what else is to be.
async fn unlimit(
    store: &Store,
    id: &TenantId,
    change: impl FnOnce(&mut Tenant),
) -> anyhow::Result<()> {
    let old = store
        .tenant(id)
        .await?
        .context("the demo tenant is seeded")?;
    let mut new = old.clone();
    let mut windows = old.limits().windows;
    for window in &mut windows {
        window.requests = 1_000_000_000;
    }
    new.overrides.windows = Some(windows);
    new.overrides.concurrent_runs = Some(100_000);
    change(&mut new);
    new.revision += 1;
    store.put_tenant(&new, Some(&old)).await?;
    Ok(())
}
