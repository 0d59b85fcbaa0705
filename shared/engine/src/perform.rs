//! Performing what the log owes the world.

use std::convert::Infallible;
use std::sync::Arc;

use domain::flag::Flag;
use domain::id::{DriverId, TenantId};
use domain::run::{
    Command, Effect, Error as RunError, ErrorCode, Known, LEASE_MS, State, ToolOutcome, decide,
};
use domain::time::At;
use domain::tool::Place;
use domain::trace::Carried;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use queue::ToolMessage;
use store::Claimed;
use tokio::sync::mpsc::UnboundedSender;

use crate::commands::{Recorded, Tried, lane};
use crate::drive::Signal;
use crate::driver::{BEAT, Ended, new_driver};
use crate::tools::Call;
use crate::trace::{answered, returned};
use crate::{Engine, Error};

/// What became of a tool call that was sent to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Performed {
    /// Its answer stands in the log, or none is asked for any more.
    Done,
    /// Another worker has claimed it until then.
    Held {
        /// When that claim ends unless renewed.
        until: At,
    },
    /// There is no such run.
    Missing,
}

impl Engine {
    /// Begins an effect. What it resolves to is the command that tells the run of its end; nothing for an effect whose end
    /// another process will tell.
    pub(crate) fn perform<'a>(
        &'a self,
        known: &Arc<Known>,
        state: &State,
        effect: Effect,
        listener: Option<UnboundedSender<Signal>>,
        trace: Option<Carried>,
    ) -> BoxFuture<'a, Ended> {
        let parent = trace.map(|trace| trace.traceparent);
        match effect {
            Effect::CallModel {
                frame,
                step,
                attempt,
                max_output_tokens,
            } => {
                let known = known.clone();
                let transcript = state
                    .frames
                    .get(&frame)
                    .map(|frame| frame.transcript.clone())
                    .unwrap_or_default();
                let asked = (step, attempt, max_output_tokens);
                let mut span = self.model_span(parent, state, &known, asked, listener.is_some());
                async move {
                    let request = known.request(&transcript, max_output_tokens);
                    let outcome = match listener {
                        Some(listener) => {
                            self.gateway
                                .stream(&request, |delta| {
                                    if let gateway::Delta::Text { text } = delta {
                                        let _gone = listener.send(Signal::Delta {
                                            step,
                                            attempt,
                                            text,
                                        });
                                    }
                                })
                                .await
                        }
                        None => self.gateway.call(&request).await,
                    };
                    answered(&mut span, &outcome);
                    Ok(Some(Command::Answered {
                        frame,
                        step,
                        attempt,
                        outcome,
                    }))
                }
                .boxed()
            }
            Effect::CallTool {
                frame,
                step,
                call,
                request,
                place: Place::Worker,
                due_at,
                effect,
                ..
            } => {
                let message = ToolMessage {
                    lane: lane(state),
                    frame,
                    step,
                    call,
                    effect,
                    tool: request.name,
                    arguments: request.arguments,
                    due_at,
                    trace,
                    ..ToolMessage::new(state.tenant.clone(), state.run.clone())
                };
                async move {
                    self.queue.send_tool(&message).await?;
                    Ok(None)
                }
                .boxed()
            }
            Effect::CallTool {
                frame,
                step,
                call,
                request,
                due_at,
                effect,
                ..
            } => {
                let timeout_ms = due_at.since_ms(self.now());
                let tenant = state.tenant.clone();
                let of = (&state.tenant, &state.run);
                let mut span = self.tool_span(parent, of, (step, call), &request.name, &effect);
                async move {
                    let asked = Call {
                        tool: &request.name,
                        arguments: &request.arguments,
                        effect: &effect,
                        timeout_ms,
                    };
                    let outcome = self.call_tool(&tenant, asked).await?;
                    returned(&mut span, &outcome);
                    Ok(Some(Command::Returned {
                        frame,
                        step,
                        call,
                        outcome,
                    }))
                }
                .boxed()
            }
        }
    }

    /// Performs a tool call that was sent to the worker and writes its answer into the run's log. A call that is settled,
    /// whose run is over, or that another worker performs, is left alone.
    ///
    /// # Errors
    /// [`Error`] when the table or the queue fails; the message may be delivered again.
    pub async fn perform_tool(&self, message: &ToolMessage) -> Result<Performed, Error> {
        let here = self.of(&message.tenant);
        let here = Box::pin(here.at_home(&message.tenant)).await?;
        let metered = here.metered(&message.tenant, &message.run);
        Box::pin(metered.perform_tool_metered(message)).await
    }

    async fn perform_tool_metered(&self, message: &ToolMessage) -> Result<Performed, Error> {
        let Some(loaded) = self.store.load(&message.tenant, &message.run).await? else {
            return Ok(Performed::Missing);
        };
        if !is_open(&loaded.state, message) {
            if !loaded.state.status.is_terminal() {
                self.wake(&loaded.state, self.carried()).await?;
            }
            return Ok(Performed::Done);
        }
        let (worker, now) = (new_driver(), self.now());
        let claim = self.store.claim_call(claimed(message), &worker, now);
        if !claim.await? {
            let until = now.plus_ms(LEASE_MS);
            return Ok(Performed::Held { until });
        }
        let of = (&message.tenant, &message.run);
        let place = (message.step, message.call);
        let (tool, effect) = (&*message.tool, &*message.effect);
        let mut span = self.tool_span(self.parent(), of, place, tool, effect);
        let call = Call {
            tool: &message.tool,
            arguments: &message.arguments,
            effect: &message.effect,
            timeout_ms: message.due_at.since_ms(now),
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.call_tool(&message.tenant, call) => outcome?,
            never = self.keep_claim(message, &worker) => match never {},
        };
        returned(&mut span, &outcome);
        drop(span);
        let command = Command::Returned {
            frame: message.frame.clone(),
            step: message.step,
            call: message.call,
            outcome,
        };
        let recorded = self.record(&message.tenant, &message.run, &command).await?;
        let Recorded::Done(state) = recorded else {
            return Ok(Performed::Missing);
        };
        if !state.status.is_terminal() {
            self.wake(&state, self.carried()).await?;
        }
        Ok(Performed::Done)
    }

    /// Calls a tool, unless it is switched off for the tenant.
    async fn call_tool(&self, tenant: &TenantId, call: Call<'_>) -> Result<ToolOutcome, Error> {
        if let Some(flag) = Flag::of_tool(call.tool)
            && let Some(settings) = self.tenant(tenant).await?
            && !settings.has(flag)
        {
            return Ok(ToolOutcome {
                text: format!("switched_off: an operator has switched `{}` off", call.tool),
                is_error: true,
                duration_ms: 0,
            });
        }
        Ok(self.tools.call(call).await)
    }

    /// Shows that the worker is alive for as long as its call may take. A beat that fails costs nothing but time: whoever
    /// performs the call as well meets its answer in the log.
    async fn keep_claim(&self, message: &ToolMessage, worker: &DriverId) -> Infallible {
        loop {
            tokio::time::sleep(BEAT).await;
            let now = self.now();
            if now > message.due_at {
                std::future::pending::<()>().await;
            }
            let (tenant, run) = (&message.tenant, &message.run);
            match self.store.claim_call(claimed(message), worker, now).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(tenant.id = %tenant, run.id = %run, "a worker lost its claim of a call");
                }
                Err(error) => tracing::warn!(
                    tenant.id = %tenant,
                    run.id = %run,
                    error = %telemetry::chain(&error),
                    "a worker's claim of a call was not renewed"
                ),
            }
        }
    }

    /// Ends a run that cannot be decided on at all.
    pub(crate) async fn fail(
        &self,
        state: &State,
        code: ErrorCode,
        message: &str,
    ) -> Result<(), Error> {
        let now = self.now();
        let command = Command::Fail(RunError {
            code,
            message: message.to_owned(),
        });
        let events = decide(state, &command, now)?;
        match self.write(state.clone(), events, now).await? {
            Tried::Done(_) | Tried::Idle(_) | Tried::Missing => Ok(()),
            Tried::Raced | Tried::Denied(_) => Err(store::Error::Raced.into()),
        }
    }
}

fn claimed(message: &ToolMessage) -> Claimed<'_> {
    Claimed {
        tenant: &message.tenant,
        run: &message.run,
        frame: &message.frame,
        step: message.step,
        call: message.call,
    }
}

/// Whether the call that a message asks for is still to be answered.
fn is_open(state: &State, message: &ToolMessage) -> bool {
    domain::run::outstanding(state).iter().any(|effect| {
        matches!(effect, Effect::CallTool { frame, step, call, .. }
            if (frame, *step, *call) == (&message.frame, message.step, message.call))
    })
}
