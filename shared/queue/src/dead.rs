//! Dead letters: messages that were received too often and lie behind their queue until an operator sees to them.
//!
//! Looking at them hides each for a while, so that none is seen twice, and shows it again at the end; who dies in between
//! leaves them hidden for that while. **Invariant:** a dead letter is deleted only after its queue took the message. Whoever
//! dies between the two leaves it in both: it is sent once more then, which changes nothing, as with every message here.

use std::collections::HashSet;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageSystemAttributeName, QueueAttributeName,
};
use domain::time::At;

use crate::Queue;
use crate::config::{Origin, name_of_url};
use crate::error::Error;
use crate::message::{About, Malformed};
use crate::send::{Depth, Draft, batches};

/// Messages of one request (limit of SQS).
const BATCH: usize = 10;
/// How long a dead letter stays hidden from others while it is looked at or sent back, in seconds: as long as the function
/// that does it may run, and twice that.
const HIDDEN_S: i32 = 60;
/// How long a receive looks for messages, in seconds. A shorter look asks only some of the machines that hold them.
const LOOK_S: i32 = 1;

/// What lies behind a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dead {
    /// How many, approximately. Those in flight are being looked at or sent back.
    pub depth: Depth,
    /// When the oldest of the first ten was sent, by SQS's clock; nothing when none is visible.
    pub oldest_sent_at: Option<At>,
}

/// A dead letter, without what it carries.
#[derive(Debug)]
pub struct DeadLetter {
    /// SQS's id of the message.
    pub id: String,
    /// When it was sent, if SQS says so.
    pub sent_at: Option<At>,
    /// Size of its body.
    pub bytes: usize,
    /// What it is about, or why it is no message of this queue.
    pub about: Result<About, Malformed>,
}

/// Which dead letters are sent back.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// As many of them as come first, at most this number.
    First(usize),
    /// Those with these ids, if they are among the first thousand.
    These(&'a [String]),
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Their queue took these.
    pub moved: usize,
    /// It refused these, which stay where they were.
    pub failed: usize,
}

/// Most dead letters that are looked at to find some by their ids.
const MOST_SEARCHED: usize = 1_000;

impl Queue {
    /// What lies behind a queue; none when nothing can, since it keeps what it cannot deliver.
    ///
    /// # Errors
    /// When SQS refuses or cannot be reached.
    pub async fn dead(&self, origin: Origin) -> Result<Option<Dead>, Error> {
        let Some(url) = self.dead_url(origin).await? else {
            return Ok(None);
        };
        let depth = self.depth(&url).await?;
        let mut oldest_sent_at = None;
        if depth.visible > 0 {
            let seen = self.receive(&url, BATCH).await?;
            oldest_sent_at = seen.iter().filter_map(sent_at).min();
            self.show_again(&url, &seen).await;
        }
        Ok(Some(Dead {
            depth,
            oldest_sent_at,
        }))
    }

    /// How many dead letters lie behind a queue; none when nothing can.
    ///
    /// # Errors
    /// When SQS refuses or cannot be reached.
    pub async fn dead_depth(&self, origin: Origin) -> Result<Option<Depth>, Error> {
        match self.dead_url(origin).await? {
            Some(url) => self.depth(&url).await.map(Some),
            None => Ok(None),
        }
    }

    /// Looks at dead letters, at most `limit`, the oldest of those first, and leaves them where they are; none when the queue has nothing behind it.
    ///
    /// # Errors
    /// When SQS refuses or cannot be reached.
    pub async fn dead_letters(
        &self,
        origin: Origin,
        limit: usize,
    ) -> Result<Option<Vec<DeadLetter>>, Error> {
        let Some(url) = self.dead_url(origin).await? else {
            return Ok(None);
        };
        let (seen, result) = self.look(&url, limit).await;
        self.show_again(&url, &seen).await;
        result?;
        let mut letters: Vec<_> = seen.iter().map(|it| letter(origin, it)).collect();
        letters.sort_by_key(|letter| letter.sent_at);
        Ok(Some(letters))
    }

    /// Sends dead letters back to their queue, ten at a time; none when the queue has nothing behind it. May be repeated.
    ///
    /// # Errors
    /// When SQS refuses or cannot be reached; what was moved until then stays moved.
    pub async fn redrive(
        &self,
        origin: Origin,
        which: Which<'_>,
    ) -> Result<Option<Redriven>, Error> {
        let Some(from) = self.dead_url(origin).await? else {
            return Ok(None);
        };
        let to = self.0.config.url_of(origin);
        // Kept hidden until the end, so that none comes twice.
        let mut left = Vec::new();
        let result = match which {
            Which::First(most) => self.move_first(&from, to, most, &mut left).await,
            Which::These(ids) => self.move_these(&from, to, ids, &mut left).await,
        };
        self.show_again(&from, &left).await;
        result.map(Some)
    }

    async fn move_first(
        &self,
        from: &str,
        to: &str,
        most: usize,
        left: &mut Vec<Message>,
    ) -> Result<Redriven, Error> {
        let mut redriven = Redriven::default();
        let mut waiting = self.visible(from).await?.min(most);
        while waiting > 0 {
            let messages = self.receive(from, waiting.min(BATCH)).await?;
            if messages.is_empty() {
                break;
            }
            waiting = waiting.saturating_sub(messages.len());
            self.move_some(from, to, messages, left, &mut redriven)
                .await?;
        }
        Ok(redriven)
    }

    async fn move_these(
        &self,
        from: &str,
        to: &str,
        ids: &[String],
        left: &mut Vec<Message>,
    ) -> Result<Redriven, Error> {
        let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let mut redriven = Redriven::default();
        let mut waiting = self.visible(from).await?.min(MOST_SEARCHED);
        let mut missing = wanted.len();
        while waiting > 0 && missing > 0 {
            let messages = self.receive(from, waiting.min(BATCH)).await?;
            if messages.is_empty() {
                break;
            }
            waiting = waiting.saturating_sub(messages.len());
            let is_wanted = |message: &Message| {
                let id = message.message_id.as_deref();
                id.is_some_and(|id| wanted.contains(id))
            };
            let (these, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_wanted);
            left.extend(others);
            missing = missing.saturating_sub(these.len());
            self.move_some(from, to, these, left, &mut redriven).await?;
        }
        Ok(redriven)
    }

    /// Sends messages and deletes what was sent. What was not is put to those that are left.
    async fn move_some(
        &self,
        from: &str,
        to: &str,
        messages: Vec<Message>,
        left: &mut Vec<Message>,
        redriven: &mut Redriven,
    ) -> Result<(), Error> {
        let drafts = messages.iter().enumerate().map(draft).collect();
        let mut failed = HashSet::new();
        let mut unreachable = None;
        for batch in batches(drafts) {
            for (index, error) in self.send_batch(to, batch).await {
                tracing::warn!(
                    message_id = messages[index].message_id,
                    error = &error as &dyn std::error::Error,
                    "a dead letter was not sent back"
                );
                failed.insert(index);
                unreachable = unreachable.or(match error {
                    Error::Request { .. } => Some(error),
                    Error::Refused { .. } | Error::TooLarge { .. } => None,
                });
            }
        }
        let mut sent = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            if failed.contains(&index) {
                left.push(message);
            } else {
                sent.push(message);
            }
        }
        redriven.moved += sent.len();
        redriven.failed += failed.len();
        self.delete(from, &sent).await?;
        unreachable.map_or(Ok(()), Err)
    }

    /// The URL of what lies behind a queue: in the same account and Region, as SQS demands.
    async fn dead_url(&self, origin: Origin) -> Result<Option<String>, Error> {
        let url = self.0.config.url_of(origin);
        let answer = self
            .0
            .sqs
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::RedrivePolicy)
            .send()
            .await
            .map_err(|error| {
                Error::request("read the redrive policy of", name_of_url(url), error)
            })?;
        let attributes = answer.attributes();
        let policy = attributes.and_then(|all| all.get(&QueueAttributeName::RedrivePolicy));
        Ok(policy.and_then(|policy| behind(url, policy)))
    }

    async fn visible(&self, url: &str) -> Result<usize, Error> {
        let depth = self.depth(url).await?;
        Ok(usize::try_from(depth.visible).unwrap_or(usize::MAX))
    }

    /// Receives up to `limit` messages; also gives what was received before a request failed.
    async fn look(&self, url: &str, limit: usize) -> (Vec<Message>, Result<(), Error>) {
        let mut seen = Vec::new();
        let most = match self.visible(url).await {
            Ok(visible) => visible.min(limit),
            Err(error) => return (seen, Err(error)),
        };
        while seen.len() < most {
            match self.receive(url, (most - seen.len()).min(BATCH)).await {
                Ok(messages) if messages.is_empty() => break,
                Ok(messages) => seen.extend(messages),
                Err(error) => return (seen, Err(error)),
            }
        }
        (seen, Ok(()))
    }

    async fn receive(&self, url: &str, most: usize) -> Result<Vec<Message>, Error> {
        use MessageSystemAttributeName::{MessageGroupId, SentTimestamp};
        let answer = self
            .0
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(most).unwrap_or(1))
            .visibility_timeout(HIDDEN_S)
            .wait_time_seconds(LOOK_S)
            .message_system_attribute_names(SentTimestamp)
            .message_system_attribute_names(MessageGroupId)
            .message_attribute_names("All")
            .send()
            .await
            .map_err(|error| Error::request("receive from", name_of_url(url), error))?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Ends the hiding of messages. What fails reappears by itself.
    async fn show_again(&self, url: &str, messages: &[Message]) {
        for batch in messages.chunks(BATCH) {
            let entries = batch.iter().enumerate().filter_map(|(index, message)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .set_receipt_handle(message.receipt_handle.clone())
                    .visibility_timeout(0)
                    .build()
                    .ok()
            });
            let shown = self
                .0
                .sqs
                .change_message_visibility_batch()
                .queue_url(url)
                .set_entries(Some(entries.collect()))
                .send()
                .await;
            let error = match shown {
                Ok(answer) if answer.failed().is_empty() => continue,
                Ok(_) => None,
                Err(error) => Some(Error::request("show messages of", name_of_url(url), error)),
            };
            tracing::warn!(
                queue = name_of_url(url),
                error = error.as_ref().map(|error| error as &dyn std::error::Error),
                "dead letters stay hidden for up to a minute"
            );
        }
    }

    /// Deletes what was sent back. What is not deleted reappears, and is sent back again with the others.
    async fn delete(&self, url: &str, messages: &[Message]) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let entries = messages.iter().enumerate().filter_map(|(index, message)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .set_receipt_handle(message.receipt_handle.clone())
                .build()
                .ok()
        });
        let answer = self
            .0
            .sqs
            .delete_message_batch()
            .queue_url(url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(|error| Error::request("delete from", name_of_url(url), error))?;
        if !answer.failed().is_empty() {
            tracing::warn!(
                queue = name_of_url(url),
                count = answer.failed().len(),
                "dead letters were sent back and are still there"
            );
        }
        Ok(())
    }
}

fn draft((index, message): (usize, &Message)) -> Draft {
    let attributes = message.attributes.as_ref();
    let group = attributes.and_then(|all| all.get(&MessageSystemAttributeName::MessageGroupId));
    Draft {
        index,
        group: group.cloned(),
        body: message.body.clone().unwrap_or_default(),
        attributes: message.message_attributes.clone(),
    }
}

fn sent_at(message: &Message) -> Option<At> {
    let attributes = message.attributes.as_ref()?;
    let ms = attributes.get(&MessageSystemAttributeName::SentTimestamp)?;
    ms.parse().ok().map(At)
}

fn letter(origin: Origin, message: &Message) -> DeadLetter {
    let body = message.body.as_deref().unwrap_or_default();
    DeadLetter {
        id: message.message_id.clone().unwrap_or_default(),
        sent_at: sent_at(message),
        bytes: body.len(),
        about: About::of(origin, body),
    }
}

/// The URL of the queue that a redrive policy of the queue at `url` names.
fn behind(url: &str, policy: &str) -> Option<String> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    let name = policy["deadLetterTargetArn"].as_str()?.rsplit(':').next()?;
    let (before, _) = url.rsplit_once('/')?;
    Some(format!("{before}/{name}"))
}
