//! Which visible message goes next: FIFO order by group, or fairness between groups on a standard queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A group is noisy only with at least this many of its messages in flight (AWS's documentation of fair queues).
const NOISY_FROM_IN_FLIGHT: usize = 30;
/// A group is noisy only above this share of all in flight, as one in so many: 10 % (ibid.).
const NOISY_ABOVE_ONE_IN: usize = 10;

/// The visible messages by group. The empty group stands for messages without one; it is never noisy.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// FIFO: nothing of a group goes out while a message of it is in flight.
    strict: bool,
    groups: HashMap<Arc<str>, Group>,
    /// The first visible message of every group that may send one.
    heads: BTreeMap<u64, Arc<str>>,
    waiting: usize,
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Group {
    waiting: BTreeSet<u64>,
    in_flight: usize,
}

impl Ready {
    pub(super) fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    /// Visible messages.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// The message that goes next: the oldest of a quiet group, else the oldest.
    pub(super) fn next(&self) -> Option<u64> {
        self.heads
            .iter()
            .find(|(_, group)| self.strict || !self.is_noisy(group))
            .or_else(|| self.heads.first_key_value())
            .map(|(seq, _)| *seq)
    }

    /// The oldest visible message of this group, in flight or not.
    pub(super) fn next_in(&self, group: &str) -> Option<u64> {
        self.groups.get(group)?.waiting.first().copied()
    }

    fn is_noisy(&self, group: &str) -> bool {
        let in_flight = self.groups.get(group).map_or(0, |group| group.in_flight);
        !group.is_empty()
            && in_flight >= NOISY_FROM_IN_FLIGHT
            && in_flight * NOISY_ABOVE_ONE_IN > self.in_flight
    }

    /// A message becomes visible.
    pub(super) fn insert(&mut self, seq: u64, group: &Arc<str>) {
        self.change(group, |members| {
            members.waiting.insert(seq);
        });
        self.waiting += 1;
    }

    /// A visible message is gone.
    pub(super) fn remove(&mut self, seq: u64, group: &Arc<str>) {
        self.change(group, |members| {
            members.waiting.remove(&seq);
        });
        self.waiting -= 1;
    }

    /// One more message of this group is in flight.
    pub(super) fn depart(&mut self, group: &Arc<str>) {
        self.change(group, |members| members.in_flight += 1);
        self.in_flight += 1;
    }

    /// One message fewer of this group is in flight.
    pub(super) fn arrive(&mut self, group: &Arc<str>) {
        self.change(group, |members| members.in_flight -= 1);
        self.in_flight -= 1;
    }

    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Group)) {
        let group = self.groups.entry(name.clone()).or_default();
        if let Some(head) = group.waiting.first() {
            self.heads.remove(head);
        }
        change(group);
        match group.waiting.first() {
            Some(head) if !self.strict || group.in_flight == 0 => {
                self.heads.insert(*head, name.clone());
            }
            None if group.in_flight == 0 => {
                self.groups.remove(name);
            }
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn take(ready: &mut Ready, name: &str, seq: u64) {
        ready.remove(seq, &group(name));
        ready.depart(&group(name));
    }

    #[test]
    fn a_group_turns_noisy_at_thirty_in_flight_and_more_than_a_tenth() {
        let mut ready = Ready::new(false);
        for _ in 0..29 {
            ready.depart(&group("a"));
        }
        assert!(!ready.is_noisy("a"));
        ready.depart(&group("a"));
        assert!(ready.is_noisy("a"));
        for _ in 0..270 {
            ready.depart(&group("b"));
        }
        assert!(!ready.is_noisy("a"), "30 of 300 is not above a tenth");
        assert!(ready.is_noisy("b"));
    }

    #[test]
    fn a_noisy_groups_message_waits_but_goes_when_nothing_else_does() {
        let mut ready = Ready::new(false);
        for _ in 0..40 {
            ready.depart(&group("noisy"));
        }
        ready.insert(1, &group("noisy"));
        ready.insert(2, &group("quiet"));
        assert_eq!(ready.next(), Some(2));
        take(&mut ready, "quiet", 2);
        assert_eq!(ready.next(), Some(1));
    }

    #[test]
    fn a_strict_group_waits_for_its_message_in_flight() {
        let mut ready = Ready::new(true);
        ready.insert(1, &group("a"));
        ready.insert(2, &group("a"));
        ready.insert(3, &group("b"));
        take(&mut ready, "a", 1);
        assert_eq!(ready.next(), Some(3));
        assert_eq!(ready.next_in("a"), Some(2));
        ready.arrive(&group("a"));
        assert_eq!(ready.next(), Some(2));
    }

    #[test]
    fn groups_without_messages_are_forgotten() {
        let mut ready = Ready::new(false);
        ready.insert(1, &group("a"));
        take(&mut ready, "a", 1);
        ready.arrive(&group("a"));
        assert!(ready.groups.is_empty() && ready.heads.is_empty());
        assert_eq!((ready.waiting, ready.in_flight), (0, 0));
    }
}
