//! Queues: a stand-in for Amazon SQS that speaks its JSON protocol to the official SDKs.
//!
//! What it keeps of the original: visibility and delays to the millisecond, long polls that wake at once, batches, dead-letter
//! queues, FIFO order with deduplication, fair groups on standard queues, limits and error shapes. What it never does:
//! authenticate, encrypt, lose an acknowledged message when the process dies, or deliver out of order without being asked
//! to (a real standard queue may). `PurgeQueue` and `DeleteQueue` have no 60 s penalty.
//!
//! Every queue has one lock, one [`Notify`] and, when opened on a folder, one journal. Time is
//! tokio's, so tests run under paused time; what is stored is wall-clock milliseconds.

mod attributes;
mod delivery;
mod digest;
mod dispatch;
mod evolve;
mod exchange;
mod fault;
mod message;
mod messages;
mod operations;
mod ready;
mod record;
mod state;
mod wire;

pub(crate) mod clock;
pub(crate) mod journal;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use self::clock::Clock;
use self::delivery::Delivery;
use self::journal::Journal;
use self::record::Record;
use self::state::State;

pub use self::fault::Code;
pub use self::message::{AttributeValue, Depth, Received, SendOptions};

/// The Region every local resource claims to be in.
const REGION: &str = "us-east-1";
/// The AWS account every local resource claims to belong to.
const ACCOUNT: &str = "000000000000";

/// What can go wrong in the queues.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is refused, as SQS would refuse it.
    #[error("{}: {message}", code.name())]
    Refused {
        /// Which of SQS's errors this is.
        code: Code,
        /// What the caller did wrong.
        message: String,
    },
    /// A queue's file cannot be read or written.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

impl Error {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Journal(_) => Code::InternalFailure,
        }
    }

    /// What an answer says about it.
    fn message(&self) -> String {
        match self {
            Self::Refused { message, .. } => message.clone(),
            Self::Journal(error) => error.to_string(),
        }
    }
}

/// The URL of the queue called `name`; only its last segment is ever read back.
#[must_use]
pub fn url(name: &str) -> String {
    format!("http://sqs.local/{ACCOUNT}/{name}")
}

/// The ARN of the queue called `name`.
#[must_use]
pub fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

/// The name in a queue's URL or ARN.
pub(crate) fn name_in(url_or_arn: &str) -> &str {
    url_or_arn.rsplit(['/', ':']).next().unwrap_or(url_or_arn)
}

/// All queues of one local cloud. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Queues(Arc<Inner>);

struct Inner {
    folder: Option<PathBuf>,
    clock: Clock,
    queues: RwLock<BTreeMap<String, Arc<Queue>>>,
}

struct Queue {
    name: String,
    state: Mutex<State>,
    /// Told whenever a waiting receiver should look again.
    changed: Notify,
}

impl Queue {
    fn new(name: String, state: State) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::new(state),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a queue that was not deleted since it was found.
    fn live(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock();
        if state.deleted {
            return Err(no_such_queue());
        }
        Ok(state)
    }
}

impl Queues {
    /// Opens the queues kept in `folder`, which is created when missing; `None` keeps everything in memory.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be read or written, or a file is damaged anywhere but in its torn last line.
    pub fn open(folder: Option<&Path>) -> Result<Self, Error> {
        let clock = Clock::start();
        let mut queues = BTreeMap::new();
        if let Some(folder) = folder {
            for path in journal::files_in(folder)? {
                let (journal, records) = Journal::open::<Record>(&path)?;
                // A file without a single record is a creation that was never acknowledged.
                if let Some((name, state)) = State::restore(journal, records, clock.now_ms())? {
                    queues.insert(name.clone(), Queue::new(name, state));
                }
            }
        }
        Ok(Self(Arc::new(Inner {
            folder: folder.map(Path::to_path_buf),
            clock,
            queues: RwLock::new(queues),
        })))
    }

    /// Creates the queue, or gives an existing one these attributes (names and values as in SQS's `CreateQueue`), and
    /// answers with its URL.
    ///
    /// # Errors
    /// When the name or an attribute is not valid, a dead-letter queue does not exist, or the file cannot be written.
    pub fn create(
        &self,
        name: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<String, Error> {
        if let Ok(queue) = self.find(name) {
            self.set_attributes(&queue, attributes)?;
        } else {
            self.create_new(name, attributes, BTreeMap::new())?;
        }
        Ok(url(name))
    }

    /// Sends one message and answers with its id.
    ///
    /// # Errors
    /// As SQS's `SendMessage`, or when the queue's file cannot be written.
    pub fn send(&self, queue: &str, body: String, options: SendOptions) -> Result<String, Error> {
        let queue = self.find(queue)?;
        let sent = self.send_drafts(&queue, |config| {
            Ok(vec![message::draft(config, body, options)?])
        })?;
        sent.into_iter()
            .next()
            .map(|sent| sent.id)
            .ok_or_else(|| Code::InternalFailure.with("nothing was sent"))
    }

    /// Receives up to `max` messages, waiting up to `wait` for the first. A queue that does not exist, or stops existing
    /// meanwhile, has none. Dropping the future loses nothing.
    pub async fn receive(&self, queue: &str, max: usize, wait: Duration) -> Vec<Received> {
        match self.poll(queue, max, None, wait).await {
            Ok(deliveries) => deliveries
                .into_iter()
                .map(Delivery::into_received)
                .collect(),
            Err(error) => {
                tracing::warn!(queue, %error, "cannot receive");
                sleep_until(Instant::now() + wait.min(Duration::from_secs(1))).await;
                Vec::new()
            }
        }
    }

    /// Deletes a received message. A stale or unknown receipt handle deletes nothing.
    pub fn delete(&self, queue: &str, receipt_handle: &str) {
        let deleted = self.find(queue).and_then(|queue| {
            self.delete_handles(&queue, &[receipt_handle])
                .into_iter()
                .collect::<Result<(), _>>()
        });
        if let Err(error) = deleted {
            tracing::warn!(queue, %error, "cannot delete a message");
        }
    }

    /// Makes a received message visible again `timeout` from now, zero for at once.
    ///
    /// # Errors
    /// When the queue does not exist or the receipt handle is not the one of a message in flight.
    pub fn change_visibility(
        &self,
        queue: &str,
        receipt_handle: &str,
        timeout: Duration,
    ) -> Result<(), Error> {
        let queue = self.find(queue)?;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.0.clock.now_ms();
        let changed = queue
            .lock()
            .change_visibility(receipt_handle, timeout_ms, now_ms);
        queue.changed.notify_waiters();
        changed
    }

    /// Makes every message in flight visible at once: for a start at which no receiver of old can still be alive.
    ///
    /// # Errors
    /// When a queue's file cannot be written.
    pub fn release_in_flight(&self) -> Result<(), Error> {
        for queue in self.all() {
            queue.lock().release_in_flight(self.0.clock.now_ms())?;
            queue.changed.notify_waiters();
        }
        Ok(())
    }

    /// How many messages the queue holds, by what they wait for; zeros when it does not exist.
    #[must_use]
    pub fn depth(&self, queue: &str) -> Depth {
        self.find(queue)
            .map(|queue| queue.lock().depth(self.0.clock.now_ms()))
            .unwrap_or_default()
    }

    /// The names of all queues, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.registry().keys().cloned().collect()
    }

    /// The HTTP service: SQS's JSON protocol at `POST /`.
    pub fn router(&self) -> axum::Router {
        dispatch::router(self.clone())
    }

    /// Lets time pass for every queue at once, for tests that do not wait.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
        for queue in self.all() {
            queue.changed.notify_waiters();
        }
    }

    fn registry(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Queue>>> {
        self.0.queues.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<Queue>>> {
        self.0
            .queues
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Queue>> {
        self.registry().values().cloned().collect()
    }

    fn find(&self, name: &str) -> Result<Arc<Queue>, Error> {
        self.registry().get(name).cloned().ok_or_else(no_such_queue)
    }
}

fn no_such_queue() -> Error {
    Code::QueueDoesNotExist.with("The specified queue does not exist.")
}

/// A fresh random message or request id.
fn new_id() -> String {
    Uuid::new_v4().to_string()
}
