//! What a run used and what it cost, item by item, folded from its log.
//!
//! **Invariant:** the steps add up to the agents, the agents to the total, and the total to what the run's tenant, project
//! and key are charged for it. What the platform costs stands beside that: no budget is charged for it.

use serde::Serialize;

use crate::agent::AgentRef;
use crate::budget::Amount;
use crate::id::FrameId;
use crate::model::Usage;
use crate::run::{Commit, Event, Used};

/// A run's receipt.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Receipt {
    /// All of it.
    pub total: Spent,
    /// By agent, in the order of their first steps.
    pub agents: Vec<AgentItem>,
    /// By step, in the order of their start.
    pub steps: Vec<StepItem>,
    /// What it used of the platform, as far as whoever drove it came to tell: who dies tells nothing.
    pub platform: Used,
    /// What that cost, in micro-USD, rounded up once. Not a part of [`Receipt::total`].
    pub platform_micro_usd: u64,
    /// Whether the run is over, so that nothing comes to it any more.
    pub is_final: bool,
    #[serde(skip)]
    agent: Option<AgentRef>,
}

/// What one agent used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentItem {
    /// The frame, `0` for the run's own agent.
    pub frame: FrameId,
    /// The definition that it followed.
    pub agent: AgentRef,
    /// What it used.
    pub spent: Spent,
}

/// What one step used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepItem {
    /// The frame, `0` for the run's own agent.
    pub frame: FrameId,
    /// The step, from 1 within the frame.
    pub step: u32,
    /// What it used.
    pub spent: Spent,
}

/// Model calls and tool calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// Model calls that began, lost ones included.
    pub model_calls: u32,
    /// Those of them that gave no answer.
    pub lost_calls: u32,
    /// Tokens of the answers' calls.
    pub usage: Usage,
    /// Tokens charged for lost calls: nobody knows what they used, so it is the most that they could.
    pub lost_tokens: u64,
    /// Price of all model calls in micro-USD, lost ones included.
    pub cost_micro_usd: u64,
    /// The part of it that lost calls have.
    pub lost_micro_usd: u64,
    /// How long the models took to answer, in milliseconds.
    pub model_ms: u64,
    /// Tool calls that were settled.
    pub tool_calls: u32,
    /// How long they took, in milliseconds.
    pub tool_ms: u64,
}

impl Spent {
    /// What budgets count of it.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount {
            micro_usd: self.cost_micro_usd,
            tokens: self.usage.total() + self.lost_tokens,
        }
    }
}

impl Receipt {
    /// The receipt of a log.
    #[must_use]
    pub fn of<'a>(log: impl IntoIterator<Item = &'a Commit>) -> Self {
        let mut receipt = Self::default();
        for commit in log {
            receipt.take(commit);
        }
        receipt
    }

    /// Adds the next commit of the log.
    pub fn take(&mut self, commit: &Commit) {
        for event in &commit.events {
            self.event(event);
        }
        if let Some(used) = &commit.used {
            self.platform = self.platform.plus(used);
            self.platform_micro_usd = self.platform.cost.micro_usd();
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::RunCreated(created) => self.agent = Some(created.agent.clone()),
            Event::StepStarted { frame, step, .. } => {
                self.add(frame, *step, |spent| spent.model_calls += 1);
            }
            Event::ModelAnswered {
                frame,
                step,
                answer,
            } => self.add(frame, *step, |spent| {
                spent.usage = spent.usage.plus(&answer.usage);
                spent.cost_micro_usd += answer.cost_micro_usd;
                spent.model_ms += answer.duration_ms;
            }),
            Event::ModelFailed {
                frame,
                step,
                charged_tokens,
                charged_micro_usd,
                ..
            } => self.add(frame, *step, |spent| {
                spent.lost_calls += 1;
                spent.lost_tokens += charged_tokens;
                spent.lost_micro_usd += charged_micro_usd;
                spent.cost_micro_usd += charged_micro_usd;
            }),
            Event::ToolReturned {
                frame,
                step,
                duration_ms,
                ..
            } => self.add(frame, *step, |spent| {
                spent.tool_calls += 1;
                spent.tool_ms += duration_ms;
            }),
            event => self.is_final |= event.is_terminal(),
        }
    }

    /// Enters something of a step in each of its three sums.
    fn add(&mut self, frame: &FrameId, step: u32, enter: impl Fn(&mut Spent)) {
        enter(&mut self.total);
        let spent = Spent::default();
        if let Some(agent) = &self.agent
            && self.agents.iter().all(|item| item.frame != *frame)
        {
            let (frame, agent) = (frame.clone(), agent.clone());
            self.agents.push(AgentItem {
                frame,
                agent,
                spent,
            });
        }
        if let Some(item) = self.agents.iter_mut().find(|item| item.frame == *frame) {
            enter(&mut item.spent);
        }
        // What comes belongs to a step that began lately.
        let is_it = |item: &StepItem| (&item.frame, item.step) == (frame, step);
        let place = self.steps.iter().rposition(is_it).unwrap_or_else(|| {
            let frame = frame.clone();
            self.steps.push(StepItem { frame, step, spent });
            self.steps.len() - 1
        });
        enter(&mut self.steps[place].spent);
    }
}
