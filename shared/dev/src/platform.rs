//! The platform as processes: what `skein dev` starts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use http::Method;
use local::front::{self, Guard, Route};
use local::lambda::{
    Config, FunctionConfig, Lambda, Launcher, LineSink, Mapping, Mode, StreamMapping,
};
use local::wire;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access;
use crate::cloud::{Cloud, QUEUES};

/// The functions, with timeout in seconds, memory in MB, and how many events one process serves at a time.
pub const FUNCTIONS: [(&str, u64, u32, usize); 8] = [
    ("api", 29, 256, 64),
    ("admin", 29, 256, 16),
    ("authorizer", 10, 256, 64),
    ("stream", 900, 256, 256),
    ("orchestrator", 300, 256, RUN_BATCHES),
    ("worker", 900, 256, TASK_BATCHES),
    ("janitor", 55, 128, 1 + SWEEPS),
    ("relay", 60, 128, 1),
];

/// Deliveries of runs that are driven at the same time. Runs that come one by one are deliveries of one, and most of a run's
/// time is waiting for models, so with 32 a burst of runs waited in line while the machine was idle.
const RUN_BATCHES: usize = 128;
/// Deliveries of tool calls that are performed at the same time.
const TASK_BATCHES: usize = 32;
/// Sweeps at the same time (template: the least that an event source takes).
const SWEEPS: usize = 2;
/// How often the janitor looks without being asked to (template: once a minute).
const JANITOR_EVERY: Duration = Duration::from_secs(60);
/// Records of the stream in one event, and how long they may gather (template: five seconds; a person at a laptop should not
/// wait that long).
const RECORDS: usize = 100;
const RECORDS_WINDOW: Duration = Duration::from_millis(500);
/// How long an authorizer's answer is kept (template: `ReauthorizeEvery`).
const AUTHORIZED_FOR: Duration = Duration::from_secs(30);
/// Messages in one event (template: `BatchSize`).
const BATCH_SIZE: usize = 10;

/// How the processes are started.
#[derive(Clone)]
pub struct Launch {
    /// Builds the command that runs a function.
    pub launcher: Launcher,
    /// Takes what the functions write.
    pub lines: LineSink,
    /// One event per process, as on classic Lambda.
    pub classic: bool,
    /// Port of the API; 0 picks a free one.
    pub port: u16,
    /// Further environment of every function.
    pub environment: BTreeMap<String, String>,
}

/// A running platform.
pub struct Platform {
    /// The stand-ins.
    pub cloud: Cloud,
    /// The functions.
    pub lambda: Lambda,
    /// Base URL of the API.
    pub url: String,
    /// The environment of every function: what another process needs to be one.
    pub environment: BTreeMap<String, String>,
    shutdown: CancellationToken,
}

impl Platform {
    /// Starts everything and waits until the functions that answer HTTP can serve.
    ///
    /// # Errors
    /// When a port cannot be had or a function does not start.
    pub async fn start(cloud: Cloud, launch: Launch) -> anyhow::Result<Self> {
        let shutdown = CancellationToken::new();
        let door = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, launch.port)))
            .await
            .with_context(|| {
                format!(
                    "port {} cannot be had; choose another with --port, or 0 for a free one",
                    launch.port
                )
            })?;
        let url = format!("http://{}", door.local_addr()?);
        let endpoints = serve(&cloud, &shutdown).await?;
        let mut environment = cloud.environment(&endpoints);
        environment.extend(launch.environment.clone());
        let lambda = Lambda::start(Config {
            region: cloud.region().to_owned(),
            // Without plans nobody asks the authorizer, and it has nothing to name.
            functions: FUNCTIONS
                .iter()
                .filter(|(name, ..)| *name != "authorizer" || cloud.plans.is_some())
                .map(|spec| function(spec, launch.classic, &environment))
                .collect(),
            launcher: launch.launcher,
            lines: launch.lines,
        });
        for queue in QUEUES {
            let (function, max_concurrency) = match queue {
                "tasks" => ("worker", TASK_BATCHES),
                "sweeps" => ("janitor", SWEEPS),
                _ => ("orchestrator", RUN_BATCHES),
            };
            let mapping = Mapping {
                queue: queue.to_owned(),
                function: function.to_owned(),
                batch_size: BATCH_SIZE,
                max_concurrency,
                batching_window: Duration::ZERO,
            };
            lambda.map_queue(cloud.queues.clone(), mapping);
        }
        lambda.schedule("janitor", JANITOR_EVERY);
        let relay = StreamMapping {
            function: "relay".to_owned(),
            batch_size: RECORDS,
            batching_window: RECORDS_WINDOW,
        };
        lambda.map_stream(cloud.changes.clone(), relay);
        let mut config = front::Config::new(routes(), "api");
        config.guard = cloud.plans.is_some().then(|| guard(&cloud));
        let router = front::router(lambda.clone(), config);
        let closing = shutdown.clone();
        tokio::spawn(async move {
            closing
                .run_until_cancelled(front::serve(door, router))
                .await
        });
        tokio::spawn(
            cloud
                .schedules
                .clone()
                .run(shutdown.clone().cancelled_owned()),
        );
        let (table, closing) = (cloud.table.clone(), shutdown.clone());
        tokio::spawn(async move { table.sweep(closing.cancelled_owned()).await });
        for name in ["api", "stream", "orchestrator"] {
            lambda
                .ready(name)
                .await
                .with_context(|| format!("starting the function `{name}`"))?;
        }
        Ok(Self {
            cloud,
            lambda,
            url,
            environment,
            shutdown,
        })
    }

    /// Stops everything: functions first, so that what they have begun can still be written.
    pub async fn stop(&self) {
        self.lambda.stop().await;
        self.shutdown.cancel();
    }
}

fn function(
    spec: &(&str, u64, u32, usize),
    classic: bool,
    environment: &BTreeMap<String, String>,
) -> FunctionConfig {
    let (name, timeout_s, memory_mb, slots) = *spec;
    FunctionConfig {
        name: name.to_owned(),
        memory_mb,
        timeout: Duration::from_secs(timeout_s),
        mode: if classic {
            Mode::Classic {
                max_processes: slots.min(16),
            }
        } else {
            Mode::Concurrent { slots }
        },
        env: environment
            .clone()
            .into_iter()
            // As each function has a role of its own.
            .chain([("AWS_ACCESS_KEY_ID".to_owned(), access::key_of(name))])
            .collect(),
    }
}

/// What is streamed and what operators do; everything else is the API function's (the template has the same).
fn routes() -> Vec<Route> {
    [
        (Some(Method::POST), "/v1/runs", "stream"),
        (Some(Method::GET), "/v1/runs/{run}/events", "stream"),
        (Some(Method::OPTIONS), "/v1/runs/{run}/events", "stream"),
        (None, "/v1/admin/{proxy+}", "admin"),
    ]
    .map(|(method, pattern, function)| Route {
        method,
        pattern: pattern.to_owned(),
        function: function.to_owned(),
        streaming: function == "stream",
    })
    .into()
}

/// What stands before the functions with usage plans (template: `Keys` and `Followers`): before all but operators' routes,
/// health and the document.
fn guard(cloud: &Cloud) -> Guard {
    Guard {
        authorizer: "authorizer".to_owned(),
        gate: cloud.gate.clone(),
        guarded: "/v1/".to_owned(),
        unguarded: "/v1/admin/".to_owned(),
        asked_each_time: vec!["/v1/runs/{run}/events".to_owned()],
        kept_for: AUTHORIZED_FOR,
    }
}

/// Serves each stand-in on a port of its own.
async fn serve(
    cloud: &Cloud,
    shutdown: &CancellationToken,
) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let mut endpoints = BTreeMap::new();
    for (name, router) in cloud.services() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("binding a port for a stand-in")?;
        endpoints.insert(name, format!("http://{}", listener.local_addr()?));
        tokio::spawn(wire::serve(
            listener,
            router,
            shutdown.clone().cancelled_owned(),
        ));
    }
    Ok(endpoints)
}
