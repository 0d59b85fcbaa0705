use proptest::prelude::*;

use super::*;

const MOST: (u64, u64) = (3, 2);
const DAY_MS: u64 = 86_400_000;

fn budgets() -> Vec<Budget> {
    let budget = |period, unit, limit| Budget {
        period,
        unit,
        limit,
    };
    vec![
        budget(Period::Day, Unit::MicroUsd, 100),
        budget(Period::Month, Unit::Tokens, 300),
        budget(Period::Total, Unit::MicroUsd, 1_000),
    ]
}

/// What happens to one of four runs, whose state a model keeps.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Create(usize, u64),
    Admit(usize, u64),
    Extend(usize, u64),
    End(usize, u64),
    Days(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let run = 0..4_usize;
    prop_oneof![
        4 => (run.clone(), 0..60_u64).prop_map(|(run, by)| Happening::Create(run, by)),
        3 => (run.clone(), 0..60_u64).prop_map(|(run, by)| Happening::Admit(run, by)),
        3 => (run.clone(), 1..60_u64).prop_map(|(run, by)| Happening::Extend(run, by)),
        4 => (run, 0..=100_u64).prop_map(|(run, percent)| Happening::End(run, percent)),
        1 => (1..40_u64).prop_map(Happening::Days),
    ]
}

/// A run as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Run {
    None,
    Waiting,
    Active(u64),
}

/// The ledger beside what it must add up to.
struct Model {
    ledger: Ledger,
    runs: [Run; 4],
    /// Spent in the current period of each budget.
    spent: BTreeMap<(Period, Unit), (u64, u64)>,
    now: At,
}

impl Model {
    fn happen(&mut self, happening: Happening) {
        let both = |amount| Amount {
            micro_usd: amount,
            tokens: amount,
        };
        let mut entry = Entry::default();
        let (run, to, spent) = match (happening, self.runs) {
            (Happening::Days(days), _) => {
                self.now = self.now.plus_ms(days * DAY_MS);
                return;
            }
            (Happening::Create(run, 0), runs) if runs[run] == Run::None => {
                entry.waiting = 1;
                (run, Run::Waiting, 0)
            }
            (Happening::Create(run, by), runs) if runs[run] == Run::None => {
                (entry.active, entry.reserve) = (1, both(by));
                (run, Run::Active(by), 0)
            }
            (Happening::Admit(run, by), runs) if runs[run] == Run::Waiting => {
                (entry.active, entry.waiting, entry.reserve) = (1, -1, both(by));
                (run, Run::Active(by), 0)
            }
            (Happening::Extend(run, by), runs) => {
                let Run::Active(held) = runs[run] else { return };
                entry.reserve = both(by);
                (run, Run::Active(held + by), 0)
            }
            (Happening::End(run, percent), runs) => match runs[run] {
                Run::None => return,
                Run::Waiting => {
                    entry.waiting = -1;
                    (run, Run::None, 0)
                }
                Run::Active(held) => {
                    let spent = held * percent / 100;
                    entry.active = -1;
                    (entry.release, entry.spent) = (both(held), both(spent));
                    (run, Run::None, spent)
                }
            },
            (Happening::Create(..) | Happening::Admit(..), _) => return,
        };
        let before = self.ledger.clone();
        let applied = self
            .ledger
            .apply(&Node::Tenant, &budgets(), entry, MOST, self.now);
        match applied {
            Ok(()) => {
                self.runs[run] = to;
                for budget in budgets() {
                    let number = budget.period.number(self.now);
                    let sum = self.spent.entry((budget.period, budget.unit)).or_default();
                    *sum = if sum.0 == number {
                        (number, sum.1 + spent)
                    } else {
                        (number, spent)
                    };
                }
            }
            Err(denial) => {
                let mut renewed = before;
                renewed.renew(&budgets(), self.now);
                assert_eq!(
                    self.ledger, renewed,
                    "a refused entry changes nothing: {denial:?}"
                );
                let begins = entry.active > 0 || entry.waiting > 0;
                assert!(
                    begins || entry.reserve != Amount::ZERO,
                    "an end is never refused"
                );
            }
        }
    }

    fn check(&mut self) {
        self.ledger.renew(&budgets(), self.now);
        let count = |is: fn(&Run) -> bool| self.runs.iter().filter(|run| is(run)).count() as u64;
        let active = count(|run| matches!(run, Run::Active(_)));
        assert_eq!(self.ledger.active, active);
        assert_eq!(self.ledger.waiting, count(|run| *run == Run::Waiting));
        assert!(self.ledger.active <= MOST.0 && self.ledger.waiting <= MOST.1);
        let held: u64 = self
            .runs
            .iter()
            .map(|run| {
                if let Run::Active(held) = run {
                    *held
                } else {
                    0
                }
            })
            .sum();
        for budget in budgets() {
            let key = (budget.period, budget.unit);
            let number = budget.period.number(self.now);
            let spent = self.spent.get(&key).filter(|sum| sum.0 == number);
            let spent = spent.map_or(0, |sum| sum.1);
            assert_eq!(self.ledger.held.of(budget.unit), held);
            assert_eq!(
                self.ledger.left[&key],
                (number, signed(budget.limit) - signed(held) - signed(spent)),
                "{budget}"
            );
            assert!(held + spent <= budget.limit, "{budget} is passed");
        }
    }
}

proptest! {
    #[test]
    fn left_held_and_spent_add_up_to_the_limit(
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let mut model = Model {
            ledger: Ledger::default(),
            runs: [Run::None; 4],
            spent: BTreeMap::new(),
            now: At(1_700_000_000_000),
        };
        for happening in happenings {
            model.happen(happening);
            model.check();
        }
    }

    #[test]
    fn periods_follow_each_other_without_a_gap(at in 0..4_000_000_000_000_u64) {
        for period in [Period::Day, Period::Month] {
            let number = period.number(At(at));
            let next = period.next_start(number).unwrap();
            prop_assert!(At(at) < next);
            prop_assert_eq!(period.number(next), number + 1);
            prop_assert_eq!(period.number(At(next.0 - 1)), number);
        }
    }
}

#[test]
fn nobody_jumps_the_line() {
    let mut ledger = Ledger {
        waiting: 1,
        ..Ledger::default()
    };
    let begins = Entry {
        active: 1,
        ..Entry::default()
    };
    let mut apply = |entry| ledger.apply(&Node::Tenant, &[], entry, MOST, At(0));
    assert_eq!(apply(begins), Err(Denial::Full));
    let turn = Entry {
        waiting: -1,
        ..begins
    };
    assert_eq!(apply(turn), Ok(()));
    assert_eq!(apply(begins), Ok(()));
}

#[test]
fn nodes_are_read_back_and_nonsense_is_not() {
    for text in ["tenant", "project:web", "key:4f9a"] {
        let node = Node::try_from(text.to_owned()).unwrap();
        assert_eq!(node.to_string(), text);
    }
    for text in [
        "",
        "Tenant",
        "tenant:",
        "project:",
        "project:A",
        "key:",
        "key:a#b",
        "run:1",
    ] {
        assert!(Node::try_from(text.to_owned()).is_err(), "{text}");
    }
}

#[test]
fn budgets_read_as_people_say_them() {
    let texts: Vec<_> = budgets().iter().map(Budget::to_string).collect();
    assert_eq!(
        texts,
        [
            "0.000100 USD a day",
            "300 tokens a month",
            "0.001000 USD in all"
        ]
    );
}

#[test]
fn a_budget_warns_once_at_each_part_and_anew_in_the_next_period() {
    let budget = Budget {
        period: Period::Day,
        unit: Unit::MicroUsd,
        limit: 1_000,
    };
    let key = (budget.period, budget.unit);
    let mut ledger = Ledger::default();
    let mut spend = |left: i64, held: u64, refuses: bool| {
        ledger.left.insert(key, (7, left));
        ledger.held.micro_usd = held;
        let warning = ledger.warning(&Node::Tenant, &budget, refuses);
        if let Some(warning) = &warning {
            ledger.warned.insert(key, warning.mark());
        }
        warning.map(|warning| (warning.percent, warning.spent))
    };
    assert_eq!(spend(600, 0, false), None);
    assert_eq!(spend(100, 500, false), None, "what is held is not spent");
    assert_eq!(spend(500, 0, false), Some((50, 500)));
    assert_eq!(spend(400, 0, false), None, "that was told");
    assert_eq!(spend(150, 0, false), Some((80, 850)));
    assert_eq!(
        spend(140, 0, true),
        Some((100, 860)),
        "the rest is too small"
    );
    assert_eq!(spend(0, 0, false), None);
    assert_eq!(ledger.warned_of(&budget), Some(100));
    ledger.left.insert(key, (8, 500));
    assert_eq!(ledger.warned_of(&budget), None);
    let warning = ledger.warning(&Node::Tenant, &budget, false).unwrap();
    assert_eq!((warning.period, warning.percent), (8, 50));
}
