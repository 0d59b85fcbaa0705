//! What happens to queues, across their locks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::attributes::Config;
use super::delivery::Delivery;
use super::journal::Journal;
use super::message::Draft;
use super::record::Sent;
use super::state::State;
use super::{Error, Queue, Queues, arn, fault};

impl Queues {
    pub(super) fn create_new(
        &self,
        name: &str,
        attributes: &BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<Arc<Queue>, Error> {
        let config = Config::new(name, attributes)?;
        self.check_dead_letter_queue(name, &config)?;
        let mut registry = self.registry_mut();
        if let Some(queue) = registry.get(name) {
            return Ok(queue.clone());
        }
        let journal = match &self.0.folder {
            Some(folder) => Some(Journal::create(&folder.join(format!("{name}.jsonl")))?),
            None => None,
        };
        let state = State::create(name, config, tags, journal, self.0.clock.now_ms())?;
        let queue = Queue::new(name.to_owned(), state);
        registry.insert(name.to_owned(), queue.clone());
        Ok(queue)
    }

    pub(super) fn set_attributes(
        &self,
        queue: &Queue,
        attributes: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let config = queue.lock().config().with(attributes)?;
        self.check_dead_letter_queue(&queue.name, &config)?;
        queue.lock().set_config(config, self.0.clock.now_ms())?;
        queue.changed.notify_waiters();
        Ok(())
    }

    pub(super) fn check_dead_letter_queue(&self, name: &str, config: &Config) -> Result<(), Error> {
        let Some(redrive) = &config.redrive else {
            return Ok(());
        };
        let reason = match self.find(&redrive.queue) {
            Err(_) => "Dead letter target does not exist.",
            Ok(_) if redrive.queue == name => "A queue cannot be its own dead letter target.",
            Ok(target) if target.lock().config().fifo != config.fifo => {
                "Dead letter target should be same type as source."
            }
            Ok(_) => return Ok(()),
        };
        Err(fault::invalid_value(
            &arn(&redrive.queue),
            "RedrivePolicy",
            reason,
        ))
    }

    pub(super) fn send_drafts(
        &self,
        queue: &Queue,
        drafts: impl FnOnce(&Config) -> Result<Vec<Draft>, Error>,
    ) -> Result<Vec<Sent>, Error> {
        let sent = {
            let mut state = queue.live()?;
            let drafts = drafts(state.config())?;
            state.send(drafts, self.0.clock.now_ms())?
        };
        queue.changed.notify_waiters();
        Ok(sent)
    }

    /// One result a handle, in order.
    pub(super) fn delete_handles(&self, queue: &Queue, handles: &[&str]) -> Vec<Result<(), Error>> {
        let deleted = queue.lock().delete(handles, self.0.clock.now_ms());
        // The next messages of a FIFO group may go out now.
        queue.changed.notify_waiters();
        deleted
    }

    /// The long poll: looks, then waits for a change or the next expiry, until `wait` is over.
    pub(super) async fn poll(
        &self,
        name: &str,
        max: usize,
        visibility_ms: Option<u64>,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Error> {
        let queue = self.find(name)?;
        let deadline = Instant::now() + wait;
        loop {
            // Made before looking, so that a change right after the look is not missed.
            let changed = queue.changed.notified();
            let (deliveries, due_at_ms) = self.take(&queue, max, visibility_ms)?;
            if !deliveries.is_empty() || Instant::now() >= deadline {
                return Ok(deliveries);
            }
            let due = due_at_ms.map_or(deadline, |at_ms| self.0.clock.instant(at_ms).min(deadline));
            tokio::select! {
                () = changed => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Takes what is visible now, and says when to look again.
    pub(super) fn take(
        &self,
        queue: &Queue,
        max: usize,
        visibility_ms: Option<u64>,
    ) -> Result<(Vec<Delivery>, Option<u64>), Error> {
        let now_ms = self.0.clock.now_ms();
        let (taken, due_at_ms, dead_letters) = {
            let mut state = queue.live()?;
            let dead_letters = state
                .config()
                .redrive
                .as_ref()
                .and_then(|redrive| self.find(&redrive.queue).ok());
            let before = state.next_due_ms();
            let taken = state.receive(max, visibility_ms, dead_letters.is_some(), now_ms)?;
            let due_at_ms = state.next_due_ms();
            if due_at_ms.is_some_and(|due| before.is_none_or(|before| due < before)) {
                queue.changed.notify_waiters();
            }
            (taken, due_at_ms, dead_letters)
        };
        if let Some(target) = dead_letters.filter(|_| !taken.dead.is_empty()) {
            // Written there first: a crash in between leaves a copy in both queues, never in none.
            let adopted = target
                .live()
                .and_then(|mut state| state.adopt(&taken.dead, &arn(&queue.name), now_ms));
            if let Err(error) = adopted {
                queue.lock().put_back(&taken.dead);
                return Err(error);
            }
            target.changed.notify_waiters();
            queue.lock().forget(&taken.dead)?;
        }
        Ok((taken.deliveries, due_at_ms))
    }
}
