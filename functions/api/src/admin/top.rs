//! Tenants by what they used.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::State;
use domain::id::TenantId;
use domain::time::At;
use domain::usage::Usage;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use store::Store;
use utoipa::ToSchema;

use super::operator;
use crate::address::Params;
use crate::auth::{AdminRead, Operator};
use crate::usage::{Question, sum};
use crate::view::rfc_3339;
use crate::{Api, Problem, schema};

const MAX_SHOWN: usize = 1_000;
const SHOWN: usize = 10;
/// Most tenants whose usage is read.
const MOST_TENANTS: usize = 10_000;
/// Tenants of one page of their list.
const PAGE: u32 = 200;
/// Tenants whose usage is read at the same time.
const AT_ONCE: usize = 32;

/// What tenants are ordered by.
#[derive(Clone, Copy, Debug)]
enum Measure {
    Cost,
    Runs,
    FailedRuns,
    Tokens,
    Requests,
    RefusedRequests,
}

impl Measure {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Cost, "cost"),
        (Self::Runs, "runs"),
        (Self::FailedRuns, "failed_runs"),
        (Self::Tokens, "tokens"),
        (Self::Requests, "requests"),
        (Self::RefusedRequests, "refused_requests"),
    ];

    fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        found.map(|(measure, _)| measure)
    }

    fn of(self, usage: &Usage) -> u64 {
        match self {
            Self::Cost => usage.cost_micro_usd,
            Self::Runs => usage.runs,
            Self::FailedRuns => usage.failed_runs,
            Self::Tokens => usage.input_tokens.saturating_add(usage.output_tokens),
            Self::Requests => usage.requests,
            Self::RefusedRequests => usage.refused_requests,
        }
    }
}

/// Tenants by what they used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopTenants {
    /// Where it begins.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    from: At,
    /// Before which it ends.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    to: At,
    /// Those who used most, of those who used anything.
    #[schema(value_type = Vec<schema::TenantUsage>)]
    items: Vec<TenantUsage>,
    /// All tenants together.
    #[schema(value_type = schema::UsageSum)]
    total: Usage,
    /// How many tenants' usage was read.
    tenants: usize,
    /// Tenants whose usage could not be read: those whose own table does not answer.
    #[schema(value_type = Vec<String>)]
    unread: Vec<TenantId>,
    /// Whether there are no more tenants than the 10,000 that are read at most.
    is_whole: bool,
    /// What this answer has cost: requests to the table.
    reads: u64,
    /// What it has cost: read units.
    read_units: f64,
}

/// What one tenant used.
#[derive(Debug, Serialize)]
pub(crate) struct TenantUsage {
    tenant: TenantId,
    #[serde(flatten)]
    usage: Usage,
}

/// List the tenants that used most
///
/// Reads the list of tenants, 200 to a request, and the usage of each: one request for the days, one for each month of hours.
/// The answer says what it has cost.
#[utoipa::path(
    get,
    path = "/v1/admin/usage",
    operation_id = "list_top_tenants",
    tag = "admin",
    params(
        ("by" = Option<String>, Query, description = "`cost` (the usual), `runs`, `failed_runs`, `tokens`, `requests` or `refused_requests`"),
        ("from" = Option<String>, Query, description = "The instant (RFC 3339) whose interval is the first; the current month, day or hour unless given"),
        ("to" = Option<String>, Query, description = "Before this instant (RFC 3339); now unless given"),
        ("interval" = Option<String>, Query, description = "How exact `from` and `to` are: `minute`, `hour` or `day`, in UTC"),
        ("limit" = Option<usize>, Query, description = "How many tenants, 1 to 1,000; 10 unless given"),
    ),
    responses((status = 200, description = "Tenants, those first that used most", body = TopTenants)),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn list(
    _: Operator<AdminRead>,
    State(api): State<Api>,
    params: Params,
) -> Result<Json<TopTenants>, Problem> {
    params.only(&["by", "from", "to", "interval", "limit"])?;
    let limit = params.number("limit", 1..=MAX_SHOWN)?.unwrap_or(SHOWN);
    let rule = "must be cost, runs, failed_runs, tokens, requests or refused_requests";
    let by = params.read("by", rule, Measure::parse)?;
    let by = by.unwrap_or(Measure::Cost);
    let now = api.engine.now();
    let asked = Question::of(&params, now)?;
    let store = api.engine.store.metered();
    let (tenants, is_whole) = Box::pin(all(&store, now)).await?;
    let reads: Vec<_> = tenants
        .into_iter()
        .map(|tenant| {
            let (store, asked) = (&store, &asked);
            Box::pin(async move {
                let rows = store.usage(&tenant, asked.interval, asked.from, asked.to);
                let usage = rows.await.map(|rows| sum(&rows));
                (tenant, usage)
            })
        })
        .collect();
    let read: Vec<_> = stream::iter(reads)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut items, mut unread) = (Vec::new(), Vec::new());
    for (tenant, usage) in read {
        match usage {
            Ok(usage) => items.push(TenantUsage { tenant, usage }),
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(tenant.id = %tenant, error = %telemetry::chain(&error), "the usage of a tenant was not read");
                unread.push(tenant);
            }
        }
    }
    let tenants = items.len();
    let usages = items.iter().map(|item| item.usage);
    let total = usages.fold(Usage::default(), Usage::plus);
    items.retain(|item| by.of(&item.usage) > 0);
    items.sort_by(|a, b| {
        let order = |item: &TenantUsage| Reverse(by.of(&item.usage));
        order(a).cmp(&order(b)).then(a.tenant.cmp(&b.tenant))
    });
    items.truncate(limit);
    unread.sort_unstable();
    let consumed = store.consumed();
    Ok(Json(TopTenants {
        from: asked.from,
        to: asked.to,
        items,
        total,
        tenants,
        unread,
        is_whole,
        reads: consumed.reads,
        read_units: consumed.read_units,
    }))
}

/// The tenants whose usage is here, and whether these are all.
async fn all(store: &Store, now: At) -> Result<(Vec<TenantId>, bool), Problem> {
    let operator = operator()?;
    let (mut tenants, mut cursor) = (Vec::new(), None);
    loop {
        let page = store
            .tenants(&operator, PAGE, cursor.as_deref(), now)
            .await?;
        let here = page.items.into_iter();
        let here = here.filter(|tenant| tenant.isolation.endpoint().is_none());
        tenants.extend(here.map(|tenant| tenant.id));
        cursor = page.next;
        if cursor.is_none() || tenants.len() >= MOST_TENANTS {
            return Ok((tenants, cursor.is_none()));
        }
    }
}
