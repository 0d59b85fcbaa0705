//! One at a time at a tenant's line, in each process.
//!
//! Runs that end together would all let in the same run, the oldest, and all but one in vain. So whoever comes while another
//! is at it leaves its place to that one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::id::TenantId;

/// Places that became free while somebody was at the line, by tenant.
#[derive(Default)]
pub(crate) struct Turnstile(Mutex<HashMap<TenantId, u32>>);

/// Being at a tenant's line. Dropped early, it leaves the places it has not given away to whoever comes next.
pub(crate) struct Turn<'a> {
    turnstile: &'a Turnstile,
    tenant: &'a TenantId,
    is_over: bool,
}

impl Turnstile {
    /// A place became free. None when somebody is at the line who gives it away.
    pub(crate) fn enter<'a>(&'a self, tenant: &'a TenantId) -> Option<Turn<'a>> {
        let mut places = self.lock();
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

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The places to give away now; none when there are no more, and the turn is over.
    pub(crate) fn places(&mut self) -> Option<u32> {
        if self.is_over {
            return None;
        }
        let mut places = self.turnstile.lock();
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
            self.turnstile.lock().remove(self.tenant);
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
