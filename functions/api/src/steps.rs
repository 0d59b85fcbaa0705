//! A run's log, told step by step.

use std::collections::BTreeMap;

use domain::model::{Content, StopReason, Usage};
use domain::run::{Commit, Event};
use domain::time::At;
use serde::Serialize;
use utoipa::ToSchema;

use crate::schema;

/// One model call and the tool calls that its answer asked for.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Step {
    /// The frame, `0` for the run's own agent.
    frame: String,
    /// The step, from 1 within the frame.
    step: u32,
    /// Model calls that were made for it.
    attempts: u32,
    /// Attempts that gave no answer, and why.
    failures: Vec<String>,
    /// When its first model call was about to start (RFC 3339).
    started_at: String,
    /// How long the model took, in milliseconds; none before it answered.
    duration_ms: Option<u64>,
    /// Why the model stopped.
    #[schema(value_type = Option<String>)]
    stop_reason: Option<StopReason>,
    /// Tokens of the answer's call.
    #[schema(value_type = Option<schema::Usage>)]
    usage: Option<Usage>,
    /// Price of all its model calls, lost ones included, in micro-USD.
    cost_micro_usd: u64,
    /// The tool calls, in the order of the answer.
    tool_calls: Vec<ToolCall>,
}

/// A tool call.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ToolCall {
    /// Its place among the answer's calls, from 0.
    call: u32,
    /// The tool.
    tool: String,
    /// `asked`, `called`, `succeeded` or `failed`.
    status: &'static str,
    /// How long it took, in milliseconds.
    duration_ms: Option<u64>,
    /// Bytes of its result.
    result_bytes: Option<u64>,
}

/// The steps of a log that is read from its beginning.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// In the order of their start.
    steps: Vec<Step>,
    places: BTreeMap<(String, u32), usize>,
}

impl Steps {
    pub(crate) fn finish(self) -> Vec<Step> {
        self.steps
    }

    pub(crate) fn take(&mut self, commit: &Commit) {
        for event in &commit.events {
            self.event(commit.at, event);
        }
    }

    fn at(&mut self, frame: &str, step: u32) -> &mut Step {
        let place = *self
            .places
            .entry((frame.to_owned(), step))
            .or_insert_with(|| {
                self.steps.push(Step {
                    frame: frame.to_owned(),
                    step,
                    ..Step::default()
                });
                self.steps.len() - 1
            });
        &mut self.steps[place]
    }

    fn event(&mut self, at: At, event: &Event) {
        match event {
            Event::StepStarted { frame, step, .. } => {
                let step = self.at(frame.as_str(), *step);
                step.attempts += 1;
                if step.started_at.is_empty() {
                    step.started_at = at.to_string();
                }
            }
            Event::ModelAnswered {
                frame,
                step,
                answer,
            } => {
                let step = self.at(frame.as_str(), *step);
                step.duration_ms = Some(answer.duration_ms);
                step.stop_reason = Some(answer.stop_reason);
                step.usage = Some(answer.usage);
                step.cost_micro_usd += answer.cost_micro_usd;
                let asked = answer.content.iter().filter_map(|content| match content {
                    Content::ToolCall(call) => Some(call),
                    Content::Text { .. } | Content::ToolResult { .. } => None,
                });
                let calls = (0..).zip(asked).map(|(call, asked)| ToolCall {
                    call,
                    tool: asked.name.clone(),
                    status: "asked",
                    ..ToolCall::default()
                });
                step.tool_calls = calls.collect();
            }
            Event::ModelFailed {
                frame,
                step,
                failure,
                charged_micro_usd,
                ..
            } => {
                let step = self.at(frame.as_str(), *step);
                step.failures.push(failure.message.clone());
                step.cost_micro_usd += charged_micro_usd;
            }
            Event::ToolCalled {
                frame, step, call, ..
            } => {
                if let Some(call) = self.at(frame.as_str(), *step).call(*call) {
                    call.status = "called";
                }
            }
            Event::ToolReturned {
                frame,
                step,
                call,
                text,
                is_error,
                duration_ms,
            } => {
                if let Some(call) = self.at(frame.as_str(), *step).call(*call) {
                    call.status = if *is_error { "failed" } else { "succeeded" };
                    call.duration_ms = Some(*duration_ms);
                    call.result_bytes = u64::try_from(text.len()).ok();
                }
            }
            Event::RunCreated(_)
            | Event::RunStarted { .. }
            | Event::TakenOver { .. }
            | Event::AnswerRejected { .. }
            | Event::Parked { .. }
            | Event::Woken { .. }
            | Event::Resumed { .. }
            | Event::Admitted { .. }
            | Event::Moved { .. }
            | Event::BudgetExtended { .. }
            | Event::BudgetShort { .. }
            | Event::SuspendRequested { .. }
            | Event::CancelRequested { .. }
            | Event::Succeeded { .. }
            | Event::Failed { .. }
            | Event::Cancelled
            | Event::Expired => {}
        }
    }
}

impl Step {
    fn call(&mut self, call: u32) -> Option<&mut ToolCall> {
        self.tool_calls.get_mut(usize::try_from(call).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use domain::id::FrameId;
    use domain::model::{Answer, Failure, FailureKind, ToolCall as Asked};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_step_sums_its_attempts_and_lists_its_tool_calls() {
        let frame = FrameId::root;
        let started = |attempt| Event::StepStarted {
            frame: frame(),
            step: 1,
            attempt,
            max_output_tokens: 10,
            reserved_tokens: 10,
            reserved_micro_usd: 10,
        };
        let events = vec![
            started(0),
            Event::ModelFailed {
                frame: frame(),
                step: 1,
                failure: Failure {
                    kind: FailureKind::Lost,
                    message: "lost".to_owned(),
                    retry_after_ms: None,
                },
                retry_at: None,
                charged_tokens: 5,
                charged_micro_usd: 7,
            },
            started(1),
            Event::ModelAnswered {
                frame: frame(),
                step: 1,
                answer: Answer {
                    content: vec![Content::ToolCall(Asked {
                        id: "t".to_owned(),
                        name: "clock".to_owned(),
                        arguments: Value::Null,
                    })],
                    stop_reason: StopReason::ToolUse,
                    usage: Usage {
                        input_tokens: 3,
                        output_tokens: 4,
                        ..Usage::default()
                    },
                    cost_micro_usd: 11,
                    duration_ms: 20,
                },
            },
            Event::ToolReturned {
                frame: frame(),
                step: 1,
                call: 0,
                text: "noon".to_owned(),
                is_error: false,
                duration_ms: 2,
            },
        ];
        let mut steps = Steps::default();
        steps.take(&Commit {
            first: 1,
            at: At(0),
            driver: None,
            events,
            used: None,
        });
        assert_eq!(
            serde_json::to_value(steps.finish()).unwrap(),
            json!([{
                "frame": "0",
                "step": 1,
                "attempts": 2,
                "failures": ["lost"],
                "started_at": "1970-01-01T00:00:00.000Z",
                "duration_ms": 20,
                "stop_reason": "tool_use",
                "usage": {"input_tokens": 3, "output_tokens": 4},
                "cost_micro_usd": 18,
                "tool_calls": [
                    {"call": 0, "tool": "clock", "status": "succeeded", "duration_ms": 2, "result_bytes": 4}
                ],
            }])
        );
    }
}
