//! Driving one run: what goes in, what comes out.

use std::time::Duration;

use domain::id::{DriverId, RunId, TenantId};
use domain::run::{Command, Commit, Rejection, State};
use domain::time::At;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::admission::Refusal;
use crate::driver::{Driver, Step, new_driver};
use crate::tenants::OPERATOR;
use crate::{Engine, Error, Recorded};

/// A request to drive a run.
#[derive(Debug)]
pub struct Work {
    /// Who owns it.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// Its log as far as the message carried it; saves the first read when nothing was added since.
    pub first: Option<Commit>,
    /// The driver that handed the run over, if one did.
    pub handed_over_by: Option<DriverId>,
    /// How often it was sent from driver to driver; the message that brought it here says so.
    pub hops: u32,
    /// The instant that its message was to wake it at, if it was sent for that.
    pub wakes_at: Option<At>,
    /// Whether the message was delivered before, or sent since the run showed no life: then whoever had it may have died
    /// anywhere, even between parking the run and sending what it waits for.
    pub revives: bool,
    /// How long this driver may stay.
    pub limits: Limits,
    /// Who listens while the run is driven. The driver hands over when the listener goes.
    pub listener: Option<UnboundedSender<Signal>>,
}

/// How long a driver may stay with a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From here on nothing is begun; the run is handed over between two steps.
    pub begin_until: Instant,
    /// Here the run is handed over, whatever is under way.
    pub stay_until: Instant,
}

impl Limits {
    /// The limits of an invocation that has `remaining` left: the last fifth of it, at most 90 s, is for what is under way,
    /// the last tenth of it, at most 5 s, for the hand-over.
    #[must_use]
    pub fn within(remaining: Duration) -> Self {
        let now = Instant::now();
        let spare = (remaining / 10).min(Duration::from_secs(5));
        let tail = (remaining / 5).min(Duration::from_secs(90)) + spare;
        Self {
            begin_until: now + remaining.saturating_sub(tail),
            stay_until: now + remaining.saturating_sub(spare),
        }
    }
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// A commit was accepted.
    Committed(Commit),
    /// The model wrote on: text that the answer, once committed, will contain.
    Delta {
        /// The step.
        step: u32,
        /// The attempt at this step, from 0; a further one writes the text anew.
        attempt: u32,
        /// The new text.
        text: String,
    },
}

/// How a drive ended.
#[derive(Debug)]
pub enum Outcome {
    /// The run is over; its last state.
    Ended(Box<State>),
    /// It waits until then at the latest; its wake-up is arranged.
    Parked(Box<State>),
    /// Time was short: a message is under way to the next driver.
    HandedOver(Box<State>),
    /// Another driver holds it until then.
    Held {
        /// When that driver's claim ends unless renewed.
        until: At,
    },
    /// It waits for its turn: as many of the tenant's runs are under way as may be.
    Waiting(Box<State>),
    /// There is no such run.
    Missing,
    /// It was to be created and may not be.
    Refused(Refusal),
    /// It was to be created, and exists already.
    Exists(Box<domain::run::Head>),
}

impl Engine {
    /// Drives a run until it ends, parks, or the limits are reached.
    ///
    /// # Errors
    /// [`Error`] when the table or a queue fails, or the tenant is at home in another Region; the run is as its log says and
    /// another driver can go on.
    pub async fn drive(&self, work: Work) -> Result<Outcome, Error> {
        let here = self.of(&work.tenant);
        let here = Box::pin(here.at_home(&work.tenant)).await?;
        let metered = here.metered(&work.tenant, &work.run);
        Box::pin(metered.drive_metered(work)).await
    }

    async fn drive_metered(&self, work: Work) -> Result<Outcome, Error> {
        let loaded = match &work.first {
            Some(first) => Some((
                domain::run::fold(work.tenant.clone(), work.run.clone(), [first]),
                None,
                1,
            )),
            None => {
                self.meet(&work.tenant).await?;
                let loaded = Box::pin(self.load_at_home(&work.tenant, &work.run)).await?;
                loaded.map(|loaded| (loaded.state, loaded.lease, loaded.tail))
            }
        };
        let Some((state, lease, tail)) = loaded else {
            return Ok(Outcome::Missing);
        };
        if state.status.is_terminal() {
            return Ok(Outcome::Ended(Box::new(state)));
        }
        if state.is_waiting() && self.now() < state.deadline_at() {
            self.look_at_line(&work.tenant).await?;
            return Ok(Outcome::Waiting(Box::new(state)));
        }
        let suspended = self.is_suspended(&state).await?;
        let mut state = state;
        if state.suspend_requested && !suspended {
            let wake = Command::Wake {
                by: OPERATOR.to_owned(),
            };
            let woken = self.record(&work.tenant, &work.run, &wake);
            match Box::pin(woken).await? {
                Recorded::Done(woken) => state = *woken,
                Recorded::Missing => return Ok(Outcome::Missing),
            }
        }
        let id = new_driver();
        let driver = Driver::new(self, state, id, work.limits, work.listener);
        let Some(mut driver) = driver.await? else {
            return Ok(Outcome::Missing);
        };
        driver.came_by(work.hops, tail);
        if !work.revives {
            driver.trust_the_park(work.wakes_at);
        }
        if suspended {
            driver.begin_nothing();
        }
        let mut claimed = driver.claim(work.handed_over_by, lease);
        if suspended && claimed.is_ok() {
            claimed = driver.suspend();
        }
        self.finish(driver, claimed).await
    }

    /// Runs a driver from its first decision to its outcome.
    pub(crate) async fn finish(
        &self,
        mut driver: Driver<'_>,
        first: Result<(), Rejection>,
    ) -> Result<Outcome, Error> {
        let began = Instant::now();
        let before = driver.cost();
        let driven = run_to_outcome(&mut driver, first).await;
        let cost_micro_usd = driver.cost().saturating_sub(before);
        driver.report(began, cost_micro_usd, &driven);
        driven
    }
}

async fn run_to_outcome(
    driver: &mut Driver<'_>,
    first: Result<(), Rejection>,
) -> Result<Outcome, Error> {
    let mut refused = first.err();
    loop {
        match refused {
            Some(Rejection::Held { until }) => return Ok(Outcome::Held { until }),
            Some(Rejection::Missing) => return Ok(Outcome::Missing),
            Some(Rejection::Exists) | None => {}
        }
        match driver.step().await? {
            Step::On(rejection) => refused = rejection,
            Step::Over(outcome) => return Ok(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only while a drive can be spawned.
    #[expect(dead_code, reason = "it is there to be compiled")]
    fn a_drive_can_be_spawned(engine: &Engine, work: Work) -> impl Send {
        engine.drive(work)
    }
}
