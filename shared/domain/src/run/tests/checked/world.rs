//! Three runs, three processes, three ledgers, and what may happen next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use stateright::{Model, Property};

use super::super::*;
use super::table::{Ask, Bug, Denied, Folded, Write, Written};
use crate::budget::{Denial, Ledger};
use crate::id::{KeyId, ProjectId};

pub(super) const WITHIN: &str = "what was spent and what is reserved stay within every budget";
pub(super) const UNDER_WAY: &str = "no more runs than may are under way or wait";
pub(super) const HOLDS: &str = "ledgers hold what runs hold, and spent what runs spent";
pub(super) const RETURNED: &str = "when nothing is left to do, runs have ended and nothing is held";

/// How often something goes wrong in one history.
pub(super) const TROUBLES: u8 = 1;
/// Runs that may be under way, and that may wait.
pub(super) const MOST: (u64, u64) = (2, 1);
/// What a run may spend.
pub(super) const CAP: u64 = 450;
pub(super) const MINUTE_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) logs: [Vec<Ask>; 3],
    /// Creations that were refused for good.
    refused: [bool; 3],
    pub(super) ledgers: [Ledger; 3],
    /// What each process is about to write, in any order; none for one at leisure.
    processes: [Option<Write>; 3],
    /// Writes whose processes are gone.
    late: Vec<Write>,
    troubles: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A process at leisure looks at a run.
    Take(usize, usize),
    /// A write is done and answered.
    Write(usize),
    /// A write is done, its answer lost: it will be repeated.
    Unanswered(usize),
    /// A process ends before its write.
    Crash(usize),
    /// A process ends, and its write is still under way.
    CrashLate(usize),
    /// Such a write arrives.
    Late(usize),
}

/// What logs come to, by the run; none for one that ends with a commit that nobody would decide.
type Logs = HashMap<(usize, Vec<Ask>), Option<Arc<Folded>>>;

pub(super) struct Platform {
    pub(super) known: Known,
    pub(super) budgets: [(Node, Vec<Budget>); 3],
    pub(super) bug: Option<Bug>,
    pub(super) folded: Mutex<Logs>,
}

impl Platform {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        let agent = json!({"model": "m", "inference": {"max_output_tokens": 40}});
        // A micro-USD a token.
        let price = Price {
            input: 1_000_000,
            output: 1_000_000,
            cache_read: 1_000_000,
            cache_write: 1_000_000,
        };
        let budget = |limit, unit| Budget {
            period: Period::Total,
            unit,
            limit,
        };
        Self {
            known: Known::new(serde_json::from_value(agent).unwrap(), price).unwrap(),
            budgets: [
                (Node::Tenant, vec![budget(1_000, Unit::MicroUsd)]),
                (
                    Node::Project(ProjectId::parse("web").unwrap()),
                    vec![budget(600, Unit::MicroUsd)],
                ),
                (
                    Node::Key(KeyId::parse("k").unwrap()),
                    vec![budget(500, Unit::Tokens)],
                ),
            ],
            bug,
            folded: Mutex::default(),
        }
    }

    fn run(&self, world: &World, run: usize) -> Arc<Folded> {
        let folded = self.fold(run, &world.logs[run]);
        folded.expect("what is written was decided")
    }

    /// The run that waits longest; their creation is all that tells them apart.
    fn next_in_line(&self, world: &World) -> Option<usize> {
        let waits = |run: &usize| {
            let state = &self.run(world, *run).state;
            state.is_waiting() && !state.status.is_terminal()
        };
        (0..3).find(waits)
    }

    /// What a process does after its write was answered.
    fn goes_on(&self, world: &World, write: Write, written: Written) -> Option<Ask> {
        match (write.ask, written) {
            (_, Written::Raced) | (Ask::Create { .. } | Ask::Admit { .. }, Written::Done) => None,
            (Ask::Drive { .. } | Ask::Answer { .. }, Written::Done) => {
                let state = &self.run(world, write.run).state;
                let calls = state.status == Status::Running && !outstanding(state).is_empty();
                calls.then_some(Ask::Answer { denied: None })
            }
            (Ask::Create { waiting: false, .. }, Written::Denied(Denial::Full)) => {
                Some(Ask::Create {
                    grant: 0,
                    waiting: true,
                })
            }
            (Ask::Create { .. }, Written::Denied(Denial::Spent { left, .. })) => {
                let grant = u64::try_from(left).ok().filter(|left| *left > 0)?;
                Some(Ask::Create {
                    grant,
                    waiting: false,
                })
            }
            (Ask::Admit { .. }, Written::Denied(Denial::Spent { left, .. })) => {
                let grant = u64::try_from(left).unwrap_or(0);
                Some(Ask::Admit { grant })
            }
            (Ask::Create { .. } | Ask::Admit { .. }, Written::Denied(_)) => None,
            (ask, Written::Denied(Denial::Spent { node, .. })) => {
                let node = self.budgets.iter().position(|(name, _)| *name == node);
                let mut log = world.logs[write.run].clone();
                log.push(write.ask);
                let ahead = self.fold(write.run, &log).expect("it was decided");
                let account = ahead.state.account.as_ref().expect("every run has one");
                let denied = Some(Denied {
                    node: node.expect("it is one of three"),
                    exact: account.supply != Supply::Ample,
                });
                Some(if matches!(ask, Ask::Drive { .. }) {
                    Ask::Drive { denied }
                } else {
                    Ask::Answer { denied }
                })
            }
            (_, Written::Denied(denial)) => unreachable!("a driver takes no place: {denial:?}"),
        }
    }

    /// Does what a process is about to write, and has it go on from there.
    fn answered(&self, world: &mut World, process: usize) {
        let write = world.processes[process].take().expect("it writes");
        let written = self.write(world, write);
        let is_done = matches!(written, Written::Done);
        let is_final = matches!(write.ask, Ask::Create { .. }) && !is_done;
        let next = self.goes_on(world, write, written);
        if let Some(ask) = next {
            world.processes[process] = self.about_to(world, write.run, ask);
            return;
        }
        if is_final && world.logs[write.run].is_empty() {
            world.refused[write.run] = true;
        }
        let ended = self.run(world, write.run).state.status.is_terminal();
        if is_done
            && ended
            && let Some(run) = self.next_in_line(world)
        {
            let ask = Ask::Admit { grant: CAP };
            world.processes[process] = self.about_to(world, run, ask);
        }
    }

    /// A write that follows from how the log stands; none where nothing is to be decided.
    fn about_to(&self, world: &World, run: usize, ask: Ask) -> Option<Write> {
        let mut log = world.logs[run].clone();
        let seen = log.len();
        log.push(ask);
        self.fold(run, &log)?;
        Some(Write {
            run,
            seen,
            ask,
            is_done: false,
        })
    }

    /// What a process at leisure would write when it looks at a run.
    fn taking(&self, world: &World, run: usize) -> Option<Write> {
        let ask = if world.logs[run].is_empty() {
            if world.refused[run] {
                return None;
            }
            Ask::Create {
                grant: CAP,
                waiting: false,
            }
        } else if self.run(world, run).state.is_waiting() {
            let is_next = self.next_in_line(world) == Some(run);
            if !is_next || world.ledgers[0].active >= MOST.0 {
                return None;
            }
            Ask::Admit { grant: CAP }
        } else {
            Ask::Drive { denied: None }
        };
        self.about_to(world, run, ask)
    }

    /// What a node's ledger must say, by the logs of its runs.
    fn sums(&self, world: &World, node: usize) -> Ledger {
        let mut ledger = Ledger::default();
        for run in 0..3 {
            let state = &self.run(world, run).state;
            let Some(account) = &state.account else {
                continue;
            };
            if node != 0 && !Self::nodes(run).contains(&node) {
                continue;
            }
            if state.status.is_terminal() {
                ledger.spent = ledger.spent.plus(state.totals.amount());
            } else {
                ledger.held = ledger.held.plus(account.granted);
                if node == 0 {
                    ledger.active += u64::from(!account.waiting);
                    ledger.waiting += u64::from(account.waiting);
                }
            }
        }
        let budgets = &self.budgets[node].1;
        ledger.renew(budgets, At(0));
        for budget in budgets {
            if let Some((_, left)) = ledger.left.get_mut(&(budget.period, budget.unit)) {
                *left -= i64::try_from(ledger.spent.of(budget.unit)).unwrap();
            }
        }
        ledger
    }

    fn has(&self, world: &World, tag: &str) -> bool {
        (0..3).any(|run| self.run(world, run).tags.contains(tag))
    }
}

impl Model for Platform {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World {
            logs: Default::default(),
            refused: [false; 3],
            ledgers: Default::default(),
            processes: [None; 3],
            late: Vec::new(),
            troubles: 0,
        };
        for (ledger, (_, budgets)) in world.ledgers.iter_mut().zip(&self.budgets) {
            ledger.renew(budgets, At(0));
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let trouble = world.troubles < TROUBLES;
        // Those at leisure are all alike, so one of them is enough.
        if let Some(process) = world.processes.iter().position(Option::is_none) {
            for run in 0..3 {
                let mut others = world.processes.iter().flatten();
                let is_taken = others.any(|write| write.run == run);
                if (trouble || !is_taken) && self.taking(world, run).is_some() {
                    actions.push(Action::Take(process, run));
                }
            }
        }
        for (process, write) in world.processes.iter().enumerate() {
            if write.is_some() {
                actions.push(Action::Write(process));
                if trouble {
                    actions.push(Action::Unanswered(process));
                    actions.push(Action::Crash(process));
                    actions.push(Action::CrashLate(process));
                }
            }
        }
        actions.extend((0..world.late.len()).map(Action::Late));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Take(process, run) => {
                let mut others = world.processes.iter().flatten();
                next.troubles += u8::from(others.any(|write| write.run == run));
                next.processes[process] = self.taking(world, run);
            }
            Action::Write(process) => self.answered(&mut next, process),
            Action::Unanswered(process) => {
                next.troubles += 1;
                let mut write = next.processes[process]?;
                write.is_done |= matches!(self.write(&mut next, write), Written::Done);
                next.processes[process] = Some(write);
            }
            Action::Crash(process) => {
                next.troubles += 1;
                let write = next.processes[process].take()?;
                if self.bug == Some(Bug::Apart) {
                    let mut log = next.logs[write.run][..write.seen].to_vec();
                    log.push(write.ask);
                    let folded = self.fold(write.run, &log)?;
                    let entered = self.enter(&next.ledgers, write.run, &folded);
                    next.ledgers = entered.ok()?;
                }
            }
            Action::CrashLate(process) => {
                next.troubles += 1;
                let write = next.processes[process].take()?;
                next.late.push(write);
                next.late.sort();
            }
            Action::Late(place) => {
                let write = next.late.remove(place);
                self.write(&mut next, write);
            }
        }
        // Processes are all alike.
        next.processes.sort();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(WITHIN, |platform, world| {
                (0..3).all(|node| {
                    let sums = platform.sums(world, node);
                    let used = sums.held.plus(sums.spent);
                    let budgets = &platform.budgets[node].1;
                    budgets
                        .iter()
                        .all(|budget| used.of(budget.unit) <= budget.limit)
                })
            }),
            Property::always(UNDER_WAY, |platform, world| {
                let sums = platform.sums(world, 0);
                sums.active <= MOST.0 && sums.waiting <= MOST.1
            }),
            Property::always(HOLDS, |platform, world| {
                (0..3).all(|node| platform.sums(world, node) == world.ledgers[node])
            }),
            // Every write makes a log longer or finds that another did, so no history goes on for ever.
            Property::always(RETURNED, |platform: &Self, world: &World| {
                let at_leisure = world.processes.iter().all(Option::is_none);
                if !at_leisure || !world.late.is_empty() {
                    return true;
                }
                let mut actions = Vec::new();
                platform.actions(world, &mut actions);
                let is_over = (0..3).all(|run| {
                    world.refused[run] || platform.run(world, run).state.status.is_terminal()
                });
                let mut ledgers = world.ledgers.iter();
                let is_returned = ledgers.all(|ledger| ledger.held == Amount::ZERO)
                    && (world.ledgers[0].active, world.ledgers[0].waiting) == (0, 0);
                !actions.is_empty() || (is_over && is_returned)
            }),
            Property::sometimes("a run asks for more", |platform, world| {
                platform.has(world, "budget_extended")
            }),
            Property::sometimes("a run waits for its budget", |platform, world| {
                platform.has(world, "parked")
            }),
            Property::sometimes("a run goes on when others gave back", |platform, world| {
                let tags = |run| platform.run(world, run).tags.clone();
                (0..3).any(|run| {
                    ["resumed", "succeeded"]
                        .iter()
                        .all(|tag| tags(run).contains(tag))
                })
            }),
            Property::sometimes("a run is taken over", |platform, world| {
                platform.has(world, "taken_over")
            }),
            Property::sometimes("a run is let in", |platform, world| {
                platform.has(world, "admitted")
            }),
        ]
    }
}
