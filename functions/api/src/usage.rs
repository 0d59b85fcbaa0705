//! Usage: requests, and what ended runs used, by time and by who and what they were for.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::id::TenantId;
use domain::time::At;
use domain::usage::{
    Dimension, Forecast, Interval, Row, Subject, Usage, forecast, group, month_of,
};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use crate::address::{Params, Path};
use crate::admin::find_here;
use crate::auth::{AdminRead, As, Operator, RunsRead};
use crate::view::rfc_3339;
use crate::{Api, Problem, schema};

/// A tenant's usage.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageReport {
    /// Where it begins.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    from: At,
    /// Before which it ends.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    to: At,
    /// `minute`, `hour` or `day` (UTC).
    interval: &'static str,
    /// By time, then by what was to be told apart. Stretches without a request and a run that ended are left out.
    #[schema(value_type = Vec<schema::UsageItem>)]
    items: Vec<UsageItem>,
    /// All items together.
    #[schema(value_type = schema::UsageSum)]
    total: Usage,
    /// The month that it is now.
    month: MonthReport,
}

/// Usage of one stretch of time.
#[derive(Debug, Serialize)]
pub(crate) struct UsageItem {
    #[serde(serialize_with = "rfc_3339")]
    pub(crate) start: At,
    #[serde(flatten)]
    pub(crate) subject: Subject,
    #[serde(flatten)]
    pub(crate) usage: Usage,
}

/// A month's cost, so far and foreseen.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MonthReport {
    /// Where it begins.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    start: At,
    /// When the next one begins.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    ends_at: At,
    /// Cost of the runs that ended in it so far, in micro-USD.
    cost_micro_usd: u64,
    /// What it comes to at its end if the rest is like what has passed, in micro-USD.
    forecast_micro_usd: u64,
}

impl From<Forecast> for MonthReport {
    fn from(forecast: Forecast) -> Self {
        Self {
            start: forecast.month,
            ends_at: forecast.ends_at,
            cost_micro_usd: forecast.cost_micro_usd,
            forecast_micro_usd: forecast.forecast_micro_usd,
        }
    }
}

/// What is asked for.
pub(crate) struct Question {
    pub(crate) interval: Interval,
    pub(crate) from: At,
    pub(crate) to: At,
    dimensions: Vec<Dimension>,
}

impl Question {
    pub(crate) fn of(params: &Params, now: At) -> Result<Self, Problem> {
        let rule = "must be minute, hour or day";
        let interval = params.read("interval", rule, Interval::parse)?;
        let interval = interval.unwrap_or(Interval::Day);
        let rule = "must be some of project, key, agent and model, with commas between them";
        let dimensions = params.read("group_by", rule, |text| {
            text.split(',').map(Dimension::parse).collect()
        })?;
        let to = params.at("to")?.unwrap_or(At(now.0 + 1));
        // The end of the stretch that holds the last instant asked for.
        let to = interval
            .start(At(to.0.saturating_sub(1)))
            .plus_ms(interval.ms());
        let usual = match interval {
            Interval::Minute => At(now.0.saturating_sub(3_600_000)),
            Interval::Hour => At(now.0.saturating_sub(86_400_000)),
            Interval::Day => month_of(now).0,
        };
        let from = interval.start(params.at("from")?.unwrap_or(usual));
        if from >= to {
            return Err(Problem::parameter("from", "must be before `to`"));
        }
        if to.since_ms(from) / interval.ms() > interval.most() {
            let detail = format!(
                "a query spans at most {} intervals; ask for a shorter time or a longer interval",
                interval.most()
            );
            return Err(Problem::parameter("from", detail));
        }
        Ok(Self {
            interval,
            from,
            to,
            dimensions: dimensions.unwrap_or_default(),
        })
    }
}

async fn report(api: &Api, tenant: &TenantId, params: &Params) -> Result<UsageReport, Problem> {
    params.only(&["from", "to", "interval", "group_by"])?;
    let now = api.engine.now();
    let Question {
        interval,
        from,
        to,
        dimensions,
    } = Question::of(params, now)?;
    let store = &api.engine.store;
    let (month, ends_at) = month_of(now);
    let rows = Box::pin(store.usage(tenant, interval, from, to)).await?;
    let of_month = if interval == Interval::Day && from <= month && now < to {
        sum(rows.iter().filter(|row| row.start >= month))
    } else {
        let days = store.usage(tenant, Interval::Day, month, ends_at);
        sum(&Box::pin(days).await?)
    };
    let items = group(rows, &dimensions);
    Ok(UsageReport {
        from,
        to,
        interval: interval.as_str(),
        total: sum(&items),
        items: items
            .into_iter()
            .map(|row| UsageItem {
                start: row.start,
                subject: row.subject,
                usage: row.usage,
            })
            .collect(),
        month: forecast(of_month.cost_micro_usd, now).into(),
    })
}

pub(crate) fn sum<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Usage {
    let usages = rows.into_iter().map(|row| row.usage);
    usages.fold(Usage::default(), Usage::plus)
}

/// The report as the client asks for it: JSON, or its items as CSV.
fn shown(report: UsageReport, headers: &HeaderMap) -> Response {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|types| types.starts_with("text/csv")) {
        let csv = HeaderValue::from_static("text/csv; charset=utf-8");
        return ([(CONTENT_TYPE, csv)], csv_of(&report.items)).into_response();
    }
    Json(report).into_response()
}

/// RFC 4180, with a line of names.
fn csv_of(items: &[UsageItem]) -> String {
    let mut text = "start,project,key,agent,model,runs,failed_runs,steps,tool_calls,input_tokens,output_tokens,cost_micro_usd,requests,refused_requests\r\n".to_owned();
    for UsageItem {
        start,
        subject,
        usage,
    } in items
    {
        let texts = [
            start.to_string(),
            subject
                .project
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            subject
                .key
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            subject
                .agent
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            subject.model.clone().unwrap_or_default(),
        ];
        let numbers = [
            usage.runs,
            usage.failed_runs,
            usage.steps,
            usage.tool_calls,
            usage.input_tokens,
            usage.output_tokens,
            usage.cost_micro_usd,
            usage.requests,
            usage.refused_requests,
        ];
        let texts = texts.iter().map(|text| quoted(text));
        let cells: Vec<_> = texts.chain(numbers.iter().map(u64::to_string)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A cell. Tables calculate what begins like a formula, so that gets an apostrophe before it.
fn quoted(text: &str) -> String {
    let text = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text.to_owned(),
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// Read the usage
///
/// Of the tenant whose key asks: what its runs used, by the time at which they ended. A run is counted once, within seconds of
/// its end; the sum is what budgets were charged. Requests are counted by the time at which they were answered, within about a
/// minute; a process that is killed takes those of its last minute with it. With `Accept: text/csv` the items come as a table. Minutes are kept for 8
/// days, hours for 100, days for ever.
#[utoipa::path(
    get,
    path = "/v1/usage",
    operation_id = "read_usage",
    tag = "usage",
    params(
        ("from" = Option<String>, Query, description = "The instant (RFC 3339) whose interval is the first; the current month, day or hour unless given"),
        ("to" = Option<String>, Query, description = "Before this instant (RFC 3339); now unless given"),
        ("interval" = Option<String>, Query, description = "`minute` (at most 2 days of them), `hour` (62 days) or `day` (2 years, the usual), in UTC"),
        ("group_by" = Option<String>, Query, description = "What to tell apart: some of `project`, `key`, `agent` and `model`, with commas between them"),
    ),
    responses((status = 200, description = "The usage", content((UsageReport = "application/json"), (String = "text/csv")))),
    security(("key" = ["runs:read"]))
)]
pub(crate) async fn own(
    who: As<RunsRead>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let api = &who.api;
    Ok(shown(report(api, &who.tenant, &params).await?, &headers))
}

/// Read a tenant's usage
///
/// As `GET /v1/usage`.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{tenant}/usage",
    operation_id = "read_tenant_usage",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("from" = Option<String>, Query, description = "The instant (RFC 3339) whose interval is the first"),
        ("to" = Option<String>, Query, description = "Before this instant (RFC 3339)"),
        ("interval" = Option<String>, Query, description = "`minute`, `hour` or `day`, in UTC"),
        ("group_by" = Option<String>, Query, description = "Some of `project`, `key`, `agent` and `model`, with commas between them"),
    ),
    responses(
        (status = 200, description = "The usage", content((UsageReport = "application/json"), (String = "text/csv"))),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn of_tenant(
    _: Operator<AdminRead>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    find_here(&api, &tenant).await?;
    Ok(shown(report(&api, &tenant, &params).await?, &headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_what_tables_read() {
        assert_eq!(quoted("anthropic.claude:0"), "anthropic.claude:0");
        assert_eq!(quoted("a,b\"c"), "\"a,b\"\"c\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
    }
}
