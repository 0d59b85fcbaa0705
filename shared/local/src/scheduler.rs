//! Schedules: a stand-in for the part of EventBridge Scheduler that long timers need.
//!
//! One-shot schedules, `at(...)` in UTC, that send their input to a queue of the same local cloud. Create, read and delete; no
//! groups of one's own, no rates, no flexible windows (they fire at once when due). A moment that has passed fires at once. With
//! a folder every acknowledged schedule outlives the process; a schedule that was due meanwhile fires late, and one caught by a
//! kill between its message and its own end fires twice.

mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_types::date_time::{DateTime, Format};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::sqs::clock::Clock;
use crate::sqs::journal::{self, Journal};
use crate::sqs::{self, Queues, SendOptions};

use self::wire::Definition;

/// After a message could not be written the schedule is tried again this much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What can go wrong with schedules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is not valid.
    #[error("{0}")]
    Invalid(String),
    /// A schedule of this name exists.
    #[error("Schedule {0} already exists.")]
    Exists(String),
    /// No schedule has this name.
    #[error("Schedule {0} does not exist.")]
    Missing(String),
    /// The schedules' file cannot be read or written.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

/// All schedules of one local cloud. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Schedules(Arc<Inner>);

struct Inner {
    queues: Queues,
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// By group and name.
    schedules: BTreeMap<String, Schedule>,
    due: BTreeSet<(u64, String)>,
    journal: Option<Journal>,
}

/// One line of the journal. A stored shape never changes its meaning.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Record {
    Put {
        key: String,
        schedule: Box<Schedule>,
    },
    Gone {
        key: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Schedule {
    definition: Definition,
    at_ms: u64,
    created_at_ms: u64,
    /// It has fired and stays to be read.
    completed: bool,
}

impl Schedule {
    fn is_pending(&self) -> bool {
        !self.completed && self.definition.state != "DISABLED"
    }
}

impl Schedules {
    /// Opens the schedules kept in `folder`, which is created when missing; `None` keeps everything in memory. Messages go
    /// to `queues`. Nothing fires until [`Self::run`].
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged anywhere but in its torn last line.
    pub fn open(folder: Option<&Path>, queues: Queues) -> Result<Self, Error> {
        let mut state = State::default();
        if let Some(folder) = folder {
            journal::files_in(folder)?;
            let (journal, records) = Journal::open(&folder.join("schedules.jsonl"))?;
            let lines = records.len();
            for record in records {
                state.apply(record);
            }
            state.journal = Some(journal);
            if lines > state.schedules.len() {
                state.rewrite()?;
            }
        }
        Ok(Self(Arc::new(Inner {
            queues,
            clock: Clock::start(),
            state: Mutex::new(state),
            changed: Notify::new(),
        })))
    }

    /// The HTTP service: `POST`, `GET` and `DELETE /schedules/{name}`.
    pub fn router(&self) -> axum::Router {
        wire::router(self.clone())
    }

    /// Fires what is due, until `shutdown` is ready.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            let changed = self.0.changed.notified();
            let next = self.fire();
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut shutdown => return,
                () = changed => {}
                () = due => {}
            }
        }
    }

    /// How many schedules have yet to fire.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().due.len()
    }

    /// Lets time pass for the schedules.
    #[cfg(test)]
    fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
        self.0.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fires everything that is due and says when to come again.
    fn fire(&self) -> Option<Instant> {
        let mut state = self.lock();
        loop {
            let (at_ms, key) = state.due.first()?.clone();
            if at_ms > self.0.clock.now_ms() {
                return Some(self.0.clock.instant(at_ms));
            }
            let Some(schedule) = state.schedules.get(&key) else {
                state.due.pop_first();
                continue;
            };
            if let Err(error) = self.send(&schedule.definition) {
                let source = &error as &dyn std::error::Error;
                tracing::error!(
                    schedule = key,
                    error = source,
                    "a schedule cannot send its message"
                );
                if matches!(error, sqs::Error::Journal(_)) {
                    return Some(Instant::now() + RETRY_AFTER);
                }
            }
            let mut completed = schedule.clone();
            completed.completed = true;
            let record = if completed.definition.action_after_completion == "DELETE" {
                Record::Gone { key }
            } else {
                Record::Put {
                    key,
                    schedule: Box::new(completed),
                }
            };
            if let Err(error) = state.commit(record) {
                let source = &error as &dyn std::error::Error;
                tracing::error!(error = source, "a fired schedule will fire again");
                return Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    fn send(&self, definition: &Definition) -> Result<(), sqs::Error> {
        // A definition without a message was refused when it came.
        if let Some(message) = definition.message() {
            let options = SendOptions {
                group_id: message.group_id,
                ..SendOptions::default()
            };
            self.0.queues.send(&message.queue, message.body, options)?;
        }
        Ok(())
    }

    fn create(&self, name: &str, definition: Definition) -> Result<String, Error> {
        let at_ms = definition.check(name)?;
        let key = key(&definition.group_name, name);
        let mut state = self.lock();
        if let Some(schedule) = state.schedules.get(&key) {
            let repeated = definition.client_token.is_some() && schedule.definition == definition;
            return if repeated {
                Ok(arn(&key))
            } else {
                Err(Error::Exists(name.to_owned()))
            };
        }
        let schedule = Schedule {
            definition,
            at_ms,
            created_at_ms: self.0.clock.now_ms(),
            completed: false,
        };
        state.commit(Record::Put {
            key: key.clone(),
            schedule: Box::new(schedule),
        })?;
        drop(state);
        self.0.changed.notify_waiters();
        Ok(arn(&key))
    }

    fn delete(&self, group: &str, name: &str) -> Result<(), Error> {
        let key = key(group, name);
        let mut state = self.lock();
        if !state.schedules.contains_key(&key) {
            return Err(Error::Missing(name.to_owned()));
        }
        state.commit(Record::Gone { key })
    }

    fn read(&self, group: &str, name: &str) -> Result<Schedule, Error> {
        let found = self.lock().schedules.get(&key(group, name)).cloned();
        found.ok_or_else(|| Error::Missing(name.to_owned()))
    }
}

impl State {
    /// Writes the record, then applies it.
    fn commit(&mut self, record: Record) -> Result<(), Error> {
        if let Some(journal) = &mut self.journal {
            journal.append(std::slice::from_ref(&record))?;
        }
        self.apply(record);
        if self.journal.as_ref().is_some_and(Journal::is_bloated) {
            self.rewrite()?;
        }
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        let (key, schedule) = match record {
            Record::Put { key, schedule } => (key, Some(*schedule)),
            Record::Gone { key } => (key, None),
        };
        if let Some(before) = self.schedules.remove(&key) {
            self.due.remove(&(before.at_ms, key.clone()));
        }
        if let Some(schedule) = schedule {
            if schedule.is_pending() {
                self.due.insert((schedule.at_ms, key.clone()));
            }
            self.schedules.insert(key, schedule);
        }
    }

    fn rewrite(&mut self) -> Result<(), Error> {
        let put = |(key, schedule): (&String, &Schedule)| Record::Put {
            key: key.clone(),
            schedule: Box::new(schedule.clone()),
        };
        let records: Vec<Record> = self.schedules.iter().map(put).collect();
        if let Some(journal) = &mut self.journal {
            journal.rewrite(&records)?;
        }
        Ok(())
    }
}

fn key(group: &str, name: &str) -> String {
    format!("{group}/{name}")
}

fn arn(key: &str) -> String {
    format!("arn:aws:scheduler:us-east-1:000000000000:schedule/{key}")
}

/// The moment in `at(2026-11-30T12:00:00)`, in milliseconds since the Unix epoch.
fn moment(expression: &str) -> Option<u64> {
    let local = expression.strip_prefix("at(")?.strip_suffix(')')?;
    let moment = DateTime::from_str(&format!("{local}Z"), Format::DateTime).ok()?;
    u64::try_from(moment.to_millis().ok()?).ok()
}
