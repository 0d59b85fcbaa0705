//! What service the platform gave: how many requests and runs it failed, how long runs waited and lived.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use domain::id::TenantId;
use domain::service::{Service, Spread, part};
use domain::tenant::Isolation;
use domain::time::At;
use domain::usage::{Interval, Usage};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::find_here;
use crate::address::Params;
use crate::auth::{AdminRead, OPERATOR, Operator};
use crate::view::rfc_3339;
use crate::{Api, Problem, schema};

/// Tenants that are read at the same time.
const AT_ONCE: usize = 16;
const PAGE: u32 = 100;
/// What is reported unless asked otherwise.
const DAY_MS: u64 = 86_400_000;

/// What service the platform gave, from which objectives can be checked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SloReport {
    /// Where it begins: an hour.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    from: At,
    /// Before which it ends.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    to: At,
    /// Of how many tenants.
    tenants: usize,
    /// All hours together.
    total: ServiceView,
    /// By hour; those without a request and a run that ended are left out.
    hours: Vec<HourOfService>,
}

/// What service was given in an hour.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HourOfService {
    /// Where it begins.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    start: At,
    #[serde(flatten)]
    service: ServiceView,
}

/// What service was given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceView {
    /// Requests of tenants' keys.
    requests: u64,
    /// Those of them that were answered with 5xx.
    failed_requests: u64,
    /// Which part of the requests was not; none without requests.
    availability: Option<f64>,
    /// Runs that ended, by how they did.
    runs: EndsView,
    /// Which part of the runs that nobody cancelled succeeded; none without any.
    run_success: Option<f64>,
    /// From a run's creation until a driver took it up, its tenant's line included.
    run_wait: SpreadView,
    /// From a run's creation to its end.
    run_duration: SpreadView,
}

/// Runs that ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndsView {
    /// With an answer.
    succeeded: u64,
    /// Without one, by themselves.
    failed: u64,
    /// By somebody's wish.
    cancelled: u64,
    /// At their deadlines.
    expired: u64,
}

/// Times of so many runs. They are counted up to 100 ms, 250 ms, 500 ms, 1 s, 2.5 s, 5 s, 10 s, 30 s, 1 min, 5 min and 1 h: a
/// percentile is the bound that so many in a hundred did not pass, null when that is longer than all.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SpreadView {
    /// Of how many runs.
    count: u64,
    /// Half took at most this many milliseconds.
    p50_ms: Option<u64>,
    /// 95 of a hundred did.
    p95_ms: Option<u64>,
    /// 99 of a hundred did.
    p99_ms: Option<u64>,
}

impl From<Spread> for SpreadView {
    fn from(spread: Spread) -> Self {
        Self {
            count: spread.count(),
            p50_ms: spread.percentile_ms(50),
            p95_ms: spread.percentile_ms(95),
            p99_ms: spread.percentile_ms(99),
        }
    }
}

impl From<(Usage, Service)> for ServiceView {
    fn from((usage, service): (Usage, Service)) -> Self {
        let answered = usage.requests.saturating_sub(usage.failed_requests);
        Self {
            requests: usage.requests,
            failed_requests: usage.failed_requests,
            availability: part(answered, usage.requests),
            runs: EndsView {
                succeeded: service.succeeded,
                failed: service.failed,
                cancelled: service.cancelled,
                expired: service.expired,
            },
            run_success: service.success(),
            run_wait: service.waits.into(),
            run_duration: service.lives.into(),
        }
    }
}

/// Read what service was given
///
/// Of all tenants of this stack, or of one: which part of the requests was answered and of the runs succeeded, how long runs
/// waited for a driver and how long they took, by the hour and in all; by the time at which runs ended. What ended in the last
/// minute or so may be missing. Hours are kept for 100 days.
#[utoipa::path(
    get,
    path = "/v1/admin/slo",
    operation_id = "read_slo",
    tag = "admin",
    params(
        ("from" = Option<String>, Query, description = "The instant (RFC 3339) whose hour is the first; a day ago unless given"),
        ("to" = Option<String>, Query, description = "Before this instant (RFC 3339), whose hour is the last; now unless given"),
        ("tenant" = Option<String>, Query, description = "Only of this tenant"),
    ),
    responses(
        (status = 200, description = "What service was given", body = SloReport),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn read(
    _: Operator<AdminRead>,
    State(api): State<Api>,
    params: Params,
) -> Result<Json<SloReport>, Problem> {
    params.only(&["from", "to", "tenant"])?;
    let now = api.engine.now();
    let hour = Interval::Hour;
    let to = params.at("to")?.unwrap_or(At(now.0 + 1));
    let to = hour.start(At(to.0.saturating_sub(1))).plus_ms(hour.ms());
    let from = params.at("from")?;
    let from = hour.start(from.unwrap_or(At(now.0.saturating_sub(DAY_MS))));
    if from >= to {
        return Err(Problem::parameter("from", "must be before `to`"));
    }
    if to.since_ms(from) / hour.ms() > hour.most() {
        let detail = format!("a report spans at most {} hours", hour.most());
        return Err(Problem::parameter("from", detail));
    }
    let rule = "must be the id of a tenant";
    let tenant = params.read("tenant", rule, |text| TenantId::parse(text).ok())?;
    let tenants = match tenant {
        Some(tenant) => vec![find_here(&api, &tenant).await?.id],
        None => all(&api, now).await?,
    };
    let store = &api.engine.store;
    let reads: Vec<_> = tenants
        .iter()
        .map(|tenant| store.service(tenant, from, to))
        .collect();
    let mut hours = BTreeMap::<At, (Usage, Service)>::new();
    let mut rows = stream::iter(reads).buffer_unordered(AT_ONCE);
    while let Some(of_tenant) = rows.try_next().await? {
        for (row, service) in of_tenant {
            let (usage, sum) = hours.entry(row.start).or_default();
            *usage = usage.plus(row.usage);
            *sum = sum.plus(service);
        }
    }
    let total = hours.values().copied();
    let total = total.fold((Usage::default(), Service::default()), |sum, more| {
        (sum.0.plus(more.0), sum.1.plus(more.1))
    });
    Ok(Json(SloReport {
        from,
        to,
        tenants: tenants.len(),
        total: total.into(),
        hours: hours
            .into_iter()
            .map(|(start, service)| HourOfService {
                start,
                service: service.into(),
            })
            .collect(),
    }))
}

/// Every tenant whose data is in this stack.
async fn all(api: &Api, now: At) -> Result<Vec<TenantId>, Problem> {
    let operator = TenantId::parse(OPERATOR).map_err(|_| Problem::Internal)?;
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let store = &api.engine.store;
        let page = store.tenants(&operator, PAGE, cursor.as_deref(), now);
        let page = page.await?;
        let here = page
            .items
            .into_iter()
            .filter(|tenant| !matches!(tenant.isolation, Isolation::Silo { .. }));
        found.extend(here.map(|tenant| tenant.id));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}
