//! A message on its way to a receiver, and the receipt handle that comes with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::fault::Code;
use super::message::{Message, Received, lambda_attributes};
use super::{ACCOUNT, Error};

/// One delivery of a message.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) message: Arc<Message>,
    pub(super) handle: String,
    pub(super) received: u32,
    pub(super) first_received_at_ms: u64,
    /// FIFO queues only.
    pub(super) sequence_number: Option<String>,
}

impl Delivery {
    /// SQS's own attributes of the message.
    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        let message = &self.message;
        let group = Some(message.group.as_ref()).filter(|group| !group.is_empty());
        let always = [
            ("SenderId", ACCOUNT.to_owned()),
            ("SentTimestamp", message.sent_at_ms.to_string()),
            ("ApproximateReceiveCount", self.received.to_string()),
            (
                "ApproximateFirstReceiveTimestamp",
                self.first_received_at_ms.to_string(),
            ),
        ];
        let sometimes = [
            ("MessageGroupId", group.map(str::to_owned)),
            ("MessageDeduplicationId", message.deduplication_id.clone()),
            ("SequenceNumber", self.sequence_number.clone()),
            ("AWSTraceHeader", message.trace_header.clone()),
            (
                "DeadLetterQueueSourceArn",
                message.dead_letter_source.clone(),
            ),
        ];
        let sometimes = sometimes
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        always
            .into_iter()
            .chain(sometimes)
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    pub(super) fn into_received(self) -> Received {
        Received {
            attributes: self.attributes(),
            message_id: self.message.id.clone(),
            receipt_handle: self.handle,
            body: self.message.body.clone(),
            md5_of_body: self.message.body_md5.clone(),
            message_attributes: lambda_attributes(&self.message.attributes),
        }
    }
}

/// What a receipt handle stands for: the `received`-th delivery of one message. Each delivery has its own, and only the
/// last one's is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) seq: u64,
    pub(super) received: u32,
}

impl Handle {
    /// `created_at_ms` tells a queue from an earlier one of the same name.
    pub(super) fn encode(self, queue: &str, created_at_ms: u64) -> String {
        let Self { seq, received } = self;
        BASE64.encode(format!("{queue} {created_at_ms} {seq} {received}"))
    }

    pub(super) fn decode(handle: &str, queue: &str, created_at_ms: u64) -> Result<Self, Error> {
        let read = || {
            let text = String::from_utf8(BASE64.decode(handle).ok()?).ok()?;
            let rest = text.strip_prefix(&format!("{queue} {created_at_ms} "))?;
            let (seq, received) = rest.split_once(' ')?;
            Some(Self {
                seq: seq.parse().ok()?,
                received: received.parse().ok()?,
            })
        };
        read().ok_or_else(|| {
            Code::ReceiptHandleIsInvalid.with(format!(
                "The input receipt handle \"{handle}\" is not a valid receipt handle."
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_good_for_its_own_queue_only() {
        let handle = Handle {
            seq: 7,
            received: 2,
        };
        let text = handle.encode("runs", 1000);
        assert_eq!(Handle::decode(&text, "runs", 1000).unwrap(), handle);
        assert!(
            Handle::decode(&text, "runs", 1001).is_err(),
            "the queue was made anew"
        );
        assert!(Handle::decode(&text, "other", 1000).is_err());
        assert!(Handle::decode("nonsense", "runs", 1000).is_err());
    }
}
