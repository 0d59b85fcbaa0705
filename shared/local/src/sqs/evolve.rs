//! How a queue's state follows from its records and from time.

use super::Error;
use super::attributes::Config;
use super::delivery::{Delivery, Handle};
use super::journal::Journal;
use super::message::Message;
use super::ready::Ready;
use super::record::{Entry, Place, Record, Remembered, sequence_number};
use super::state::{REMEMBERED_MS, State};

impl State {
    /// Writes the records, then applies them; after an error neither happened.
    pub(super) fn commit(&mut self, records: Vec<Record>) -> Result<(), Error> {
        self.write(&records)?;
        for record in records {
            self.apply(record)?;
        }
        if self.journal.as_ref().is_some_and(Journal::is_bloated)
            && let Err(error) = self.rewrite()
        {
            // The records are safe where they are, in a file that stays long.
            tracing::warn!(queue = self.name, %error, "cannot shorten the queue's file");
        }
        Ok(())
    }

    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        if let Some(journal) = &mut self.journal {
            journal.append(records)?;
        }
        Ok(())
    }

    pub(super) fn rewrite(&mut self) -> Result<(), Error> {
        let records = self.snapshot();
        if let Some(journal) = &mut self.journal {
            journal.rewrite(&records)?;
        }
        Ok(())
    }

    /// The fewest records that tell of this state.
    pub(super) fn snapshot(&self) -> Vec<Record> {
        let remembered = self.remembered.iter().map(|(key, it)| Record::Remembered {
            key: key.clone(),
            id: it.id.clone(),
            seq: it.seq,
            until_ms: it.until_ms,
        });
        let messages = self.messages.iter().map(|(seq, entry)| Record::Sent {
            seq: *seq,
            message: entry.message.clone(),
            place: entry.place,
            received: entry.received,
            first_received_at_ms: entry.first_received_at_ms,
            received_at_ms: entry.received_at_ms,
        });
        std::iter::once(self.as_record())
            .chain(messages)
            .chain(remembered)
            .collect()
    }

    pub(super) fn as_record(&self) -> Record {
        Record::Queue {
            name: self.name.clone(),
            attributes: self.config.set.clone(),
            tags: self.tags.clone(),
            created_at_ms: self.created_at_ms,
            changed_at_ms: self.changed_at_ms,
            next_seq: self.next_seq,
        }
    }

    pub(super) fn apply(&mut self, record: Record) -> Result<(), Error> {
        match record {
            Record::Queue {
                name,
                attributes,
                tags,
                created_at_ms,
                changed_at_ms,
                next_seq,
            } => {
                self.config = Config::new(&name, &attributes)?;
                self.tags = tags;
                self.created_at_ms = created_at_ms;
                self.changed_at_ms = changed_at_ms;
                self.next_seq = self.next_seq.max(next_seq);
            }
            Record::Sent {
                seq,
                message,
                place,
                received,
                first_received_at_ms,
                received_at_ms,
            } => {
                if let Some(key) = self.deduplication_key(&message) {
                    self.remember(
                        key,
                        message.id.clone(),
                        seq,
                        message.sent_at_ms + REMEMBERED_MS,
                    );
                }
                self.next_seq = self.next_seq.max(seq + 1);
                let entry = Entry {
                    message,
                    place: Place::Leaving,
                    received,
                    first_received_at_ms,
                    received_at_ms,
                };
                self.messages.insert(seq, entry);
                self.place(
                    seq,
                    if place == Place::Leaving {
                        Place::Ready
                    } else {
                        place
                    },
                );
            }
            Record::Received {
                seqs,
                at_ms,
                until_ms,
            } => {
                for seq in seqs {
                    self.depart(seq, at_ms, until_ms);
                }
            }
            Record::Extended { seq, until_ms } => self.place(seq, Place::InFlight { until_ms }),
            Record::Gone { seqs } => {
                for seq in seqs {
                    self.place(seq, Place::Leaving);
                    self.messages.remove(&seq);
                }
            }
            Record::Purged => {
                self.messages.clear();
                self.delayed.clear();
                self.in_flight.clear();
                self.ready = Ready::new(self.config.fifo);
            }
            Record::Remembered {
                key,
                id,
                seq,
                until_ms,
            } => self.remember(key, id, seq, until_ms),
        }
        Ok(())
    }

    /// A message goes to a receiver.
    pub(super) fn depart(&mut self, seq: u64, at_ms: u64, until_ms: u64) {
        if let Some(entry) = self.messages.get_mut(&seq) {
            entry.received += 1;
            entry.received_at_ms = at_ms;
            if entry.first_received_at_ms == 0 {
                entry.first_received_at_ms = at_ms;
            }
            self.place(seq, Place::InFlight { until_ms });
        }
    }

    /// Moves a message from where it stands to `place`.
    pub(super) fn place(&mut self, seq: u64, place: Place) {
        let Some(entry) = self.messages.get_mut(&seq) else {
            return;
        };
        let group = &entry.message.group;
        match entry.place {
            Place::Ready => self.ready.remove(seq, group),
            Place::Delayed { until_ms } => {
                self.delayed.remove(&(until_ms, seq));
            }
            Place::InFlight { until_ms } => {
                self.in_flight.remove(&(until_ms, seq));
                self.ready.arrive(group);
            }
            Place::Leaving => {}
        }
        match place {
            Place::Ready => self.ready.insert(seq, group),
            Place::Delayed { until_ms } => {
                self.delayed.insert((until_ms, seq));
            }
            Place::InFlight { until_ms } => {
                self.in_flight.insert((until_ms, seq));
                self.ready.depart(group);
            }
            Place::Leaving => {}
        }
        entry.place = place;
    }

    /// Lets everything happen that is due by now.
    pub(super) fn settle(&mut self, now_ms: u64) {
        while let Some(&(until_ms, seq)) = self.delayed.first()
            && until_ms <= now_ms
        {
            self.place(seq, Place::Ready);
        }
        while let Some(&(until_ms, seq)) = self.in_flight.first()
            && until_ms <= now_ms
        {
            self.place(seq, Place::Ready);
        }
        while let Some((until_ms, _)) = self.forgotten_at.first()
            && *until_ms <= now_ms
            && let Some((_, key)) = self.forgotten_at.pop_first()
        {
            self.remembered.remove(&key);
        }
    }

    /// Drops visible messages that are older than the queue keeps them.
    pub(super) fn expire(&mut self, now_ms: u64) -> Result<(), Error> {
        let retention_ms = self.config.retention_ms;
        let old = |entry: &Entry| entry.message.sent_at_ms + retention_ms <= now_ms;
        let seqs: Vec<u64> = self
            .messages
            .iter()
            .take_while(|(_, entry)| old(entry))
            .filter(|(_, entry)| entry.place == Place::Ready)
            .map(|(seq, _)| *seq)
            .collect();
        if seqs.is_empty() {
            return Ok(());
        }
        self.commit(vec![Record::Gone { seqs }])
    }

    pub(super) fn delivery(&self, seq: u64) -> Option<Delivery> {
        let entry = self.messages.get(&seq)?;
        let received = entry.received;
        Some(Delivery {
            message: entry.message.clone(),
            handle: Handle { seq, received }.encode(&self.name, self.created_at_ms),
            received,
            first_received_at_ms: entry.first_received_at_ms,
            sequence_number: self.config.fifo.then(|| sequence_number(seq)),
        })
    }

    pub(super) fn deduplication_key(&self, message: &Message) -> Option<String> {
        let id = message
            .deduplication_id
            .as_ref()
            .filter(|_| self.config.fifo)?;
        Some(if self.config.deduplicates_by_group {
            format!("{} {id}", message.group)
        } else {
            id.clone()
        })
    }

    fn remember(&mut self, key: String, id: String, seq: u64, until_ms: u64) {
        self.forgotten_at.insert((until_ms, key.clone()));
        self.remembered
            .insert(key, Remembered { id, seq, until_ms });
    }
}
