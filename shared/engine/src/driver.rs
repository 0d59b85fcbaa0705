//! A driver at work on one run: what it decides and what it commits.

mod wait;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::budget::{Budget, Denial, Node};
use domain::id::{DriverId, FrameId};
use domain::run::{
    self, Command, Commit, Error as RunError, ErrorCode, Event, Known, Rejection, State, Status,
    Supply,
};
use domain::time::At;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::drive::{Limits, Outcome, Signal};
use crate::put::Put;
use crate::report::{Drive, report, word};
use crate::tenants::OPERATOR;
use crate::trace::Spans;
use crate::{Engine, Error};

/// How long an outcome may wait for company before it is committed on its own. Bounds what a crash can lose.
const LINGER: Duration = Duration::from_millis(50);
/// How often a driver renews its claim and looks whether somebody else wrote to the log.
pub(crate) const BEAT: Duration = Duration::from_secs(10);
/// Commits between two snapshots.
const SNAPSHOT_EVERY: u64 = 100;

pub(crate) type Ended = Result<Option<Command>, Error>;

/// A new name for a driver or a worker: a claim is never mistaken for an earlier one of the same process.
pub(crate) fn new_driver() -> DriverId {
    let name = Uuid::new_v4().simple().to_string();
    DriverId::parse(&name).expect("32 hexadecimal digits are a driver id")
}

/// What one round came to.
pub(crate) enum Step {
    /// There is more to do, unless the run turned out to be somebody else's.
    On(Option<Rejection>),
    /// This driver is done.
    Over(Outcome),
}

pub(crate) struct Driver<'a> {
    engine: &'a Engine,
    known: Arc<Known>,
    id: DriverId,
    limits: Limits,
    hops: u32,
    listener: Option<UnboundedSender<Signal>>,
    /// The log as it will be once `pending` is committed.
    state: State,
    /// Number of the last event that is committed.
    durable: u64,
    pending: Vec<Event>,
    pending_since: Instant,
    /// The instant of `pending`: a commit has one, or its fold would differ from the foresight.
    decided_at: At,
    /// The commands behind `pending`, to be decided again when a commit loses its race.
    commands: Vec<Command>,
    begun: HashSet<(FrameId, u32, Option<u32>, u32)>,
    /// Commits since the last snapshot.
    tail: u64,
    /// The wake-up that is under way already.
    arranged: Option<At>,
    under_way: FuturesUnordered<BoxFuture<'a, Ended>>,
    beat: Interval,
    spans: Spans,
}

impl<'a> Driver<'a> {
    /// A driver for the run in this state; none when its definition is gone and the run could not even be failed.
    pub(crate) async fn new(
        engine: &'a Engine,
        state: State,
        id: DriverId,
        limits: Limits,
        listener: Option<UnboundedSender<Signal>>,
    ) -> Result<Option<Self>, Error> {
        let Some(created) = &state.created else {
            return Ok(None);
        };
        let Some(known) = engine.known(&state.tenant, &created.agent).await? else {
            engine
                .fail(
                    &state,
                    ErrorCode::DefinitionMissing,
                    "the agent version that this run pins cannot be read",
                )
                .await?;
            return Ok(None);
        };
        Ok(Some(Self::with(engine, known, state, id, limits, listener)))
    }

    pub(crate) fn with(
        engine: &'a Engine,
        known: Arc<Known>,
        state: State,
        id: DriverId,
        limits: Limits,
        listener: Option<UnboundedSender<Signal>>,
    ) -> Self {
        let mut beat = tokio::time::interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            engine,
            known,
            id,
            limits,
            hops: 0,
            listener,
            durable: state.last_event,
            spans: Spans::new(engine, &state),
            state,
            pending: Vec::new(),
            pending_since: Instant::now(),
            decided_at: engine.now(),
            commands: Vec::new(),
            begun: HashSet::new(),
            tail: 0,
            arranged: None,
            under_way: FuturesUnordered::new(),
            beat,
        }
    }

    /// What the run has cost so far, in micro-USD.
    pub(crate) fn cost(&self) -> u64 {
        self.state.totals.micro_usd
    }

    /// Tells in log and trace how the drive ended that began then and cost so much.
    pub(crate) fn report(
        &mut self,
        began: Instant,
        cost_micro_usd: u64,
        driven: &Result<Outcome, Error>,
    ) {
        let outcome = word(driven);
        let error = driven.is_err().then_some(outcome);
        self.spans.end(&self.state, self.hops, outcome, error);
        let drive = Drive {
            state: &self.state,
            model: &self.known.agent.model,
            hops: self.hops,
            took: began.elapsed(),
            longest_step: self.spans.longest_step(),
            cost_micro_usd,
            outcome,
            trace: self.spans.recorded(),
        };
        report(&drive);
    }

    /// Counts on from the message that brought the run here, and from the last snapshot of its log.
    pub(crate) fn came_by(&mut self, hops: u32, tail: u32) {
        self.hops = hops;
        self.tail = u64::from(tail);
    }

    /// Relies on whoever parked the run: the tool calls that it waits for were sent, and so was its wake-up, unless
    /// `wakes_at` says that it was that which came here, early.
    pub(crate) fn trust_the_park(&mut self, wakes_at: Option<At>) {
        let Some((_, until)) = &self.state.parked else {
            return;
        };
        self.arranged = Some(*until).filter(|until| wakes_at != Some(*until));
        let sent = run::outstanding(&self.state)
            .into_iter()
            .filter(run::Effect::is_elsewhere);
        self.begun.extend(sent.map(|effect| effect.key()));
    }

    /// Claims the run.
    pub(crate) fn claim(
        &mut self,
        handed_over_by: Option<DriverId>,
        lease: Option<(DriverId, At)>,
    ) -> Result<(), Rejection> {
        let driver = self.id.clone();
        self.decide(Command::Drive {
            driver,
            handed_over_by,
            lease,
        })
    }

    /// Lets the run park as soon as it can, since its tenant is suspended.
    pub(crate) fn suspend(&mut self) -> Result<(), Rejection> {
        self.decide(Command::Suspend {
            by: OPERATOR.to_owned(),
        })
    }

    /// Has nothing begin from here on.
    pub(crate) fn begin_nothing(&mut self) {
        self.limits.begin_until = Instant::now();
    }

    /// Decides a command and remembers what has to be committed for it.
    pub(crate) fn decide(&mut self, command: Command) -> Result<(), Rejection> {
        let begins = Instant::now() < self.limits.begin_until;
        self.decide_as(command, begins)
    }

    fn decide_as(&mut self, command: Command, begins: bool) -> Result<(), Rejection> {
        if self.pending.is_empty() {
            self.pending_since = Instant::now();
            self.decided_at = self.engine.now();
        }
        let events = if begins {
            run::advance(&self.known, &mut self.state, &command, self.decided_at)?
        } else {
            run::settle(&self.known, &mut self.state, &command, self.decided_at)?
        };
        self.pending.extend(events);
        self.commands.push(command);
        Ok(())
    }

    /// One round: begin what may begin, commit what must be committed, wait for what comes.
    pub(crate) async fn step(&mut self) -> Result<Step, Error> {
        let waiting_for_intent = self.begin();
        let is_still = self.under_way.is_empty();
        let is_final = self.state.status != Status::Running;
        if !self.pending.is_empty() && (waiting_for_intent || is_final || is_still) {
            return self.commit().await;
        }
        if self.pending.is_empty() {
            self.commands.clear();
        }
        if is_still {
            return self.leave().await.map(Step::Over);
        }
        self.wait().await
    }

    /// Begins every act that the log owes; tells whether one has to wait for the commit. However late it is: an intent that
    /// stands in the log and was not begun would count as lost.
    fn begin(&mut self) -> bool {
        let mut waiting = false;
        for effect in run::outstanding(&self.state) {
            let key = effect.key();
            if self.begun.contains(&key) {
                continue;
            }
            if effect.needs_intent() && !self.pending.is_empty() {
                waiting = true;
                continue;
            }
            tracing::debug!(
                step = key.1,
                call = key.2,
                attempt = key.3,
                "an effect begins"
            );
            self.begun.insert(key);
            let step = self.spans.step(&self.state, &effect);
            let trace = self.spans.carried_by(step);
            let listener = self.listener.clone();
            let performed = self
                .engine
                .perform(&self.known, &self.state, effect, listener, trace);
            self.under_way.push(performed);
        }
        waiting
    }

    /// Writes the pending events; a lost race means that somebody else wrote, so everything is decided anew.
    async fn commit(&mut self) -> Result<Step, Error> {
        let is_late = Instant::now() >= self.limits.begin_until;
        let leaves = is_late || self.state.status != Status::Running;
        let commit = Commit {
            first: self.durable + 1,
            at: self.decided_at,
            driver: Some(self.id.clone()),
            events: std::mem::take(&mut self.pending),
            used: leaves.then(|| self.engine.used(&self.state.run)).flatten(),
        };
        match self.engine.put(&self.state, &commit).await {
            Ok(Put::Done) => {}
            Ok(Put::Denied(Denial::Spent {
                node,
                budget,
                renews_at,
                ..
            })) => return self.denied(node, budget, renews_at).await,
            Ok(Put::Stale) => {
                self.commands.retain(|command| {
                    !matches!(command, Command::Deny { .. } | Command::Suspend { .. })
                });
                return self.reload().await;
            }
            // A driver creates nothing and takes no place, so nothing else can be denied.
            Ok(Put::Denied(_) | Put::Exists(_) | Put::Redefined)
            | Err(Error::Store(store::Error::Raced)) => {
                return self.reload().await;
            }
            Err(Error::Store(error @ store::Error::TooLarge { .. })) => {
                let message = error.to_string();
                self.restore().await?;
                self.commands.clear();
                let failed = Command::Fail(RunError {
                    code: ErrorCode::TooLarge,
                    message,
                });
                return Ok(Step::On(self.decide(failed).err()));
            }
            Err(error) => return Err(error),
        }
        self.durable = commit.last();
        tracing::debug!(
            first = commit.first,
            events = commit.events.len(),
            status = self.state.status.as_str(),
            "a commit was accepted"
        );
        run::written(&mut self.state, &commit);
        self.wrote(commit).await;
        if self.state.status.is_terminal() {
            return Ok(Step::Over(Outcome::Ended(Box::new(self.state.clone()))));
        }
        Ok(Step::On(None))
    }

    /// Goes on from a commit that is stored.
    pub(crate) async fn wrote(&mut self, commit: Commit) {
        self.arranged = None;
        self.commands.clear();
        self.tail += 1;
        if self.tail >= SNAPSHOT_EVERY && !self.state.status.is_terminal() {
            match self.engine.store.snapshot(&self.state).await {
                Ok(()) => self.tail = 0,
                Err(error) => self.warn(
                    &error,
                    "a snapshot was not written: the run loads more slowly",
                ),
            }
        }
        if let Some(listener) = &self.listener {
            let _gone = listener.send(Signal::Committed(commit));
        }
    }

    /// A budget does not hold what the pending events reserve: the same is decided by a run that knows so. It asks for just
    /// what it needs then, and when it had asked for that already, for nothing.
    async fn denied(
        &mut self,
        node: Node,
        budget: Budget,
        renews_at: Option<At>,
    ) -> Result<Step, Error> {
        let account = self.state.account.as_ref();
        let exact = account.is_some_and(|account| account.supply != Supply::Ample);
        let is_denial = |command: &Command| matches!(command, Command::Deny { .. });
        self.commands.retain(|command| !is_denial(command));
        let claims = matches!(self.commands.first(), Some(Command::Drive { .. }));
        let denial = Command::Deny {
            node,
            budget,
            renews_at,
            exact,
        };
        self.commands.insert(usize::from(claims), denial);
        self.reload().await
    }

    /// Reads the log again and decides the open commands on what it says now, first of all whether the run is still, or
    /// can be, this driver's.
    async fn reload(&mut self) -> Result<Step, Error> {
        tracing::debug!(
            durable = self.durable,
            commands = self.commands.len(),
            "somebody else wrote, or a budget did not hold: the log is read again"
        );
        let renewed = self.restore().await?;
        if self.state.status.is_terminal() {
            return Ok(Step::Over(Outcome::Ended(Box::new(self.state.clone()))));
        }
        let mut commands = std::mem::take(&mut self.commands);
        // A claim that lost its race is made again as it was: it knows from whom it takes over. A driver that holds the
        // run looks whether it still does, and lets what others wrote follow only after what it has in its own hands: an
        // answer that meets a cancel is paid for as it is.
        if !matches!(commands.first(), Some(Command::Drive { .. })) {
            let look = Command::Drive {
                driver: self.id.clone(),
                handed_over_by: None,
                lease: renewed.clone(),
            };
            if let Err(rejection) = run::decide(&self.state, &look, self.engine.now()) {
                return Ok(Step::On(Some(rejection)));
            }
            commands.push(look);
        }
        let mut commands = commands.into_iter().peekable();
        while let Some(mut command) = commands.next() {
            if let Command::Drive { lease, .. } = &mut command {
                lease.clone_from(&renewed);
            }
            // What was denied must be known before anything follows.
            let before_denial = matches!(commands.peek(), Some(Command::Deny { .. }));
            let begins = !before_denial && Instant::now() < self.limits.begin_until;
            if let Err(rejection) = self.decide_as(command, begins) {
                return Ok(Step::On(Some(rejection)));
            }
        }
        Ok(Step::On(None))
    }

    /// Goes back to what the log says; gives the lease that stands beside it.
    async fn restore(&mut self) -> Result<Option<(DriverId, At)>, Error> {
        let mut lease = None;
        if let Some(loaded) = self
            .engine
            .store
            .load(&self.state.tenant, &self.state.run)
            .await?
        {
            self.state = loaded.state;
            self.tail = u64::from(loaded.tail);
            lease = loaded.lease;
        }
        self.durable = self.state.last_event;
        self.pending.clear();
        Ok(lease)
    }
}
