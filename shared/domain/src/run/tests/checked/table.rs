//! What is written: commits where a log ends, and what ledgers enter with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::*;
use super::world::{CAP, MINUTE_MS, MOST, Platform, World};
use crate::budget::{Denial, Entry, Ledger};

/// A fault of the table or of who writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A commit is written although another stands there.
    Unfenced,
    /// What is reserved is not compared with what is left.
    Unchecked,
    /// The same, but for the tenant's ledger.
    ChecksTenantAlone,
    /// Runs under way are not compared with what may be.
    Uncounted,
    /// The ledgers are written before the log, and a process may end between the two.
    Apart,
    /// A commit whose answer was lost is entered again when it is repeated.
    EntersTwice,
    /// A run that was taken over gives back only what it spent.
    Forgets,
}

/// A commit, as far as it does not follow from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Ask {
    Create { grant: u64, waiting: bool },
    Drive { denied: Option<Denied> },
    Answer { denied: Option<Denied> },
    Admit { grant: u64 },
}

/// What a ledger refused before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Denied {
    pub(super) node: usize,
    pub(super) exact: bool,
}

/// A write under way: its run, where the log ended when it was decided, and the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Write {
    pub(super) run: usize,
    pub(super) seen: usize,
    pub(super) ask: Ask,
    /// Whether it was done before, and its answer lost.
    pub(super) is_done: bool,
}

/// What became of a write.
pub(super) enum Written {
    Done,
    Raced,
    Denied(Denial),
}

/// A run at the end of some log.
#[derive(Debug)]
pub(super) struct Folded {
    pub(super) state: State,
    pub(super) at: At,
    /// What its last commit enters.
    entry: Entry,
    pub(super) tags: BTreeSet<&'static str>,
}

fn money(micro_usd: u64) -> Amount {
    Amount {
        micro_usd,
        tokens: micro_usd,
    }
}

impl Platform {
    /// The nodes that a run is charged to beside the tenant.
    pub(super) fn nodes(run: usize) -> &'static [usize] {
        [&[1][..], &[1, 2], &[2]][run]
    }

    pub(super) fn fold(&self, run: usize, log: &[Ask]) -> Option<Arc<Folded>> {
        let key = (run, log.to_vec());
        if let Some(known) = self.folded.lock().unwrap().get(&key) {
            return known.clone();
        }
        let folded = self.fold_anew(run, log).map(Arc::new);
        self.folded.lock().unwrap().insert(key, folded.clone());
        folded
    }

    fn fold_anew(&self, run: usize, log: &[Ask]) -> Option<Folded> {
        let Some((last, before)) = log.split_last() else {
            let number = u8::try_from(run).unwrap();
            return Some(Folded {
                state: State::empty(tenant(), RunId::from_bytes([number; 16])),
                at: At(1_000_000),
                entry: Entry::default(),
                tags: BTreeSet::new(),
            });
        };
        let before = self.fold(run, before)?;
        let mut now = before.at.plus_ms(MINUTE_MS);
        if let Some((_, until)) = &before.state.parked {
            now = now.max(*until);
        }
        let mut state = before.state.clone();
        let claimed = driver(&format!("d{}", log.len()));
        let holder = state.driver.as_ref().map(|(holder, _)| holder.clone());
        let (first, denied, by) = match *last {
            Ask::Create { grant, waiting } => (Self::create(run, grant, waiting, now), None, None),
            Ask::Admit { grant } => {
                let grant = money(grant);
                (Command::Admit { grant }, None, None)
            }
            Ask::Drive { denied } => (drive(claimed.as_str()), denied, Some(claimed)),
            Ask::Answer { denied } => (Self::answer(run, &state)?, denied, holder),
        };
        let mut events = match (&denied, &by) {
            (None, None) => decide(&state, &first, now).ok()?,
            (None, Some(_)) => advance(&self.known, &mut state, &first, now).ok()?,
            (Some(_), _) => Vec::new(),
        };
        if let Some(denied) = denied {
            let (node, budgets) = &self.budgets[denied.node];
            let denial = Command::Deny {
                node: node.clone(),
                budget: budgets[0],
                renews_at: None,
                exact: denied.exact,
            };
            // As a driver does: it claims the run, knows what was denied, and then what it has in hand follows.
            let claims = matches!(last, Ask::Drive { .. });
            if claims {
                events.extend(settle(&self.known, &mut state, &first, now).ok()?);
            }
            events.extend(advance(&self.known, &mut state, &denial, now).ok()?);
            if !claims {
                events.extend(advance(&self.known, &mut state, &first, now).ok()?);
            }
        }
        if events.is_empty() {
            return None;
        }
        let commit = Commit {
            first: before.state.next_event(),
            at: now,
            driver: by,
            events,
            used: None,
        };
        let mut state = before.state.clone();
        evolve(&mut state, &commit);
        let mut tags = before.tags.clone();
        tags.extend(commit.events.iter().map(Event::tag));
        Some(Folded {
            entry: state.entry(&commit.events),
            at: now,
            state,
            tags,
        })
    }

    fn create(run: usize, grant: u64, waiting: bool, now: At) -> Command {
        let caps = Caps {
            tokens: CAP,
            micro_usd: CAP,
            wall_ms: 36 * 60 * MINUTE_MS,
            ..Caps::default()
        };
        Command::Create(Box::new(Created {
            agent: AgentRef {
                id: AgentId::parse("a").unwrap(),
                version: 1,
            },
            input: json!("hi"),
            caps,
            lane: Lane::Standard,
            deadline_at: now.plus_ms(caps.wall_ms),
            kept_until: None,
            metadata: std::collections::BTreeMap::new(),
            fingerprint: None,
            project: None,
            key: None,
            admission: Some(Admission {
                nodes: Self::nodes(run)
                    .iter()
                    .map(|node| Self::new(None).budgets[*node].0.clone())
                    .collect(),
                grant: money(grant),
                waiting,
            }),
            epoch: 0,
        }))
    }

    /// What the model says: nothing that can be used the first time that the first two runs ask, at the full price.
    fn answer(run: usize, state: &State) -> Option<Command> {
        let frame = state.frames.get(&FrameId::root())?;
        let Phase::Thinking {
            max_output_tokens,
            reserved_tokens,
            ..
        } = frame.phase
        else {
            return None;
        };
        let is_usable = run == 2 || frame.repaired;
        let output = u64::from(max_output_tokens);
        let usage = if is_usable {
            (10, 5)
        } else {
            (reserved_tokens - output, output)
        };
        let usage = Usage {
            input_tokens: usage.0,
            output_tokens: usage.1,
            ..Usage::default()
        };
        let said = Answer {
            cost_micro_usd: usage.total(),
            usage,
            ..says(if is_usable { "42" } else { "" })
        };
        Some(answered(frame.step, frame.attempt, Ok(said)))
    }

    /// Writes where the log ends, with what the ledgers enter, all of it or nothing.
    pub(super) fn write(&self, world: &mut World, write: Write) -> Written {
        let Write {
            run,
            seen,
            ask,
            is_done,
        } = write;
        if is_done && self.bug != Some(Bug::EntersTwice) {
            return Written::Done;
        }
        let is_taken = world.logs[run].len() > seen;
        if is_taken && !is_done && self.bug != Some(Bug::Unfenced) {
            return Written::Raced;
        }
        let mut log = world.logs[run][..seen].to_vec();
        log.push(ask);
        let folded = self.fold(run, &log).expect("it was decided");
        match self.enter(&world.ledgers, run, &folded) {
            Ok(ledgers) => {
                world.ledgers = ledgers;
                world.logs[run] = log;
                Written::Done
            }
            Err(denial) => Written::Denied(denial),
        }
    }

    /// The ledgers after a commit, unless one of them refuses it.
    pub(super) fn enter(
        &self,
        ledgers: &[Ledger; 3],
        run: usize,
        folded: &Folded,
    ) -> Result<[Ledger; 3], Denial> {
        let mut entry = folded.entry;
        if self.bug == Some(Bug::Forgets) && folded.tags.contains("taken_over") {
            entry.release = entry.spent;
        }
        let mut ledgers = ledgers.clone();
        if entry.is_empty() {
            return Ok(ledgers);
        }
        for node in std::iter::once(&0).chain(Self::nodes(run)) {
            let (name, budgets) = &self.budgets[*node];
            let is_compared = match self.bug {
                Some(Bug::Unchecked) => false,
                Some(Bug::ChecksTenantAlone) => *node == 0,
                _ => true,
            };
            let most = if self.bug == Some(Bug::Uncounted) {
                (u64::MAX, u64::MAX)
            } else {
                MOST
            };
            let ledger = &mut ledgers[*node];
            ledger.renew(budgets, folded.at);
            let compared = if is_compared { &budgets[..] } else { &[] };
            ledger.apply(name, compared, entry, most, folded.at)?;
            for budget in budgets.iter().filter(|_| !is_compared) {
                if let Some((_, left)) = ledger.left.get_mut(&(budget.period, budget.unit)) {
                    *left += entry.change(budget.unit);
                }
            }
        }
        Ok(ledgers)
    }
}
