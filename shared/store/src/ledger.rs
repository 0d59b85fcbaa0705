//! Ledgers: what is left of each budget, what is held, how many runs are under way.
//!
//! A ledger is one item for each node that a tenant has budgets on, and always one for the tenant itself. It changes only
//! in the transaction that writes the commit it belongs to, so a crash leaves both or neither, and a repeated commit
//! changes it once. Conditions cannot do arithmetic, so what is left is kept and compared, never computed. The rules are
//! those of [`domain::budget::Ledger`], which the tests hold this against.

pub(crate) mod crowd;
mod moving;
mod settings;
mod warnings;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::budget::{Amount, Budget, Denial, Entry, Ledger, Node, Period, Unit};
use domain::id::{RunId, TenantId};
use domain::tenant::Tenant;
use domain::time::At;

use crate::item::{Item, Read, number};
use crate::key::{Key, waiting_partition};
use crate::table::{Outcome, Range, Refusal, Sort, Write};
use crate::{Error, Store};

pub(crate) use moving::{carried, taken};
pub(crate) use settings::settings;
use warnings::warned;

/// The condition on the tenant's ledger that its settings are those of a decision.
const UNCHANGED: &str = "tenant_revision = :revision";

/// What a commit changes in the ledgers of its run's nodes, and under which settings that was decided.
#[derive(Clone, Debug)]
pub struct Charge<'a> {
    /// The tenant as it was when this was decided.
    pub tenant: &'a Tenant,
    /// Runs that may be under way at once, and that may wait.
    pub most: (u64, u64),
    /// The nodes beside the tenant itself.
    pub nodes: &'a [Node],
    /// The change.
    pub entry: Entry,
    /// When it was decided: tells the period of each budget.
    pub at: At,
    /// How often the tenant's definitions had been changed, if that matters to the decision.
    pub definitions: Option<u64>,
    /// Whether runs of the tenant are believed to wait for their turn: a commit that ends a run then says so without asking.
    pub line: bool,
}

/// What became of a commit that charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Done {
        /// Whether runs of the tenant wait for their turn, or are believed to. Only a commit that ends a run looks.
        waiting: bool,
    },
    /// A ledger refused it; nothing was written.
    Denied(Denial),
    /// The tenant was changed since the decision; nothing was written.
    Stale,
    /// The tenant's definitions were changed since the decision; nothing was written.
    Redefined,
}

/// What a refused ledger asks for.
pub(crate) enum Verdict {
    Denied(Denial),
    Stale,
    Redefined,
    /// A period began: these transactions renew the ledgers first; none when they are ahead of our clock.
    Renew(Vec<Vec<Write>>),
    /// Nothing but that runs wait for their turn.
    Waiting,
    /// This ledger refused nothing.
    Content,
}

impl Charge<'_> {
    /// The nodes whose ledgers change.
    fn charged(&self) -> impl Iterator<Item = Node> {
        let others = (self.entry.reserve, self.entry.release) != (Amount::ZERO, Amount::ZERO);
        let nodes = if others { self.nodes } else { &[] };
        std::iter::once(Node::Tenant).chain(nodes.iter().cloned())
    }

    /// The writes to every ledger, the tenant's first. With `notices`, a commit that ends a run is refused while runs wait.
    pub(crate) fn writes(&self, periods: &Periods, notices: bool) -> Vec<Write> {
        self.charged()
            .map(|node| self.write(&node, periods, notices))
            .collect()
    }

    fn write(&self, node: &Node, periods: &Periods, notices: bool) -> Write {
        let entry = &self.entry;
        let (mut sets, mut conditions, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |name: String, change: i64| {
            if change != 0 {
                sets.push(format!("{name} = {name} + :{name}"));
                values.push((format!(":{name}"), signed(change)));
            }
        };
        if *node == Node::Tenant {
            add("runs_active".to_owned(), entry.active.into());
            add("runs_waiting".to_owned(), entry.waiting.into());
        }
        for unit in Unit::ALL {
            let of = |amount: Amount| i64::try_from(amount.of(unit)).unwrap_or(i64::MAX);
            add(held(unit), of(entry.reserve) - of(entry.release));
            add(spent(unit), of(entry.spent));
        }
        let budgets = self.tenant.budgets_of(node);
        for budget in budgets {
            add(left(budget), entry.change(budget.unit));
        }
        if *node == Node::Tenant {
            conditions.push(UNCHANGED.to_owned());
            values.push((":revision".to_owned(), number(self.tenant.revision)));
            match self.definitions {
                None => {}
                Some(0) => conditions.push("attribute_not_exists(definitions)".to_owned()),
                Some(count) => {
                    conditions.push("definitions = :definitions".to_owned());
                    values.push((":definitions".to_owned(), number(count)));
                }
            }
            for (holds, name, most) in [
                (entry.active > 0, "runs_active", self.most.0),
                (entry.waiting > 0, "runs_waiting", self.most.1),
            ] {
                if holds {
                    conditions.push(format!("{name} < :most_{name}"));
                    values.push((format!(":most_{name}"), number(most)));
                }
            }
            let begins_at_once = entry.active > 0 && entry.waiting == 0;
            if begins_at_once || (notices && entry.active < 0) {
                conditions.push("runs_waiting = :none".to_owned());
                values.push((":none".to_owned(), number(0)));
            }
        }
        for period in Period::ALL {
            if budgets.iter().any(|budget| budget.period == period) {
                let name = name_of(period);
                conditions.push(format!("{name} = :{name}"));
                values.push((
                    format!(":{name}"),
                    number(periods.of(node, period, self.at)),
                ));
            }
        }
        for budget in budgets {
            let needed = entry.reserve.of(budget.unit);
            if needed > 0 {
                let name = left(budget);
                conditions.push(format!("{name} >= :need_{name}"));
                values.push((format!(":need_{name}"), number(needed)));
            }
        }
        if sets.is_empty() {
            sets.push("touched = :touched".to_owned());
            values.push((":touched".to_owned(), number(self.at.0)));
        }
        if conditions.is_empty() {
            conditions.push("attribute_exists(pk)".to_owned());
        }
        let key = Key::ledger(&self.tenant.id, node);
        let write = Write::update(
            key,
            format!("SET {}", sets.join(", ")),
            conditions.join(" AND "),
        );
        values
            .into_iter()
            .fold(write, |write, (name, value)| write.with(name, value))
    }

    /// What the refusals of the ledgers' writes, in the order of [`Charge::writes`], come to.
    pub(crate) fn verdict(
        &self,
        refusals: &[Refusal],
        periods: &mut Periods,
    ) -> Result<Verdict, Error> {
        let (mut renewals, mut renews) = (Vec::new(), false);
        let mut waits = false;
        for (node, refusal) in self.charged().zip(refusals) {
            if !refusal.failed {
                continue;
            }
            let Some(old) = &refusal.old else {
                // No ledger: the tenant is not there, or no longer.
                return Ok(Verdict::Stale);
            };
            match self.examine(&node, old, periods)? {
                Verdict::Renew(writes) => {
                    renews = true;
                    renewals.extend(writes);
                }
                Verdict::Waiting => waits = true,
                Verdict::Content => {}
                other => return Ok(other),
            }
        }
        Ok(if renews {
            Verdict::Renew(renewals)
        } else if waits {
            Verdict::Waiting
        } else {
            Verdict::Content
        })
    }

    fn examine(&self, node: &Node, old: &Item, periods: &mut Periods) -> Result<Verdict, Error> {
        let entry = &self.entry;
        let budgets = self.tenant.budgets_of(node);
        if *node == Node::Tenant && old.number("tenant_revision")? != self.tenant.revision {
            return Ok(Verdict::Stale);
        }
        let definitions = old.find_number("definitions").unwrap_or(0);
        if *node == Node::Tenant && self.definitions.is_some_and(|count| count != definitions) {
            return Ok(Verdict::Redefined);
        }
        let mut renewals = Vec::new();
        for period in Period::ALL {
            let of_period: Vec<_> = budgets
                .iter()
                .filter(|budget| budget.period == period)
                .collect();
            if of_period.is_empty() {
                continue;
            }
            let stored = old.number(name_of(period))?;
            let ours = periods.of(node, period, self.at);
            if stored < ours {
                renewals.push(self.renewal(node, period, stored, ours, &of_period));
            } else if stored > ours {
                // Whoever has a clock before ours counts in the period that has begun.
                periods.adopt(node, period, stored);
                return Ok(Verdict::Renew(Vec::new()));
            }
        }
        if !renewals.is_empty() {
            return Ok(Verdict::Renew(renewals));
        }
        if *node == Node::Tenant {
            let jumps_the_line = entry.waiting == 0 && old.number("runs_waiting")? > 0;
            let is_full = old.number("runs_active")? >= self.most.0;
            if entry.active > 0 && (is_full || jumps_the_line) {
                return Ok(Verdict::Denied(Denial::Full));
            }
            if entry.waiting > 0 && old.number("runs_waiting")? >= self.most.1 {
                return Ok(Verdict::Denied(Denial::WaitingFull));
            }
        }
        for budget in budgets {
            let left = integer(old, &left(budget))?;
            let needed = i64::try_from(entry.reserve.of(budget.unit)).unwrap_or(i64::MAX);
            if needed > 0 && left < needed {
                let stored = old.number(name_of(budget.period))?;
                return Ok(Verdict::Denied(Denial::Spent {
                    node: node.clone(),
                    budget: *budget,
                    left,
                    renews_at: budget.period.next_start(stored),
                }));
            }
        }
        Ok(Verdict::Waiting)
    }

    /// Begins a period: what is held stays held. Under these settings, or not at all: their limits would outlive them.
    fn renewal(
        &self,
        node: &Node,
        period: Period,
        from: u64,
        to: u64,
        budgets: &[&Budget],
    ) -> Vec<Write> {
        let name = name_of(period);
        let mut sets = vec![format!("{name} = :to")];
        let mut limits = Vec::new();
        for budget in budgets {
            sets.push(format!(
                "{} = :limit_{} - {}",
                left(budget),
                budget.unit.as_str(),
                held(budget.unit)
            ));
            limits.push((
                format!(":limit_{}", budget.unit.as_str()),
                number(budget.limit),
            ));
        }
        let condition = format!("{name} = :from");
        let key = Key::ledger(&self.tenant.id, node);
        let write = Write::update(key, format!("SET {}", sets.join(", ")), condition)
            .with(":from", number(from))
            .with(":to", number(to));
        let write = limits
            .into_iter()
            .fold(write, |write, (name, value)| write.with(name, value));
        under(self.tenant, node, write)
    }
}

/// A write to a node's ledger that is made under these settings of the tenant, or not at all.
fn under(tenant: &Tenant, node: &Node, write: Write) -> Vec<Write> {
    let revision = number(tenant.revision);
    if *node == Node::Tenant {
        return vec![write.and(UNCHANGED).with(":revision", revision)];
    }
    let ledger = Key::ledger(&tenant.id, &Node::Tenant);
    let check = Write::check(ledger, UNCHANGED).with(":revision", revision);
    vec![write, check]
}

/// The periods that the ledgers count in, where they are ahead of our clock.
#[derive(Debug, Default)]
pub(crate) struct Periods(Vec<(Node, Period, u64)>);

impl Periods {
    fn of(&self, node: &Node, period: Period, at: At) -> u64 {
        let adopted = self
            .0
            .iter()
            .find(|(of, which, _)| of == node && *which == period);
        adopted.map_or_else(|| period.number(at), |(_, _, number)| *number)
    }

    fn adopt(&mut self, node: &Node, period: Period, number: u64) {
        self.0
            .retain(|(of, which, _)| of != node || *which != period);
        self.0.push((node.clone(), period, number));
    }
}

impl Store {
    /// A node's ledger as it stands, strongly consistent; none when there is none.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn ledger(&self, tenant: &Tenant, node: &Node) -> Result<Option<Ledger>, Error> {
        let item = self.get(Key::ledger(&tenant.id, node), true).await?;
        item.map(|item| read(tenant, node, &item)).transpose()
    }

    /// How often the tenant's definitions were changed. Strongly consistent.
    pub(crate) async fn definitions(&self, tenant: &TenantId) -> Result<u64, Error> {
        let item = self.get(Key::ledger(tenant, &Node::Tenant), true).await?;
        Ok(item.map_or(0, |item| item.find_number("definitions").unwrap_or(0)))
    }

    /// The runs of a tenant that wait for their turn, the oldest first, at most `limit`. Strongly consistent.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn waiting(&self, tenant: &TenantId, limit: u32) -> Result<Vec<RunId>, Error> {
        let range = Range {
            index: None,
            pk: waiting_partition(tenant),
            sort: Sort::All,
            forward: true,
            limit: Some(limit.max(1)),
            consistent: true,
        };
        let rows = self.query(&range, None).await?;
        rows.items
            .iter()
            .map(|item| {
                let run = item
                    .sort()
                    .split_once('#')
                    .map(|(_, run)| RunId::parse(run));
                run.and_then(Result::ok).ok_or_else(|| item.corrupt("sk"))
            })
            .collect()
    }

    /// How many runs of the tenant wait and are not newer than this one: its place, from 1. Eventually consistent; at most
    /// 1,000 are counted.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn place_in_line(
        &self,
        tenant: &TenantId,
        created_at: At,
        run: &RunId,
    ) -> Result<u64, Error> {
        let range = Range {
            index: None,
            pk: waiting_partition(tenant),
            sort: Sort::AtMost(crate::key::run_list_sort(created_at, run)),
            forward: true,
            limit: Some(1_000),
            consistent: false,
        };
        self.count(&range).await
    }

    /// Renews ledgers whose period is over. Somebody else may have been quicker.
    pub(crate) async fn renew_ledgers(&self, renewals: Vec<Vec<Write>>) -> Result<(), Error> {
        for renewal in renewals {
            match self.transact(renewal).await? {
                Outcome::Done | Outcome::Refused(_) | Outcome::Conflict => {}
            }
        }
        Ok(())
    }
}

/// A node's ledger as its item says.
pub(crate) fn read(tenant: &Tenant, node: &Node, item: &Item) -> Result<Ledger, Error> {
    let count = |name: &str| item.find_number(name).unwrap_or(0);
    let amount = |of: fn(Unit) -> String| Amount {
        micro_usd: count(&of(Unit::MicroUsd)),
        tokens: count(&of(Unit::Tokens)),
    };
    let mut ledger = Ledger {
        active: count("runs_active"),
        waiting: count("runs_waiting"),
        held: amount(held),
        spent: amount(spent),
        ..Ledger::default()
    };
    for budget in tenant.budgets_of(node) {
        let key = (budget.period, budget.unit);
        // Who believes settings that have changed since may ask for a budget that is no longer kept.
        let left = left(budget);
        let period = item.find_number(name_of(budget.period));
        if let Some(period) = period.filter(|_| item.contains_key(&left)) {
            ledger.left.insert(key, (period, integer(item, &left)?));
        }
        if let Some(mark) = item.find_number(&warned(budget)) {
            ledger.warned.insert(key, mark);
        }
    }
    Ok(ledger)
}

fn held(unit: Unit) -> String {
    format!("held_{}", unit.as_str())
}

fn spent(unit: Unit) -> String {
    format!("spent_{}", unit.as_str())
}

fn left(budget: &Budget) -> String {
    format!("left_{}_{}", budget.period.as_str(), budget.unit.as_str())
}

fn name_of(period: Period) -> &'static str {
    match period {
        Period::Day => "period_day",
        Period::Month => "period_month",
        Period::Total => "period_total",
    }
}

fn signed(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn integer(item: &Item, name: &str) -> Result<i64, Error> {
    match item.get(name) {
        Some(AttributeValue::N(digits)) => digits.parse().map_err(|_| item.corrupt("left")),
        _ => Err(item.corrupt("left")),
    }
}

/// The item that keeps a run's place among those that wait.
pub(crate) fn place(tenant: &TenantId, created_at: At, run: &RunId) -> Item {
    let mut item = crate::item::keyed(Key::waiting(tenant, created_at, run), 1);
    item.insert("at".to_owned(), number(created_at.0));
    item
}
