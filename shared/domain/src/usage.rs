//! Usage: requests, and what ended runs used, counted by time and by who and what they were for.
//!
//! A run counts once, at the instant at which it ended, with what budgets were charged for it. So the sum of a tenant's
//! usage is what its ledger has entered as spent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::budget::Period;
use crate::caps::Totals;
use crate::id::{AgentId, KeyId, ProjectId};
use crate::run::{Head, Status};
use crate::time::At;

/// What runs used together, and how many requests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Runs that ended, however they did.
    pub runs: u64,
    /// Those of them that ended without an answer, cancelled ones included.
    pub failed_runs: u64,
    /// Model steps.
    pub steps: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Price in micro-USD.
    pub cost_micro_usd: u64,
    /// Requests to the API.
    pub requests: u64,
    /// Those of them that policy refused.
    pub refused_requests: u64,
    /// Those of them that we failed: 5xx. No part of the usage that tenants are told.
    #[serde(skip)]
    pub failed_requests: u64,
}

impl Usage {
    /// What one run used that ended with `totals`.
    #[must_use]
    pub fn of(status: Status, totals: &Totals) -> Self {
        Self {
            runs: 1,
            failed_runs: u64::from(status != Status::Succeeded),
            steps: totals.steps.into(),
            tool_calls: totals.tool_calls.into(),
            input_tokens: totals.input_tokens,
            output_tokens: totals.output_tokens,
            cost_micro_usd: totals.micro_usd,
            ..Self::default()
        }
    }

    /// This and `more`.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            runs: self.runs.saturating_add(more.runs),
            failed_runs: self.failed_runs.saturating_add(more.failed_runs),
            steps: self.steps.saturating_add(more.steps),
            tool_calls: self.tool_calls.saturating_add(more.tool_calls),
            input_tokens: self.input_tokens.saturating_add(more.input_tokens),
            output_tokens: self.output_tokens.saturating_add(more.output_tokens),
            cost_micro_usd: self.cost_micro_usd.saturating_add(more.cost_micro_usd),
            requests: self.requests.saturating_add(more.requests),
            refused_requests: self.refused_requests.saturating_add(more.refused_requests),
            failed_requests: self.failed_requests.saturating_add(more.failed_requests),
        }
    }
}

/// Who and what runs ran for, and who made requests. What is none is not told apart, or does not apply: a request is for no
/// agent and no model.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Subject {
    /// The project, of runs that belong to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// The API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// The agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The model that the agent's definition names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Subject {
    /// The subject of a run with this head, whose agent names `model`.
    #[must_use]
    pub fn of(head: &Head, model: Option<String>) -> Self {
        Self {
            project: head.project.clone(),
            key: head.key.clone(),
            agent: Some(head.agent.id.clone()),
            model,
        }
    }

    /// This subject with only these told apart.
    #[must_use]
    pub fn by(self, dimensions: &[Dimension]) -> Self {
        let by = |dimension| dimensions.contains(&dimension);
        Self {
            project: self.project.filter(|_| by(Dimension::Project)),
            key: self.key.filter(|_| by(Dimension::Key)),
            agent: self.agent.filter(|_| by(Dimension::Agent)),
            model: self.model.filter(|_| by(Dimension::Model)),
        }
    }
}

/// What usage can be told apart by, beside time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// [`Subject::project`].
    Project,
    /// [`Subject::key`].
    Key,
    /// [`Subject::agent`].
    Agent,
    /// [`Subject::model`].
    Model,
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Self; 4] = [Self::Project, Self::Key, Self::Agent, Self::Model];

    /// The word that stands in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Key => "key",
            Self::Agent => "agent",
            Self::Model => "model",
        }
    }

    /// The dimension that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// How long the stretches of time are that usage is counted in, all in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Interval {
    /// Every interval.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The word that stands in queries and keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The interval that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// Its length in milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The beginning of the stretch that holds `at`.
    #[must_use]
    pub fn start(self, at: At) -> At {
        At(at.0 - at.0 % self.ms())
    }

    /// How many of them a query may span: two days of minutes, two months of hours, two years of days.
    #[must_use]
    pub fn most(self) -> u64 {
        match self {
            Self::Minute => 2 * 24 * 60,
            Self::Hour => 62 * 24,
            Self::Day => 2 * 366,
        }
    }

    /// For how long usage is kept in stretches of this length, in milliseconds; none is for ever.
    #[must_use]
    pub fn kept_ms(self) -> Option<u64> {
        const DAY: u64 = 86_400_000;
        match self {
            Self::Minute => Some(8 * DAY),
            Self::Hour => Some(100 * DAY),
            Self::Day => None,
        }
    }
}

/// Usage of one stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where the stretch begins.
    pub start: At,
    /// For whom and what.
    pub subject: Subject,
    /// How much.
    pub usage: Usage,
}

/// Adds up rows that differ in nothing that is told apart, in the order of time, then of the subject.
#[must_use]
pub fn group(rows: impl IntoIterator<Item = Row>, dimensions: &[Dimension]) -> Vec<Row> {
    let mut groups = BTreeMap::<(At, Subject), Usage>::new();
    for row in rows {
        let usage = groups
            .entry((row.start, row.subject.by(dimensions)))
            .or_default();
        *usage = usage.plus(row.usage);
    }
    groups
        .into_iter()
        .map(|((start, subject), usage)| Row {
            start,
            subject,
            usage,
        })
        .collect()
}

/// A month's cost so far, and what it comes to if the rest of it is like what has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// When the month began.
    pub month: At,
    /// When the next one begins.
    pub ends_at: At,
    /// Cost of the runs that ended in it so far, in micro-USD.
    pub cost_micro_usd: u64,
    /// Cost at the month's end, in micro-USD.
    pub forecast_micro_usd: u64,
}

/// The month that holds `now`: its beginning and its end.
#[must_use]
pub fn month_of(now: At) -> (At, At) {
    let number = Period::Month.number(now);
    let start = Period::Month.next_start(number.saturating_sub(1));
    let end = Period::Month.next_start(number);
    (start.unwrap_or(At(0)), end.unwrap_or(At(u64::MAX)))
}

/// Goes on in a straight line from `cost_micro_usd` at `now`. The first hour of a month counts as an hour, so that its first
/// run does not foretell a fortune.
#[must_use]
pub fn forecast(cost_micro_usd: u64, now: At) -> Forecast {
    let (month, ends_at) = month_of(now);
    let passed_ms = now.since_ms(month).max(Interval::Hour.ms());
    let all_ms = ends_at.since_ms(month).max(passed_ms);
    let grown = u128::from(cost_micro_usd) * u128::from(all_ms) / u128::from(passed_ms);
    Forecast {
        month,
        ends_at,
        cost_micro_usd,
        forecast_micro_usd: u64::try_from(grown).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(start: u64, agent: &str, model: &str, cost: u64) -> Row {
        Row {
            start: At(start),
            subject: Subject {
                agent: Some(AgentId::parse(agent).unwrap()),
                model: Some(model.to_owned()),
                ..Subject::default()
            },
            usage: Usage {
                runs: 1,
                cost_micro_usd: cost,
                ..Usage::default()
            },
        }
    }

    #[test]
    fn rows_add_up_by_what_is_told_apart() {
        let rows = [
            row(60_000, "b", "m", 1),
            row(60_000, "a", "m", 2),
            row(60_000, "a", "n", 4),
            row(0, "a", "m", 8),
        ];
        let costs = |dimensions: &[Dimension]| -> Vec<_> {
            group(rows.clone(), dimensions)
                .into_iter()
                .map(|row| (row.start.0, row.usage.cost_micro_usd))
                .collect()
        };
        assert_eq!(costs(&[]), [(0, 8), (60_000, 7)]);
        let by_agent = costs(&[Dimension::Agent]);
        assert_eq!(by_agent, [(0, 8), (60_000, 6), (60_000, 1)]);
        assert_eq!(costs(&Dimension::ALL).len(), 4);
    }

    #[test]
    fn a_month_goes_on_as_it_began() {
        let now = At::parse("2026-11-16T00:00:00Z").unwrap();
        let half = forecast(1_000_000, now);
        assert_eq!(half.month.to_string(), "2026-11-01T00:00:00.000Z");
        assert_eq!(half.ends_at.to_string(), "2026-12-01T00:00:00.000Z");
        assert_eq!(half.forecast_micro_usd, 2_000_000);
        let first = forecast(1, half.month);
        assert_eq!(first.forecast_micro_usd, 30 * 24);
        assert_eq!(forecast(u64::MAX, now).forecast_micro_usd, u64::MAX);
    }

    #[test]
    fn stretches_begin_where_the_clock_says() {
        let at = At::parse("2026-11-16T12:34:56.789Z").unwrap();
        let starts = Interval::ALL.map(|interval| interval.start(at).to_string());
        assert_eq!(
            starts,
            [
                "2026-11-16T12:34:00.000Z",
                "2026-11-16T12:00:00.000Z",
                "2026-11-16T00:00:00.000Z"
            ]
        );
    }
}
