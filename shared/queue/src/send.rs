//! Sending, now or in a while.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry};
use domain::id::TenantId;
use domain::run::Lane;
use domain::time::At;
use futures_util::{StreamExt, stream};

use crate::Queue;
use crate::config::name_of_url;
use crate::error::Error;
use crate::message::{
    ClosingMessage, HOPS_ALARM, MAX_BYTES, RunMessage, SweepMessage, ToolMessage,
};

/// Longest delay that SQS keeps, in milliseconds (its limit: 900 s).
const MAX_DELAY_MS: u64 = 900_000;
/// Most messages of one batch (limit of SQS).
const BATCH: usize = 10;
/// Batches under way at the same time.
const BATCHES: usize = 4;
/// How often a message of a batch is tried before it counts as failed.
const ATTEMPTS: u32 = 3;
/// The message group of what belongs to no tenant.
const SWEEPS: &str = "sweeps";
/// Pause before the second attempt; it doubles before each further one.
const PAUSE: Duration = Duration::from_millis(50);

/// How many messages a queue holds, approximately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be delivered.
    pub visible: u64,
    /// Delivered and not yet settled.
    pub in_flight: u64,
    /// Not yet due.
    pub delayed: u64,
}

impl Queue {
    /// Sends a run to its lane, to arrive after `delay_ms` milliseconds at the earliest.
    ///
    /// Up to 15 minutes SQS keeps the delay, in whole seconds, rounded up. For longer ones a one-shot schedule is created,
    /// which fires within a minute of its time. Without a scheduler the message arrives after 15 minutes: early, which
    /// whoever drives the run answers by sending it again for what remains.
    ///
    /// # Errors
    /// When SQS or the scheduler refuses, or cannot be reached.
    pub async fn send_run(
        &self,
        lane: Lane,
        message: &RunMessage,
        delay_ms: u64,
    ) -> Result<(), Error> {
        let now = now();
        self.send_run_at(lane, message, now.plus_ms(delay_ms), now)
            .await
    }

    /// As [`Queue::send_run`], to arrive at `due_at`. A repeated call for the same run and instant sets no second
    /// schedule; within 15 minutes it does send a second message.
    ///
    /// # Errors
    /// When SQS or the scheduler refuses, or cannot be reached.
    pub async fn send_run_at(
        &self,
        lane: Lane,
        message: &RunMessage,
        due_at: At,
        now: At,
    ) -> Result<(), Error> {
        warn_of_hops(&message.tenant, message.hops);
        let delay_ms = due_at.since_ms(now);
        let (url, body) = (self.0.config.lane_url(lane), message.body()?);
        if delay_ms > MAX_DELAY_MS
            && let (Some(scheduler), Some(timers)) = (&self.0.scheduler, &self.0.config.timers)
        {
            return crate::timer::schedule(scheduler, timers, url, message, body, due_at).await;
        }
        self.send(url, message.tenant.as_str(), body, delay_ms)
            .await
    }

    /// Sends runs to their lane at once, ten to a request. Answers with one result a message, in order: what SQS could not
    /// take for reasons of its own was tried three times.
    pub async fn send_runs(&self, lane: Lane, messages: &[RunMessage]) -> Vec<Result<(), Error>> {
        let mut results: Vec<_> = messages.iter().map(|_| Ok(())).collect();
        let mut drafts = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            warn_of_hops(&message.tenant, message.hops);
            match message.body() {
                Ok(body) => drafts.push(Draft {
                    index,
                    group: Some(message.tenant.to_string()),
                    body,
                    attributes: None,
                }),
                Err(error) => results[index] = Err(error),
            }
        }
        let url = self.0.config.lane_url(lane);
        let batches: Vec<_> = batches(drafts)
            .into_iter()
            .map(|batch| self.send_batch(url, batch))
            .collect();
        let mut failures = stream::iter(batches).buffer_unordered(BATCHES);
        while let Some(failures) = failures.next().await {
            for (index, error) in failures {
                results[index] = Err(error);
            }
        }
        results
    }

    /// Sends a tool call to the worker.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the arguments do not fit; otherwise when SQS refuses or cannot be reached.
    pub async fn send_tool(&self, message: &ToolMessage) -> Result<(), Error> {
        warn_of_hops(&message.tenant, message.hops);
        let body = message.body()?;
        self.send(&self.0.config.tasks_url, message.tenant.as_str(), body, 0)
            .await
    }

    /// Asks the janitor to look for runs that are stuck up to an instant, once it has come; at most 15 minutes ahead.
    ///
    /// # Errors
    /// When SQS refuses or cannot be reached.
    pub async fn send_sweep(&self, message: SweepMessage, now: At) -> Result<(), Error> {
        let delay_ms = message.up_to.since_ms(now);
        let (url, body) = (&self.0.config.sweeps_url, message.body()?);
        self.send(url, SWEEPS, body, delay_ms).await
    }

    /// Asks the janitor to go on with the closing of a tenant, after `delay_ms` milliseconds; at most 15 minutes ahead.
    ///
    /// # Errors
    /// When SQS refuses or cannot be reached.
    pub async fn send_closing(&self, message: &ClosingMessage, delay_ms: u64) -> Result<(), Error> {
        let (url, body) = (&self.0.config.sweeps_url, message.body()?);
        self.send(url, message.tenant.as_str(), body, delay_ms)
            .await
    }

    /// How many messages wait in the lane's queue: for gauges, and to see that the queue can be reached.
    ///
    /// # Errors
    /// When SQS refuses or cannot be reached.
    pub async fn lane_depth(&self, lane: Lane) -> Result<Depth, Error> {
        self.depth(self.0.config.lane_url(lane)).await
    }

    /// How many messages wait in the task queue.
    ///
    /// # Errors
    /// When SQS refuses or cannot be reached.
    pub async fn tasks_depth(&self) -> Result<Depth, Error> {
        self.depth(&self.0.config.tasks_url).await
    }

    pub(crate) async fn depth(&self, url: &str) -> Result<Depth, Error> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesDelayed as Delayed,
            ApproximateNumberOfMessagesNotVisible as InFlight,
        };
        let answer = self
            .0
            .sqs
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(Visible)
            .attribute_names(InFlight)
            .attribute_names(Delayed)
            .send()
            .await
            .map_err(|error| Error::request("read the depth of", name_of_url(url), error))?;
        let number = |name| {
            answer
                .attributes()
                .and_then(|attributes| attributes.get(&name)?.parse().ok())
                .unwrap_or_default()
        };
        Ok(Depth {
            visible: number(Visible),
            in_flight: number(InFlight),
            delayed: number(Delayed),
        })
    }

    async fn send(&self, url: &str, group: &str, body: String, delay_ms: u64) -> Result<(), Error> {
        let delay_s = i32::try_from(delay_ms.min(MAX_DELAY_MS).div_ceil(1_000))
            .expect("15 minutes fit any integer");
        self.0
            .sqs
            .send_message()
            .queue_url(url)
            .message_group_id(group)
            .message_body(body)
            .set_delay_seconds((delay_s > 0).then_some(delay_s))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Error::request("send to", name_of_url(url), error))
    }

    /// Answers with what failed for good.
    pub(crate) async fn send_batch(
        &self,
        url: &str,
        mut pending: Vec<Draft>,
    ) -> Vec<(usize, Error)> {
        let mut failures = Vec::new();
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let answer = self
                .0
                .sqs
                .send_message_batch()
                .queue_url(url)
                .set_entries(Some(pending.iter().map(Draft::entry).collect()))
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    let error = Error::request("send to", name_of_url(url), error);
                    failures.extend(pending.iter().map(|draft| (draft.index, error.clone())));
                    return failures;
                }
            };
            pending.retain(|draft| {
                let failed = answer.failed().iter().find(|it| draft.id() == it.id());
                let Some(failed) = failed else {
                    return false;
                };
                if failed.sender_fault() || attempt == ATTEMPTS {
                    let error = Error::Refused {
                        name: name_of_url(url).to_owned(),
                        code: failed.code().to_owned(),
                        message: failed.message().unwrap_or_default().to_owned(),
                        transient: !failed.sender_fault(),
                    };
                    failures.push((draft.index, error));
                    return false;
                }
                true
            });
            if pending.is_empty() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        failures
    }
}

/// A message of a batch.
pub(crate) struct Draft {
    /// Its place among the messages to be sent.
    pub(crate) index: usize,
    pub(crate) group: Option<String>,
    pub(crate) body: String,
    /// Ours have none.
    pub(crate) attributes: Option<HashMap<String, MessageAttributeValue>>,
}

impl Draft {
    fn id(&self) -> String {
        self.index.to_string()
    }

    fn entry(&self) -> SendMessageBatchRequestEntry {
        SendMessageBatchRequestEntry::builder()
            .id(self.id())
            .set_message_group_id(self.group.clone())
            .message_body(&self.body)
            .set_message_attributes(self.attributes.clone())
            .build()
            .expect("id and body are set")
    }
}

/// Ten to a batch, and not more bytes together than one message may have (limit of SQS).
pub(crate) fn batches(drafts: Vec<Draft>) -> Vec<Vec<Draft>> {
    let mut batches: Vec<Vec<Draft>> = Vec::new();
    let mut bytes = 0;
    for draft in drafts {
        bytes += draft.body.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes <= MAX_BYTES => batch.push(draft),
            _ => {
                bytes = draft.body.len();
                batches.push(vec![draft]);
            }
        }
    }
    batches
}

fn warn_of_hops(tenant: &TenantId, hops: u32) {
    if hops > 0 && hops.is_multiple_of(HOPS_ALARM) {
        tracing::warn!(tenant.id = %tenant, hops, "a chain of queue messages is unusually long");
    }
}

fn now() -> At {
    let elapsed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    At(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
