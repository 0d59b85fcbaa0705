//! Faults injected between a client and a stand-in, by rules, the same on every run.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use super::Severed;
use super::operation::{Protocol, operation};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused as too fast, in the service's own words; not executed.
    Throttle,
    /// Answered with status 500; not executed.
    FailBefore,
    /// Executed, then the connection breaks before the answer.
    LoseResponse,
    /// Executed after this long.
    Delay(Duration),
    /// Executed twice; the second answer is returned.
    Duplicate,
}

/// A request as rules see it.
#[derive(Debug)]
pub struct Call<'a> {
    /// The operation as its service names it (`PutItem`, `Converse`), else method and path.
    pub operation: &'a str,
    /// Method, target and headers.
    pub parts: &'a Parts,
    /// The whole body.
    pub body: &'a [u8],
}

type Predicate = Arc<dyn Fn(&Call<'_>) -> bool + Send + Sync>;

/// One fault, the requests that it is for, and which of them it strikes.
pub struct Rule {
    fault: Fault,
    predicates: Vec<Predicate>,
    occurrence: Occurrence,
    seen: u64,
}

#[derive(Clone, Copy, Debug)]
enum Occurrence {
    Always,
    Nth(u64),
    First(u64),
    Probability { probability: f64, seed: u64 },
}

impl Rule {
    /// A rule that strikes every request.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            predicates: Vec::new(),
            occurrence: Occurrence::Always,
            seen: 0,
        }
    }

    /// Only requests of this operation (`PutItem`, `SendMessage`, `Converse`, `GET /path`).
    #[must_use]
    pub fn on(self, operation: impl Into<String>) -> Self {
        let operation = operation.into();
        self.when(move |call| call.operation == operation)
    }

    /// Only requests whose body contains this text.
    #[must_use]
    pub fn containing(self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.when(move |call| {
            text.is_empty() || call.body.windows(text.len()).any(|w| w == text.as_bytes())
        })
    }

    /// Only requests for which `predicate` holds; several predicates must all hold.
    #[must_use]
    pub fn when(mut self, predicate: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.predicates.push(Arc::new(predicate));
        self
    }

    /// Strikes the `n`th matching request alone, counted from one.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.occurrence = Occurrence::Nth(n);
        self
    }

    /// Strikes the first `n` matching requests.
    #[must_use]
    pub fn first(mut self, n: u64) -> Self {
        self.occurrence = Occurrence::First(n);
        self
    }

    /// Strikes a matching request with this probability (0 to 1). The same seed strikes the same
    /// places in the sequence of matching requests.
    #[must_use]
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        self.occurrence = Occurrence::Probability { probability, seed };
        self
    }

    fn strikes(&mut self, call: &Call<'_>) -> bool {
        if !self.predicates.iter().all(|predicate| predicate(call)) {
            return false;
        }
        self.seen += 1;
        match self.occurrence {
            Occurrence::Always => true,
            Occurrence::Nth(n) => self.seen == n,
            Occurrence::First(n) => self.seen <= n,
            Occurrence::Probability { probability, seed } => draw(seed, self.seen) < probability,
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Rule")
            .field("fault", &self.fault)
            .field("occurrence", &self.occurrence)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// The faults of one or several stand-ins: a handle that is cheap to clone. Rules may be added
/// while requests are under way; the first rule that strikes decides, and every rule counts.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    struck: u64,
}

impl Faults {
    /// No faults yet.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a rule behind those that are there.
    pub fn add(&self, rule: Rule) {
        self.script().rules.push(rule);
    }

    /// Removes every rule.
    pub fn clear(&self) {
        self.script().rules.clear();
    }

    /// How many requests have been struck so far.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.script().struck
    }

    /// `router` behind these faults.
    pub fn wrap(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), inject))
    }

    fn strike(&self, parts: &Parts, body: &[u8]) -> Option<Fault> {
        let operation = operation(parts);
        let call = Call {
            operation: &operation,
            parts,
            body,
        };
        let mut script = self.script();
        let mut struck = None;
        for rule in &mut script.rules {
            if rule.strikes(&call) {
                struck = struck.or(Some(rule.fault));
            }
        }
        script.struck += u64::from(struck.is_some());
        struck
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn inject(State(faults): State<Faults>, request: Request, next: Next) -> Response {
    if faults.script().rules.is_empty() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let fault = faults.strike(&parts, &body);
    let protocol = Protocol::of(&parts);
    match fault {
        None => next.run(request_of(parts, body)).await,
        Some(Fault::Throttle) => protocol.throttled(),
        Some(Fault::FailBefore) => protocol.failed(),
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            next.run(request_of(parts, body)).await
        }
        Some(Fault::Duplicate) => {
            let first = request_of(parts.clone(), body.clone());
            read(next.clone().run(first).await).await;
            next.run(request_of(parts, body)).await
        }
        Some(Fault::LoseResponse) => {
            read(next.run(request_of(parts, body)).await).await;
            let mut lost = StatusCode::INTERNAL_SERVER_ERROR.into_response();
            lost.extensions_mut().insert(Severed);
            lost
        }
    }
}

fn request_of(parts: Parts, body: Bytes) -> Request {
    Request::from_parts(parts, Body::from(body))
}

/// Reads an answer to its end, so that what streams is executed whole.
async fn read(response: Response) {
    if let Err(error) = axum::body::to_bytes(response.into_body(), usize::MAX).await {
        tracing::debug!(%error, "an answer that nobody waits for ended early");
    }
}

/// A number in 0..1 that depends on the seed and the place alone (`SplitMix64`).
fn draw(seed: u64, place: u64) -> f64 {
    let mut z = seed.wrapping_add(place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    // 32 bits are exact in a double.
    f64::from(u32::try_from(z >> 32).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}
