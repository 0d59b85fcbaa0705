//! Keeping a delivery in flight while it is worked on, and letting it reappear soon when its process dies.
//!
//! The queues hide a message for as long as their function may run, as AWS demands. A beat shortens that at once for all
//! records of the delivery with one request, which nobody waits for, and then extends it for those still at work. A beat that
//! fails is logged and forgotten: the next one comes before the message reappears, and if it does reappear, the fence of the
//! run's log makes the copy harmless.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lambda_events::sqs::SqsMessage;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::Queue;
use crate::config::name_of_url;
use crate::error::Error;
use crate::toll::Toll;

/// Most entries of one batch (limit of SQS).
const BATCH: usize = 10;
/// Longest visibility that is asked for: SQS allows 12 h from the delivery on, and some of it has passed.
const MAX_VISIBILITY: Duration = Duration::from_secs(11 * 3_600);
/// How long the end of a delivery waits for a beat under way, so that its connection is not torn down.
const LAST_BEAT_TIMEOUT: Duration = Duration::from_secs(1);

/// The heartbeat of one delivery. It stops when this is dropped.
pub(crate) struct Heartbeat {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    queue: Queue,
    url: String,
    /// By record; none once it is let go.
    slots: Mutex<Vec<Option<Slot>>>,
    /// Held during a request, so that requests about one message arrive in the order in which they were decided.
    calls: tokio::sync::Mutex<()>,
}

/// One record.
struct Slot {
    receipt: Option<String>,
    toll: Toll,
    /// Whether a beat came while it was here.
    was_held: bool,
}

/// One record's place in its delivery's heartbeat. Lets the record go when it is dropped.
pub(crate) struct Guard {
    shared: Arc<Shared>,
    slot: usize,
}

impl Guard {
    /// Lets the record go. Answers whether a beat shortened its visibility meanwhile.
    pub(crate) fn let_go(self) -> bool {
        self.close()
    }

    fn close(&self) -> bool {
        let slot = self.shared.slots()[self.slot].take();
        slot.is_some_and(|slot| slot.was_held)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close();
    }
}

impl Heartbeat {
    /// Starts to hold `records`, which came from the queue at `url` in one delivery.
    pub(crate) fn start(
        queue: &Queue,
        url: &str,
        records: &[SqsMessage],
        tolls: &[Toll],
    ) -> (Self, Vec<Guard>) {
        let slots = records.iter().zip(tolls).map(|(record, toll)| {
            Some(Slot {
                receipt: record.receipt_handle.clone(),
                toll: toll.clone(),
                was_held: false,
            })
        });
        let shared = Arc::new(Shared {
            queue: queue.clone(),
            url: url.to_owned(),
            slots: Mutex::new(slots.collect()),
            calls: tokio::sync::Mutex::default(),
        });
        let guards = (0..records.len())
            .map(|slot| {
                let shared = shared.clone();
                Guard { shared, slot }
            })
            .collect();
        let task = tokio::spawn(shared.clone().beat());
        (Self { shared, task }, guards)
    }

    /// Lets a record go so that it reappears `after` a while; none means soon, which takes no request if a beat came before.
    pub(crate) async fn put_back(
        &self,
        guard: Guard,
        receipt: &str,
        after: Option<Duration>,
    ) -> Result<(), Error> {
        let was_held = guard.let_go();
        let after = match after {
            Some(after) => after,
            None if was_held => return Ok(()),
            None => self.shared.queue.0.config.beat.visibility,
        };
        let _in_order = self.shared.calls.lock().await;
        let Shared { queue, url, .. } = &*self.shared;
        queue
            .0
            .sqs
            .change_message_visibility()
            .queue_url(url)
            .receipt_handle(receipt)
            .visibility_timeout(seconds(after))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Error::request("put back a message of", name_of_url(url), error))
    }

    /// Stops, letting a beat under way end.
    pub(crate) async fn stop(self) {
        let _ended = timeout(LAST_BEAT_TIMEOUT, self.shared.calls.lock()).await;
        self.task.abort();
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Vec<Option<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn beat(self: Arc<Self>) {
        let beat = self.queue.0.config.beat;
        if !beat.first_after.is_zero() {
            sleep(beat.first_after).await;
        }
        self.extend(beat.visibility, beat.every).await;
        loop {
            sleep(beat.every).await;
            self.extend(beat.visibility, beat.every).await;
        }
    }

    async fn extend(&self, visibility: Duration, within: Duration) {
        if timeout(within, self.extend_all(visibility)).await.is_err() {
            tracing::warn!(
                queue = name_of_url(&self.url),
                "messages were not held in time"
            );
        }
    }

    async fn extend_all(&self, visibility: Duration) {
        let _in_order = self.calls.lock().await;
        let entries: Vec<_> = self
            .slots()
            .iter_mut()
            .enumerate()
            .filter_map(|(id, slot)| {
                let slot = slot.as_mut()?;
                slot.was_held = true;
                Some((id, slot.receipt.clone()?, slot.toll.clone()))
            })
            .map(|(id, receipt, toll)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(id.to_string())
                    .receipt_handle(receipt)
                    .visibility_timeout(seconds(visibility))
                    .build()
                    .expect("id and receipt handle are set");
                (entry, toll)
            })
            .collect();
        for entries in entries.chunks(BATCH) {
            for (_, toll) in entries {
                toll.held(entries.len());
            }
            let entries = entries.iter().map(|(entry, _)| entry.clone());
            self.change(entries.collect()).await;
        }
    }

    async fn change(&self, entries: Vec<ChangeMessageVisibilityBatchRequestEntry>) {
        let name = name_of_url(&self.url);
        let answer = self
            .queue
            .0
            .sqs
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(|error| Error::request("hold messages of", name, error));
        match answer {
            Ok(answer) => {
                for failed in answer.failed() {
                    // A record that was let go meanwhile may have been deleted meanwhile.
                    let id = failed.id().parse().unwrap_or(usize::MAX);
                    if matches!(self.slots().get(id), Some(Some(_))) {
                        tracing::warn!(
                            queue = name,
                            code = failed.code(),
                            "a message was not held"
                        );
                    }
                }
            }
            Err(error) => tracing::warn!(
                queue = name,
                error = &error as &dyn std::error::Error,
                "messages were not held"
            ),
        }
    }
}

/// Whole seconds, at least one unless zero is meant.
fn seconds(visibility: Duration) -> i32 {
    let ms = visibility.min(MAX_VISIBILITY).as_millis();
    i32::try_from(ms.div_ceil(1_000)).expect("11 hours fit any integer")
}
