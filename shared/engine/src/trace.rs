//! What a run's work says of itself in traces, by the conventions of OpenTelemetry for generative AI and for messaging.
//!
//! A queue message, a drive, a step, a model call and a tool call are a span each. **Rule:** no attribute holds what a tenant or a
//! model wrote: ids, names that were checked, numbers and words of ours.
//!
//! Source: <https://github.com/open-telemetry/semantic-conventions-genai>, of November 2026.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::id::{FrameId, RunId, TenantId};
use domain::model::{Answer, Failure, FailureKind, StopReason};
use domain::run::{Effect, Known, State, ToolOutcome};
use domain::trace::{Carried, Context};
use queue::Record;
use telemetry::{Kind, Span, Tracer, Value};
use tokio::time::Instant;

use crate::Engine;

/// Where an engine's work stands in a trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    tracer: Tracer,
    /// What comes next follows from this.
    parent: Option<Context>,
    /// The drive before, of the run that is at work.
    drive: Option<Context>,
}

impl Engine {
    /// This engine, whose work is traced.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.trace.tracer = tracer;
        self
    }

    /// What begins this engine's spans.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.trace.tracer
    }

    /// This engine, for work that follows from a span.
    #[must_use]
    pub fn within(&self, parent: Option<Context>) -> Self {
        let mut engine = self.clone();
        engine.trace.parent = parent;
        engine
    }

    /// This engine, for what a message of `queue` asks of a run, and the span of that. The message's own trace goes before the
    /// invocation's.
    #[must_use]
    pub fn received<T>(
        mut self,
        queue: &'static str,
        record: &Record<T>,
        (tenant, run): (&TenantId, &RunId),
        carried: Option<Carried>,
    ) -> (Self, Span) {
        let trace = &mut self.trace;
        if let Some(Carried { traceparent, drive }) = carried {
            trace.parent = Some(traceparent);
            trace.drive = drive;
        }
        let name = || format!("process {queue}");
        let mut span = trace.tracer.span(Kind::Consumer, trace.parent, name);
        trace.parent = span.context();
        of_run(&mut span, tenant, run)
            .put("messaging.system", "aws_sqs")
            .put("messaging.operation.name", "process")
            .put("messaging.operation.type", "process")
            .put("messaging.destination.name", queue)
            .put("messaging.message.id", &*record.message_id)
            .put("skein.receive_count", record.receive_count);
        if let Some(sent_at) = record.sent_at.filter(|_| span.is_recorded()) {
            span.put("skein.queue_ms", self.now().since_ms(sent_at));
        }
        (self, span)
    }

    /// The span of a model call.
    pub(crate) fn model_span(
        &self,
        parent: Option<Context>,
        state: &State,
        known: &Known,
        (step, attempt, max_output_tokens): (u32, u32, u32),
        streams: bool,
    ) -> Span {
        let model = &*known.agent.model;
        let name = || format!("chat {model}");
        let mut span = self.trace.tracer.span(Kind::Client, parent, name);
        of_run(&mut span, &state.tenant, &state.run)
            .put("gen_ai.operation.name", "chat")
            .put("gen_ai.provider.name", PROVIDER)
            .put("gen_ai.request.model", model)
            .put("gen_ai.request.max_tokens", max_output_tokens)
            .put("gen_ai.request.stream", streams)
            .put("skein.step", step)
            .put("skein.attempt", attempt);
        span
    }

    /// The span of a tool call, here or on the worker; the tool was offered to the model, so its name is one of ours.
    pub(crate) fn tool_span(
        &self,
        parent: Option<Context>,
        (tenant, run): (&TenantId, &RunId),
        (step, call): (u32, u32),
        tool: &str,
        effect: &str,
    ) -> Span {
        let name = || format!("execute_tool {tool}");
        let mut span = self.trace.tracer.span(Kind::Internal, parent, name);
        of_run(&mut span, tenant, run)
            .put("gen_ai.operation.name", "execute_tool")
            .put("gen_ai.tool.name", tool)
            .put("gen_ai.tool.type", "function")
            .put("gen_ai.tool.call.id", effect)
            .put("skein.step", step)
            .put("skein.call", call);
        span
    }

    /// What this engine's work follows from.
    pub(crate) fn parent(&self) -> Option<Context> {
        self.trace.parent
    }

    /// What a message says that this engine sends about the run that it works on.
    pub(crate) fn carried(&self) -> Option<Carried> {
        Some(Carried {
            traceparent: self.trace.parent?,
            drive: self.trace.drive,
        })
    }
}

/// All models are called there, or on its wire.
const PROVIDER: &str = "aws.bedrock";

fn of_run<'a>(span: &'a mut Span, tenant: &TenantId, run: &RunId) -> &'a mut Span {
    span.put("tenant.id", tenant.as_str())
        .put("run.id", run.as_str())
}

/// The spans of one drive: its own, and that of each step that is under way.
pub(crate) struct Spans {
    tracer: Tracer,
    drive: Span,
    /// With when they began.
    steps: BTreeMap<(FrameId, u32), (Span, Instant)>,
    longest_step: Duration,
}

impl Spans {
    /// The span of a drive of this run begins.
    pub(crate) fn new(engine: &Engine, state: &State) -> Self {
        let Trace {
            tracer,
            parent,
            drive: before,
        } = engine.trace.clone();
        let agent = state.created.as_ref().map(|created| &created.agent);
        let id = agent.map_or("", |agent| agent.id.as_str());
        let name = || format!("invoke_agent {id}");
        let mut drive = tracer.span(Kind::Internal, parent, name);
        if let Some(before) = before {
            drive.link(before);
        }
        of_run(&mut drive, &state.tenant, &state.run)
            .put("gen_ai.operation.name", "invoke_agent")
            .put("gen_ai.provider.name", PROVIDER)
            .put("gen_ai.agent.id", id)
            .put("gen_ai.agent.name", id);
        if let Some(agent) = agent.filter(|_| drive.is_recorded()) {
            drive.put("gen_ai.agent.version", &*agent.version.to_string());
        }
        Self {
            tracer,
            drive,
            steps: BTreeMap::new(),
            longest_step: Duration::ZERO,
        }
    }

    /// The step in which an effect begins; those before it in its frame have ended then.
    pub(crate) fn step(&mut self, state: &State, effect: &Effect) -> Option<Context> {
        let (frame, step) = match effect {
            Effect::CallModel { frame, step, .. } | Effect::CallTool { frame, step, .. } => {
                (frame, *step)
            }
        };
        self.leave(|other, number| other == frame && number < step);
        let (tracer, drive) = (&self.tracer, self.drive.context());
        let entry = self.steps.entry((frame.clone(), step));
        let (span, _) = entry.or_insert_with(|| {
            let name = || "step".to_owned();
            let mut span = tracer.span(Kind::Internal, drive, name);
            of_run(&mut span, &state.tenant, &state.run)
                .put("skein.step", step)
                .put("skein.frame", frame.as_str());
            (span, Instant::now())
        });
        span.context()
    }

    /// Some steps have ended, as far as this drive is concerned.
    fn leave(&mut self, has_ended: impl Fn(&FrameId, u32) -> bool) {
        let longest = &mut self.longest_step;
        self.steps.retain(|(frame, step), (_, began)| {
            let ended = has_ended(frame, *step);
            if ended {
                *longest = began.elapsed().max(*longest);
            }
            !ended
        });
    }

    /// Where the drive stands, if that is recorded.
    pub(crate) fn recorded(&self) -> Option<Context> {
        self.drive.context().filter(|context| context.sampled)
    }

    /// How long the drive was at the step that took it longest.
    pub(crate) fn longest_step(&self) -> Duration {
        self.longest_step
    }

    /// What this drive's own messages say.
    pub(crate) fn carried(&self) -> Option<Carried> {
        self.carried_by(self.drive.context())
    }

    /// What a message says that is sent in one of its steps.
    pub(crate) fn carried_by(&self, parent: Option<Context>) -> Option<Carried> {
        Some(Carried {
            traceparent: parent?,
            drive: self.drive.context(),
        })
    }

    /// The drive came to this.
    pub(crate) fn end(&mut self, state: &State, hops: u32, outcome: &str, error: Option<&str>) {
        self.leave(|_, _| true);
        let totals = state.totals;
        self.drive
            .put("skein.outcome", outcome)
            .put("skein.status", state.status.as_str())
            .put("skein.hops", hops)
            .put("skein.steps", totals.steps)
            .put("skein.tool_calls", totals.tool_calls)
            .put("skein.cost_micro_usd", totals.micro_usd)
            .put("gen_ai.usage.input_tokens", totals.input_tokens)
            .put("gen_ai.usage.output_tokens", totals.output_tokens);
        if let Some(error) = error {
            self.drive.fail(error);
        }
    }
}

/// Tells what became of a model call.
pub(crate) fn answered(span: &mut Span, outcome: &Result<Answer, Failure>) {
    match outcome {
        Ok(answer) => {
            let usage = answer.usage;
            let read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
            span.put("gen_ai.usage.input_tokens", read)
                .put("gen_ai.usage.output_tokens", usage.output_tokens)
                .put(
                    "gen_ai.usage.cache_read.input_tokens",
                    usage.cache_read_tokens,
                )
                .put(
                    "gen_ai.usage.cache_creation.input_tokens",
                    usage.cache_write_tokens,
                )
                .put("skein.cost_micro_usd", answer.cost_micro_usd)
                .put(
                    "gen_ai.response.finish_reasons",
                    Value::Only(word_of(answer.stop_reason)),
                );
        }
        // The provider's words may quote the prompt.
        Err(failure) => {
            span.fail(match failure.kind {
                FailureKind::Throttled => "throttled",
                FailureKind::Transient => "transient",
                FailureKind::Refused => "refused",
                FailureKind::Invalid => "invalid",
                FailureKind::Fault => "fault",
                FailureKind::Lost => "lost",
            });
        }
    }
}

fn word_of(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::Refused => "refused",
        StopReason::ContextExceeded => "context_exceeded",
        StopReason::Malformed => "malformed",
    }
}

/// Tells what became of a tool call.
pub(crate) fn returned(span: &mut Span, outcome: &ToolOutcome) {
    if outcome.is_error {
        span.fail("tool_error");
    }
}
