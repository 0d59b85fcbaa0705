//! Scripts of a run, read top to bottom, and what holds for every run.

mod checked;
mod failures;
mod handover;
mod laws;
mod scripts;

use serde_json::json;

use super::*;
use crate::agent::{Agent, AgentRef};
use crate::budget::{Amount, Budget, Node, Period, Unit};
use crate::caps::Caps;
use crate::id::{AgentId, DriverId, FrameId, RunId, TenantId};
use crate::model::{Answer, Content, Failure, FailureKind, StopReason, ToolCall, Usage};
use crate::price::Price;
use crate::time::At;

/// A run, its log, and the clock.
struct Script {
    known: Known,
    log: Vec<Commit>,
    now: At,
}

const PRICE: Price = Price {
    input: 1_000_000,
    output: 5_000_000,
    cache_read: 100_000,
    cache_write: 1_250_000,
};

fn agent() -> Agent {
    serde_json::from_value(json!({
        "model": "local.tools",
        "system": "Be brief.",
        "tools": ["calculator", "clock", "wait", "slow_research"],
    }))
    .unwrap()
}

fn driver(name: &str) -> DriverId {
    DriverId::parse(name).unwrap()
}

fn tenant() -> TenantId {
    TenantId::parse("demo").unwrap()
}

fn run_id() -> RunId {
    RunId::from_bytes([7; 16])
}

fn drive(name: &str) -> Command {
    Command::Drive {
        driver: driver(name),
        handed_over_by: None,
        lease: None,
    }
}

fn answer(content: Vec<Content>, stop_reason: StopReason) -> Answer {
    let usage = Usage {
        input_tokens: 10,
        output_tokens: 5,
        ..Usage::default()
    };
    Answer {
        content,
        stop_reason,
        usage,
        cost_micro_usd: PRICE.of(&usage),
        duration_ms: 3,
    }
}

fn says(text: &str) -> Answer {
    answer(
        vec![Content::Text {
            text: text.to_owned(),
        }],
        StopReason::EndTurn,
    )
}

fn calls(calls: &[(&str, serde_json::Value)]) -> Answer {
    let content = calls
        .iter()
        .enumerate()
        .map(|(n, (name, arguments))| {
            Content::ToolCall(ToolCall {
                id: format!("c{n}"),
                name: (*name).to_owned(),
                arguments: arguments.clone(),
            })
        })
        .collect();
    answer(content, StopReason::ToolUse)
}

fn answered(step: u32, attempt: u32, outcome: Result<Answer, Failure>) -> Command {
    Command::Answered {
        frame: FrameId::root(),
        step,
        attempt,
        outcome,
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure {
        kind,
        message: "the provider's words".to_owned(),
        retry_after_ms: None,
    }
}

fn returned(step: u32, call: u32, text: &str) -> Command {
    let outcome = ToolOutcome {
        text: text.to_owned(),
        is_error: false,
        duration_ms: 1,
    };
    Command::Returned {
        frame: FrameId::root(),
        step,
        call,
        outcome,
    }
}

impl Script {
    fn new(agent: Agent) -> Self {
        Self::granted(agent, None)
    }

    /// A run that a ledger knows of, with what was reserved for it; one that waits for its turn when that is nothing.
    fn granted(agent: Agent, grant: Option<Amount>) -> Self {
        let caps = agent.caps;
        let mut script = Self {
            known: Known::new(agent, PRICE).unwrap(),
            log: Vec::new(),
            now: At(1_000_000),
        };
        let admission = grant.map(|grant| Admission {
            nodes: Vec::new(),
            grant,
            waiting: grant == Amount::ZERO,
        });
        script.create(caps, admission);
        script
    }

    fn create(&mut self, caps: Caps, admission: Option<Admission>) {
        let created = Created {
            agent: AgentRef {
                id: AgentId::parse("a").unwrap(),
                version: 1,
            },
            input: json!("What is 1+1?"),
            caps,
            lane: Lane::Standard,
            deadline_at: self.now.plus_ms(caps.wall_ms),
            kept_until: None,
            metadata: std::collections::BTreeMap::new(),
            fingerprint: None,
            project: None,
            key: None,
            admission,
            epoch: 0,
        };
        self.outside(&Command::Create(Box::new(created))).unwrap();
    }

    fn state(&self) -> State {
        fold(tenant(), run_id(), &self.log)
    }

    fn push(&mut self, events: &[Event], driver: Option<DriverId>) {
        if !events.is_empty() {
            let first = self.state().next_event();
            self.log.push(Commit {
                first,
                at: self.now,
                driver,
                events: events.to_vec(),
                used: None,
            });
        }
    }

    /// What a driver does with a command: everything follows, one commit.
    fn by(&mut self, name: &str, command: &Command) -> Result<Vec<Event>, Rejection> {
        let mut foreseen = self.state();
        let events = advance(&self.known, &mut foreseen, command, self.now)?;
        self.push(&events, Some(driver(name)));
        if !events.is_empty() {
            written(&mut foreseen, self.log.last().unwrap());
            assert_eq!(
                foreseen,
                self.state(),
                "the foresight is what the log then says"
            );
        }
        Ok(events)
    }

    /// What somebody else does with a command: only what it says itself.
    fn outside(&mut self, command: &Command) -> Result<Vec<Event>, Rejection> {
        let events = decide(&self.state(), command, self.now)?;
        self.push(&events, None);
        Ok(events)
    }

    fn later(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// A driver decides `command`; the tags of the events that follow are `tags`.
    #[track_caller]
    fn check(&mut self, name: &str, command: &Command, tags: &[&str]) -> Vec<Event> {
        let events = self.by(name, command).unwrap();
        assert_eq!(events.iter().map(Event::tag).collect::<Vec<_>>(), tags);
        events
    }
}
