//! Runs of all tenants on which nobody is at work.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use domain::id::{AgentId, RunId, TenantId};
use domain::run::{Lane, Status};
use domain::time::At;
use engine::StuckRun;
use serde::Serialize;
use utoipa::ToSchema;

use crate::address::Params;
use crate::auth::{AdminRead, Operator};
use crate::view::rfc_3339;
use crate::{Api, Problem, schema};

const MAX_SHOWN: usize = 1_000;
const SHOWN: usize = 100;
/// For how long a run must have been silent, in seconds: twice as long as a death is to be noticed within.
const OLDER_THAN_S: u64 = 60;
/// No driver counts as dead before its lease is over.
const MIN_OLDER_THAN_S: u64 = domain::run::LEASE_MS / 1_000;

/// Stuck runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StuckRuns {
    /// The longest stuck first.
    items: Vec<StuckView>,
    /// How many there are, by reason.
    #[schema(value_type = BTreeMap<String, usize>)]
    reasons: BTreeMap<&'static str, usize>,
    /// How many runs that have not ended were looked at: a small read each.
    looked_at: usize,
    /// Whether these were all of them.
    is_whole: bool,
}

/// A run on which nobody is at work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StuckView {
    /// The tenant.
    #[schema(value_type = String)]
    tenant: TenantId,
    /// The run.
    #[schema(value_type = String)]
    run: RunId,
    /// Its agent.
    #[schema(value_type = String)]
    agent: AgentId,
    /// Where it stands.
    #[schema(value_type = schema::Status)]
    status: Status,
    /// The queue that carries it.
    #[schema(value_type = schema::Lane)]
    lane: Lane,
    /// `deadline_passed`, `not_taken_up`, `driver_gone`, `worker_gone` (of a tool) or `not_woken`.
    reason: &'static str,
    /// The last sign of life, or when somebody should have come.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    since: At,
    /// Seconds since then.
    age_seconds: u64,
    /// When it was created.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    created_at: At,
    /// When it expires.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    deadline_at: At,
}

impl StuckView {
    fn of(stuck: StuckRun, now: At) -> Self {
        let head = stuck.head;
        Self {
            tenant: stuck.tenant,
            run: head.run,
            agent: head.agent.id,
            status: head.status,
            lane: head.lane,
            reason: stuck.why.as_str(),
            since: stuck.since,
            age_seconds: now.since_ms(stuck.since) / 1_000,
            created_at: head.created_at,
            deadline_at: head.deadline_at,
        }
    }
}

/// List stuck runs
///
/// Of all tenants: runs that should have moved on and did not, for a minute unless asked otherwise. The janitor wakes each of
/// them within half a minute, so what stands here for longer was woken in vain. Up to a thousand unended runs of each quarter
/// of each table are looked at.
#[utoipa::path(
    get,
    path = "/v1/admin/runs/stuck",
    operation_id = "list_stuck_runs",
    tag = "admin",
    params(
        ("older_than" = Option<u64>, Query, description = "For how many seconds at least, 25 to 86,400; 60 unless given"),
        ("limit" = Option<usize>, Query, description = "How many to show, 1 to 1,000; 100 unless given"),
    ),
    responses((status = 200, description = "Stuck runs", body = StuckRuns)),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn list(
    _: Operator<AdminRead>,
    State(api): State<Api>,
    params: Params,
) -> Result<Json<StuckRuns>, Problem> {
    params.only(&["older_than", "limit"])?;
    let limit = params.number("limit", 1..=MAX_SHOWN)?.unwrap_or(SHOWN);
    let older_than = params.number("older_than", MIN_OLDER_THAN_S..=86_400)?;
    let patience_ms = older_than.unwrap_or(OLDER_THAN_S) * 1_000;
    let search = Box::pin(api.engine.stuck(patience_ms)).await?;
    let mut reasons = BTreeMap::new();
    for found in &search.found {
        *reasons.entry(found.why.as_str()).or_default() += 1;
    }
    let now = api.engine.now();
    let found = search.found.into_iter().take(limit);
    Ok(Json(StuckRuns {
        items: found.map(|found| StuckView::of(found, now)).collect(),
        reasons,
        looked_at: search.looked_at,
        is_whole: search.is_whole,
    }))
}
