//! Budgets: how much a tenant, a project or a key may spend, and the ledger that holds them under concurrency.
//!
//! Every run reserves before it spends. A [`Ledger`] is one node's account: what is left of each budget, what is held for
//! runs under way, how many of those there are. **Invariant:** of each budget, what is left, what is held and what was
//! spent in its period add up to its limit, whatever races, crashes or repeats; so what was spent and what is held never
//! pass it. `store` keeps ledgers as items and applies an [`Entry`] in the transaction that writes the commit it belongs
//! to; the functions here are the rules that its conditions spell out, and what they are tested against.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{KeyId, ProjectId};
use crate::time::At;

/// What a run takes at most at once, unless its cap is lower: large enough that few runs have to ask again, small enough
/// that many runs fit into a small budget.
pub const CHUNK: Amount = Amount {
    micro_usd: 250_000,
    tokens: 1_000_000,
};

/// How much of a budget is spent, in percent, when its owner is warned. The last one means that it refuses a run what it needs.
pub const WARNINGS: [u8; 3] = [50, 80, 100];

/// Money and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Amount {
    /// Micro-USD.
    pub micro_usd: u64,
    /// Tokens, read and written.
    pub tokens: u64,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self {
        micro_usd: 0,
        tokens: 0,
    };

    /// The lower of two amounts, each part on its own.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            micro_usd: self.micro_usd.min(other.micro_usd),
            tokens: self.tokens.min(other.tokens),
        }
    }

    /// The higher of two amounts, each part on its own.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            micro_usd: self.micro_usd.max(other.micro_usd),
            tokens: self.tokens.max(other.tokens),
        }
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            micro_usd: self.micro_usd.saturating_add(other.micro_usd),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// What `other` leaves of this amount, each part at least 0.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            micro_usd: self.micro_usd.saturating_sub(other.micro_usd),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }

    /// The part in this unit.
    #[must_use]
    pub fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::MicroUsd => self.micro_usd,
            Unit::Tokens => self.tokens,
        }
    }
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Millionths of a US dollar.
    MicroUsd,
    /// Tokens, read and written.
    Tokens,
}

impl Unit {
    /// Both.
    pub const ALL: [Self; 2] = [Self::MicroUsd, Self::Tokens];

    /// The word that stands in JSON and in items.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MicroUsd => "micro_usd",
            Self::Tokens => "tokens",
        }
    }
}

/// How long a budget lasts before it begins anew, by the calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A day.
    Day,
    /// A month.
    Month,
    /// For ever.
    Total,
}

impl Period {
    /// Every period.
    pub const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    /// The word that stands in JSON and in items.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The number of the period that holds `at`: days since 1970-01-01, months since January of year 0, 0 for
    /// [`Period::Total`]. Later periods have higher numbers.
    #[must_use]
    pub fn number(self, at: At) -> u64 {
        match self {
            Self::Day => at.0 / 86_400_000,
            Self::Month => {
                let day = date(at);
                u64::try_from(i64::from(day.year()) * 12 + i64::from(day.month()) - 1).unwrap_or(0)
            }
            Self::Total => 0,
        }
    }

    /// When the period after the one with this number begins; never for [`Period::Total`].
    #[must_use]
    pub fn next_start(self, number: u64) -> Option<At> {
        match self {
            Self::Day => Some(At((number + 1) * 86_400_000)),
            Self::Month => {
                let (year, month) = ((number + 1) / 12, (number + 1) % 12 + 1);
                let first =
                    jiff::civil::Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1)
                        .ok()?;
                let start = first.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
                u64::try_from(start.timestamp().as_millisecond())
                    .ok()
                    .map(At)
            }
            Self::Total => None,
        }
    }
}

fn date(at: At) -> jiff::civil::Date {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    let instant = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    jiff::tz::TimeZone::UTC.to_datetime(instant).date()
}

/// One limit of a node: so much of a unit in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Budget {
    /// How long it lasts.
    pub period: Period,
    /// What it counts.
    pub unit: Unit,
    /// How much of it may be spent.
    pub limit: u64,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::MicroUsd => write!(
                f,
                "{}.{:06} USD",
                self.limit / 1_000_000,
                self.limit % 1_000_000
            )?,
            Unit::Tokens => write!(f, "{} tokens", self.limit)?,
        }
        f.write_str(match self.period {
            Period::Day => " a day",
            Period::Month => " a month",
            Period::Total => " in all",
        })
    }
}

/// Highest limit of a budget: what a number of the table holds exactly, and a million dollars a thousand times over.
pub const MAX_LIMIT: u64 = 1_000_000_000_000_000;

/// What a budget belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Node {
    /// The tenant, over all its projects and keys.
    Tenant,
    /// One project.
    Project(ProjectId),
    /// One API key.
    Key(KeyId),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("tenant"),
            Self::Project(id) => write!(f, "project:{id}"),
            Self::Key(id) => write!(f, "key:{id}"),
        }
    }
}

impl From<Node> for String {
    fn from(node: Node) -> Self {
        node.to_string()
    }
}

impl TryFrom<String> for Node {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = match text.split_once(':') {
            None if text == "tenant" => Some(Self::Tenant),
            Some(("project", id)) => ProjectId::parse(id).ok().map(Self::Project),
            Some(("key", id)) => KeyId::parse(id).ok().map(Self::Key),
            _ => None,
        };
        parsed.ok_or_else(|| "must be `tenant`, `project:<id>` or `key:<id>`".to_owned())
    }
}

/// What a commit changes in the ledgers of its run's nodes. Runs are counted in the tenant's ledger alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Runs that begin (1), end (-1), or neither.
    pub active: i8,
    /// Runs that begin to wait for their turn (1), wait no longer (-1), or neither.
    pub waiting: i8,
    /// What is reserved now.
    pub reserve: Amount,
    /// What is no longer reserved.
    pub release: Amount,
    /// What was spent of it. Passes `release` only if a provider charged more than the bound that it was asked under.
    pub spent: Amount,
}

impl Entry {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// By how much what is left of a budget in this unit changes.
    #[must_use]
    pub fn change(&self, unit: Unit) -> i64 {
        signed(self.release.of(unit)) - signed(self.spent.of(unit)) - signed(self.reserve.of(unit))
    }
}

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// As many runs are under way as may be, or others wait for their turn.
    Full,
    /// As many runs wait as may.
    WaitingFull,
    /// A budget does not hold what is to be reserved.
    Spent {
        /// The node.
        node: Node,
        /// Its budget.
        budget: Budget,
        /// What is left of it.
        left: i64,
        /// When it begins anew, if it does.
        renews_at: Option<At>,
    },
}

/// The account of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// Runs under way.
    pub active: u64,
    /// Runs that wait for their turn.
    pub waiting: u64,
    /// What is reserved for runs under way.
    pub held: Amount,
    /// What ended runs spent, since the ledger exists.
    pub spent: Amount,
    /// What is left of each budget, and the number of the period that this is true of. Below 0 only when the limit was
    /// lowered under what was reserved already.
    pub left: BTreeMap<(Period, Unit), (u64, i64)>,
    /// The last warning of each budget: its [`Warning::mark`].
    pub warned: BTreeMap<(Period, Unit), u64>,
}

/// That a budget is spent as far as one of [`WARNINGS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Whose budget.
    pub node: Node,
    /// Which one.
    pub budget: Budget,
    /// The number of its period.
    pub period: u64,
    /// How much of it, one of [`WARNINGS`].
    pub percent: u8,
    /// What was spent of it in this period.
    pub spent: u64,
}

impl Warning {
    /// Rises with the period and, within one, with the percentage: what comes later has a higher mark.
    #[must_use]
    pub fn mark(&self) -> u64 {
        mark(self.period, self.percent)
    }
}

fn mark(period: u64, percent: u8) -> u64 {
    (period << 7) + u64::from(percent)
}

impl Ledger {
    /// Begins each budget of `budgets` that a later period than the one counted has come for: what is held stays held.
    pub fn renew(&mut self, budgets: &[Budget], at: At) {
        for budget in budgets {
            let now = budget.period.number(at);
            let fresh = signed(budget.limit) - signed(self.held.of(budget.unit));
            let left = self
                .left
                .entry((budget.period, budget.unit))
                .or_insert((now, fresh));
            if left.0 < now {
                *left = (now, fresh);
            }
        }
    }

    /// What was spent of a budget in the period that the ledger counts.
    #[must_use]
    pub fn spent_of(&self, budget: &Budget) -> u64 {
        let left = self.left.get(&(budget.period, budget.unit));
        let used = left.map_or(0, |(_, left)| signed(budget.limit).saturating_sub(*left));
        u64::try_from(used)
            .unwrap_or(0)
            .saturating_sub(self.held.of(budget.unit))
    }

    /// The last warning of a budget in the period that the ledger counts, in percent.
    #[must_use]
    pub fn warned_of(&self, budget: &Budget) -> Option<u8> {
        let key = (budget.period, budget.unit);
        let (number, _) = self.left.get(&key)?;
        let percent = self.warned.get(&key)?.checked_sub(mark(*number, 0))?;
        u8::try_from(percent).ok()
    }

    /// The warning that is due: the highest that is reached and was not given in this period. A budget that `refuses` what
    /// a run needs is reached, whatever small rest is left.
    #[must_use]
    pub fn warning(&self, node: &Node, budget: &Budget, refuses: bool) -> Option<Warning> {
        let key = (budget.period, budget.unit);
        let (period, _) = *self.left.get(&key)?;
        let spent = self.spent_of(budget);
        let reached = |percent: &u8| {
            refuses || u128::from(spent) * 100 >= u128::from(budget.limit) * u128::from(*percent)
        };
        let percent = WARNINGS.into_iter().rev().find(reached)?;
        let warning = Warning {
            node: node.clone(),
            budget: *budget,
            period,
            percent,
            spent,
        };
        let given = self.warned.get(&key).copied().unwrap_or(0);
        (warning.mark() > given).then_some(warning)
    }

    /// Applies an entry, all of it or nothing. `most` is how many runs may be under way and may wait; it counts for the
    /// tenant's ledger alone.
    ///
    /// # Errors
    /// [`Denial`]; the ledger is unchanged then.
    pub fn apply(
        &mut self,
        node: &Node,
        budgets: &[Budget],
        entry: Entry,
        most: (u64, u64),
        at: At,
    ) -> Result<(), Denial> {
        self.renew(budgets, at);
        let counts_runs = *node == Node::Tenant;
        let jumps_the_line = entry.waiting == 0 && self.waiting > 0;
        if counts_runs && entry.active > 0 && (self.active >= most.0 || jumps_the_line) {
            return Err(Denial::Full);
        }
        if counts_runs && entry.waiting > 0 && self.waiting >= most.1 {
            return Err(Denial::WaitingFull);
        }
        for budget in budgets {
            let (number, left) = self.left[&(budget.period, budget.unit)];
            if entry.reserve.of(budget.unit) > 0 && left < signed(entry.reserve.of(budget.unit)) {
                return Err(Denial::Spent {
                    node: node.clone(),
                    budget: *budget,
                    left,
                    renews_at: budget.period.next_start(number),
                });
            }
        }
        if counts_runs {
            self.active = self.active.saturating_add_signed(entry.active.into());
            self.waiting = self.waiting.saturating_add_signed(entry.waiting.into());
        }
        self.held = self.held.plus(entry.reserve).minus(entry.release);
        self.spent = self.spent.plus(entry.spent);
        for budget in budgets {
            if let Some((_, left)) = self.left.get_mut(&(budget.period, budget.unit)) {
                *left += entry.change(budget.unit);
            }
        }
        Ok(())
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
