//! What stands before the functions: an authorizer, whose answers are kept, and the usage plan of the key that it names.
//!
//! Sources: <https://docs.aws.amazon.com/apigateway/latest/developerguide/configure-api-gateway-lambda-authorization.html>,
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html>.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::gate::Gate;

/// Most answers that are kept.
const MAX_KEPT: usize = 10_000;

/// Which routes are guarded, by whom, and what for.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The function that says whose a request is.
    pub authorizer: String,
    /// The keys and plans that requests count for.
    pub gate: Gate,
    /// What the paths of guarded routes begin with.
    pub guarded: String,
    /// What the paths of those begin with that are not guarded all the same.
    pub unguarded: String,
    /// Routes for which the authorizer is asked each time, whatever they come with. For the others it is asked once for each
    /// `Authorization` header, and not at all without one.
    pub asked_each_time: Vec<String>,
    /// How long answers are kept.
    pub kept_for: Duration,
}

/// What a request may pass with.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    /// What the authorizer tells of it.
    pub(super) context: Map<String, Value>,
    /// The value and the id of the key that it counts for.
    pub(super) key: (String, String),
}

/// What an authorizer answered, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    principal_id: String,
    policy_document: Policy,
    #[serde(default)]
    context: Map<String, Value>,
    usage_identifier_key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: String,
    resource: String,
}

/// The answers that are kept, by the header that they were given for.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<HashMap<String, (Instant, Answer)>>);

impl Guard {
    pub(super) fn stands_before(&self, method: &Method, path: &str) -> bool {
        let is_guarded = path.starts_with(&self.guarded) && !path.starts_with(&self.unguarded);
        // What a browser asks beforehand comes without credentials.
        is_guarded && method != Method::OPTIONS
    }

    /// Lets a request to a route pass. `ask` asks the authorizer, whose answer is JSON.
    pub(super) async fn pass(
        &self,
        kept: &Kept,
        headers: &HeaderMap,
        resource: &str,
        method_arn: &str,
        ask: impl Future<Output = Result<Bytes, Problem>>,
    ) -> Result<Passed, Problem> {
        let answer = if self.asked_each_time.iter().any(|each| each == resource) {
            read(&ask.await?)?
        } else {
            let identity = headers.get(header::AUTHORIZATION);
            let identity = identity.and_then(|value| value.to_str().ok());
            let identity = identity.filter(|value| !value.is_empty());
            let identity = identity.ok_or(Problem::Unauthorized)?;
            match kept.find(identity, self.kept_for) {
                Some(answer) => answer,
                None => {
                    let answer = read(&ask.await?)?;
                    kept.keep(identity, &answer);
                    answer
                }
            }
        };
        let mut context = answer.context;
        if !answer.policy_document.allows(method_arn) {
            return Err(Problem::Denied(context));
        }
        let value = answer.usage_identifier_key;
        let value = value.ok_or(Problem::NotPassed(crate::gate::Refusal::Forbidden))?;
        let id = self.gate.admit(&value).map_err(Problem::NotPassed)?;
        context.insert("principalId".to_owned(), answer.principal_id.into());
        let key = (value, id);
        Ok(Passed { context, key })
    }
}

fn read(answer: &[u8]) -> Result<Answer, Problem> {
    serde_json::from_slice(answer).map_err(|error| {
        tracing::warn!(%error, "the authorizer's answer is malformed");
        Problem::NotAuthorizing
    })
}

impl Policy {
    /// Whether some statement allows this and none denies it.
    fn allows(&self, method_arn: &str) -> bool {
        let says = |effect: &str| {
            let mut statements = self.statement.iter();
            statements.any(|statement| {
                let matches = match statement.resource.strip_suffix('*') {
                    Some(begins) => method_arn.starts_with(begins),
                    None => method_arn == statement.resource,
                };
                statement.effect == effect && matches
            })
        };
        says("Allow") && !says("Deny")
    }
}

impl Kept {
    fn find(&self, identity: &str, kept_for: Duration) -> Option<Answer> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = kept.get(identity)?;
        (at.elapsed() < kept_for).then(|| answer.clone())
    }

    fn keep(&self, identity: &str, answer: &Answer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(identity.to_owned(), (Instant::now(), answer.clone()));
    }
}
