//! IAM and STS: who asks, and whether they may. Stands before the table and the object store as AWS does.
//!
//! Whoever signs with temporary credentials that were issued here may do what the policy of their role allows, with the
//! session's tags in place of its variables. A long-term access key may do everything, unless it was
//! [restricted](Iam::restrict). Signatures are not checked: nobody here has another's secret.

mod objects;
mod policy;
mod sts;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::Router;
use http::HeaderMap;
use http::header::AUTHORIZATION;

pub use policy::{Policy, Statement};
use policy::{Request, Tags};

/// What all names of resources here begin with.
const ACCOUNT: &str = "000000000000";
/// How AWS's temporary access keys begin.
const TEMPORARY: &str = "ASIA";

/// Tells the time: the system's clock, or a test's.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The principals and what they may do; all clones share it.
#[derive(Clone)]
pub struct Iam {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

#[derive(Default)]
struct State {
    /// Roles by ARN.
    roles: HashMap<String, Arc<Policy>>,
    /// What long-term access keys may do that may not do everything.
    restricted: HashMap<String, Arc<Policy>>,
    /// Sessions by access key.
    sessions: HashMap<String, Arc<Session>>,
    issued: u64,
    refused: u64,
}

/// Temporary credentials and what they are good for.
struct Session {
    /// As refusals name it.
    arn: String,
    token: String,
    expires: SystemTime,
    tags: Tags,
    policy: Arc<Policy>,
}

/// Whoever signed a request, where that is not someone who may do everything.
enum Principal {
    Session(Arc<Session>),
    Restricted { key: String, policy: Arc<Policy> },
}

/// Why a request goes no further.
#[derive(Debug, PartialEq)]
enum Refusal {
    /// The policy does not allow it.
    Denied(String),
    /// The credentials were good once.
    Expired,
    /// There are no such credentials.
    Unknown,
}

impl Default for Iam {
    fn default() -> Self {
        Self::with_clock(Arc::new(SystemTime::now))
    }
}

impl fmt::Debug for Iam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iam").finish_non_exhaustive()
    }
}

impl Iam {
    /// No roles, nobody restricted, and this clock.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self {
            state: Arc::default(),
            clock,
        }
    }

    /// Makes a role that can be assumed.
    pub fn role(&self, arn: &str, policy: Policy) {
        self.lock().roles.insert(arn.to_owned(), Arc::new(policy));
    }

    /// Has a long-term access key do no more than this policy allows.
    pub fn restrict(&self, access_key: &str, policy: Policy) {
        let mut state = self.lock();
        state
            .restricted
            .insert(access_key.to_owned(), Arc::new(policy));
    }

    /// STS, for [`connector`](crate::wire::connector) or [`serve`](crate::wire::serve()).
    pub fn router(&self) -> Router {
        sts::router(self)
    }

    /// Credentials issued so far.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.lock().issued
    }

    /// Requests refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// The table's router behind this check.
    pub(crate) fn guard_table(&self, router: Router, table: crate::table::Table) -> Router {
        table::guard(self, router, table)
    }

    /// The object store's router behind this check.
    pub fn guard_objects(&self, router: Router) -> Router {
        objects::guard(self, router)
    }

    /// Who signed this request; none when they may do everything.
    fn principal(&self, headers: &HeaderMap) -> Result<Option<Principal>, Refusal> {
        let key = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once("Credential="))
            .and_then(|(_, rest)| rest.split_once('/'));
        let Some((key, _)) = key else {
            return Ok(None);
        };
        let found = self.find(headers, key);
        if found.is_err() {
            self.lock().refused += 1;
        }
        found
    }

    fn find(&self, headers: &HeaderMap, key: &str) -> Result<Option<Principal>, Refusal> {
        let state = self.lock();
        if let Some(policy) = state.restricted.get(key) {
            return Ok(Some(Principal::Restricted {
                key: key.to_owned(),
                policy: Arc::clone(policy),
            }));
        }
        let Some(session) = state.sessions.get(key) else {
            return if key.starts_with(TEMPORARY) {
                Err(Refusal::Unknown)
            } else {
                Ok(None)
            };
        };
        let token = headers.get("x-amz-security-token");
        if token.is_none_or(|token| token.as_bytes() != session.token.as_bytes()) {
            return Err(Refusal::Unknown);
        }
        if session.expires <= (self.clock)() {
            return Err(Refusal::Expired);
        }
        Ok(Some(Principal::Session(Arc::clone(session))))
    }

    /// Whether the principal may do all of this.
    fn check(&self, principal: &Principal, requests: &[Request]) -> Result<(), Refusal> {
        let none = Tags::new();
        let (policy, tags) = match principal {
            Principal::Session(session) => (&session.policy, &session.tags),
            Principal::Restricted { policy, .. } => (policy, &none),
        };
        let denied = requests
            .iter()
            .find(|request| !policy.allows(request, tags));
        let Some(Request {
            action, resource, ..
        }) = denied
        else {
            return Ok(());
        };
        self.lock().refused += 1;
        let user = match principal {
            Principal::Session(session) => session.arn.clone(),
            Principal::Restricted { key, .. } => format!("arn:aws:iam::{ACCOUNT}:role/{key}"),
        };
        Err(Refusal::Denied(format!(
            "User: {user} is not authorized to perform: {action} on resource: {resource} because no identity-based policy \
             allows the {action} action"
        )))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text with its `%XX` resolved.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
