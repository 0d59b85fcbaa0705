//! What a queue's state is made of, and what is written down of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::message::Message;

/// One line of a queue's journal. A stored shape never changes its meaning.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Record {
    /// The queue itself: always the first line, and again when its attributes or tags change.
    Queue {
        name: String,
        attributes: BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
        created_at_ms: u64,
        changed_at_ms: u64,
        next_seq: u64,
    },
    /// A message, with how far it has come.
    Sent {
        seq: u64,
        message: Arc<Message>,
        place: Place,
        #[serde(default)]
        received: u32,
        #[serde(default)]
        first_received_at_ms: u64,
        #[serde(default)]
        received_at_ms: u64,
    },
    /// Messages went into flight.
    Received {
        seqs: Vec<u64>,
        at_ms: u64,
        until_ms: u64,
    },
    /// A message in flight becomes visible at another time.
    Extended { seq: u64, until_ms: u64 },
    /// Messages are no more.
    Gone { seqs: Vec<u64> },
    /// No message is there any more.
    Purged,
    /// A deduplication id whose message may be gone already.
    Remembered {
        key: String,
        id: String,
        seq: u64,
        until_ms: u64,
    },
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// Visible.
    Ready,
    /// Not yet visible for the first time.
    Delayed { until_ms: u64 },
    /// With a receiver.
    InFlight { until_ms: u64 },
    /// On its way to the dead-letter queue; after a restart it is visible again.
    Leaving,
}

/// A message and how far it has come.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    pub(super) place: Place,
    pub(super) received: u32,
    pub(super) first_received_at_ms: u64,
    pub(super) received_at_ms: u64,
}

/// What a deduplication id stands for.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) id: String,
    pub(super) seq: u64,
    pub(super) until_ms: u64,
}

/// What was sent, or what it is a repetition of.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) body_md5: String,
    pub(super) attributes_md5: Option<String>,
    /// FIFO queues only.
    pub(super) sequence_number: Option<String>,
}

/// What a receive found.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) deliveries: Vec<Delivery>,
    /// Messages that were received too often: the caller moves them, then calls [`State::forget`] or [`State::put_back`].
    pub(super) dead: Vec<(u64, Arc<Message>)>,
}

/// SQS shows sequence numbers as 20 digits.
pub(super) fn sequence_number(seq: u64) -> String {
    format!("{seq:020}")
}
