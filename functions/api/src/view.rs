//! What answers look like.

use std::collections::BTreeMap;

use domain::agent::{Agent, AgentRef};
use domain::caps::{Caps, Totals};
use domain::id::{AgentId, RunId};
use domain::run::{Commit, Error, Event, Head, Lane, ParkReason, State, Status};
use domain::time::At;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use store::{AgentHead, AgentVersion};
use utoipa::ToSchema;

use crate::schema;

pub(crate) fn rfc_3339<S: Serializer>(at: &At, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
pub(crate) fn rfc_3339_if<S: Serializer>(
    at: &Option<At>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The entries; there may be fewer than asked for and yet a next page.
    pub items: Vec<T>,
    /// Where the next page starts; empty at the end.
    pub next_cursor: String,
}

impl<T> List<T> {
    pub(crate) fn of<S>(page: store::Page<S>, show: impl Fn(S) -> T) -> Self {
        Self {
            items: page.items.into_iter().map(show).collect(),
            next_cursor: page.next.unwrap_or_default(),
        }
    }
}

/// A run.
#[derive(Debug, Serialize, ToSchema)]
pub struct Run {
    /// Its id.
    #[schema(value_type = String, example = "run_0123456789abcdef0123456789abcdef")]
    pub id: RunId,
    /// Where it stands.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// What it waits for, while it is parked.
    #[schema(value_type = Option<schema::Parked>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkReason>,
    /// What it executes.
    #[schema(value_type = schema::AgentRef)]
    pub agent: AgentRef,
    /// The answer, once it succeeded; not in lists.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it failed, once it did; not in lists.
    #[schema(value_type = Option<schema::RunError>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// Its caps.
    #[schema(value_type = schema::Caps)]
    pub caps: Caps,
    /// What it had used when its status changed last.
    #[schema(value_type = schema::Totals)]
    pub totals: Totals,
    /// The queue that carries it.
    #[schema(value_type = schema::Lane)]
    pub lane: Lane,
    /// Whether it waits for its turn: as many of the tenant's runs are under way as may be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// Its place among those that do, from 1; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place_in_line: Option<u64>,
    /// When it was created.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    pub created_at: At,
    /// When it was first taken up.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    pub started_at: Option<At>,
    /// When it ended.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    pub ended_at: Option<At>,
    /// When it expires unless it ended.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    pub deadline_at: At,
    /// Number of the last event that this view knows of.
    pub last_event: u64,
    /// The caller's labels.
    pub metadata: BTreeMap<String, String>,
}

impl Run {
    /// A run as its head shows it.
    pub(crate) fn of_head(head: Head) -> Self {
        Self {
            id: head.run,
            status: head.status,
            parked: head.parked,
            agent: head.agent,
            output: None,
            error: None,
            caps: head.caps,
            totals: head.totals,
            lane: head.lane,
            waiting: head.waiting,
            place_in_line: None,
            created_at: head.created_at,
            started_at: head.started_at,
            ended_at: head.ended_at,
            deadline_at: head.deadline_at,
            last_event: head.last_event,
            metadata: head.metadata,
        }
    }

    /// A run as its head and its newest commit show it.
    pub(crate) fn of_newest(head: Head, newest: Commit) -> Self {
        let mut run = Self::of_head(head);
        run.last_event = run.last_event.max(newest.last());
        match newest.events.into_iter().next_back() {
            Some(Event::Succeeded { output }) => run.output = Some(output),
            Some(Event::Failed { error }) => run.error = Some(error),
            _ => {}
        }
        run
    }

    pub(crate) fn of_state(state: State) -> Self {
        let mut run = Self::of_head(Head::of(&state));
        run.output = state.output;
        run.error = state.error;
        run
    }
}

/// An agent, without its definition.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentSummary {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AgentId,
    /// Its latest version, from 1.
    pub latest_version: u32,
    /// The description of the latest version.
    pub description: String,
    /// The model of the latest version.
    pub model: String,
    /// When its first version was stored.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    pub created_at: At,
    /// When it was archived, if it is.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    pub archived_at: Option<At>,
}

impl From<AgentHead> for AgentSummary {
    fn from(head: AgentHead) -> Self {
        Self {
            id: head.id,
            latest_version: head.latest,
            description: head.description,
            model: head.model,
            created_at: head.created_at,
            archived_at: head.archived_at,
        }
    }
}

/// One version of an agent. It never changes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    /// The agent.
    #[schema(value_type = String)]
    pub id: AgentId,
    /// The version, from 1.
    pub version: u32,
    /// When it was stored.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    pub created_at: At,
    /// When the agent was archived; only where the agent itself was asked for.
    #[schema(value_type = Option<String>)]
    #[serde(
        serialize_with = "rfc_3339_if",
        skip_serializing_if = "Option::is_none"
    )]
    pub archived_at: Option<At>,
    /// The definition.
    #[schema(value_type = schema::Agent)]
    pub definition: Agent,
}

impl Version {
    pub(crate) fn of(version: &AgentVersion, archived_at: Option<At>) -> Self {
        Self {
            id: version.id.clone(),
            version: version.version,
            created_at: version.created_at,
            archived_at,
            definition: version.definition.clone(),
        }
    }
}

/// Fields of stored events that hold instants as integers; outside they are RFC 3339.
const INSTANTS: [&str; 4] = ["deadline_at", "due_at", "retry_at", "until"];

/// An event as the API shows it: run, number, instant and type, then its own fields.
pub(crate) fn event(run: &RunId, number: u64, at: At, event: &Event) -> Value {
    let stored = serde_json::to_value(event).expect("events are plain data with text keys");
    let mut fields = match stored {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    fields.remove("fingerprint");
    for name in INSTANTS {
        if let Some(value) = fields.get_mut(name)
            && let Some(ms) = value.as_u64()
        {
            *value = At(ms).to_string().into();
        }
    }
    fields.insert("run".to_owned(), run.as_str().into());
    fields.insert("event".to_owned(), number.into());
    fields.insert("at".to_owned(), at.to_string().into());
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use domain::id::DriverId;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_shows_its_number_and_instants_as_text() {
        let run = RunId::from_bytes([0; 16]);
        let parked = Event::Parked {
            reason: ParkReason::Timer,
            until: At(1_700_000_000_123),
        };
        assert_eq!(
            event(&run, 7, At(0), &parked),
            json!({
                "run": "run_00000000000000000000000000000000",
                "event": 7,
                "at": "1970-01-01T00:00:00.000Z",
                "type": "parked",
                "reason": "timer",
                "until": "2023-11-14T22:13:20.123Z",
            })
        );
        let driver = DriverId::parse("d").unwrap();
        assert_eq!(
            event(&run, 1, At(0), &Event::RunStarted { driver })["driver"],
            "d"
        );
    }
}
