//! Rate limits of requests: this process's shares of the windows, and what answers say about them.
//!
//! The rule stands in [`domain::limit`], the shared counters in the table. A request is admitted when each of its windows
//! has a token for it; most requests find one here and ask nobody. **Invariant:** never more than the limit is admitted in
//! one window of a counter. Therefore a request whose counter cannot be reached is not let through: it is answered with
//! [`Problem::Unavailable`]. Tokens that were leased before are still spent, and what is known to be used up is still
//! refused without asking.

use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use domain::id::{KeyId, TenantId};
use domain::limit::{Share, Spend, ends_at, index};
use domain::tenant::Tenant;
use domain::tier::{Subject, Window};
use domain::time::At;
use futures_util::future::join_all;
use http::header::{HeaderName, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use lambda_http::request::RequestContext;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use store::Store;

use crate::{Api, Problem, keys};

/// Most counters of which a share is remembered; those that are used least go first, and their tokens lapse.
const MAX_COUNTERS: usize = 20_000;
/// Leases for one request, of which more than one is needed only when a window ends at the same instant.
const MAX_LEASES: u32 = 4;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// This process's shares of all windows. Clones share everything and cost nothing.
#[derive(Clone)]
pub struct Limiter(Arc<Cache<Name, Arc<Counter>>>);

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}

/// Which counter. The length belongs to it, since windows of different lengths are numbered differently.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    tenant: TenantId,
    limit: String,
    seconds: u32,
    subject: Option<String>,
}

/// The share of one counter.
#[derive(Default)]
struct Counter {
    state: Mutex<State>,
    /// Held while a lease is under way, so that a burst waits for one lease and does not take one for each request.
    leasing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    share: Share,
    /// Leases that failed: who waited for one of them fails with it, and does not try the silent table once more.
    failures: u64,
}

/// One window that holds for one request.
struct Asked<'a> {
    limit: &'a Window,
    name: Name,
    counter: Arc<Counter>,
    /// The window by the clock of this process.
    own: u64,
}

impl Limiter {
    /// No shares yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Cache::new(MAX_COUNTERS)))
    }

    /// Spends a token of each window on a request of a tenant that came with the API key of this id from this address. When
    /// one window refuses, the tokens of the others are put back. A window that counts by address does not hold for a
    /// request without one; of an address only the SHA-256 is kept.
    ///
    /// # Errors
    /// [`Problem::RateLimited`] when a window refuses; [`Problem::Unavailable`] when a counter cannot be reached.
    pub async fn admit(
        &self,
        store: &Store,
        tenant: &TenantId,
        key: &str,
        address: Option<&str>,
        windows: &[Window],
        now: At,
    ) -> Result<Verdict, Problem> {
        let mut asked = Vec::with_capacity(windows.len());
        for limit in windows {
            let subject = match (limit.by, address) {
                (Subject::Tenant, _) => None,
                (Subject::Key, _) => Some(key.to_owned()),
                (Subject::Address, Some(address)) => {
                    Some(keys::hexadecimal(&Sha256::digest(address)))
                }
                (Subject::Address, None) => continue,
            };
            asked.push(self.find(tenant, limit, subject, now));
        }
        let refused: Vec<bool> = asked.iter().map(Asked::refuses).collect();
        if refused.contains(&true) {
            return Err(limited(&asked, &refused, now));
        }
        let spent = join_all(asked.iter().map(|asked| asked.spend(store))).await;
        if let Some(remaining) = spent.iter().map(admitted).collect::<Option<Vec<_>>>() {
            let standings = asked.iter().zip(remaining);
            let standings =
                standings.map(|(asked, (_, remaining))| asked.standing(remaining, false, now));
            return Ok(Verdict {
                windows: standings.collect(),
            });
        }
        for (asked, spent) in asked.iter().zip(&spent) {
            if let Some((window, _)) = admitted(spent) {
                asked.counter.lock().share.put_back(window);
            }
        }
        let refused: Vec<bool> = spent
            .iter()
            .map(|spent| matches!(spent, Ok(Spend::Refused { .. })))
            .collect();
        if refused.contains(&true) {
            return Err(limited(&asked, &refused, now));
        }
        Err(spent
            .into_iter()
            .find_map(Result::err)
            .unwrap_or(Problem::Unavailable))
    }

    fn find<'a>(
        &self,
        tenant: &TenantId,
        limit: &'a Window,
        subject: Option<String>,
        now: At,
    ) -> Asked<'a> {
        let name = Name {
            tenant: tenant.clone(),
            limit: limit.name.clone(),
            seconds: limit.seconds,
            subject,
        };
        let new = || Ok::<_, Infallible>(Arc::default());
        let Ok(counter) = self.0.get_or_insert_with(&name, new);
        Asked {
            limit,
            name,
            counter,
            own: index(limit, now),
        }
    }
}

/// How the windows of a request stand, told to [`crate::edge`] by whoever found out whose request it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<OnceLock<Verdict>>);

impl Told {
    /// What is to be written into the answer's headers.
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.0.get()
    }
}

/// Lets a request of a tenant pass, or refuses it.
pub(crate) async fn pass(
    parts: &Parts,
    api: &Api,
    tenant: &Tenant,
    key: &KeyId,
) -> Result<(), Problem> {
    let windows = tenant.windows();
    let (store, now) = (&api.engine.store, api.engine.now());
    let address = address(parts);
    let admitted = api
        .limiter
        .admit(store, &tenant.id, key.as_str(), address, windows, now);
    let verdict = admitted.await?;
    if let Some(told) = parts.extensions.get::<Told>() {
        // A request has one principal, so nothing was told before.
        let _first = told.0.set(verdict);
    }
    Ok(())
}

/// The client's address as API Gateway saw it. Never one that a header claims.
fn address(parts: &Parts) -> Option<&str> {
    match parts.extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV1(context) => context.identity.source_ip.as_deref(),
        _ => None,
    }
}

fn admitted(spent: &Result<Spend, Problem>) -> Option<(u64, u64)> {
    match spent {
        Ok(Spend::Admitted { window, remaining }) => Some((*window, *remaining)),
        _ => None,
    }
}

fn limited(asked: &[Asked<'_>], refused: &[bool], now: At) -> Problem {
    let standings = asked.iter().zip(refused).map(|(asked, &refused)| {
        let remaining = if refused { 0 } else { asked.remaining() };
        asked.standing(remaining, refused, now)
    });
    Problem::RateLimited(Verdict {
        windows: standings.collect(),
    })
}

impl Counter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked<'_> {
    /// Spends a token, leased before if need be. Never answers [`Spend::NeedsLease`].
    async fn spend(&self, store: &Store) -> Result<Spend, Problem> {
        let requests = self.limit.requests;
        let failures = {
            let mut state = self.counter.lock();
            match state.share.spend(self.own, requests) {
                Spend::NeedsLease { .. } => state.failures,
                done => return Ok(done),
            }
        };
        let _leasing = self.counter.leasing.lock().await;
        for _ in 0..MAX_LEASES {
            let (window, tokens) = {
                let mut state = self.counter.lock();
                match state.share.spend(self.own, requests) {
                    Spend::NeedsLease { .. } if state.failures != failures => {
                        return Err(Problem::Unavailable);
                    }
                    Spend::NeedsLease { window, tokens } => (window, tokens),
                    done => return Ok(done),
                }
            };
            let Name {
                tenant, subject, ..
            } = &self.name;
            let leased = store
                .lease(tenant, self.limit, subject.as_deref(), window, tokens)
                .await;
            let mut state = self.counter.lock();
            match leased {
                Ok(leased) => state.share.leased(leased),
                Err(error) => {
                    state.failures += 1;
                    return Err(error.into());
                }
            }
            // Before anybody else can spend what was just leased.
            match state.share.spend(self.own, requests) {
                Spend::NeedsLease { .. } => {}
                done => return Ok(done),
            }
        }
        Err(Problem::Unavailable)
    }

    fn refuses(&self) -> bool {
        self.counter.lock().share.refuses(self.own)
    }

    fn remaining(&self) -> u64 {
        let state = self.counter.lock();
        state.share.remaining(self.own, self.limit.requests)
    }

    fn standing(&self, remaining: u64, violated: bool, now: At) -> Standing {
        let window = self.counter.lock().share.window(self.own);
        let left_ms = ends_at(self.limit, window).since_ms(now);
        Standing {
            name: self.limit.name.clone(),
            requests: self.limit.requests,
            seconds: self.limit.seconds,
            remaining,
            // Rounded up, so that who waits for so long is in the next window.
            resets_in_seconds: left_ms.div_ceil(1_000).max(1),
            violated,
        }
    }
}

/// How the windows of a request stand, for its answer's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Each window that holds for the request.
    pub windows: Vec<Standing>,
}

/// How one window stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit's name.
    pub name: String,
    /// Requests in one window.
    pub requests: u64,
    /// Length of a window.
    pub seconds: u32,
    /// Requests that are left, as far as this process knows: others may have spent some since it last asked.
    pub remaining: u64,
    /// Seconds until the window ends, at least 1.
    pub resets_in_seconds: u64,
    /// Whether this window refused the request.
    pub violated: bool,
}

impl Verdict {
    /// The value of `RateLimit-Policy`: what holds (draft-ietf-httpapi-ratelimit-headers-10).
    #[must_use]
    pub fn policy(&self) -> String {
        self.list(|text, window| write!(text, ";q={};w={}", window.requests, window.seconds))
    }

    /// The value of `RateLimit`: what is left, and for how many seconds (same draft).
    #[must_use]
    pub fn standing(&self) -> String {
        self.list(|text, window| {
            write!(
                text,
                ";r={};t={}",
                window.remaining, window.resets_in_seconds
            )
        })
    }

    /// The names of the windows that refused the request.
    pub fn violated(&self) -> impl Iterator<Item = &str> {
        let violated = self.windows.iter().filter(|window| window.violated);
        violated.map(|window| window.name.as_str())
    }

    /// Seconds until every window that refused the request has ended; none when none did.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let violated = self.windows.iter().filter(|window| window.violated);
        violated.map(|window| window.resets_in_seconds).max()
    }

    /// Writes the headers: `RateLimit-Policy` and `RateLimit`, unless no window holds, and `Retry-After`, if a window
    /// refused.
    pub fn write(&self, headers: &mut HeaderMap) {
        if !self.windows.is_empty() {
            for (name, value) in [(POLICY, self.policy()), (STANDING, self.standing())] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(name, value);
                }
            }
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
    }

    /// A list of structured fields (RFC 9651). Names of limits have no letter that must be escaped.
    fn list(&self, parameters: impl Fn(&mut String, &Standing) -> fmt::Result) -> String {
        let mut text = String::with_capacity(40 * self.windows.len());
        for window in &self.windows {
            let between = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{between}\"{}\"", window.name);
            let _ = parameters(&mut text, window);
        }
        text
    }
}

#[cfg(test)]
mod tests;
