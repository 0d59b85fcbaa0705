//! Dead letters: what each queue gave up, looked at and sent back.

use axum::Json;
use axum::extract::State;
use domain::id::{RunId, TenantId};
use domain::time::At;
use queue::{About, DeadLetter, Origin, Which};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::operator;
use crate::address::{Params, Path};
use crate::auth::{AdminRead, AdminWrite, Operator};
use crate::body::Optional;
use crate::view::{List, rfc_3339_if};
use crate::{Api, Problem, schema};

/// Most dead letters of one answer, and how many unless asked.
const MAX_SHOWN: usize = 100;
const SHOWN: usize = 10;
/// Most dead letters that one request sends back.
const MAX_MOVED: usize = 1_000;
const MOVED: usize = 100;

/// What lies behind a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadQueue {
    /// The queue that the messages came from.
    queue: &'static str,
    /// How many dead letters there are, approximately.
    waiting: u64,
    /// Those beside them that somebody looks at or sends back at this moment.
    in_flight: u64,
    /// When the oldest of the first ten was sent.
    #[schema(value_type = Option<String>)]
    #[serde(
        serialize_with = "rfc_3339_if",
        skip_serializing_if = "Option::is_none"
    )]
    oldest_sent_at: Option<At>,
}

/// A dead letter. What it carries (inputs, arguments) is the tenant's and not shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterView {
    /// The queue's id of the message.
    id: String,
    /// When it was sent.
    #[schema(value_type = Option<String>)]
    #[serde(
        serialize_with = "rfc_3339_if",
        skip_serializing_if = "Option::is_none"
    )]
    sent_at: Option<At>,
    /// Size of its body in bytes.
    bytes: usize,
    /// `run`, `tool`, `sweep` or `closing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Whose run, or the tenant that is being closed.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    /// The run.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    /// The tool that was to be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    /// Why it is no message of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<String>,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        let mut view = Self {
            id: letter.id,
            sent_at: letter.sent_at,
            bytes: letter.bytes,
            kind: None,
            tenant: None,
            run: None,
            tool: None,
            malformed: None,
        };
        match letter.about {
            Ok(about) => {
                let About {
                    kind,
                    tenant,
                    run,
                    tool,
                } = about;
                view.kind = Some(kind);
                (view.tenant, view.run, view.tool) = (tenant, run, tool);
            }
            Err(error) => view.malformed = Some(error.to_string()),
        }
        view
    }
}

/// Which dead letters go back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redrive {
    /// At most so many, 100 unless given.
    #[schema(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// Those with these ids alone, at most 100 of them; searched for among the first thousand.
    messages: Option<Vec<String>>,
}

/// What became of dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedrivenView {
    /// Their queue took these.
    moved: usize,
    /// It refused these, which stay.
    failed: usize,
    /// How many are left, approximately.
    left: u64,
}

fn origin(queue: &str) -> Result<Origin, Problem> {
    Origin::parse(queue).ok_or(Problem::NotFound)
}

/// Count the dead letters
///
/// Of each queue: messages that were received ten times and never acknowledged. Looking hides the first ten for a moment.
#[utoipa::path(
    get,
    path = "/v1/admin/dlq",
    operation_id = "list_dead_letter_queues",
    tag = "admin",
    responses((status = 200, description = "All queues", body = List<DeadQueue>)),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn list(
    _: Operator<AdminRead>,
    State(api): State<Api>,
) -> Result<Json<List<DeadQueue>>, Problem> {
    let mut items = Vec::new();
    for origin in Origin::ALL {
        if let Some(dead) = Box::pin(api.engine.queue.dead(origin)).await? {
            items.push(DeadQueue {
                queue: origin.as_str(),
                waiting: dead.depth.visible,
                in_flight: dead.depth.in_flight,
                oldest_sent_at: dead.oldest_sent_at,
            });
        }
    }
    Ok(Json(List {
        items,
        next_cursor: String::new(),
    }))
}

/// Look at dead letters
///
/// The oldest of those that came first. They stay where they are; while this lasts nobody else sees them.
#[utoipa::path(
    get,
    path = "/v1/admin/dlq/{queue}",
    operation_id = "list_dead_letters",
    tag = "admin",
    params(
        ("queue" = String, Path, description = "`runs-interactive`, `runs-standard`, `runs-batch`, `tasks` or `sweeps`"),
        ("limit" = Option<usize>, Query, description = "1 to 100, 10 unless given"),
    ),
    responses(
        (status = 200, description = "Some of them", body = List<DeadLetterView>),
        (status = 404, description = "No such queue", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn show(
    _: Operator<AdminRead>,
    Path(queue): Path<String>,
    State(api): State<Api>,
    params: Params,
) -> Result<Json<List<DeadLetterView>>, Problem> {
    params.only(&["limit"])?;
    let limit = params.number("limit", 1..=MAX_SHOWN)?.unwrap_or(SHOWN);
    let letters = Box::pin(api.engine.queue.dead_letters(origin(&queue)?, limit)).await?;
    let letters = letters.ok_or(Problem::NotFound)?;
    Ok(Json(List {
        items: letters.into_iter().map(DeadLetterView::from).collect(),
        next_cursor: String::new(),
    }))
}

/// Send dead letters back to their queue
///
/// Each is deleted only once its queue has taken it; who dies in between leaves it in both, and what comes twice changes
/// nothing. Repeat until `left` is 0. The operators' audit trail tells of it.
#[utoipa::path(
    post,
    path = "/v1/admin/dlq/{queue}/redrive",
    operation_id = "redrive_dead_letters",
    tag = "admin",
    params(("queue" = String, Path, description = "`runs-interactive`, `runs-standard`, `runs-batch`, `tasks` or `sweeps`")),
    request_body(content = Option<Redrive>, description = "May be left out"),
    responses(
        (status = 200, description = "What became of them", body = RedrivenView),
        (status = 404, description = "No such queue", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body breaks a rule", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn redrive(
    who: Operator<AdminWrite>,
    Path(queue): Path<String>,
    State(api): State<Api>,
    Optional(asked): Optional<Redrive>,
) -> Result<Json<RedrivenView>, Problem> {
    let api = api.on_behalf_of(&who.name());
    let origin = origin(&queue)?;
    let limit = asked.limit.unwrap_or(MOVED);
    let which = match &asked.messages {
        Some(_) if asked.limit.is_some() => {
            return Err(Problem::field("/limit", "does not go with `messages`"));
        }
        Some(ids) if !(1..=MAX_SHOWN).contains(&ids.len()) => {
            return Err(Problem::field("/messages", "must have 1 to 100 ids"));
        }
        Some(ids) => Which::These(ids),
        None if !(1..=MAX_MOVED).contains(&limit) => {
            return Err(Problem::field("/limit", "must be 1 to 1,000"));
        }
        None => Which::First(limit),
    };
    let (queue, now) = (&api.engine.queue, api.engine.now());
    if Box::pin(queue.dead_depth(origin)).await?.is_none() {
        return Err(Problem::NotFound);
    }
    let state = match &asked.messages {
        Some(ids) => json!({ "messages": ids }),
        None => json!({ "limit": limit }),
    };
    let subject = format!("queue:{}", origin.as_str());
    let (operator, action) = (operator()?, "dead_letters.redriven");
    let store = &api.engine.store;
    let told = store.tell_operators(&operator, action, subject, state, now);
    Box::pin(told).await?;
    let redriven = Box::pin(queue.redrive(origin, which)).await?;
    let redriven = redriven.unwrap_or_default();
    let left = Box::pin(queue.dead_depth(origin))
        .await?
        .unwrap_or_default();
    Ok(Json(RedrivenView {
        moved: redriven.moved,
        failed: redriven.failed,
        left: left.visible + left.in_flight,
    }))
}
