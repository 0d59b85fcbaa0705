//! What a process does with one run: drives it, tells it what others want, lets it in.

use domain::budget::{Amount, Denial, Node, Unit};
use domain::id::{DriverId, RunId};
use domain::model::{Answer, Content, Failure, FailureKind, StopReason, Usage};
use domain::run::{
    Command, Commit, Effect, Event, Head, Phase, Rejection, State, Status, Supply, advance, decide,
    evolve, outstanding, settle, written,
};
use domain::time::At;

use super::process::Process;
use crate::{Charge, Creation, Error, Written};

/// What became of a commit.
pub(super) enum Put {
    Done,
    Exists,
    Denied(Denial),
    Stale,
}

/// What became of one attempt at a command from outside.
enum Tried {
    Done,
    Past,
    Raced,
    Denied(Denial),
}

/// Repeats a call that got no answer, a few times.
pub(super) async fn again<T>(mut call: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..3 {
        match call().await {
            Err(error) if error.is_transient() => {}
            answered => return answered,
        }
    }
    call().await
}

pub(super) fn lower(amount: &mut Amount, unit: Unit, left: i64) {
    let left = u64::try_from(left).unwrap_or(0);
    match unit {
        Unit::MicroUsd => amount.micro_usd = amount.micro_usd.min(left),
        Unit::Tokens => amount.tokens = amount.tokens.min(left),
    }
}

impl Process {
    async fn load(&self, run: &RunId) -> Result<Option<State>, Error> {
        let loaded = self.store.load(&self.common.tenant, run).await?;
        Ok(loaded.map(|loaded| loaded.state))
    }

    pub(super) async fn drive(&mut self, run: &RunId) -> Result<(), Error> {
        let Some(state) = self.load(run).await? else {
            return Ok(());
        };
        if state.is_waiting() && self.now() < state.deadline_at() {
            return self.look_at_line().await;
        }
        let driver = self.common.new_driver();
        let commands = vec![claim(driver.clone())];
        self.go_on(state, driver, commands).await
    }

    pub(super) fn decide(
        &self,
        state: &mut State,
        commands: &[Command],
        now: At,
    ) -> Result<Vec<Event>, Rejection> {
        let (known, mut events) = (&self.common.known, Vec::new());
        let mut commands = commands.iter().peekable();
        while let Some(command) = commands.next() {
            // What was denied must be known before anything follows.
            let follows = !matches!(commands.peek(), Some(Command::Deny { .. }));
            events.extend(if follows {
                advance(known, state, command, now)?
            } else {
                settle(known, state, command, now)?
            });
        }
        Ok(events)
    }

    /// Drives a run from what was read of it until it ends or parks, somebody else has it or the table fails.
    pub(super) async fn go_on(
        &mut self,
        mut state: State,
        driver: DriverId,
        mut commands: Vec<Command>,
    ) -> Result<(), Error> {
        for _ in 0..40 {
            if commands.is_empty() {
                commands.extend(self.answer(&state));
            }
            let (now, mut ahead) = (self.now(), state.clone());
            let events = match self.decide(&mut ahead, &commands, now) {
                Ok(events) if !events.is_empty() => events,
                _ => return Ok(()),
            };
            let commit = Commit {
                first: state.next_event(),
                at: now,
                driver: Some(driver.clone()),
                events,
                used: None,
            };
            written(&mut ahead, &commit);
            let is_denial = |command: &Command| matches!(command, Command::Deny { .. });
            match self.put(&ahead, &commit).await {
                Ok(Put::Done) if ahead.status != Status::Running => return Ok(()),
                Ok(Put::Done) => {
                    commands.clear();
                    state = ahead;
                    continue;
                }
                Ok(Put::Denied(Denial::Spent {
                    node,
                    budget,
                    renews_at,
                    ..
                })) => {
                    let account = ahead.account.as_ref();
                    let exact = account.is_some_and(|account| account.supply != Supply::Ample);
                    commands.retain(|command| !is_denial(command));
                    let claims = matches!(commands.first(), Some(Command::Drive { .. }));
                    let denial = Command::Deny {
                        node,
                        budget,
                        renews_at,
                        exact,
                    };
                    commands.insert(usize::from(claims), denial);
                }
                Ok(Put::Stale) => commands.retain(|command| !is_denial(command)),
                Err(Error::Raced) => {}
                Ok(Put::Denied(_) | Put::Exists) => unreachable!("a driver takes no place"),
                Err(error) => return Err(error),
            }
            let Some(read) = self.load(&state.run).await? else {
                return Ok(());
            };
            state = read;
            if !matches!(commands.first(), Some(Command::Drive { .. })) {
                let look = claim(driver.clone());
                if decide(&state, &look, self.now()).is_err() {
                    return Ok(());
                }
                commands.push(look);
            }
        }
        Err(Error::Raced)
    }

    /// What the model says, if it was asked; it never uses more than was reserved.
    fn answer(&mut self, state: &State) -> Option<Command> {
        let effect = outstanding(state).into_iter().next()?;
        let Effect::CallModel {
            frame,
            step,
            attempt,
            max_output_tokens,
        } = effect
        else {
            return None;
        };
        let Phase::Thinking {
            reserved_tokens, ..
        } = state.frames[&frame].phase
        else {
            return None;
        };
        let most_output = u64::from(max_output_tokens);
        let usage = Usage {
            input_tokens: self.dice.below(reserved_tokens - most_output + 1),
            output_tokens: self.dice.below(most_output + 1),
            ..Usage::default()
        };
        let said = match self.dice.below(10) {
            0..6 => Ok("42"),
            6..9 => Ok(""),
            _ => Err(FailureKind::Transient),
        };
        let outcome = match said {
            Ok(text) => Ok(Answer {
                content: vec![Content::Text { text: text.into() }],
                stop_reason: StopReason::EndTurn,
                usage,
                cost_micro_usd: self.common.known.price.of(&usage),
                duration_ms: 1,
            }),
            Err(kind) => Err(Failure {
                kind,
                message: "no".to_owned(),
                retry_after_ms: None,
            }),
        };
        Some(Command::Answered {
            frame,
            step,
            attempt,
            outcome,
        })
    }

    pub(super) async fn record(&mut self, run: &RunId, command: Command) -> Result<(), Error> {
        for _ in 0..20 {
            match self.try_once(run, |_| command.clone()).await? {
                Tried::Raced | Tried::Denied(_) => {}
                Tried::Done | Tried::Past => return Ok(()),
            }
        }
        Err(Error::Raced)
    }

    async fn try_once(
        &mut self,
        run: &RunId,
        command: impl FnOnce(&State) -> Command,
    ) -> Result<Tried, Error> {
        let Some(mut state) = self.load(run).await? else {
            return Ok(Tried::Past);
        };
        let now = self.now();
        let events = decide(&state, &command(&state), now).unwrap();
        if events.is_empty() {
            return Ok(Tried::Past);
        }
        let commit = Commit {
            first: state.next_event(),
            at: now,
            driver: None,
            events,
            used: None,
        };
        evolve(&mut state, &commit);
        match self.put(&state, &commit).await {
            Ok(Put::Done) => Ok(Tried::Done),
            Ok(Put::Denied(denial)) => Ok(Tried::Denied(denial)),
            Ok(Put::Exists | Put::Stale) | Err(Error::Raced) => Ok(Tried::Raced),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn look_at_line(&mut self) -> Result<(), Error> {
        let settings = self.settings().await?;
        let ledger = self.store.ledger(&settings, &Node::Tenant).await?;
        let most = u64::from(settings.limits().concurrent_runs);
        if ledger.is_some_and(|ledger| ledger.waiting > 0 && ledger.active < most) {
            self.admit_waiting(1).await?;
        }
        Ok(())
    }

    pub(super) async fn admit_waiting(&mut self, most: u32) -> Result<(), Error> {
        let mut left = most;
        for run in self.store.waiting(&self.common.tenant, 10).await? {
            let mut grant = self.common.chunk;
            while left > 0 {
                let tried = self.try_once(&run, |state| {
                    let caps = state.created.as_ref().map(|created| created.caps.amount());
                    Command::Admit {
                        grant: caps.unwrap_or_default().min(grant),
                    }
                });
                match tried.await? {
                    Tried::Done => {
                        left -= 1;
                        break;
                    }
                    Tried::Past => break,
                    Tried::Raced => {}
                    Tried::Denied(Denial::Full | Denial::WaitingFull) => return Ok(()),
                    Tried::Denied(Denial::Spent { budget, left, .. }) => {
                        lower(&mut grant, budget.unit, left);
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a commit, which `state` holds already, with what it charges; when it frees a place, the next in line begins.
    pub(super) async fn put(&mut self, state: &State, commit: &Commit) -> Result<Put, Error> {
        let entry = state.entry(&commit.events);
        let heeds_settings = commit.events.iter().any(Event::heeds_settings);
        let moves_head = commit.events.iter().any(Event::moves_head);
        let head = moves_head.then(|| Head::of(state));
        let creates = commit.first == 1;
        let account = state.account.as_ref().expect("every run here has one");
        for _ in 0..5 {
            let settings = self.settings().await?;
            let limits = settings.limits();
            let charge = Charge {
                tenant: &settings,
                most: (limits.concurrent_runs.into(), limits.waiting_runs.into()),
                nodes: &account.nodes,
                entry,
                at: commit.at,
                definitions: None,
                // A belief: it may be wrong.
                line: commit.first.is_multiple_of(2),
            };
            let charge = (heeds_settings || !entry.is_empty()).then_some(&charge);
            let (store, tenant) = (&self.store, &state.tenant);
            if let Some(head) = head.as_ref().filter(|_| creates) {
                let create = async || store.create_charged(tenant, head, commit, charge).await;
                match again(create).await? {
                    Creation::New => return Ok(Put::Done),
                    Creation::Exists(_) => return Ok(Put::Exists),
                    Creation::Denied(denial) => return Ok(Put::Denied(denial)),
                    // Nobody here names a count of definitions.
                    Creation::Stale | Creation::Redefined => {}
                }
            } else {
                let head = head.as_ref();
                let append = async || {
                    store
                        .append_charged(tenant, &state.run, commit, head, charge, None)
                        .await
                };
                match again(append).await? {
                    Written::Done { waiting } => {
                        if waiting {
                            // Whoever frees a place has done its part, whatever comes of this.
                            let _left_to_others = Box::pin(self.admit_waiting(1)).await;
                        }
                        return Ok(Put::Done);
                    }
                    Written::Denied(denial) => return Ok(Put::Denied(denial)),
                    Written::Stale | Written::Redefined => {}
                }
            }
            self.settings = None;
            if creates || heeds_settings {
                return Ok(Put::Stale);
            }
        }
        Err(Error::Raced)
    }
}

pub(super) fn claim(driver: DriverId) -> Command {
    Command::Drive {
        driver,
        handed_over_by: None,
        lease: None,
    }
}
