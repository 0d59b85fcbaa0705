//! What a message takes of its queue's requests and of its function's invocation, for receipts.
//!
//! Lambda's poller receives and deletes up to ten messages with one request, and a beat holds as many: each message counts
//! its part of those, in thousandths, rounded up. Its sending is counted where it arrives for the first time, so that
//! whoever works on it can tell: who sends it has often told before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lambda_events::sqs::SqsMessage;

/// Bytes that one request may carry; more count as several (<https://aws.amazon.com/sqs/pricing/>).
const CHUNK: usize = 64 * 1024;
/// Thousandths in one.
const MILLI: u64 = 1_000;

/// What one message takes. It grows while the message is held; clones grow together.
#[derive(Clone, Debug)]
pub struct Toll {
    milli_requests: Arc<AtomicU64>,
    milli_invocations: u64,
}

impl Toll {
    /// Of each record of a delivery, before any is held.
    pub(crate) fn of(records: &[SqsMessage]) -> Vec<Self> {
        let together = records.len();
        let bytes = |record: &SqsMessage| record.body.as_deref().unwrap_or_default().len();
        let received = requests(records.iter().map(bytes).sum());
        let tolls = records.iter().map(|record| {
            let is_first = receive_count(record) == 1;
            let sent = if is_first { requests(bytes(record)) } else { 0 };
            let deleted = 1;
            Self {
                milli_requests: Arc::new(AtomicU64::new(
                    sent * MILLI + part(received + deleted, together),
                )),
                milli_invocations: part(1, together),
            }
        });
        tolls.collect()
    }

    /// Counts a request that held so many messages.
    pub(crate) fn held(&self, together: usize) {
        let milli = part(1, together);
        self.milli_requests.fetch_add(milli, Ordering::Relaxed);
    }

    /// Requests to the queue so far, in thousandths: sending, receiving, holding and deleting it.
    #[must_use]
    pub fn milli_requests(&self) -> u64 {
        self.milli_requests.load(Ordering::Relaxed)
    }

    /// Its part of the invocation that it came with, in thousandths.
    #[must_use]
    pub fn milli_invocations(&self) -> u64 {
        self.milli_invocations
    }
}

/// How often a message was delivered, this time included; 1 when SQS does not say.
pub(crate) fn receive_count(record: &SqsMessage) -> u32 {
    let count = record.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

fn requests(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(CHUNK).max(1)).unwrap_or(u64::MAX)
}

fn part(requests: u64, together: usize) -> u64 {
    let together = u64::try_from(together.max(1)).unwrap_or(u64::MAX);
    (requests * MILLI).div_ceil(together)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize, count: &str) -> SqsMessage {
        let mut record = SqsMessage::default();
        record.body = Some("x".repeat(bytes));
        let name = "ApproximateReceiveCount".to_owned();
        record.attributes.insert(name, count.to_owned());
        record
    }

    fn milli(records: &[SqsMessage]) -> Vec<u64> {
        Toll::of(records).iter().map(Toll::milli_requests).collect()
    }

    #[test]
    fn a_message_counts_its_sending_and_its_part_of_what_is_asked_about_many() {
        assert_eq!(milli(&[record(1, "1")]), [3_000]);
        let three = [record(1, "1"), record(1, "1"), record(1, "2")];
        assert_eq!(milli(&three), [1_667, 1_667, 667], "sent once");
        let toll = &Toll::of(&three)[0];
        assert_eq!(toll.milli_invocations(), 334);
        toll.clone().held(2);
        assert_eq!(toll.milli_requests(), 2_167);
    }

    #[test]
    fn what_is_over_64_kib_counts_as_several_requests() {
        assert_eq!(milli(&[record(CHUNK + 1, "1")]), [2_000 + 2_000 + 1_000]);
        let ten = vec![record(48 * 1_024, "1"); 10];
        assert_eq!(milli(&ten)[0], 1_000 + 800 + 100, "480 KiB are received");
    }
}
