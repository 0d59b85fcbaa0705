//! Random interleavings of up to ten processes at work for one tenant: nothing is ever overspent and nothing stays held.
//!
//! Every request to the table waits until the test lets it through, one at a time, so an interleaving is the sequence of
//! those choices and follows from its seed alone. A request may fail, lose its answer, be done twice or meet a transaction;
//! a process may end before its request is done, after it, or leave it behind to be done late. After each transaction the
//! test reads the tenant and its ledgers and holds them against the laws.
//!
//! `INTERLEAVINGS=10000` plays so many; `SEED=7` begins with that one.

mod dice;
mod laws;
mod process;
mod runs;
pub(super) mod wire;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_types::SdkConfig;
use domain::budget::{Amount, Budget, Period, Unit};
use domain::limit::Share;
use domain::run::Known;
use domain::tenant::Tenant;
use domain::tier::{Subject, Window};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use local::s3::Payloads;
use local::table::Table;

use self::dice::Dice;
use self::laws::{Observed, nodes};
use self::process::{Common, Process};
use self::wire::{Ticket, Wire, conflict, failed};
use super::{NOW, json, sdk, tenant};
use crate::{Config, Store};

/// Interleavings of an ordinary run of the tests.
const USUAL: u64 = 100;
/// Interleavings that share a table, each with a tenant of its own.
const PER_TABLE: u64 = 50;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is done and answered.
    Done,
    /// It is done and its answer lost.
    Unanswered,
    /// It is not done.
    Failed,
    /// It is done twice.
    Twice,
    /// It meets a transaction.
    Conflict,
    /// Its process ends, and it is not done.
    CrashBefore,
    /// It is done, and its process ends.
    CrashAfter,
    /// Its process ends, and it is done some time later.
    CrashLate,
}

const TROUBLES: [Fate; 7] = [
    Fate::Unanswered,
    Fate::Failed,
    Fate::Twice,
    Fate::Conflict,
    Fate::CrashBefore,
    Fate::CrashAfter,
    Fate::CrashLate,
];

/// A place that a process takes, and the next one when it crashed.
struct Seat {
    future: Option<LocalBoxFuture<'static, ()>>,
    /// How often it is let go on, compared to others.
    pace: u64,
    done: Rc<Cell<u32>>,
    most: u32,
    crashes: u64,
}

/// One table for several interleavings.
pub(super) struct Stand {
    pub(super) store: Store,
    pub(super) wire: Wire,
    table: aws_sdk_dynamodb::Client,
    payloads: SdkConfig,
}

impl Stand {
    fn over(table: aws_sdk_dynamodb::Client, payloads: SdkConfig, wire: Wire) -> Self {
        let store = open(&table, &payloads);
        Self {
            store,
            wire,
            table,
            payloads,
        }
    }

    /// The store of one process, which shares nothing with those of others but the table.
    fn store_of_one(&self) -> Store {
        open(&self.table, &self.payloads)
    }
}

fn open(table: &aws_sdk_dynamodb::Client, payloads: &SdkConfig) -> Store {
    let secret = *b"a secret that only tests may know";
    let config = Config::new("skein", "payloads", secret);
    Store::new(table.clone(), payloads, config)
}

struct Interleaving<'a> {
    stand: &'a Stand,
    dice: Dice,
    /// Of a hundred requests, those that something happens to.
    trouble: u64,
    /// Of a thousand requests, those before which half a day passes.
    leaps: u64,
    common: Rc<Common>,
    seats: Vec<Seat>,
    /// Requests whose processes are gone.
    late: Vec<Ticket>,
    observed: Observed,
    trace: Vec<(usize, String, Fate)>,
}

pub(super) async fn stand() -> Stand {
    let wire = Wire::default();
    let table = wire.wrap(Table::open(None).unwrap().router());
    // Repeating is left to whoever asks, so that a repeated write is a request of its own.
    let table = sdk(table)
        .into_builder()
        .retry_config(RetryConfig::disabled())
        .build();
    let payloads = sdk(Payloads::open(None).unwrap().router());
    let table = aws_sdk_dynamodb::Client::new(&table);
    let stand = Stand::over(table, payloads, wire);
    stand.store.provision().await.unwrap();
    stand
}

/// The tenant with one thing changed.
fn changed(old: &Tenant, dice: &mut Dice) -> Tenant {
    let mut new = old.clone();
    new.revision += 1;
    let few = |dice: &mut Dice, least| u32::try_from(least + dice.below(4)).ok();
    match dice.below(4) {
        0 => new.overrides.concurrent_runs = few(dice, 1),
        1 => new.overrides.waiting_runs = few(dice, 0),
        _ => {
            let node = dice.pick(&nodes()).unwrap().clone();
            new.budgets.insert(node, budgets(dice));
            new.budgets.retain(|_, budgets| !budgets.is_empty());
        }
    }
    new
}

fn budgets(dice: &mut Dice) -> Vec<Budget> {
    let kinds = [
        (Period::Day, Unit::MicroUsd),
        (Period::Day, Unit::Tokens),
        (Period::Month, Unit::MicroUsd),
        (Period::Total, Unit::Tokens),
    ];
    let mut budgets = Vec::new();
    for (period, unit) in kinds {
        if dice.chance(45) {
            let limit = 150 + 50 * dice.below(20);
            budgets.push(Budget {
                period,
                unit,
                limit,
            });
        }
    }
    budgets
}

impl<'a> Interleaving<'a> {
    async fn new(stand: &'a Stand, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut account = Tenant::new(tenant(&format!("t{seed}")), "T", "business", NOW);
        for node in nodes() {
            account.budgets.insert(node, budgets(&mut dice));
        }
        account.budgets.retain(|_, budgets| !budgets.is_empty());
        account.overrides.concurrent_runs = Some(u32::try_from(1 + dice.below(4)).unwrap());
        account.overrides.waiting_runs = Some(u32::try_from(dice.below(5)).unwrap());
        stand.store.put_tenant(&account, None).await.unwrap();
        let agent = json!({"model": "local.echo", "inference": {"max_output_tokens": 40}});
        // A micro-USD a token.
        let price = domain::price::Price {
            input: 1_000_000,
            output: 1_000_000,
            cache_read: 100_000,
            cache_write: 1_000_000,
        };
        let reserved = 140 + 100 * dice.below(3);
        let common = Common {
            tenant: account.id,
            known: Known::new(serde_json::from_value(agent).unwrap(), price).unwrap(),
            chunk: Amount {
                micro_usd: reserved,
                tokens: reserved,
            },
            limit: Window {
                name: "permin".to_owned(),
                requests: 5 + dice.below(30),
                seconds: 20,
                by: Subject::Tenant,
            },
            clock_ms: Cell::new(NOW.0),
            runs: RefCell::default(),
            admitted: RefCell::default(),
            drivers: Cell::default(),
        };
        let mut interleaving = Self {
            stand,
            trouble: [0, 5, 15, 30][usize::try_from(dice.below(4)).unwrap()],
            leaps: [0, 5, 40][usize::try_from(dice.below(3)).unwrap()],
            common: Rc::new(common),
            seats: Vec::new(),
            late: Vec::new(),
            observed: Observed::default(),
            trace: Vec::new(),
            dice,
        };
        interleaving.look(&[]).await;
        interleaving
    }

    async fn look(&mut self, written: &[u8]) {
        let (wire, tenant) = (&self.stand.wire, &self.common.tenant);
        self.observed.look(wire, tenant, written).await;
    }

    fn process(&self, seat: usize, crashes: u64) -> Process {
        let mut dice = self.dice.fork(1_000 * seat as u64 + crashes);
        Process {
            store: self.stand.store_of_one(),
            common: self.common.clone(),
            ahead_ms: dice.below(4_000),
            settings: None,
            share: Share::default(),
            dice,
        }
    }

    /// Lets the process of a seat go on until it asks for something, or has nothing more to do.
    async fn go_on(&mut self, at: usize) {
        let (wire, seat) = (&self.stand.wire, &mut self.seats[at]);
        if let Some(future) = &mut seat.future
            && wire.step(at, future.as_mut()).await.is_some()
        {
            seat.future = None;
        }
    }

    /// Ends the process of a seat and puts another there.
    async fn crash(&mut self, at: usize) {
        self.seats[at].crashes += 1;
        let process = self.process(at, self.seats[at].crashes);
        let seat = &mut self.seats[at];
        seat.future = Some(Box::pin(process.work(seat.done.clone(), seat.most)));
        self.go_on(at).await;
    }

    fn fate(&mut self) -> Fate {
        if self.dice.chance(self.trouble) {
            *self.dice.pick(&TROUBLES).unwrap()
        } else {
            Fate::Done
        }
    }

    /// Lets one request through, of a process or a late one; none when nobody waits.
    async fn step(&mut self) -> Option<()> {
        let jump_ms = match self.dice.below(1_000) {
            place if place < self.leaps => 40_000_000,
            place if place < 100 => 26_000,
            _ => self.dice.below(1_500),
        };
        let clock = &self.common.clock_ms;
        clock.set(clock.get() + jump_ms);
        let mut choices: Vec<(Option<usize>, u64)> = Vec::new();
        for (at, seat) in self.seats.iter().enumerate() {
            if self.stand.wire.is_waiting(at) {
                choices.push((Some(at), seat.pace));
            }
        }
        if !self.late.is_empty() {
            choices.push((None, 1));
        }
        let mut place = self.dice.below(choices.iter().map(|choice| choice.1).sum());
        let chosen = choices.into_iter().find(|(_, weight)| {
            let is_it = place < *weight;
            place = place.saturating_sub(*weight);
            is_it
        })?;
        let Some(at) = chosen.0 else {
            let place = self.dice.below(self.late.len() as u64);
            let ticket = self.late.swap_remove(usize::try_from(place).unwrap());
            self.trace
                .push((usize::MAX, ticket.operation.clone(), Fate::Done));
            self.pass(&ticket).await;
            return Some(());
        };
        let fate = self.fate();
        let ticket = self.stand.wire.take(at).expect("it waits");
        self.trace.push((at, ticket.operation.clone(), fate));
        match fate {
            Fate::Done => {
                let answer = self.pass(&ticket).await;
                ticket.answer(answer);
            }
            Fate::Unanswered => {
                self.pass(&ticket).await;
                ticket.answer(failed());
            }
            Fate::Failed => ticket.answer(failed()),
            Fate::Twice => {
                self.pass(&ticket).await;
                let answer = self.pass(&ticket).await;
                ticket.answer(answer);
            }
            Fate::Conflict if ticket.operation == "Query" || ticket.operation == "GetItem" => {
                ticket.answer(failed());
            }
            Fate::Conflict => {
                let answer = conflict(&ticket.operation);
                ticket.answer(answer);
            }
            Fate::CrashBefore => self.crash(at).await,
            Fate::CrashAfter => {
                self.pass(&ticket).await;
                self.crash(at).await;
            }
            Fate::CrashLate => {
                self.late.push(ticket);
                self.crash(at).await;
            }
        }
        self.go_on(at).await;
        Some(())
    }

    async fn pass(&mut self, ticket: &Ticket) -> axum::response::Response {
        let answer = ticket.pass().await;
        if ticket.operation == "TransactWriteItems" && answer.status().is_success() {
            self.look(&ticket.body).await;
            if self.dice.chance(5) {
                self.add_up().await;
            }
        }
        answer
    }

    async fn add_up(&self) -> Vec<domain::run::State> {
        let runs = self.common.runs.borrow().clone();
        self.observed.add_up(&self.stand.store, &runs).await
    }

    async fn play(&mut self) {
        for at in 0..usize::try_from(3 + self.dice.below(8)).unwrap() {
            let (done, most) = (
                Rc::default(),
                u32::try_from(1 + self.dice.below(6)).unwrap(),
            );
            let process = self.process(at, 0).work(Rc::clone(&done), most);
            self.seats.push(Seat {
                future: Some(Box::pin(process)),
                pace: 1 + self.dice.below(8),
                done,
                most,
                crashes: 0,
            });
            self.go_on(at).await;
        }
        while self.step().await.is_some() {}
        // Everybody is done; the janitor comes, and nothing fails any more. What comes late even then may be a creation.
        self.trouble = 0;
        for _ in 0..2 {
            let janitor = self.process(self.seats.len(), 0).clean_up();
            self.seats.push(Seat {
                future: Some(Box::pin(janitor)),
                pace: 1,
                done: Rc::default(),
                most: 0,
                crashes: 0,
            });
            self.go_on(self.seats.len() - 1).await;
            while self.step().await.is_some() {}
        }
        for state in self.add_up().await {
            assert!(state.status.is_terminal(), "{} goes on", state.run);
        }
        let requests = self.common.limit.requests;
        for (window, admitted) in self.common.admitted.borrow().iter() {
            assert!(*admitted <= requests, "{admitted} of {requests}: {window}");
        }
    }
}

/// Plays the interleaving of this seed; fails with the seed and what happened last.
async fn play(stand: &Stand, seed: u64) -> Vec<(usize, String, Fate)> {
    let mut interleaving = Box::pin(Interleaving::new(stand, seed)).await;
    let played = AssertUnwindSafe(Box::pin(interleaving.play()));
    let failed = played.catch_unwind().await.err();
    if let Some(failed) = failed {
        let text = failed.downcast_ref::<String>().cloned();
        let text = text.or_else(|| failed.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let mut last = String::new();
        for (at, operation, fate) in interleaving.trace.iter().rev().take(40).rev() {
            writeln!(last, "{at} {operation} {fate:?}").unwrap();
        }
        panic!("SEED={seed}: {}\n{last}", text.unwrap_or_default());
    }
    interleaving.trace
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn no_interleaving_overspends_or_leaves_anything_held() {
    let first = variable("SEED").unwrap_or(0);
    let end = first + variable("INTERLEAVINGS").unwrap_or(USUAL);
    let mut shared = stand().await;
    let (mut requests, mut fates) = (0, BTreeMap::<String, u64>::new());
    for seed in first..end {
        if seed % PER_TABLE == 0 {
            shared = stand().await;
        }
        let trace = play(&shared, seed).await;
        requests += trace.len();
        for (_, _, fate) in trace {
            *fates.entry(format!("{fate:?}")).or_default() += 1;
        }
    }
    println!("interleavings {first}..{end}: {requests} requests, {fates:?}");
    if end - first >= USUAL {
        assert_eq!(fates.len(), 8, "{requests} requests: {fates:?}");
    }
}

#[tokio::test]
async fn a_seed_plays_the_same_interleaving_again() {
    let mut traces = Vec::new();
    for _ in 0..2 {
        let trace = play(&stand().await, 11).await;
        let trace: Vec<_> = trace
            .into_iter()
            .map(|(at, operation, fate)| (at, operation, format!("{fate:?}")))
            .collect();
        traces.push(trace);
    }
    assert!(traces[0].len() > 30, "{:?}", traces[0]);
    assert_eq!(traces[0], traces[1]);
}
