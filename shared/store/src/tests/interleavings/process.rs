//! A process of the platform: does what the engine does, without queues and models, one request at a time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use domain::agent::AgentRef;
use domain::budget::{Amount, Denial, Node};
use domain::caps::Caps;
use domain::id::{AgentId, DriverId, KeyId, ProjectId, RunId, TenantId};
use domain::limit::{Share, Spend, index};
use domain::run::{Admission, Command, Commit, Created, Known, Lane, State, decide, fold};
use domain::tenant::Tenant;
use domain::tier::Window;
use domain::time::At;
use serde_json::json;

use super::dice::Dice;
use super::runs::{Put, again, claim, lower};
use crate::{Error, Store, WATCH_SHARDS};

/// What stands outside every process and outlives it.
pub(super) struct Common {
    pub(super) tenant: TenantId,
    pub(super) known: Known,
    /// What a run reserves at most at once.
    pub(super) chunk: Amount,
    /// The rate limit that requests meet.
    pub(super) limit: Window,
    pub(super) clock_ms: Cell<u64>,
    /// Runs that clients asked for, created or not: what messages could tell of.
    pub(super) runs: RefCell<Vec<RunId>>,
    /// Requests that were admitted, by window.
    pub(super) admitted: RefCell<BTreeMap<u64, u64>>,
    pub(super) drivers: Cell<u64>,
}

pub(super) struct Process {
    pub(super) store: Store,
    pub(super) common: Rc<Common>,
    pub(super) dice: Dice,
    /// How far its clock is ahead.
    pub(super) ahead_ms: u64,
    /// The tenant's settings as it believes them.
    pub(super) settings: Option<Tenant>,
    pub(super) share: Share,
}

impl Common {
    /// What the client asks for that wants run number `n`: the same whenever it asks again.
    fn request(&self, n: usize) -> (RunId, Caps, [Option<Node>; 2]) {
        let n = u64::try_from(n).unwrap();
        let run = RunId::derived(&self.tenant, &n.to_string());
        let most = 170 + (n * 7 % 5) * 90;
        let caps = Caps {
            tokens: most,
            micro_usd: most,
            wall_ms: 3 * 86_400_000,
            ..Caps::default()
        };
        let project = (n % 3 > 0).then(|| Node::Project(ProjectId::parse("web").unwrap()));
        let key = n
            .is_multiple_of(2)
            .then(|| Node::Key(KeyId::parse("k1").unwrap()));
        (run, caps, [project, key])
    }

    pub(super) fn new_driver(&self) -> DriverId {
        self.drivers.set(self.drivers.get() + 1);
        DriverId::parse(&format!("d{}", self.drivers.get())).unwrap()
    }
}

impl Process {
    /// Does `most` things, of which `done` are behind it: what a crash interrupts is not done again.
    pub(super) async fn work(mut self, done: Rc<Cell<u32>>, most: u32) {
        while done.get() < most {
            done.set(done.get() + 1);
            match self.do_something().await {
                Err(error) if error.is_transient() || matches!(error, Error::Raced) => {}
                Err(error) => panic!("{error:?}"),
                Ok(()) => {}
            }
        }
    }

    async fn do_something(&mut self) -> Result<(), Error> {
        let run = self.dice.pick(&self.common.runs.borrow()).cloned();
        match (self.dice.below(20), run) {
            (0..8, None) | (0..5, _) => self.create().await,
            (5..12, Some(run)) => self.drive(&run).await,
            (12, Some(run)) => {
                let (by, reason) = ("client".to_owned(), None);
                self.record(&run, Command::Cancel { by, reason }).await
            }
            (13..15, _) => self.change_settings().await,
            (15, _) => {
                let watched = self.watched(self.now()).await?;
                self.look_at(watched).await
            }
            _ => self.ask().await,
        }
    }

    /// As the janitor does, whenever a run is due, until every run has ended.
    pub(super) async fn clean_up(mut self) {
        for _ in 0..1_000 {
            let watched = self.watched(At(9_999_999_999_999)).await.unwrap();
            let Some(next) = watched.iter().map(|(_, at)| at.0).min() else {
                return;
            };
            let clock = &self.common.clock_ms;
            clock.set(clock.get().max(next));
            match self.look_at(watched).await {
                Err(error) if error.is_transient() || matches!(error, Error::Raced) => {}
                Err(error) => panic!("{error:?}"),
                Ok(()) => {}
            }
        }
        panic!("some runs never end");
    }

    pub(super) fn now(&self) -> At {
        At(self.common.clock_ms.get() + self.ahead_ms)
    }

    /// The tenant's runs that have not ended and are to be looked at before an instant.
    async fn watched(&self, before: At) -> Result<Vec<(RunId, At)>, Error> {
        let mut runs = Vec::new();
        for shard in 0..WATCH_SHARDS {
            let watched = self.store.watched(shard, before, 250).await?;
            let own = watched.into_iter().filter(|it| it.0 == self.common.tenant);
            runs.extend(own.map(|(_, run, at)| (run, at)));
        }
        Ok(runs)
    }

    /// Looks at those runs that are due, if nobody else does.
    async fn look_at(&mut self, watched: Vec<(RunId, At)>) -> Result<(), Error> {
        let tenant = self.common.tenant.clone();
        for (run, from) in watched {
            let now = self.now();
            if now < from {
                continue;
            }
            let Some(sight) = self.store.sight(&tenant, &run).await? else {
                continue;
            };
            // Who was silent for long is left alone for as long again.
            let to = now.plus_ms(now.since_ms(sight.seen_at).max(30_000));
            let status = sight.head.status;
            let postponed = self.store.postpone(&tenant, &run, status, from, to);
            if postponed.await? {
                self.drive(&run).await?;
            }
        }
        Ok(())
    }

    /// Requests, each of which needs a token.
    async fn ask(&mut self) -> Result<(), Error> {
        let common = self.common.clone();
        for _ in 0..=self.dice.below(12) {
            let own = index(&common.limit, self.now());
            loop {
                match self.share.spend(own, common.limit.requests) {
                    Spend::Admitted { window, .. } => {
                        *common.admitted.borrow_mut().entry(window).or_default() += 1;
                        break;
                    }
                    Spend::Refused { .. } => break,
                    Spend::NeedsLease { window, tokens } => {
                        let tokens = tokens + self.dice.below(6);
                        let (tenant, limit) = (&common.tenant, &common.limit);
                        let leased = self.store.lease(tenant, limit, None, window, tokens);
                        self.share.leased(leased.await?);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) async fn settings(&mut self) -> Result<Tenant, Error> {
        if self.settings.is_none() {
            self.settings = self.store.tenant(&self.common.tenant).await?;
        }
        Ok(self.settings.clone().expect("it was onboarded"))
    }

    /// Changes the tenant's limits, has its runs look at what holds now, and lets in whom there is room for.
    async fn change_settings(&mut self) -> Result<(), Error> {
        let old = self.store.tenant(&self.common.tenant).await?;
        let old = old.expect("it was onboarded");
        let mut new = super::changed(&old, &mut self.dice);
        new.updated_at = self.now();
        let put = again(async || self.store.put_tenant(&new, Some(&old)).await).await;
        self.settings = None;
        put?;
        let runs = self.common.runs.borrow().clone();
        for run in runs {
            let by = "operator".to_owned();
            self.record(&run, Command::Wake { by }).await?;
        }
        self.admit_waiting(u32::MAX).await
    }

    async fn create(&mut self) -> Result<(), Error> {
        let count = self.common.runs.borrow().len();
        let is_repeated = count > 0 && self.dice.chance(15);
        let n = if is_repeated {
            usize::try_from(self.dice.below(count as u64)).unwrap()
        } else {
            count
        };
        let (run, caps, nodes) = self.common.request(n);
        if !is_repeated {
            self.common.runs.borrow_mut().push(run.clone());
        }
        let by = self.dice.chance(40).then(|| self.common.new_driver());
        let chunk = caps.amount().min(self.common.chunk);
        let (mut grant, mut waiting) = (chunk, false);
        for _ in 0..12 {
            let settings = self.settings().await?;
            let has_budgets = |node: &Node| !settings.budgets_of(node).is_empty();
            let nodes = nodes.iter().flatten().filter(|node| has_budgets(node));
            let now = self.now();
            let created = Created {
                agent: AgentRef {
                    id: AgentId::parse("a").unwrap(),
                    version: 1,
                },
                input: json!("hi"),
                caps,
                lane: Lane::Standard,
                deadline_at: now.plus_ms(caps.wall_ms),
                kept_until: None,
                metadata: BTreeMap::new(),
                fingerprint: None,
                project: None,
                key: None,
                admission: Some(Admission {
                    nodes: nodes.cloned().collect(),
                    grant,
                    waiting,
                }),
                epoch: 0,
            };
            let mut commands = vec![Command::Create(Box::new(created))];
            commands.extend(by.clone().map(claim));
            let (tenant, run) = (self.common.tenant.clone(), run.clone());
            let mut state = State::empty(tenant.clone(), run.clone());
            let decided = match &by {
                Some(_) => self.decide(&mut state, &commands, now),
                None => decide(&state, &commands[0], now),
            };
            let commit = Commit {
                first: 1,
                at: now,
                driver: by.clone(),
                events: decided.unwrap(),
                used: None,
            };
            let state = fold(tenant, run, [&commit]);
            match self.put(&state, &commit).await? {
                Put::Done if state.is_waiting() => return self.look_at_line().await,
                Put::Done => {
                    return match by {
                        Some(driver) => self.go_on(state, driver, Vec::new()).await,
                        None => Ok(()),
                    };
                }
                Put::Exists => return Ok(()),
                Put::Denied(Denial::Full) if !waiting => (grant, waiting) = (Amount::ZERO, true),
                Put::Denied(Denial::Full | Denial::WaitingFull) => return Ok(()),
                Put::Denied(Denial::Spent { left, .. }) if left <= 0 => return Ok(()),
                Put::Denied(Denial::Spent { budget, left, .. }) => {
                    lower(&mut grant, budget.unit, left);
                }
                Put::Stale => (grant, waiting) = (chunk, false),
            }
        }
        Err(Error::Raced)
    }
}
