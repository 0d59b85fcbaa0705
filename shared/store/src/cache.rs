//! What a process remembers of what it read: bounded, for a time, and read once however many ask at once.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::time::At;
use quick_cache::sync::{Cache as Entries, DefaultLifecycle, EntryAction, EntryResult};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::Error;

/// Things by key, read from elsewhere.
pub struct Cache<K, V> {
    entries: Entries<K, Entry<V>, Weigh>,
    /// How long an answer is believed, a thing's absence included; none for things that never change, whose absence is
    /// not believed at all.
    lifetime: Option<Duration>,
    weigh: fn(&V) -> u64,
    /// Reads that ended.
    reads: AtomicU64,
}

type Answer<V> = Result<Option<Arc<V>>, Arc<Error>>;

struct Entry<V> {
    answer: Answer<V>,
    weight: u64,
    /// When the read began.
    at: At,
    /// Which read it was, counted by their ends.
    read: u64,
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            ..*self
        }
    }
}

#[derive(Clone, Copy)]
struct Weigh;

impl<K, V> Weighter<K, Entry<V>> for Weigh {
    fn weight(&self, _: &K, entry: &Entry<V>) -> u64 {
        entry.weight
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    /// At most `entries` things that change, believed for `lifetime` from before they were read.
    #[must_use]
    pub fn of_changing(entries: u32, lifetime: Duration) -> Self {
        Self {
            entries: bounded(entries, entries.into()),
            lifetime: Some(lifetime),
            weigh: |_| 1,
            reads: AtomicU64::new(0),
        }
    }

    /// Things that never change once they are there, about `entries` of them, which together weigh at most `capacity`. What
    /// alone weighs nearly that is not kept.
    #[must_use]
    pub fn of_constants(entries: u32, capacity: u64, weigh: fn(&V) -> u64) -> Self {
        Self {
            entries: bounded(entries, capacity),
            lifetime: None,
            weigh,
            reads: AtomicU64::new(0),
        }
    }

    /// What is remembered under this key, else what `read` finds. Whoever asks meanwhile gets the same answer, failures
    /// included, which nobody gets who asks later.
    ///
    /// # Errors
    /// Those of `read`, as [`Error::Shared`].
    pub async fn get(
        &self,
        key: &K,
        now: At,
        read: impl Future<Output = Result<Option<V>, Error>>,
    ) -> Result<Option<Arc<V>>, Error> {
        let known = self.entries.get(key);
        let answer = match known.filter(|entry| self.is_believed(entry, now)) {
            Some(entry) => entry.answer,
            None => self.join(key, now, read).await,
        };
        answer.map_err(Error::Shared)
    }

    async fn join(
        &self,
        key: &K,
        now: At,
        read: impl Future<Output = Result<Option<V>, Error>>,
    ) -> Answer<V> {
        let asked = self.reads.load(Ordering::Relaxed);
        let look = |_: &K, entry: &mut Entry<V>| {
            if entry.read > asked || self.is_believed(entry, now) {
                EntryAction::Retain(entry.answer.clone())
            } else {
                EntryAction::ReplaceWithGuard
            }
        };
        let guard = match self.entries.entry_async(key, look).await {
            EntryResult::Retained(answer) => return answer,
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => Some(guard),
            // Neither happens: `look` removes nothing, and this wait knows no timeout.
            EntryResult::Removed(..) | EntryResult::Timeout => None,
        };
        let answer = read.await.map(|found| found.map(Arc::new));
        let answer = answer.map_err(Arc::new);
        if let Some(guard) = guard {
            // Who forgot the key meanwhile did so for a change that this answer may not know of.
            let _forgotten = guard.insert(self.entry(answer.clone(), now));
        }
        answer
    }

    /// What is remembered and believed for ever.
    pub(crate) fn known<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        Q: Hash + Eq + ?Sized,
        K: Borrow<Q>,
    {
        let entry = self.entries.get(key).filter(|_| self.lifetime.is_none())?;
        entry.answer.ok().flatten()
    }

    /// Remembers what was just written.
    pub fn insert(&self, key: K, value: Arc<V>, now: At) {
        self.entries.insert(key, self.entry(Ok(Some(value)), now));
    }

    /// Has the next one who asks read, and whoever waits for a read that began before.
    pub fn forget(&self, key: &K) {
        self.entries.remove(key);
    }

    fn is_believed(&self, entry: &Entry<V>, now: At) -> bool {
        match (&entry.answer, self.lifetime) {
            (Err(_), _) | (Ok(None), None) => false,
            (Ok(Some(_)), None) => true,
            // A clock that was set back makes nothing last longer.
            (Ok(_), Some(lifetime)) => {
                entry.at <= now && u128::from(now.since_ms(entry.at)) < lifetime.as_millis()
            }
        }
    }

    fn entry(&self, answer: Answer<V>, at: At) -> Entry<V> {
        let weight = match &answer {
            Ok(Some(value)) => (self.weigh)(value).max(1),
            Ok(None) | Err(_) => 1,
        };
        Entry {
            answer,
            weight,
            at,
            read: self.reads.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }
}

/// In one shard, since a share of the bound may be less than the largest thing weighs.
fn bounded<K: Eq + Hash, V>(entries: u32, capacity: u64) -> Entries<K, Entry<V>, Weigh> {
    let options = OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(usize::try_from(entries).unwrap_or(usize::MAX))
        .weight_capacity(capacity)
        .build()
        .expect("both bounds are given");
    Entries::with_options(
        options,
        Weigh,
        DefaultHashBuilder::default(),
        DefaultLifecycle::default(),
    )
}
