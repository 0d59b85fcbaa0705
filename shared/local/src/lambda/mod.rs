//! A local AWS Lambda: real function processes behind the real Runtime API.
//!
//! [`Lambda::start`] launches one process per function (or one per event, see [`Mode`]) and serves each of them the
//! Lambda Runtime API on a loopback port of its own, so that a function's `main` is the one that runs on AWS. Events
//! come from [`Lambda::invoke`], from queues ([`Lambda::map_queue`]), from a table's stream ([`Lambda::map_stream`]) and from
//! schedules ([`Lambda::schedule`]).
//!
//! Where it differs from AWS: an event beyond a function's concurrency waits in line instead of being refused, and in
//! concurrent mode a timeout gives up the one invocation and leaves the process, which serves others, alive.

mod ack;
mod dispatch;
mod mapping;
mod process;
mod reply;
mod runtime_api;
mod schedule;
mod stream;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{process::Command, sync::oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use mapping::Mapping;
pub use process::end_with_parent;
pub use reply::{Body, Chunks, HTTP_INTEGRATION_RESPONSE, InvokeError, Reply};
pub use stream::StreamMapping;

use crate::sqs::Queues;
use crate::table::Changes;
use dispatch::{Event, Function};
use process::Supervisor;

/// The largest event and the largest buffered reply: 6 MB.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
pub const PAYLOAD_LIMIT_BYTES: usize = 6_291_556;

/// The owner in every local ARN.
pub const OWNER_ID: &str = "000000000000";

/// How long a process may take to end by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Builds the command that runs a function of the given name; its environment is added to what the command has.
pub type Launcher = Arc<dyn Fn(&str) -> Command + Send + Sync>;

/// Receives every line that a function's process writes: the function's name, and the line without its end.
pub type LineSink = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// How processes serve the events of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One process serves up to `slots` events at a time (`AWS_LAMBDA_MAX_CONCURRENCY`), started at once and restarted
    /// whenever it ends.
    Concurrent {
        /// How many events it serves at a time.
        slots: usize,
    },
    /// A process serves one event at a time, as on classic Lambda. Processes start when an event finds none idle.
    Classic {
        /// How many processes there may be.
        max_processes: usize,
    },
}

/// One function.
#[derive(Clone, Debug)]
pub struct FunctionConfig {
    /// Its name, given to the [`Launcher`].
    pub name: String,
    /// The memory it is told it has, in MB. Nothing enforces it.
    pub memory_mb: u32,
    /// How long one event may take.
    pub timeout: Duration,
    /// How processes serve its events.
    pub mode: Mode,
    /// Further environment variables; they override those that Lambda sets.
    pub env: BTreeMap<String, String>,
}

/// What a local Lambda consists of.
#[derive(Clone)]
pub struct Config {
    /// The region that functions are told they run in.
    pub region: String,
    /// The functions.
    pub functions: Vec<FunctionConfig>,
    /// Builds the command of a function.
    pub launcher: Launcher,
    /// Takes what functions write to standard output and standard error.
    pub lines: LineSink,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("region", &self.region)
            .field("functions", &self.functions)
            .finish_non_exhaustive()
    }
}

/// A running local Lambda. Clones are the same Lambda; call [`Lambda::stop`] at the end.
#[derive(Clone, Debug)]
pub struct Lambda(Arc<Inner>);

struct Inner {
    functions: BTreeMap<String, Arc<Function>>,
    supervisor: Supervisor,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lambda")
            .field("functions", &self.functions.keys())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.supervisor.closing.cancel();
        for function in self.functions.values() {
            function.stop();
            function.kill_all();
        }
    }
}

impl Lambda {
    /// Starts the functions: in concurrent mode their processes too, in classic mode these start on demand.
    ///
    /// Returns at once; [`Lambda::ready`] waits until a function can serve.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let supervisor = Supervisor {
            launcher: config.launcher,
            lines: config.lines,
            region: config.region,
            closing: CancellationToken::new(),
        };
        let mut functions = BTreeMap::new();
        for settings in config.functions {
            let (name, region) = (settings.name.clone(), &supervisor.region);
            let arn = format!("arn:aws:lambda:{region}:{OWNER_ID}:function:{name}");
            let function = Arc::new(Function::new(settings, arn));
            // In classic mode nothing is pending yet, so nothing starts.
            supervisor.start(&function);
            tokio::spawn(enforce_timeouts(
                Arc::clone(&function),
                supervisor.closing.clone(),
            ));
            functions.insert(name, function);
        }
        Self(Arc::new(Inner {
            functions,
            supervisor,
        }))
    }

    /// Invokes a function and waits for its reply, or for the start of a streamed one.
    ///
    /// The event is on its way from the first poll: dropping the future does not stop the function. The timeout runs
    /// from the moment a process takes the event.
    ///
    /// # Errors
    ///
    /// When the function is unknown, the event is too large, or the function fails, ends or times out.
    pub async fn invoke(&self, function: &str, payload: Bytes) -> Result<Reply, InvokeError> {
        self.invoke_traced(function, payload, None).await
    }

    /// Like [`Lambda::invoke`], under the caller's X-Ray trace (`Root=1-…`).
    ///
    /// # Errors
    ///
    /// As [`Lambda::invoke`].
    pub async fn invoke_traced(
        &self,
        function: &str,
        payload: Bytes,
        trace_id: Option<String>,
    ) -> Result<Reply, InvokeError> {
        let function = self.function(function)?;
        if payload.len() > PAYLOAD_LIMIT_BYTES {
            return Err(InvokeError::EventTooLarge {
                size_bytes: payload.len(),
                limit_bytes: PAYLOAD_LIMIT_BYTES,
            });
        }
        let (answer, answered) = oneshot::channel();
        function.enqueue(Event {
            payload,
            trace_id,
            answer,
        });
        if let Mode::Classic { .. } = function.config.mode {
            self.0.supervisor.start(function);
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(InvokeError::Stopped),
        }
    }

    /// Waits until a process of the function has asked for its first event; in classic mode, where only an event starts
    /// one, there is nothing to wait for.
    ///
    /// # Errors
    ///
    /// When the function is unknown or the Lambda is stopped.
    pub async fn ready(&self, function: &str) -> Result<(), InvokeError> {
        let function = self.function(function)?;
        if let Mode::Classic { .. } = function.config.mode {
            return Ok(());
        }
        let mut population = function.population.subscribe();
        let polled = population.wait_for(|population| population.polled > 0);
        match self.0.supervisor.closing.run_until_cancelled(polled).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(InvokeError::Stopped),
        }
    }

    /// Kills the processes of a function with SIGKILL and says how many there were.
    ///
    /// What they had in flight fails; in concurrent mode a new process starts at once.
    #[must_use = "zero means that nothing was killed"]
    pub fn kill(&self, function: &str) -> usize {
        self.function(function)
            .map_or(0, |function| function.kill_all())
    }

    /// The process ids of a function.
    #[must_use]
    pub fn pids(&self, function: &str) -> Vec<u32> {
        self.function(function)
            .map_or_else(|_| Vec::new(), |function| function.pids())
    }

    /// The names of the functions.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.0.functions.keys().map(String::as_str)
    }

    /// Stops everything: no event is taken any more, queues and schedules rest, processes are asked to end (SIGTERM)
    /// and killed if they have not within two seconds.
    pub async fn stop(&self) {
        self.0.supervisor.closing.cancel();
        for function in self.0.functions.values() {
            function.stop();
        }
        let ended = async {
            for function in self.0.functions.values() {
                let mut population = function.population.subscribe();
                // Fails only when the function is gone, which is as good.
                let _ = population.wait_for(|population| population.live == 0).await;
            }
        };
        tokio::pin!(ended);
        if tokio::time::timeout(STOP_GRACE, ended.as_mut())
            .await
            .is_err()
        {
            for function in self.0.functions.values() {
                function.kill_all();
            }
            ended.await;
        }
    }

    /// Feeds a function from a queue until [`Lambda::stop`], as an event source mapping does.
    ///
    /// Only what the function reports as done is deleted; the rest reappears when its visibility timeout ends.
    pub fn map_queue(&self, queues: Queues, mapping: Mapping) {
        let closing = self.0.supervisor.closing.clone();
        let poller = mapping::poll(self.clone(), queues, mapping);
        tokio::spawn(async move { closing.run_until_cancelled(poller).await });
    }

    /// Feeds a function from a table's stream until [`Lambda::stop`], as an event source mapping does: a batch that fails
    /// comes again, and nothing passes it.
    pub fn map_stream(&self, changes: Changes, mapping: StreamMapping) {
        let closing = self.0.supervisor.closing.clone();
        let follower = stream::follow(self.clone(), changes, mapping);
        tokio::spawn(async move { closing.run_until_cancelled(follower).await });
    }

    /// Invokes a function with an EventBridge scheduled event every so often until [`Lambda::stop`], the first time
    /// after one period. A beat that falls while the function is still at work is left out.
    pub fn schedule(&self, function: &str, every: Duration) {
        let closing = self.0.supervisor.closing.clone();
        let beat = schedule::run(self.clone(), function.to_owned(), every);
        tokio::spawn(async move { closing.run_until_cancelled(beat).await });
    }

    fn region(&self) -> &str {
        &self.0.supervisor.region
    }

    fn function(&self, name: &str) -> Result<&Arc<Function>, InvokeError> {
        self.0
            .functions
            .get(name)
            .ok_or_else(|| InvokeError::NoSuchFunction {
                function: name.to_owned(),
            })
    }
}

async fn enforce_timeouts(function: Arc<Function>, closing: CancellationToken) {
    let enforce = async {
        loop {
            tokio::time::sleep_until(function.next_expiry()).await;
            function.expire(tokio::time::Instant::now());
        }
    };
    closing.run_until_cancelled(enforce).await;
}

/// An X-Ray trace of its own for an invocation that came without one.
pub(crate) fn trace_id_of(id: Uuid) -> String {
    let hex = id.simple().to_string();
    let (epoch, rest) = hex.split_at(8);
    format!("Root=1-{epoch}-{rest};Sampled=0")
}
