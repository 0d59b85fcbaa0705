//! What is asked of runs from outside: create, cancel, a tool's answer.

use std::collections::BTreeMap;

use domain::agent::AgentRef;
use domain::caps::Caps;
use domain::id::{RunId, TenantId};
use domain::run::{
    Command, Commit, Created, Event, Head, Lane, Rejection, State, ToolOutcome, decide, evolve,
};
use queue::{RunMessage, ToolMessage};
use serde_json::Value;
use store::Creation;
use tokio::sync::mpsc::UnboundedSender;

use crate::drive::{Limits, Outcome, Signal};
use crate::driver::Driver;
use crate::tools::Call;
use crate::{Engine, Error};

/// Races that a writer from outside loses before it gives up: each loss means that the run moved on.
const MAX_RACES: u32 = 20;

/// A run to be created.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Who owns it.
    pub tenant: TenantId,
    /// Its id: random, or derived from an idempotency key.
    pub run: RunId,
    /// What it executes.
    pub agent: AgentRef,
    /// The caller's input.
    pub input: Value,
    /// Its caps: the lower of the agent's and the caller's.
    pub caps: Caps,
    /// The queue that carries it.
    pub lane: Lane,
    /// The caller's labels.
    pub metadata: BTreeMap<String, String>,
    /// SHA-256 (hex) of the request, when it carried an idempotency key.
    pub fingerprint: Option<String>,
}

/// What became of a request to create a run.
#[derive(Debug)]
pub enum Admitted {
    /// The run was created.
    New(Head),
    /// The same id was created before, by a request with this head's fingerprint.
    Exists(Head),
}

/// What became of a command from outside.
#[derive(Debug)]
pub enum Recorded {
    /// It stands in the log, or had no effect since it came late or again; the state after it.
    Done(Box<State>),
    /// There is no such run.
    Missing,
}

impl Engine {
    fn begin(&self, new: NewRun) -> (State, Command) {
        let deadline_at = self.now().plus_ms(new.caps.wall_ms);
        let created = Created {
            agent: new.agent,
            input: new.input,
            caps: new.caps,
            lane: new.lane,
            deadline_at,
            metadata: new.metadata,
            fingerprint: new.fingerprint,
        };
        (
            State::empty(new.tenant, new.run),
            Command::Create(Box::new(created)),
        )
    }

    /// Creates a run and puts it into its queue. Repeated with the same id, it sends the message again while the run has
    /// not been taken up: the first request may have died before it could.
    ///
    /// # Errors
    /// [`Error`] when the table or the queue fails; repeated with the same id the request is safe.
    pub async fn create(&self, new: NewRun) -> Result<Admitted, Error> {
        let (mut state, command) = self.begin(new);
        let now = self.now();
        let commit = Commit {
            first: 1,
            at: now,
            driver: None,
            events: decide(&state, &command, now)?,
        };
        evolve(&mut state, &commit);
        let head = Head::of(&state);
        let mut message = RunMessage::new(state.tenant.clone(), state.run.clone());
        match self.store.create(&state.tenant, &head, &commit).await? {
            Creation::New => {
                message.carry(commit);
                self.queue.send_run(head.lane, &message, 0).await?;
                Ok(Admitted::New(head))
            }
            Creation::Exists(head) => {
                if head.status == domain::run::Status::Queued {
                    self.queue.send_run(head.lane, &message, 0).await?;
                }
                Ok(Admitted::Exists(*head))
            }
        }
    }

    /// Creates a run and drives it at once, in one write less. No queue message exists until it parks or is handed over; a
    /// crash is noticed by the janitor.
    ///
    /// # Errors
    /// As [`Engine::drive`]; [`Outcome::Exists`] when the id was created before.
    pub async fn create_and_drive(
        &self,
        new: NewRun,
        limits: Limits,
        listener: Option<UnboundedSender<Signal>>,
    ) -> Result<Outcome, Error> {
        let Some(known) = self.known(&new.tenant, &new.agent).await? else {
            return Ok(Outcome::Missing);
        };
        let (state, command) = self.begin(new);
        let mut driver = Driver::with(self, known, state, limits, listener);
        driver.decide(command)?;
        let claimed = driver.claim(None, None);
        self.finish(driver, claimed).await
    }

    /// Asks for a run's end. Nothing starts in it after this is written; a run that nobody drives ends with this write, a
    /// driven one with its driver's next, and a message makes sure that there is one.
    ///
    /// # Errors
    /// [`Error`] when the table or the queue fails.
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        run: &RunId,
        by: &str,
        reason: Option<String>,
    ) -> Result<Recorded, Error> {
        let command = Command::Cancel {
            by: by.to_owned(),
            reason,
        };
        let recorded = self.record(tenant, run, &command).await?;
        if let Recorded::Done(state) = &recorded
            && !state.status.is_terminal()
        {
            self.wake(state).await?;
        }
        Ok(recorded)
    }

    /// Performs a tool call that was sent to the worker and writes its answer into the run's log. A call that is settled,
    /// or whose run is over, is left alone.
    ///
    /// # Errors
    /// [`Error`] when the table or the queue fails; the message may be delivered again.
    pub async fn perform_tool(&self, message: &ToolMessage) -> Result<Recorded, Error> {
        let (tenant, run) = (&message.tenant, &message.run);
        let Some(loaded) = self.store.load(tenant, run).await? else {
            return Ok(Recorded::Missing);
        };
        if !is_open(&loaded.state, message) {
            if !loaded.state.status.is_terminal() {
                self.wake(&loaded.state).await?;
            }
            return Ok(Recorded::Done(Box::new(loaded.state)));
        }
        let timeout_ms = message.due_at.since_ms(self.now());
        let call = Call {
            tool: &message.tool,
            arguments: &message.arguments,
            effect: &message.effect,
            timeout_ms,
        };
        let outcome = self.tools.call(call).await;
        self.return_tool(message, outcome).await
    }

    async fn return_tool(
        &self,
        message: &ToolMessage,
        outcome: ToolOutcome,
    ) -> Result<Recorded, Error> {
        let command = Command::Returned {
            frame: message.frame.clone(),
            step: message.step,
            call: message.call,
            outcome,
        };
        let recorded = self.record(&message.tenant, &message.run, &command).await?;
        if let Recorded::Done(state) = &recorded
            && !state.status.is_terminal()
        {
            self.wake(state).await?;
        }
        Ok(recorded)
    }

    /// Sends a run to whoever drives it next.
    pub(crate) async fn wake(&self, state: &State) -> Result<(), Error> {
        let lane = state
            .created
            .as_ref()
            .map(|created| created.lane)
            .unwrap_or_default();
        let message = RunMessage::new(state.tenant.clone(), state.run.clone());
        self.queue.send_run(lane, &message, 0).await?;
        Ok(())
    }

    /// Decides a command on the newest log and commits it, again and again while others are quicker.
    async fn record(
        &self,
        tenant: &TenantId,
        run: &RunId,
        command: &Command,
    ) -> Result<Recorded, Error> {
        let mut races = 0;
        loop {
            let Some(loaded) = self.store.load(tenant, run).await? else {
                return Ok(Recorded::Missing);
            };
            let mut state = loaded.state;
            let now = self.now();
            let events = match decide(&state, command, now) {
                Ok(events) => events,
                Err(Rejection::Missing) => return Ok(Recorded::Missing),
                Err(rejection) => return Err(rejection.into()),
            };
            if events.is_empty() {
                return Ok(Recorded::Done(Box::new(state)));
            }
            let commit = Commit {
                first: state.next_event(),
                at: now,
                driver: None,
                events,
            };
            evolve(&mut state, &commit);
            let head = commit
                .events
                .iter()
                .any(Event::moves_head)
                .then(|| Head::of(&state));
            match self.store.append(tenant, run, &commit, head.as_ref()).await {
                Ok(()) => return Ok(Recorded::Done(Box::new(state))),
                Err(store::Error::Raced) if races < MAX_RACES => races += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether the call that a message asks for is still to be answered.
fn is_open(state: &State, message: &ToolMessage) -> bool {
    domain::run::outstanding(state).iter().any(|effect| {
        matches!(effect, domain::run::Effect::CallTool { frame, step, call, .. }
            if (frame, *step, *call) == (&message.frame, message.step, message.call))
    })
}
