//! What is asked of runs from outside: create, cancel, a tool's answer.

use std::collections::BTreeMap;

use domain::agent::AgentRef;
use domain::budget::{Budget, Denial};
use domain::caps::Caps;
use domain::id::{DriverId, KeyId, ProjectId, RunId, TenantId};
use domain::run::{
    Command, Commit, Created, Event, Head, Known, Lane, Rejection, State, Status, advance, decide,
    evolve, fold,
};
use domain::time::At;
use domain::trace::Carried;
use queue::RunMessage;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::admission::{Entrance, MAX_TRIES, Refusal};
use crate::drive::{Limits, Outcome, Signal};
use crate::driver::{Driver, new_driver};
use crate::put::Put;
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
    /// The project that it belongs to.
    pub project: Option<ProjectId>,
    /// The API key that asks for it.
    pub key: Option<KeyId>,
    /// How often the tenant's definitions had been changed when the agent was read, if it may have changed since: see
    /// [`store::Latest`].
    pub definitions: Option<u64>,
}

/// What became of a request to create a run.
#[derive(Debug)]
pub enum Admitted {
    /// The run was created.
    New {
        /// Its head.
        head: Head,
        /// Its place in the tenant's line, from 1, if it stands there; runs that came at the same time may count as before it.
        place: Option<u64>,
    },
    /// The same id was created before, by a request with this head's fingerprint.
    Exists(Head),
    /// It may not be.
    Refused(Refusal),
}

/// What became of a command from outside.
#[derive(Debug)]
pub enum Recorded {
    /// It stands in the log, or had no effect since it came late or again; the state after it.
    Done(Box<State>),
    /// There is no such run.
    Missing,
}

/// What became of one attempt at a command.
#[derive(Debug)]
pub(crate) enum Tried {
    /// It stands in the log; the state after it.
    Done(Box<State>),
    /// It has no effect; the state as it is.
    Idle(Box<State>),
    /// There is no such run.
    Missing,
    /// Somebody else wrote.
    Raced,
    /// A ledger refused it.
    Denied(Denial),
}

/// What became of a creation.
enum Founded {
    New(Box<State>, Commit),
    Exists(Box<Head>),
    Refused(Refusal),
}

impl Engine {
    fn begin(&self, new: &NewRun, entrance: &Entrance) -> (State, Command) {
        let deadline_at = self.now().plus_ms(entrance.caps.wall_ms);
        let created = Created {
            agent: new.agent.clone(),
            input: new.input.clone(),
            caps: entrance.caps,
            lane: entrance.lane,
            deadline_at,
            kept_until: Some(deadline_at.plus_ms(entrance.retention_ms)),
            metadata: new.metadata.clone(),
            fingerprint: new.fingerprint.clone(),
            project: new.project.clone(),
            key: new.key.clone(),
            admission: Some(entrance.admission.clone()),
            epoch: entrance.epoch,
        };
        (
            State::empty(new.tenant.clone(), new.run.clone()),
            Command::Create(Box::new(created)),
        )
    }

    /// Writes a run's first commit: its creation, and with a driver its claim and what follows at once.
    async fn found(&self, new: &NewRun, by: Option<(&Known, &DriverId)>) -> Result<Founded, Error> {
        // The same request may have been answered where the tenant was at home before.
        if new.fingerprint.is_some() {
            Box::pin(self.take_over_if_moved(&new.tenant, &new.run)).await?;
        }
        let mut entrance = match self.enter(new).await? {
            Ok(entrance) => entrance,
            Err(refusal) => return Ok(Founded::Refused(refusal)),
        };
        for _ in 0..MAX_TRIES {
            let (mut state, create) = self.begin(new, &entrance);
            let now = self.now();
            let mut events = decide(&state, &create, now)?;
            if let Some((known, driver)) = by {
                let claim = Command::Drive {
                    driver: driver.clone(),
                    handed_over_by: None,
                    lease: None,
                };
                events = advance(known, &mut state, &create, now)?;
                events.extend(advance(known, &mut state, &claim, now)?);
            }
            let commit = Commit {
                first: 1,
                at: now,
                driver: by.map(|(_, driver)| driver.clone()),
                events,
                used: None,
            };
            let state = fold(state.tenant, state.run, [&commit]);
            match self.put_if(&state, &commit, new.definitions).await? {
                Put::Done => return Ok(Founded::New(Box::new(state), commit)),
                Put::Exists(head) => return Ok(Founded::Exists(head)),
                Put::Denied(denial) => {
                    if denial == Denial::Full {
                        self.turnstile.saw_line(&new.tenant, true);
                    }
                    if let Err(refusal) = entrance.lower(denial) {
                        if let Refusal::BudgetReached { node, budget, .. } = &refusal {
                            let Budget { period, unit, .. } = *budget;
                            self.warn_reached(&new.tenant, node, period, unit).await;
                        }
                        return Ok(Founded::Refused(refusal));
                    }
                }
                Put::Redefined => return Ok(Founded::Refused(Refusal::Redefined)),
                Put::Stale => match self.enter(new).await? {
                    Ok(anew) => entrance = anew,
                    Err(refusal) => return Ok(Founded::Refused(refusal)),
                },
            }
        }
        Err(store::Error::Raced.into())
    }

    /// Creates a run and puts it into its queue, or in line when as many are under way as may be. Repeated with the same id,
    /// it sends the message again while the run has not been taken up: the first request may have died before it could.
    ///
    /// # Errors
    /// [`Error`] when the table or the queue fails; repeated with the same id the request is safe.
    pub async fn create(&self, new: NewRun) -> Result<Admitted, Error> {
        let here = Box::pin(self.at_home(&new.tenant)).await?;
        Box::pin(here.create_here(new)).await
    }

    async fn create_here(&self, new: NewRun) -> Result<Admitted, Error> {
        match Box::pin(self.found(&new, None)).await? {
            Founded::New(state, commit) => {
                let place = self.send_new(&state, Some(commit)).await?;
                let head = Head::of(&state);
                Ok(Admitted::New { head, place })
            }
            Founded::Exists(head) => {
                if head.status == Status::Queued && !head.waiting {
                    let message = RunMessage {
                        trace: self.carried(),
                        ..RunMessage::new(new.tenant, new.run)
                    };
                    self.queue.send_run(head.lane, &message, 0).await?;
                }
                Ok(Admitted::Exists(*head))
            }
            Founded::Refused(refusal) => Ok(Admitted::Refused(refusal)),
        }
    }

    /// Sends a new run to a driver. One that stands in line needs none, and its place is told; but a place at work may have
    /// become free while it took its own.
    async fn send_new(&self, state: &State, commit: Option<Commit>) -> Result<Option<u64>, Error> {
        if state.is_waiting() {
            let place = self.look_at_line(&state.tenant).await?;
            return Ok(Some(place.max(1)));
        }
        let mut message = RunMessage {
            trace: self.carried(),
            ..RunMessage::new(state.tenant.clone(), state.run.clone())
        };
        if let Some(commit) = commit {
            message.carry(commit);
        }
        self.queue.send_run(lane(state), &message, 0).await?;
        Ok(None)
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
        let here = Box::pin(self.at_home(&new.tenant)).await?;
        let metered = here.metered(&new.tenant, &new.run);
        Box::pin(metered.create_and_drive_metered(new, limits, listener)).await
    }

    async fn create_and_drive_metered(
        &self,
        new: NewRun,
        limits: Limits,
        listener: Option<UnboundedSender<Signal>>,
    ) -> Result<Outcome, Error> {
        let Some(known) = self.known(&new.tenant, &new.agent).await? else {
            return Ok(Outcome::Missing);
        };
        let id = new_driver();
        let founded = Box::pin(self.found(&new, Some((&known, &id)))).await?;
        let (state, commit) = match founded {
            Founded::New(state, commit) => (state, commit),
            Founded::Exists(head) => return Ok(Outcome::Exists(head)),
            Founded::Refused(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        if state.is_waiting() {
            if let Some(listener) = &listener {
                let _gone = listener.send(Signal::Committed(commit));
            }
            self.send_new(&state, None).await?;
            return Ok(Outcome::Waiting(state));
        }
        let mut driver = Driver::with(self, known, *state, id, limits, listener);
        driver.wrote(commit).await;
        self.finish(driver, Ok(())).await
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
        let recorded = Box::pin(self.record(tenant, run, &command)).await?;
        if let Recorded::Done(state) = &recorded
            && !state.status.is_terminal()
        {
            self.wake(state, self.carried()).await?;
        }
        Ok(recorded)
    }

    /// Sends a run to whoever drives it next, in this trace if it is the one of the run.
    pub(crate) async fn wake(&self, state: &State, trace: Option<Carried>) -> Result<(), Error> {
        let message = RunMessage {
            trace,
            ..RunMessage::new(state.tenant.clone(), state.run.clone())
        };
        self.queue.send_run(lane(state), &message, 0).await?;
        Ok(())
    }

    /// Decides a command on the newest log and commits it, again and again while others are quicker.
    pub(crate) async fn record(
        &self,
        tenant: &TenantId,
        run: &RunId,
        command: &Command,
    ) -> Result<Recorded, Error> {
        for _ in 0..MAX_RACES {
            match self.try_once(tenant, run, |_| command.clone()).await? {
                Tried::Done(state) | Tried::Idle(state) => return Ok(Recorded::Done(state)),
                Tried::Missing => return Ok(Recorded::Missing),
                // No command from outside reserves anything, so no ledger denies it.
                Tried::Raced | Tried::Denied(_) => {}
            }
        }
        Err(store::Error::Raced.into())
    }

    /// Decides a command on the newest log and commits it, once.
    pub(crate) async fn try_once(
        &self,
        tenant: &TenantId,
        run: &RunId,
        command: impl FnOnce(&State) -> Command,
    ) -> Result<Tried, Error> {
        let here = Box::pin(self.at_home(tenant)).await?;
        let Some(loaded) = Box::pin(here.load_at_home(tenant, run)).await? else {
            return Ok(Tried::Missing);
        };
        let state = loaded.state;
        let now = self.now();
        let events = match decide(&state, &command(&state), now) {
            Ok(events) => events,
            Err(Rejection::Missing) => return Ok(Tried::Missing),
            Err(rejection) => return Err(rejection.into()),
        };
        here.write(state, events, now).await
    }

    /// Commits events that somebody other than a driver decided.
    pub(crate) async fn write(
        &self,
        mut state: State,
        events: Vec<Event>,
        now: At,
    ) -> Result<Tried, Error> {
        if events.is_empty() {
            return Ok(Tried::Idle(Box::new(state)));
        }
        let commit = Commit {
            first: state.next_event(),
            at: now,
            driver: None,
            events,
            used: self.used(&state.run),
        };
        evolve(&mut state, &commit);
        match self.put(&state, &commit).await {
            Ok(Put::Done) => Ok(Tried::Done(Box::new(state))),
            Ok(Put::Denied(denial)) => Ok(Tried::Denied(denial)),
            Ok(Put::Exists(_) | Put::Stale | Put::Redefined)
            | Err(Error::Store(store::Error::Raced)) => Ok(Tried::Raced),
            Err(error) => Err(error),
        }
    }
}

/// The queue that carries a run.
pub(crate) fn lane(state: &State) -> Lane {
    let created = state.created.as_ref();
    created.map(|created| created.lane).unwrap_or_default()
}
