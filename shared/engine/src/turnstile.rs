//! What a process knows of tenants' lines, and one at a time at each.
//!
//! Runs that end together would all let in the same run, the oldest, and all but one in vain. So whoever comes while another
//! is at it leaves its place to that one.
//!
//! Where a line was seen, one is believed to be until it is seen to be gone: a run that is created asks for its place there
//! first, one that ends does not ask whether anybody waits. Each saves a transaction that would be refused. A belief that is
//! wrong costs one more.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::id::TenantId;

/// What a process knows of tenants' lines.
#[derive(Default)]
pub(crate) struct Turnstile {
    /// Places that became free while somebody was at the line, by tenant.
    places: Mutex<HashMap<TenantId, u32>>,
    /// Whose runs are believed to wait.
    lines: Mutex<HashSet<TenantId>>,
}

/// Being at a tenant's line. Dropped early, it leaves the places it has not given away to whoever comes next.
pub(crate) struct Turn<'a> {
    turnstile: &'a Turnstile,
    tenant: &'a TenantId,
    is_over: bool,
}

impl Turnstile {
    /// Whether runs of the tenant are believed to wait.
    pub(crate) fn believes_in_line(&self, tenant: &TenantId) -> bool {
        lock(&self.lines).contains(tenant)
    }

    /// Runs of the tenant wait, or wait no longer.
    pub(crate) fn saw_line(&self, tenant: &TenantId, waits: bool) {
        let mut lines = lock(&self.lines);
        if !waits {
            lines.remove(tenant);
        } else if !lines.contains(tenant) {
            lines.insert(tenant.clone());
        }
    }

    /// A place became free. None when somebody is at the line who gives it away.
    pub(crate) fn enter<'a>(&'a self, tenant: &'a TenantId) -> Option<Turn<'a>> {
        let mut places = lock(&self.places);
        if let Some(more) = places.get_mut(tenant) {
            *more += 1;
            return None;
        }
        places.insert(tenant.clone(), 1);
        Some(Turn {
            turnstile: self,
            tenant,
            is_over: false,
        })
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turn<'_> {
    /// The places to give away now; none when there are no more, and the turn is over.
    pub(crate) fn places(&mut self) -> Option<u32> {
        if self.is_over {
            return None;
        }
        let mut places = lock(&self.turnstile.places);
        let free = places.get_mut(self.tenant).map(std::mem::take);
        if free.is_none_or(|free| free == 0) {
            places.remove(self.tenant);
            self.is_over = true;
            return None;
        }
        free
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            lock(&self.turnstile.places).remove(self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_at_the_line_gives_away_every_place() {
        let turnstile = Turnstile::default();
        let [acme, other] = ["acme", "other"].map(|id| TenantId::parse(id).unwrap());
        let mut turn = turnstile.enter(&acme).unwrap();
        assert_eq!(turn.places(), Some(1));
        assert!(turnstile.enter(&acme).is_none() && turnstile.enter(&acme).is_none());
        assert!(turnstile.enter(&other).is_some(), "lines stand apart");
        assert_eq!(turn.places(), Some(2));
        assert_eq!(turn.places(), None);
        let mut next = turnstile.enter(&acme).unwrap();
        drop(turn);
        assert_eq!(
            next.places(),
            Some(1),
            "a turn that is over touches no other"
        );
        drop(next);
        let gives_up = turnstile.enter(&acme).unwrap();
        drop(gives_up);
        assert!(turnstile.enter(&acme).is_some(), "the next one may");
    }
}
