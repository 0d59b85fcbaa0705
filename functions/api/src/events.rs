//! A run's log, as pages or as a stream.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::id::{RunId, TenantId};
use domain::run::{Commit, Event};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::address::Params;
use crate::follow::{Cursor, Pace};
use crate::headers::{Asked, MAX_WAIT_S};
use crate::runs::{read_kept, want_kept};
use crate::stream_token::{self, Follower};
use crate::{Api, Problem, schema, stream, view};

const PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;

/// A part of a run's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Events {
    /// The events, in order.
    #[schema(value_type = Vec<schema::Event>)]
    items: Vec<Value>,
    /// What to ask for next as `after`.
    next_after: u64,
    /// Whether the run ended and nothing follows.
    ended: bool,
}

/// Read a run's events
///
/// From any position, in order, without a gap, for as long as the run is kept. With `Accept: text/event-stream` as
/// Server-Sent Events until the run ends: ids are event numbers, `Last-Event-ID` resumes, an event `end` closes. A run that
/// ended before the position answers 204, which tells an `EventSource` to stop. A stream token for this run does as well as a
/// key, here alone; a stream ends with it. Pages of any origin may read the answer.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}/events",
    operation_id = "read_run_events",
    tag = "runs",
    params(
        ("run" = String, Path, description = "The run"),
        ("after" = Option<u64>, Query, description = "Number of the last event that is known, 0 unless given"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000, 100 unless given; not for streams"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for an event, up to 25; not for streams"),
        ("access_token" = Option<String>, Query, description = "A stream token for this run, in place of any header"),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`; counts before it"),
    ),
    responses(
        (status = 200, description = "Events", content(
            (Events = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 204, description = "The run ended and the stream has nothing to add"),
        (status = 404, description = "No such run", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["runs:read"]), ("stream_token" = []))
)]
pub(crate) async fn read(
    Follower { who, run, until }: Follower,
    asked: Asked,
    params: Params,
) -> Result<Response, Problem> {
    let api = &who.api;
    params.only(&["after", "limit", "wait", stream_token::PARAMETER])?;
    let after = params.number("after", 0..=999_999_999_998)?;
    let after = asked
        .last_event_id
        .or(after)
        .unwrap_or(0)
        .min(999_999_999_998);
    if asked.event_stream {
        stream::allowed(&who.settings)?;
    }
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE);
    let wait = params.seconds("wait", MAX_WAIT_S)?.or(asked.wait);
    let cursor = Cursor::new(who.tenant.clone(), run.clone(), after);
    let commits = cursor.look(&api.engine.store, limit).await?;
    want_kept(api, &who.tenant, &run, &commits).await?;
    let has_ended = commits.is_empty() && has_ended(api, &who.tenant, &run, after).await?;
    if asked.event_stream {
        return Ok(if has_ended {
            StatusCode::NO_CONTENT.into_response()
        } else {
            let left = until.map(|until| Duration::from_millis(until.since_ms(api.engine.now())));
            let remaining = left.map_or(asked.remaining, |left| left.min(asked.remaining));
            stream::follow(api, who.tenant, run, commits, after, remaining)
        });
    }
    let commits = if commits.is_empty() && !has_ended {
        wait_for(api, &cursor, limit, wait.unwrap_or_default()).await?
    } else {
        commits
    };
    Ok(Json(page(&run, &commits, after, limit, has_ended)).into_response())
}

/// Whether a run whose log shows nothing after `after` is over; a problem when it has not come that far.
async fn has_ended(api: &Api, tenant: &TenantId, run: &RunId, after: u64) -> Result<bool, Problem> {
    let (_, newest) = read_kept(api, tenant, run).await?;
    if after > newest.last() {
        let detail = format!("the run has {} events", newest.last());
        return Err(Problem::parameter("after", detail));
    }
    Ok(after == newest.last() && newest.events.last().is_some_and(Event::is_terminal))
}

async fn wait_for(
    api: &Api,
    cursor: &Cursor,
    limit: u32,
    wait: Duration,
) -> Result<Vec<Commit>, Problem> {
    let until = Instant::now() + wait;
    let mut pace = Pace::new();
    while pace.wait_until(until).await {
        let commits = cursor.look(&api.engine.store, limit).await?;
        if !commits.is_empty() {
            return Ok(commits);
        }
    }
    Ok(Vec::new())
}

fn page(run: &RunId, commits: &[Commit], after: u64, limit: u32, has_ended: bool) -> Events {
    let mut page = Events {
        items: Vec::new(),
        next_after: after,
        ended: has_ended,
    };
    let events = commits
        .iter()
        .flat_map(|commit| {
            commit
                .numbered()
                .map(move |(number, event)| (number, commit.at, event))
        })
        .filter(|(number, _, _)| *number > after)
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    for (number, at, event) in events {
        page.items.push(view::event(run, number, at, event));
        page.next_after = number;
        page.ended = event.is_terminal();
    }
    page
}

#[cfg(test)]
mod tests {
    use domain::time::At;

    use super::*;

    #[test]
    fn a_page_may_begin_and_end_within_a_commit() {
        let cancel = |by: &str| Event::CancelRequested {
            by: by.to_owned(),
            reason: None,
        };
        let commit = Commit {
            first: 1,
            at: At(0),
            driver: None,
            events: vec![cancel("a"), cancel("b"), cancel("c"), Event::Cancelled],
            used: None,
        };
        let numbers = |page: &Events| -> Vec<u64> {
            page.items
                .iter()
                .map(|item| item["event"].as_u64().unwrap())
                .collect()
        };
        let run = RunId::from_bytes([0; 16]);
        let first = page(&run, std::slice::from_ref(&commit), 1, 2, false);
        assert_eq!(
            (numbers(&first), first.next_after, first.ended),
            (vec![2, 3], 3, false)
        );
        let last = page(&run, &[commit], 3, 2, false);
        assert_eq!(
            (numbers(&last), last.next_after, last.ended),
            (vec![4], 4, true)
        );
    }
}
