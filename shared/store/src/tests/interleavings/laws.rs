//! What holds of one tenant at every instant, and in the end.

use std::collections::BTreeMap;

use domain::budget::{Amount, Ledger, Node, Period, Unit};
use domain::id::{KeyId, ProjectId, RunId, TenantId};
use domain::run::State;
use domain::tenant::Tenant;

use super::wire::Wire;
use crate::item::Read as _;
use crate::{Key, Store, ledger};

/// The tenant and its ledgers at one instant.
#[derive(Debug, Default)]
pub(super) struct Observed {
    seen: Option<(Tenant, BTreeMap<Node, Ledger>)>,
}

pub(super) fn nodes() -> [Node; 3] {
    [
        Node::Tenant,
        Node::Project(ProjectId::parse("web").unwrap()),
        Node::Key(KeyId::parse("k1").unwrap()),
    ]
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap()
}

/// What was spent of each budget in its period, by what is left of it.
fn spent(tenant: &Tenant, node: &Node, ledger: &Ledger) -> BTreeMap<(Period, Unit), (u64, i64)> {
    let budgets = tenant.budgets_of(node).iter();
    budgets
        .map(|budget| {
            let key = (budget.period, budget.unit);
            let (number, left) = ledger.left[&key];
            let held = ledger.held.of(budget.unit);
            (key, (number, signed(budget.limit) - signed(held) - left))
        })
        .collect()
}

impl Observed {
    /// Looks again at what a write has changed, if it has, and holds it against how it was.
    pub(super) async fn look(&mut self, wire: &Wire, id: &TenantId, written: &[u8]) {
        let is_written = |text: &str| written.windows(text.len()).any(|it| it == text.as_bytes());
        let (old, then) = match self.seen.take() {
            Some((tenant, ledgers)) => (Some(tenant), ledgers),
            None => (None, BTreeMap::new()),
        };
        let tenant = match &old {
            Some(old) if !is_written("\"TENANT\"") => old.clone(),
            _ => {
                let item = wire.item(&Key::tenant(id, 0)).await.unwrap();
                item.json("head").unwrap()
            }
        };
        let mut ledgers = then.clone();
        for node in nodes() {
            if old.is_some() && !is_written(&format!("#B#{node}\"")) {
                continue;
            }
            let Some(item) = wire.item(&Key::ledger(id, &node)).await else {
                continue;
            };
            let ledger = ledger::read(&tenant, &node, &item).unwrap();
            let unknown = Ledger::default();
            let before = (
                old.as_ref().unwrap_or(&tenant),
                then.get(&node).unwrap_or(&unknown),
            );
            if old.is_some() {
                follows(&node, before, (&tenant, &ledger));
            }
            ledgers.insert(node, ledger);
        }
        self.seen = Some((tenant, ledgers));
    }

    /// What runs hold and spent is what the ledgers say.
    pub(super) async fn add_up(&self, store: &Store, runs: &[RunId]) -> Vec<State> {
        let (tenant, ledgers) = self.seen.as_ref().unwrap();
        let mut states = Vec::new();
        for run in runs {
            let loaded = store.load(&tenant.id, run).await.unwrap();
            states.extend(loaded.map(|loaded| loaded.state));
        }
        for (node, ledger) in ledgers {
            let mut expected = Ledger {
                left: ledger.left.clone(),
                warned: ledger.warned.clone(),
                ..Ledger::default()
            };
            for state in &states {
                let account = state.account.as_ref().unwrap();
                let used = state.totals.amount();
                assert_eq!(used.minus(account.granted), Amount::ZERO, "{}", state.run);
                if *node != Node::Tenant && !account.nodes.contains(node) {
                    continue;
                }
                let ended = state.status.is_terminal();
                if ended {
                    expected.spent = expected.spent.plus(used);
                } else {
                    expected.held = expected.held.plus(account.granted);
                }
                if *node == Node::Tenant && !ended {
                    expected.active += u64::from(!account.waiting);
                    expected.waiting += u64::from(account.waiting);
                }
            }
            assert_eq!(*ledger, expected, "{node}");
        }
        let line = store.waiting(&tenant.id, 100).await.unwrap();
        let waits = |state: &&State| state.is_waiting() && !state.status.is_terminal();
        let mut waiting: Vec<_> = states.iter().filter(waits).collect();
        waiting.sort_by_key(|state| (state.created_at, state.run.clone()));
        let waiting: Vec<_> = waiting.iter().map(|state| state.run.clone()).collect();
        assert_eq!(line, waiting, "the line is of those who wait, by their age");
        states
    }
}

/// One instant follows another: what was spent and what is held never grow past a budget, runs never past a cap, and each
/// budget adds up.
fn follows(node: &Node, (before, old): (&Tenant, &Ledger), (after, new): (&Tenant, &Ledger)) {
    let limits = after.limits();
    for (now, then, most) in [
        (new.active, old.active, limits.concurrent_runs),
        (new.waiting, old.waiting, limits.waiting_runs),
    ] {
        assert!(now <= then.max(most.into()), "{node}: {now} runs of {most}");
    }
    assert_eq!(
        old.spent.minus(new.spent),
        Amount::ZERO,
        "{node}: spending does not come back"
    );
    let was_spent = spent(before, node, old);
    for (key, (number, sum)) in spent(after, node, new) {
        let (period, unit) = key;
        let what = format!("{node}, {} {}", period.as_str(), unit.as_str());
        let budgets = after.budgets_of(node).iter();
        let mut own = budgets.filter(|budget| (budget.period, budget.unit) == key);
        let limit = signed(own.next().unwrap().limit);
        let used = sum + signed(new.held.of(unit));
        let more = signed(new.spent.of(unit)) - signed(old.spent.of(unit));
        let Some((old_number, old_sum)) = was_spent.get(&key) else {
            assert_eq!(sum, 0, "{what}: a new budget begins whole");
            continue;
        };
        assert!(number >= *old_number, "{what}: the period went back");
        if number == *old_number {
            assert_eq!(sum, old_sum + more, "{what}: it does not add up");
            let was_used = old_sum + signed(old.held.of(unit));
            assert!(
                used <= limit.max(was_used),
                "{what}: {used} of {limit} are used, {was_used} were before"
            );
        } else {
            assert_eq!(sum, 0, "{what}: a new period begins whole");
            assert_eq!(more, 0, "{what}: a period begins by itself");
        }
    }
}
