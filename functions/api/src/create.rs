//! Creating runs: at once, waited for, or streamed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::agent::AgentRef;
use domain::caps::Caps;
use domain::id::{AgentId, RunId, TenantId};
use domain::run::{Head, Lane};
use domain::tenant::Tenant;
use engine::{Admitted, Limits, NewRun, Outcome, Refusal};
use http::header::{HeaderName, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::auth::{As, RunsWrite};
use crate::body::Body;
use crate::headers::{Asked, fingerprint};
use crate::problem::Finding;
use crate::view::Run;
use crate::{Api, Problem, follow, schema, stream};

/// Most bytes of a request that creates a run.
const MAX_BYTES: usize = 256 * 1024;
const MAX_LABELS: usize = 16;
/// How often an agent is read anew because its tenant's definitions change meanwhile.
const REDEFINED: u32 = 5;
/// What a drive may take beyond the wait, so that a model call under way is not paid for in vain.
const GRACE: Duration = Duration::from_secs(2);

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A run to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRequest {
    /// The agent.
    #[schema(value_type = String)]
    agent: AgentId,
    /// Its version; the latest unless given.
    version: Option<u32>,
    /// A text, or any JSON value but null.
    #[schema(value_type = Object)]
    input: Value,
    /// Caps below those of the agent.
    #[serde(default)]
    caps: AskedCaps,
    /// The queue that carries it: `interactive` when somebody waits, otherwise `standard`, unless given.
    #[schema(value_type = Option<schema::Lane>)]
    lane: Option<Lane>,
    /// At most 16 labels; keys of 1 to 64, values of at most 512 characters.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    /// Whether the answer is the run's events as they happen (Server-Sent Events).
    #[serde(default)]
    stream: bool,
}

/// Caps of one run. What is left out is the agent's.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedCaps {
    /// Model steps, at least 1.
    steps: Option<u32>,
    /// Tool calls.
    tool_calls: Option<u32>,
    /// Tokens, read and written.
    tokens: Option<u64>,
    /// Price in micro-USD.
    micro_usd: Option<u64>,
    /// Time to the end in milliseconds, at least 1,000.
    wall_ms: Option<u64>,
}

impl AskedCaps {
    fn within(&self, agent: Caps) -> Caps {
        Caps {
            steps: self.steps.unwrap_or(agent.steps),
            tool_calls: self.tool_calls.unwrap_or(agent.tool_calls),
            tokens: self.tokens.unwrap_or(agent.tokens),
            micro_usd: self.micro_usd.unwrap_or(agent.micro_usd),
            wall_ms: self.wall_ms.unwrap_or(agent.wall_ms),
        }
        .min(agent)
    }
}

impl RunRequest {
    fn check(&self) -> Result<(), Problem> {
        let mut findings = Vec::new();
        let mut want = |holds: bool, pointer: &str, detail: &str| {
            if !holds {
                findings.push(Finding::body(pointer, detail));
            }
        };
        let is_blank = match &self.input {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        };
        want(
            !is_blank,
            "/input",
            "must be a text that is not blank, or a JSON value that is not null",
        );
        want(self.version != Some(0), "/version", "must be at least 1");
        want(
            self.caps.steps != Some(0),
            "/caps/steps",
            "must be at least 1",
        );
        want(
            self.caps.wall_ms.is_none_or(|ms| ms >= 1_000),
            "/caps/wall_ms",
            "must be at least 1,000",
        );
        want(
            self.metadata.len() <= MAX_LABELS,
            "/metadata",
            "must have at most 16 members",
        );
        want(
            self.metadata.iter().all(|(key, value)| {
                (1..=64).contains(&key.chars().count()) && value.chars().count() <= 512
            }),
            "/metadata",
            "must have keys of 1 to 64 and values of at most 512 characters",
        );
        if findings.is_empty() {
            Ok(())
        } else {
            Err(Problem::InvalidBody(findings))
        }
    }
}

/// Create a run
///
/// Answers at once with the queued run. `Prefer: wait=N` waits up to 25 s for its end; `"stream": true` or `Accept:
/// text/event-stream` answers with its events as they happen. With an `Idempotency-Key` a repeated request names the run
/// that the first one created, for as long as the run is kept.
#[utoipa::path(
    post,
    path = "/v1/runs",
    operation_id = "create_run",
    tag = "runs",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters, quoted or bare"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`, N up to 25 seconds"),
    ),
    request_body = RunRequest,
    responses(
        (status = 200, description = "The run ended while it was waited for, or its events", content(
            (Run = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 202, description = "The run is under way", body = Run),
        (status = 409, description = "The agent is archived", body = schema::Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body has more than 256 KiB", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body breaks a rule, or the key was used with another one", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["runs:write"]))
)]
pub(crate) async fn create(
    who: As<RunsWrite>,
    asked: Asked,
    body: Body<RunRequest, MAX_BYTES>,
) -> Result<Response, Problem> {
    let api = &who.api;
    body.value.check()?;
    let fingerprint = match &asked.idempotency_key {
        Some(_) => Some(fingerprint(&body.raw)?),
        None => None,
    };
    let run = match &asked.idempotency_key {
        Some(key) => RunId::derived(&who.tenant, key),
        None => RunId::from_bytes(uuid::Uuid::new_v4().into_bytes()),
    };
    let mode = Mode::of(&body.value, &asked, &who.settings)?;
    let most = who.settings.limits().payload_bytes;
    if u64::try_from(body.raw.len()).is_ok_and(|bytes| bytes > most) {
        return Err(Problem::BodyTooLarge(
            usize::try_from(most).unwrap_or(MAX_BYTES),
        ));
    }
    let tenant = who.tenant;
    let earlier = Earlier {
        api,
        tenant: &tenant,
        run: &run,
        fingerprint: fingerprint.as_deref(),
        mode,
        asked: &asked,
    };
    let request = body.value;
    let lane = match mode {
        Mode::Queue => Lane::Standard,
        Mode::Wait(_) | Mode::Stream => Lane::Interactive,
    };
    let mut tries = 0;
    loop {
        let resolved = match resolve(api, &tenant, &request).await? {
            Ok(resolved) => resolved,
            Err(refused) => return earlier.unless(refused).await,
        };
        let new = NewRun {
            tenant: tenant.clone(),
            run: run.clone(),
            agent: resolved.agent,
            input: request.input.clone(),
            caps: resolved.caps,
            lane: request.lane.unwrap_or(lane),
            metadata: request.metadata.clone(),
            fingerprint: fingerprint.clone(),
            project: who.project.clone(),
            key: Some(who.key.clone()),
            definitions: Some(resolved.definitions),
        };
        match begin(api, new, mode, asked.remaining).await? {
            Begun::Answered(response) => return Ok(response),
            Begun::NoAgent => return Err(no_agent()),
            Begun::Exists(head) => return earlier.replay(*head).await,
            Begun::Refused(Refusal::Redefined) if tries < REDEFINED => {
                api.engine.store.forget_agent(&tenant, &request.agent);
                tries += 1;
            }
            Begun::Refused(refusal) => return earlier.unless(refusal.into()).await,
        }
    }
}

/// What became of a request to create a run.
pub(crate) enum Begun {
    Answered(Response),
    Exists(Box<Head>),
    NoAgent,
    Refused(Refusal),
}

async fn begin(api: &Api, new: NewRun, mode: Mode, remaining: Duration) -> Result<Begun, Problem> {
    let (tenant, run) = (new.tenant.clone(), new.run.clone());
    match mode {
        Mode::Queue => Ok(match Box::pin(api.engine.create(new)).await? {
            Admitted::New { head, place } => {
                let mut view = Run::of_head(head);
                view.place_in_line = place;
                Begun::Answered(answer(view, false, None))
            }
            Admitted::Exists(head) => Begun::Exists(Box::new(head)),
            Admitted::Refused(refusal) => Begun::Refused(refusal),
        }),
        Mode::Wait(wait) => {
            let until = Instant::now() + wait;
            let limits = limits(wait, remaining);
            Ok(
                match Box::pin(api.engine.create_and_drive(new, limits, None)).await? {
                    Outcome::Ended(state) => {
                        Begun::Answered(answer(Run::of_state(*state), false, Some(wait)))
                    }
                    Outcome::Parked(_)
                    | Outcome::HandedOver(_)
                    | Outcome::Waiting(_)
                    | Outcome::Held { .. } => {
                        let view = ended(api, &tenant, &run, until).await?;
                        Begun::Answered(answer(view, false, Some(wait)))
                    }
                    Outcome::Missing => Begun::NoAgent,
                    Outcome::Exists(head) => Begun::Exists(head),
                    Outcome::Refused(refusal) => Begun::Refused(refusal),
                },
            )
        }
        Mode::Stream => stream::drive(api, new, remaining).await,
    }
}

/// How the caller wants to be answered.
#[derive(Clone, Copy)]
enum Mode {
    Queue,
    Wait(Duration),
    Stream,
}

impl Mode {
    fn of(request: &RunRequest, asked: &Asked, tenant: &Tenant) -> Result<Self, Problem> {
        if request.stream || asked.event_stream {
            return stream::allowed(tenant).map(|()| Self::Stream);
        }
        Ok(match asked.wait {
            Some(wait) if !wait.is_zero() => Self::Wait(wait),
            _ => Self::Queue,
        })
    }
}

/// What a run of the agent that was asked for is to be.
struct Resolved {
    agent: AgentRef,
    caps: Caps,
    definitions: u64,
}

/// The agent's version and the caps that hold, or why there can be no new run of it.
async fn resolve(
    api: &Api,
    tenant: &TenantId,
    request: &RunRequest,
) -> Result<Result<Resolved, Problem>, Problem> {
    let (store, now) = (&api.engine.store, api.engine.now());
    let Some(latest) = store.latest_agent(tenant, &request.agent, now).await? else {
        return Ok(Err(no_agent()));
    };
    if latest.head.archived_at.is_some() {
        return Ok(Err(Problem::AgentArchived));
    }
    let newest = Arc::clone(&latest.version);
    let pinned = match request.version {
        None => Some(newest),
        Some(version) if version == newest.version => Some(newest),
        Some(version) => store.agent_version(tenant, &request.agent, version).await?,
    };
    let Some(pinned) = pinned else {
        return Ok(Err(Problem::field(
            "/version",
            "the agent has no such version",
        )));
    };
    Ok(Ok(Resolved {
        agent: AgentRef {
            id: pinned.id.clone(),
            version: pinned.version,
        },
        caps: request.caps.within(pinned.definition.caps),
        definitions: latest.definitions,
    }))
}

fn no_agent() -> Problem {
    Problem::field("/agent", "there is no such agent")
}

/// A request that may have come before, for the run that it created then.
struct Earlier<'a> {
    api: &'a Api,
    tenant: &'a TenantId,
    run: &'a RunId,
    fingerprint: Option<&'a str>,
    mode: Mode,
    asked: &'a Asked,
}

impl Earlier<'_> {
    /// The answer to a request that is refused now: what was accepted once stays accepted, whatever became of the agent and
    /// of the tenant.
    async fn unless(self, refused: Problem) -> Result<Response, Problem> {
        let existing = match self.fingerprint {
            Some(_) => {
                self.api
                    .engine
                    .store
                    .read(self.tenant, self.run, true)
                    .await?
            }
            None => None,
        };
        let (head, _) = existing.ok_or(refused)?;
        self.replay(head).await
    }

    /// The answer to a request whose run has this head.
    async fn replay(self, head: Head) -> Result<Response, Problem> {
        let Self {
            api, tenant, run, ..
        } = self;
        if head.fingerprint.as_deref() != self.fingerprint {
            return Err(Problem::IdempotencyKeyReused);
        }
        let mut response = match self.mode {
            Mode::Stream => {
                let (tenant, run) = (tenant.clone(), run.clone());
                stream::follow(api, tenant, run, Vec::new(), 0, self.asked.remaining)
            }
            Mode::Wait(wait) => {
                let view = ended(api, tenant, run, Instant::now() + wait).await?;
                answer(view, true, Some(wait))
            }
            Mode::Queue => {
                let view = ended(api, tenant, run, Instant::now()).await?;
                answer(view, true, None)
            }
        };
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// The run once it ended, or as it stands at `until`.
async fn ended(api: &Api, tenant: &TenantId, run: &RunId, until: Instant) -> Result<Run, Problem> {
    let mut pace = follow::Pace::new();
    loop {
        let read = api.engine.store.read(tenant, run, true).await?;
        let (head, newest) = read.ok_or(Problem::NotFound)?;
        if head.status.is_terminal() || !pace.wait_until(until).await {
            return in_line(api, tenant, Run::of_newest(head, newest)).await;
        }
    }
}

/// The run with its place in line, if it stands there.
pub(crate) async fn in_line(api: &Api, tenant: &TenantId, mut run: Run) -> Result<Run, Problem> {
    if run.waiting {
        let store = &api.engine.store;
        let place = store.place_in_line(tenant, run.created_at, &run.id).await?;
        run.place_in_line = Some(place.max(1));
    }
    Ok(run)
}

/// The limits of a drive that somebody waits for.
fn limits(wait: Duration, remaining: Duration) -> Limits {
    let now = Instant::now();
    let stay = (wait + GRACE).min(remaining.saturating_sub(GRACE));
    Limits {
        begin_until: now + wait.mul_f32(0.8).min(stay),
        stay_until: now + stay,
    }
}

fn answer(run: Run, replayed: bool, waited: Option<Duration>) -> Response {
    // A queued run that is asked for again was accepted again, even when it has ended since.
    let status = if run.status.is_terminal() && (waited.is_some() || !replayed) {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let location = location(&run.id);
    let mut response = (status, [(LOCATION, location)], Json(run)).into_response();
    if let Some(wait) = waited
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    response
}

pub(crate) fn location(run: &RunId) -> String {
    format!("/v1/runs/{run}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_only_lower_the_caps_of_its_agent() {
        let agent = Caps {
            steps: 10,
            wall_ms: 86_400_000,
            ..Caps::default()
        };
        let asked = AskedCaps {
            steps: Some(20),
            tokens: Some(5),
            ..AskedCaps::default()
        };
        let caps = asked.within(agent);
        assert_eq!((caps.steps, caps.tokens, caps.wall_ms), (10, 5, 86_400_000));
    }

    #[test]
    fn every_broken_rule_is_told_at_once() {
        let request: RunRequest = serde_json::from_value(serde_json::json!({
            "agent": "a", "version": 0, "input": " ", "caps": {"steps": 0, "wall_ms": 1}, "metadata": {"": ""},
        }))
        .unwrap();
        match request.check() {
            Err(Problem::InvalidBody(findings)) => assert_eq!(findings.len(), 5, "{findings:?}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_drive_ends_before_its_process_does() {
        let now = Instant::now();
        let limits = limits(Duration::from_secs(25), Duration::from_secs(20));
        assert!(limits.stay_until <= now + Duration::from_secs(19));
        assert!(limits.begin_until <= limits.stay_until);
    }
}
