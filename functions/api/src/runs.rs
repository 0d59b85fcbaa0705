//! Runs: list, read, cancel, and what their steps used and cost.

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::id::{AgentId, RunId, TenantId};
use domain::receipt::Receipt;
use domain::run::{Commit, Event, Head, Status};
use domain::tier::{DAY_MS, MIN_RETENTION_DAYS};
use engine::Recorded;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::RunFilter;
use utoipa::ToSchema;

use crate::address::{Params, Path};
use crate::auth::{As, RunsRead, RunsWrite};
use crate::body::Optional;
use crate::create::in_line;
use crate::steps::{Step, Steps};
use crate::view::{List, Run};
use crate::{Api, Problem, schema};

const MAX_PAGE: u32 = 100;
const PAGE: u32 = 20;
/// Commits read at once for the steps and the receipt of a run.
const COMMITS: u32 = 1_000;
/// For how long every run is kept after its last event, at least.
const MIN_KEPT_MS: u64 = MIN_RETENTION_DAYS as u64 * DAY_MS;

/// List runs
///
/// Newest first. A run that was created or changed within the last second may be missing or stand as it was.
#[utoipa::path(
    get,
    path = "/v1/runs",
    operation_id = "list_runs",
    tag = "runs",
    params(
        ("status" = Option<schema::Status>, Query, description = "Only those of this status"),
        ("agent" = Option<String>, Query, description = "Only those of this agent"),
        ("created_after" = Option<String>, Query, description = "Only those created at this instant (RFC 3339) or later"),
        ("created_before" = Option<String>, Query, description = "Only those created before this instant (RFC 3339)"),
        ("limit" = Option<u32>, Query, description = "1 to 100, 20 unless given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<Run>)),
    security(("key" = ["runs:read"]))
)]
pub(crate) async fn list(who: As<RunsRead>, params: Params) -> Result<Json<List<Run>>, Problem> {
    let api = &who.api;
    params.only(&[
        "status",
        "agent",
        "created_after",
        "created_before",
        "limit",
        "cursor",
    ])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE);
    let statuses = Status::ALL.map(Status::as_str).join(", ");
    let filter = RunFilter {
        status: params.read(
            "status",
            &format!("must be one of {statuses}"),
            Status::parse,
        )?,
        agent: params.read("agent", "must be an agent id", |text| {
            AgentId::parse(text).ok()
        })?,
        created_from: params.at("created_after")?,
        created_to: params.at("created_before")?,
    };
    let (store, now) = (&api.engine.store, api.engine.now());
    let page =
        Box::pin(store.runs(&who.tenant, &filter, limit, params.text("cursor"), now)).await?;
    Ok(Json(List::of(page, Run::of_head)))
}

/// Read a run
///
/// Its answer or error is there once it ended.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}",
    operation_id = "read_run",
    tag = "runs",
    params(("run" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The run", body = Run),
        (status = 404, description = "No such run", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["runs:read"]))
)]
pub(crate) async fn read(who: As<RunsRead>, Path(run): Path<RunId>) -> Result<Json<Run>, Problem> {
    let api = &who.api;
    let (head, newest) = read_kept(api, &who.tenant, &run).await?;
    let run = in_line(api, &who.tenant, Run::of_newest(head, newest)).await?;
    Ok(Json(run))
}

/// Read a run's steps
///
/// What each model call and its tool calls used and how long they took.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}/steps",
    operation_id = "list_run_steps",
    tag = "runs",
    params(("run" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The steps, in order", body = List<Step>),
        (status = 404, description = "No such run", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["runs:read"]))
)]
pub(crate) async fn steps(
    who: As<RunsRead>,
    Path(run): Path<RunId>,
) -> Result<Json<List<Step>>, Problem> {
    let api = &who.api;
    let mut steps = Steps::default();
    read_log(api, &who.tenant, &run, |commit| steps.take(commit)).await?;
    Ok(Json(List {
        items: steps.finish(),
        next_cursor: String::new(),
    }))
}

/// Read a run's receipt
///
/// What its model calls and tool calls used and cost, in all, by agent and by step. The items add up to the total, and the
/// total of a run that is over is what budgets were charged for it.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}/receipt",
    operation_id = "read_run_receipt",
    tag = "runs",
    params(("run" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The receipt; so far, while the run goes on", body = schema::Receipt),
        (status = 404, description = "No such run", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["runs:read"]))
)]
pub(crate) async fn receipt(
    who: As<RunsRead>,
    Path(run): Path<RunId>,
) -> Result<Json<RunReceipt>, Problem> {
    let api = &who.api;
    let mut receipt = Receipt::default();
    read_log(api, &who.tenant, &run, |commit| receipt.take(commit)).await?;
    Ok(Json(RunReceipt { run, receipt }))
}

/// The receipt of a run.
#[derive(Debug, Serialize)]
pub(crate) struct RunReceipt {
    pub(crate) run: RunId,
    #[serde(flatten)]
    pub(crate) receipt: Receipt,
}

/// A run that is kept: its head and its newest commit.
pub(crate) async fn read_kept(
    api: &Api,
    tenant: &TenantId,
    run: &RunId,
) -> Result<(Head, Commit), Problem> {
    let read = api.engine.store.read(tenant, run, true).await?;
    let now = api.engine.now();
    read.filter(|(head, _)| head.is_kept(now))
        .ok_or(Problem::NotFound)
}

/// A problem when the run of which these commits are is kept no longer: the table deletes what is past its time within days.
/// Whatever was written within the last day is of a run that is kept, so only old runs cost a read.
pub(crate) async fn want_kept(
    api: &Api,
    tenant: &TenantId,
    run: &RunId,
    commits: &[Commit],
) -> Result<(), Problem> {
    let now = api.engine.now();
    let is_old = |commit: &Commit| now.since_ms(commit.at) >= MIN_KEPT_MS;
    if commits.last().is_some_and(is_old) {
        read_kept(api, tenant, run).await?;
    }
    Ok(())
}

/// Hands every commit of a run to `take`, in order.
async fn read_log(
    api: &Api,
    tenant: &TenantId,
    run: &RunId,
    mut take: impl FnMut(&Commit),
) -> Result<(), Problem> {
    let store = &api.engine.store;
    let mut next = 1;
    loop {
        let commits = store.commits(tenant, run, next, COMMITS).await?;
        if next == 1 {
            want_kept(api, tenant, run, &commits).await?;
        }
        commits.iter().for_each(&mut take);
        let Some(last) = commits.last() else { break };
        next = last.last() + 1;
        if last.events.last().is_some_and(Event::is_terminal) {
            break;
        }
    }
    if next == 1 {
        return Err(Problem::NotFound);
    }
    Ok(())
}

/// Why a run is cancelled.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancellation {
    /// In the caller's words, at most 500 characters.
    reason: Option<String>,
}

/// Cancel a run
///
/// Nothing starts in it after this. A run that ended already stays as it is; cancelling again changes nothing.
#[utoipa::path(
    post,
    path = "/v1/runs/{run}/cancel",
    operation_id = "cancel_run",
    tag = "runs",
    params(("run" = String, Path, description = "The run")),
    request_body(content = Option<Cancellation>, description = "May be left out"),
    responses(
        (status = 200, description = "The run is over", body = Run),
        (status = 202, description = "The run ends as soon as its driver sees this", body = Run),
        (status = 404, description = "No such run", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["runs:write"]))
)]
pub(crate) async fn cancel(
    who: As<RunsWrite>,
    Path(run): Path<RunId>,
    Optional(cancellation): Optional<Cancellation>,
) -> Result<Response, Problem> {
    let api = &who.api;
    let reason = cancellation.reason;
    if reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > 500)
    {
        return Err(Problem::field(
            "/reason",
            "must have at most 500 characters",
        ));
    }
    let by = format!("key {}", who.key);
    match Box::pin(api.engine.cancel(&who.tenant, &run, &by, reason)).await? {
        Recorded::Missing => Err(Problem::NotFound),
        Recorded::Done(state) if !Head::of(&state).is_kept(api.engine.now()) => {
            Err(Problem::NotFound)
        }
        Recorded::Done(state) => {
            let status = if state.status.is_terminal() {
                StatusCode::OK
            } else {
                StatusCode::ACCEPTED
            };
            Ok((status, Json(Run::of_state(*state))).into_response())
        }
    }
}
