//! What a driver does between two decisions: wait, renew its claim, leave.

use std::pin::pin;
use std::time::Duration;

use domain::id::DriverId;
use domain::run::{Command, ParkReason, Rejection};
use domain::time::At;
use futures_util::StreamExt;
use queue::RunMessage;

use super::{Driver, LINGER, Step};
use crate::Error;
use crate::commands::lane;
use crate::drive::Outcome;

impl Driver<'_> {
    /// Waits for the next thing to happen.
    pub(super) async fn wait(&mut self) -> Result<Step, Error> {
        let deadline_ms = self.state.created.as_ref().map_or(u64::MAX, |created| {
            created.deadline_at.since_ms(self.engine.now())
        });
        let listener = self.listener.clone();
        let gone = async {
            match listener {
                Some(listener) => listener.closed().await,
                None => std::future::pending().await,
            }
        };
        let linger = async {
            if self.pending.is_empty() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep_until(self.pending_since + LINGER).await;
        };
        let deadline = tokio::time::sleep(Duration::from_millis(deadline_ms.min(86_400_000)));
        let mut gone = pin!(gone);
        tokio::select! {
            biased;
            Some(ended) = self.under_way.next() => match ended? {
                Some(command) => Ok(Step::On(self.decide(command).err())),
                None => Ok(Step::On(None)),
            },
            () = linger => self.commit().await,
            () = tokio::time::sleep_until(self.limits.stay_until) => self.hand_over().await.map(Step::Over),
            () = &mut gone => {
                // What is under way is paid for already: it ends here, the rest elsewhere.
                self.begin_nothing();
                self.listener = None;
                Ok(Step::On(None))
            }
            () = deadline, if self.pending.is_empty() => {
                let driver = self.id.clone();
                Ok(Step::On(self.decide(Command::Drive { driver, handed_over_by: None, lease: None }).err()))
            }
            _ = self.beat.tick() => self.renew().await,
        }
    }

    /// Renews the claim and looks whether somebody else wrote: a cancel is seen here while a call is under way.
    /// A beat that fails costs nothing but time: two may, before the claim ends, and the fence holds without any.
    async fn renew(&mut self) -> Result<Step, Error> {
        if let Some(tenant) = self.engine.tenant(&self.state.tenant).await? {
            self.engine.store.check_home(&tenant)?;
        }
        if !self.state.suspend_requested && self.engine.is_suspended(&self.state).await? {
            return Ok(Step::On(self.suspend().err()));
        }
        match self.is_still_ours().await {
            Ok(true) => Ok(Step::On(None)),
            Ok(false) => self.reload().await,
            Err(error) if error.is_transient() => {
                self.warn(&error, "a claim was not renewed");
                Ok(Step::On(None))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn is_still_ours(&mut self) -> Result<bool, store::Error> {
        let (tenant, run) = (&self.state.tenant, &self.state.run);
        let (store, now) = (&self.engine.store, self.engine.now());
        let holds = store
            .renew(tenant, run, &self.id, self.durable, now)
            .await?;
        let newest = store.read(tenant, run, true).await?;
        Ok(holds && newest.is_none_or(|(_, commit)| commit.last() <= self.durable))
    }

    pub(super) fn warn(&self, error: &store::Error, what: &str) {
        tracing::warn!(
            tenant.id = %self.state.tenant,
            run.id = %self.state.run,
            error = %telemetry::chain(error),
            "{what}"
        );
    }

    /// Nothing is under way and nothing is to be written: the run is parked, or time is short.
    pub(super) async fn leave(&mut self) -> Result<Outcome, Error> {
        if self.state.is_waiting() {
            return Ok(Outcome::Waiting(Box::new(self.state.clone())));
        }
        match &self.state.parked {
            Some((reason, until)) => {
                let by_queue = matches!(
                    reason,
                    ParkReason::Timer | ParkReason::Throttled | ParkReason::Retry
                );
                if by_queue && self.arranged != Some(*until) {
                    self.send(None, *until).await?;
                }
                Ok(Outcome::Parked(Box::new(self.state.clone())))
            }
            None => self.hand_over().await,
        }
    }

    /// Writes what is known, and sends the run to the next driver. What is under way is dropped: the next one repeats it.
    async fn hand_over(&mut self) -> Result<Outcome, Error> {
        self.begin_nothing();
        while !self.pending.is_empty() {
            match self.commit().await? {
                Step::Over(outcome) => return Ok(outcome),
                Step::On(Some(Rejection::Held { until })) => return Ok(Outcome::Held { until }),
                Step::On(_) => {}
            }
        }
        self.send(Some(self.id.clone()), self.engine.now()).await?;
        Ok(Outcome::HandedOver(Box::new(self.state.clone())))
    }

    /// Sends the run to its lane, to arrive at `due_at`.
    async fn send(&mut self, handed_over_by: Option<DriverId>, due_at: At) -> Result<(), Error> {
        let (tenant, run) = (self.state.tenant.clone(), self.state.run.clone());
        let hops = self.hops.saturating_add(1);
        let wakes_at = handed_over_by.is_none().then_some(due_at);
        let message = RunMessage {
            handed_over_by,
            hops,
            wakes_at,
            trace: self.spans.carried(),
            ..RunMessage::new(tenant, run)
        };
        self.engine
            .queue
            .send_run_at(lane(&self.state), &message, due_at, self.engine.now())
            .await?;
        Ok(())
    }
}
