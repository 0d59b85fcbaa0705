//! What policy refuses, told to the audit trail of whoever asked.
//!
//! However many requests come, a key has at most one entry a minute for each reason: the first one here asks the table whether
//! another process has told it, the others are counted and told with the next entry. **Invariant:** an answer never changes
//! because of this, and waits for it for [`PATIENCE`] at most. Whoever has no key of ours has no trail; that is logged.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use domain::id::KeyId;
use domain::time::At;
use quick_cache::sync::Cache;
use serde_json::json;
use store::{ApiKey, Refused};

use crate::{Api, Problem, auth};

/// Longest that an answer waits for its entry. The table takes some milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most keys and reasons that are remembered. What is forgotten costs a request that the table refuses.
const MAX_KNOWN: usize = 10_000;
const MINUTE_MS: u64 = 60_000;
/// What the paths of operators' routes begin with.
const OPERATORS: &str = "/v1/admin/";

/// What was asked, and by whom as soon as [`crate::auth`] knows.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    /// Method and route, without what stands in its place holders.
    request: Arc<str>,
    /// Whether that is an operator's route, whose function acts for every tenant.
    of_operators: bool,
    key: Arc<OnceLock<Arc<ApiKey>>>,
}

impl Asking {
    /// What this request asks. What has no route is never refused by policy.
    pub(crate) fn of(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or("", MatchedPath::as_str);
        Self::new(request.method().as_str(), route)
    }

    /// What a request of this method to this route asks.
    pub(crate) fn new(method: &str, route: &str) -> Self {
        Self {
            request: format!("{method} {route}").into(),
            of_operators: route.starts_with(OPERATORS),
            key: Arc::default(),
        }
    }

    /// Method and route.
    pub(crate) fn request(&self) -> &Arc<str> {
        &self.request
    }

    /// Notes who asks: a key whose secret was right, whether it holds or not.
    pub(crate) fn is_by(&self, key: &Arc<ApiKey>) {
        // A request has one key, so none was noted before.
        let _first = self.key.set(Arc::clone(key));
    }
}

impl Asking {
    /// The key of a tenant's request at a tenant's route.
    pub(crate) fn of_tenant(&self) -> Option<&ApiKey> {
        let key = self.key.get().filter(|_| !self.of_operators)?;
        (key.tenant.as_str() != auth::OPERATOR).then_some(key)
    }
}

/// What this process has told. Clones share it.
#[derive(Clone)]
pub(crate) struct Refusals {
    by_key: Arc<Cache<(KeyId, &'static str), Arc<Count>>>,
    strangers: Arc<Count>,
}

/// Refusals of one kind.
#[derive(Default)]
struct Count(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// Number of the minute in which this process told last, or tried to.
    minute: u64,
    /// How many it has not told.
    untold: u64,
}

impl Count {
    /// Counts one more. The first one of a minute is to be told, with how many were not told before.
    fn one_more(&self, minute: u64) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Clocks may go back, and requests at the turn of a minute may overtake each other.
        if minute <= counted.minute {
            counted.untold += 1;
            return None;
        }
        counted.minute = minute;
        Some(std::mem::take(&mut counted.untold))
    }

    /// Keeps for the next entry what was not told after all.
    fn keep(&self, untold: u64) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.untold += untold;
    }
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self {
            by_key: Arc::new(Cache::new(MAX_KNOWN)),
            strangers: Arc::default(),
        }
    }

    fn of(&self, key: &KeyId, code: &'static str) -> Arc<Count> {
        let new = || Ok::<_, Infallible>(Arc::default());
        let Ok(count) = self.by_key.get_or_insert_with(&(key.clone(), code), new);
        count
    }

    /// Logs that a key was shown that is none of ours, at most once a minute.
    pub(crate) fn stranger(&self, id: &str, now: At) {
        if let Some(untold) = self.strangers.one_more(now.0 / MINUTE_MS) {
            tracing::warn!(key.id = id, untold, "a key that opens nothing was shown");
        }
    }
}

/// Tells the trail of whoever asked that it was refused, if it was refused by policy and nobody has told it this minute.
pub(crate) async fn tell(api: &Api, asking: &Asking, problem: &Problem) {
    let Some(key) = asking.key.get().filter(|_| problem.is_policy()) else {
        return;
    };
    let (status, code, _) = problem.kind();
    let now = api.engine.now();
    let count = api.refusals.of(&key.id, code);
    let Some(untold) = count.one_more(now.0 / MINUTE_MS) else {
        return;
    };
    let refused = Refused {
        tenant: &key.tenant,
        key: &key.id,
        code,
        request: &asking.request,
        state: json!({
            "status": status.as_u16(),
            "code": code,
            "detail": problem.detail(),
            "untold": untold,
        }),
        at: now,
    };
    let store = if asking.of_operators {
        api.engine.store.clone()
    } else {
        api.engine.store.of(&key.tenant)
    };
    let store = store.on_behalf_of(&auth::name_of(key), now);
    match tokio::time::timeout(PATIENCE, store.tell_refusal(&refused)).await {
        Ok(Ok(true)) => return,
        // Another process told one of its own.
        Ok(Ok(false)) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %telemetry::chain(&error), "a refusal does not stand in the audit trail");
        }
        Err(_) => tracing::warn!("a refusal may not stand in the audit trail"),
    }
    count.keep(untold + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_minute_is_told_and_the_others_with_the_next() {
        let count = Count::default();
        assert_eq!(count.one_more(7), Some(0));
        assert_eq!((count.one_more(7), count.one_more(7)), (None, None));
        assert_eq!(count.one_more(8), Some(2));
        count.keep(3);
        assert_eq!((count.one_more(8), count.one_more(7)), (None, None));
        assert_eq!(count.one_more(9), Some(5));
    }
}
