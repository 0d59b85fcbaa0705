//! One queue's state. Every change is a [`Record`]: written to the journal first, then applied, so that a queue read back
//! from its file is the queue that was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::attributes::Config;
use super::delivery::Handle;
use super::fault::{Code, invalid_value};
use super::journal::Journal;
use super::message::{Depth, Draft, Message};
use super::ready::Ready;
use super::record::{Entry, Place, Record, Remembered, Sent, Taken, sequence_number};
use super::{Error, digest};

/// FIFO queues remember deduplication ids for 5 minutes.
pub(super) const REMEMBERED_MS: u64 = 5 * 60 * 1000;
/// A message stays in flight for at most 12 hours in all.
const LONGEST_IN_FLIGHT_MS: u64 = 12 * 60 * 60 * 1000;
/// A queue has at most this many messages in flight.
const MOST_IN_FLIGHT: usize = 120_000;

/// Everything about one queue.
#[derive(Debug)]
pub(super) struct State {
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created_at_ms: u64,
    pub(super) changed_at_ms: u64,
    pub(super) deleted: bool,
    pub(super) next_seq: u64,
    pub(super) messages: BTreeMap<u64, Entry>,
    pub(super) ready: Ready,
    pub(super) delayed: BTreeSet<(u64, u64)>,
    pub(super) in_flight: BTreeSet<(u64, u64)>,
    pub(super) remembered: HashMap<String, Remembered>,
    pub(super) forgotten_at: BTreeSet<(u64, String)>,
    pub(super) journal: Option<Journal>,
}

impl State {
    fn new(name: String, config: Config, journal: Option<Journal>, now_ms: u64) -> Self {
        Self {
            ready: Ready::new(config.fifo),
            name,
            config,
            tags: BTreeMap::new(),
            created_at_ms: now_ms,
            changed_at_ms: now_ms,
            deleted: false,
            next_seq: 1,
            messages: BTreeMap::new(),
            delayed: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            remembered: HashMap::new(),
            forgotten_at: BTreeSet::new(),
            journal,
        }
    }

    pub(super) fn create(
        name: &str,
        config: Config,
        tags: BTreeMap<String, String>,
        journal: Option<Journal>,
        now_ms: u64,
    ) -> Result<Self, Error> {
        let mut state = Self::new(name.to_owned(), config, journal, now_ms);
        state.tags = tags;
        state.commit(vec![state.as_record()])?;
        Ok(state)
    }

    /// The queue that a journal tells of, `None` when it tells of nothing.
    pub(super) fn restore(
        journal: Journal,
        records: Vec<Record>,
        now_ms: u64,
    ) -> Result<Option<(String, Self)>, Error> {
        let (name, config) = match records.first() {
            None => return Ok(None),
            Some(Record::Queue {
                name, attributes, ..
            }) => (
                name.clone(),
                Config::new(name, attributes)
                    .map_err(|error| journal.damaged(1, &error.to_string()))?,
            ),
            Some(_) => {
                return Err(journal
                    .damaged(1, "a queue's file begins with the queue")
                    .into());
            }
        };
        let mut state = Self::new(name.clone(), config, None, now_ms);
        let lines = records.len();
        for (number, record) in records.into_iter().enumerate() {
            let damaged = |reason: &str| journal.damaged(number + 1, reason);
            if let Record::Sent { message, .. } = &record
                && digest::of_text(&message.body) != message.body_md5
            {
                return Err(damaged("a body does not match its digest").into());
            }
            state
                .apply(record)
                .map_err(|error| damaged(&error.to_string()))?;
        }
        state.journal = Some(journal);
        state.settle(now_ms);
        if state.snapshot().len() < lines {
            state.rewrite()?;
        }
        Ok(Some((name, state)))
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn set_config(&mut self, config: Config, now_ms: u64) -> Result<(), Error> {
        self.settle(now_ms);
        let before = std::mem::replace(&mut self.config, config);
        let record = self.as_record();
        self.config = before;
        self.changed_at_ms = now_ms;
        self.commit(vec![record])
    }

    pub(super) fn set_tags(&mut self, tags: BTreeMap<String, String>) -> Result<(), Error> {
        self.tags = tags;
        self.commit(vec![self.as_record()])
    }

    pub(super) fn send(&mut self, drafts: Vec<Draft>, now_ms: u64) -> Result<Vec<Sent>, Error> {
        self.settle(now_ms);
        let mut records = Vec::with_capacity(drafts.len());
        let mut sent = Vec::with_capacity(drafts.len());
        // Ids within this very batch count as well.
        let mut batch: HashMap<String, (String, u64)> = HashMap::new();
        let mut seq = self.next_seq;
        for Draft {
            mut message,
            delay_ms,
            attributes_md5,
        } in drafts
        {
            let key = self.deduplication_key(&message);
            let earlier = key.as_ref().and_then(|key| {
                let before = self.remembered.get(key).map(|it| (it.id.clone(), it.seq));
                before.or_else(|| batch.get(key).cloned())
            });
            let (id, its_seq) = earlier.clone().unwrap_or_else(|| (message.id.clone(), seq));
            sent.push(Sent {
                id: id.clone(),
                body_md5: message.body_md5.clone(),
                attributes_md5,
                sequence_number: self.config.fifo.then(|| sequence_number(its_seq)),
            });
            if earlier.is_some() {
                continue;
            }
            if let Some(key) = key {
                batch.insert(key, (id, seq));
            }
            message.sent_at_ms = now_ms;
            let until_ms = now_ms + delay_ms;
            records.push(Record::Sent {
                seq,
                message: Arc::new(message),
                place: if delay_ms == 0 {
                    Place::Ready
                } else {
                    Place::Delayed { until_ms }
                },
                received: 0,
                first_received_at_ms: 0,
                received_at_ms: 0,
            });
            seq += 1;
        }
        self.commit(records)?;
        Ok(sent)
    }

    /// Takes up to `max` visible messages into flight. With `redrives`, those received too often are set apart.
    pub(super) fn receive(
        &mut self,
        max: usize,
        visibility_ms: Option<u64>,
        redrives: bool,
        now_ms: u64,
    ) -> Result<Taken, Error> {
        self.settle(now_ms);
        self.expire(now_ms)?;
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            return Err(
                Code::OverLimit.with("Too many messages are in flight: the limit is 120000.")
            );
        }
        let most_received = self
            .config
            .redrive
            .as_ref()
            .filter(|_| redrives)
            .map(|redrive| redrive.max_receive_count);
        let until_ms = now_ms + visibility_ms.unwrap_or(self.config.visibility_timeout_ms);
        let mut taken = Taken::default();
        let mut seqs = Vec::new();
        let mut group = None;
        while taken.deliveries.len() < max {
            // A FIFO receive goes on with the group it began with.
            let more = group
                .take()
                .and_then(|group: Arc<str>| self.ready.next_in(&group));
            let Some(seq) = more.or_else(|| self.ready.next()) else {
                break;
            };
            let Some(entry) = self.messages.get(&seq) else {
                break;
            };
            let message = entry.message.clone();
            if most_received.is_some_and(|most| entry.received >= most) {
                self.place(seq, Place::Leaving);
                taken.dead.push((seq, message));
                continue;
            }
            group = self.config.fifo.then(|| message.group.clone());
            self.depart(seq, now_ms, until_ms);
            seqs.push(seq);
            taken.deliveries.extend(self.delivery(seq));
        }
        if !seqs.is_empty() {
            let received = Record::Received {
                seqs,
                at_ms: now_ms,
                until_ms,
            };
            self.write(&[received])?;
        }
        Ok(taken)
    }

    /// Deletes by receipt handles, one result each, in order.
    pub(super) fn delete(&mut self, handles: &[&str], now_ms: u64) -> Vec<Result<(), Error>> {
        self.settle(now_ms);
        let found: Vec<Result<Option<u64>, Error>> = handles
            .iter()
            .map(|handle| self.deletable(handle))
            .collect();
        let mut seqs: Vec<u64> = found
            .iter()
            .filter_map(|seq| seq.as_ref().ok().copied().flatten())
            .collect();
        seqs.dedup();
        let failed = if seqs.is_empty() {
            None
        } else {
            self.commit(vec![Record::Gone { seqs }])
                .err()
                .map(|error| error.to_string())
        };
        found
            .into_iter()
            .map(|seq| match (seq?, &failed) {
                (Some(_), Some(failed)) => Err(Code::InternalFailure.with(failed.as_str())),
                _ => Ok(()),
            })
            .collect()
    }

    fn deletable(&self, handle: &str) -> Result<Option<u64>, Error> {
        let Handle { seq, received } = Handle::decode(handle, &self.name, self.created_at_ms)?;
        let Some(entry) = self.messages.get(&seq) else {
            return Ok(None);
        };
        let current = entry.received == received;
        if self.config.fifo && !(current && matches!(entry.place, Place::InFlight { .. })) {
            return Err(invalid_value(
                handle,
                "ReceiptHandle",
                "The receipt handle has expired.",
            ));
        }
        Ok(current.then_some(seq))
    }

    pub(super) fn change_visibility(
        &mut self,
        handle: &str,
        timeout_ms: u64,
        now_ms: u64,
    ) -> Result<(), Error> {
        self.settle(now_ms);
        let Handle { seq, received } = Handle::decode(handle, &self.name, self.created_at_ms)?;
        let Some(entry) = self.messages.get(&seq) else {
            let reason =
                "Message does not exist or is not available for visibility timeout change.";
            return Err(invalid_value(handle, "ReceiptHandle", reason));
        };
        if entry.received != received || !matches!(entry.place, Place::InFlight { .. }) {
            return Err(Code::MessageNotInflight.with("The message referred to is not in flight."));
        }
        let until_ms = now_ms.saturating_add(timeout_ms);
        if until_ms.saturating_sub(entry.received_at_ms) > LONGEST_IN_FLIGHT_MS {
            let reason =
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds].";
            return Err(invalid_value(
                &(timeout_ms / 1000).to_string(),
                "VisibilityTimeout",
                reason,
            ));
        }
        self.commit(vec![Record::Extended { seq, until_ms }])?;
        self.settle(now_ms);
        Ok(())
    }

    pub(super) fn release_in_flight(&mut self, now_ms: u64) -> Result<(), Error> {
        let released = self.in_flight.iter().map(|(_, seq)| Record::Extended {
            seq: *seq,
            until_ms: now_ms,
        });
        self.commit(released.collect())?;
        self.settle(now_ms);
        Ok(())
    }

    /// Takes in another queue's dead letters.
    pub(super) fn adopt(
        &mut self,
        dead: &[(u64, Arc<Message>)],
        source: &str,
        now_ms: u64,
    ) -> Result<(), Error> {
        let records = dead
            .iter()
            .zip(self.next_seq..)
            .map(|((_, message), seq)| Record::Sent {
                seq,
                message: Arc::new(
                    message.as_dead_letter(source, self.config.fifo.then_some(now_ms)),
                ),
                place: Place::Ready,
                received: 0,
                first_received_at_ms: 0,
                received_at_ms: 0,
            });
        self.commit(records.collect())
    }

    /// The dead letters are in the other queue.
    pub(super) fn forget(&mut self, dead: &[(u64, Arc<Message>)]) -> Result<(), Error> {
        let seqs = dead.iter().map(|(seq, _)| *seq).collect();
        self.commit(vec![Record::Gone { seqs }])
    }

    /// The dead letters could not be moved.
    pub(super) fn put_back(&mut self, dead: &[(u64, Arc<Message>)]) {
        for (seq, _) in dead {
            self.place(*seq, Place::Ready);
        }
    }

    pub(super) fn purge(&mut self) -> Result<(), Error> {
        self.commit(vec![Record::Purged])
    }

    /// Ends the queue and removes its file.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.deleted = true;
        self.journal.take().map_or(Ok(()), Journal::remove)?;
        Ok(())
    }

    pub(super) fn depth(&mut self, now_ms: u64) -> Depth {
        self.settle(now_ms);
        let oldest = self
            .messages
            .first_key_value()
            .map(|(_, entry)| entry.message.sent_at_ms);
        Depth {
            visible: self.ready.len(),
            in_flight: self.in_flight.len(),
            delayed: self.delayed.len(),
            oldest_age_ms: oldest.map_or(0, |sent_at_ms| now_ms.saturating_sub(sent_at_ms)),
        }
    }

    /// When the next message becomes visible by itself.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let first = |set: &BTreeSet<(u64, u64)>| set.first().map(|(until_ms, _)| *until_ms);
        [first(&self.delayed), first(&self.in_flight)]
            .into_iter()
            .flatten()
            .min()
    }
}
