//! Performing what the log owes the world.

use std::sync::Arc;

use domain::run::{Command, Effect, Error as RunError, ErrorCode, Known, State, decide};
use domain::tool::Place;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use queue::ToolMessage;
use tokio::sync::mpsc::UnboundedSender;

use crate::commands::{Tried, lane};
use crate::drive::Signal;
use crate::driver::Ended;
use crate::tools::Call;
use crate::{Engine, Error};

impl Engine {
    /// Begins an effect. What it resolves to is the command that tells the run of its end; nothing for an effect whose end
    /// another process will tell.
    pub(crate) fn perform<'a>(
        &'a self,
        known: &Arc<Known>,
        state: &State,
        effect: Effect,
        listener: Option<UnboundedSender<Signal>>,
    ) -> BoxFuture<'a, Ended> {
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
                async move {
                    let asked = Call {
                        tool: &request.name,
                        arguments: &request.arguments,
                        effect: &effect,
                        timeout_ms,
                    };
                    let outcome = self.tools.call(asked).await;
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
