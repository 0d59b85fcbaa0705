//! Working through one delivery, each record on its own.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use domain::time::At;
use futures_util::{FutureExt, StreamExt, stream};

use crate::Queue;
use crate::heartbeat::{Guard, Heartbeat};
use crate::message::Message;
use crate::toll::{self, Toll};

/// What becomes of a record once its handler is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is deleted.
    Done,
    /// It is delivered again when its visibility ends: soon, [`Beat::visibility`](crate::Beat::visibility) from its last
    /// beat or from now.
    Again,
    /// It is delivered again after this long, in whole seconds, rounded up, at most 11 hours.
    ///
    /// Each delivery counts towards the queue's dead-letter limit, so this is for what should not have come yet, and not a
    /// way to wait: for that, send a new message with a delay.
    After(Duration),
}

/// One message of a delivery.
#[derive(Debug)]
pub struct Record<T> {
    /// What it says.
    pub message: T,
    /// SQS's id of it.
    pub message_id: String,
    /// How often it was delivered, this time included; 1 when SQS does not say.
    pub receive_count: u32,
    /// When it was sent, when SQS says so.
    pub sent_at: Option<At>,
    /// What it takes of requests and of the invocation.
    pub toll: Toll,
}

impl Queue {
    /// Hands every record of a delivery to `handler`, at most `concurrency` at the same time, and answers with those that
    /// SQS shall deliver again.
    ///
    /// Records do not touch each other: one with a malformed body, or whose handler panics, is logged with its message id
    /// and reported as failed, so that it ends in the dead-letter queue once it was delivered often enough. All are held
    /// meanwhile as [`Config::beat`](crate::Config::beat) says. Handlers share one task, so they must not block it.
    pub async fn consume<T, F, Fut>(
        &self,
        event: SqsEvent,
        concurrency: usize,
        handler: F,
    ) -> SqsBatchResponse
    where
        T: Message,
        F: Fn(Record<T>) -> Fut,
        Fut: Future<Output = Disposition>,
    {
        let tolls = Toll::of(&event.records);
        let (heartbeat, guards) = self.hold(&event.records, &tolls).unzip();
        let mut guards = guards.unwrap_or_default().into_iter();
        let records = event.records.into_iter().zip(tolls);
        let work: Vec<_> = records
            .map(|(record, toll)| {
                let held = guards.next().zip(heartbeat.as_ref());
                settle(record, toll, held, &handler)
            })
            .collect();
        let mut settled = stream::iter(work).buffer_unordered(concurrency.max(1));
        let mut response = SqsBatchResponse::default();
        // What is done is deleted only once the whole delivery is: until then it is held like what is still at work, or it
        // would reappear and be done again.
        let mut done = Vec::new();
        while let Some(settled) = settled.next().await {
            match settled {
                Settled::Done(guard) => done.extend(guard),
                Settled::Again(message_id) => response.add_failure(message_id),
            }
        }
        drop(settled);
        drop(done);
        if let Some(heartbeat) = heartbeat {
            heartbeat.stop().await;
        }
        response
    }

    fn hold(&self, records: &[SqsMessage], tolls: &[Toll]) -> Option<(Heartbeat, Vec<Guard>)> {
        let arn = records
            .first()?
            .event_source_arn
            .as_deref()
            .unwrap_or_default();
        let Some(url) = self.0.config.url_of_arn(arn) else {
            tracing::warn!(arn, "a delivery of an unknown queue cannot be held");
            return None;
        };
        Some(Heartbeat::start(self, url, records, tolls))
    }
}

/// What became of a record.
enum Settled {
    /// It may be deleted; it is held until then.
    Done(Option<Guard>),
    /// The message of this id is to be delivered again.
    Again(String),
}

async fn settle<T, F, Fut>(
    record: SqsMessage,
    toll: Toll,
    held: Option<(Guard, &Heartbeat)>,
    handler: &F,
) -> Settled
where
    T: Message,
    F: Fn(Record<T>) -> Fut,
    Fut: Future<Output = Disposition>,
{
    let receipt = record.receipt_handle.clone();
    // Without an id, which SQS never leaves out, the empty one makes Lambda return the whole batch: nothing is lost.
    let message_id = record.message_id.clone().unwrap_or_default();
    let after = match handle(record, toll, &message_id, handler).await {
        Disposition::Done => return Settled::Done(held.map(|(guard, _)| guard)),
        Disposition::Again => None,
        Disposition::After(after) => Some(after),
    };
    if let (Some((guard, heartbeat)), Some(receipt)) = (held, receipt)
        && let Err(error) = heartbeat.put_back(guard, &receipt, after).await
    {
        tracing::warn!(
            message_id,
            error = &error as &dyn std::error::Error,
            "a queue message reappears when its visibility ends"
        );
    }
    Settled::Again(message_id)
}

/// What becomes of the record; whatever goes wrong is logged and lets it be delivered again.
async fn handle<T, F, Fut>(
    record: SqsMessage,
    toll: Toll,
    message_id: &str,
    handler: &F,
) -> Disposition
where
    T: Message,
    F: Fn(Record<T>) -> Fut,
    Fut: Future<Output = Disposition>,
{
    let message = match T::parse(record.body.as_deref().unwrap_or_default()) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(
                message_id,
                error = &error as &dyn std::error::Error,
                "a queue message is malformed"
            );
            return Disposition::Again;
        }
    };
    let attribute = |name| record.attributes.get(name).map(String::as_str);
    let parsed = Record {
        message,
        message_id: message_id.to_owned(),
        receive_count: toll::receive_count(&record),
        sent_at: attribute("SentTimestamp").and_then(|ms| ms.parse().ok().map(At)),
        toll,
    };
    let handled = AssertUnwindSafe(async { handler(parsed).await }).catch_unwind();
    handled.await.unwrap_or_else(|panic| {
        let panic = text(&*panic);
        tracing::error!(message_id, panic, "the handler of a queue message panicked");
        Disposition::Again
    })
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text")
}
