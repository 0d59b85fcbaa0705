//! What a move of a tenant's home means to its ledgers: each epoch has ledgers of its own.

use domain::budget::{Node, Unit};
use domain::run::State;
use domain::tenant::Tenant;

use super::{UNCHANGED, held, left, name_of, signed, spent};
use crate::item::{Item, Read, Set, keyed, number};
use crate::key::Key;
use crate::table::Write;

/// A node's ledger as a tenant begins an epoch with it, given how it stood when the one before ended.
///
/// Nothing is held and no run counts yet: each run brings its own with it. What was held stays taken from what is left, so
/// that nobody else gets it meanwhile. Copies of the ledger and of the runs do not arrive together, so by what was under way
/// then the two may differ, until the budget begins anew.
pub(crate) fn carried(old: Option<&Item>, tenant: &Tenant, node: &Node) -> Item {
    let mut item = keyed(Key::ledger(&tenant.id, node), 8);
    for budget in tenant.budgets_of(node) {
        let period = budget.period.number(tenant.updated_at);
        item.set_number(name_of(budget.period), period);
        item.set_number(&left(budget), budget.limit);
    }
    for unit in Unit::ALL {
        item.set_number(&spent(unit), 0);
    }
    if let Some(old) = old {
        let kept = old
            .iter()
            .filter(|(name, _)| !matches!(&***name, "pk" | "sk"));
        item.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
    }
    for unit in Unit::ALL {
        item.set_number(&held(unit), 0);
    }
    if *node == Node::Tenant {
        item.set_number("runs_active", 0);
        item.set_number("runs_waiting", 0);
        item.set_number("tenant_revision", tenant.revision);
        let definitions = item.find_number("definitions").unwrap_or(0);
        item.set_number("definitions", definitions + 1);
    }
    item
}

/// What a run that is taken over brings to the ledgers, under these settings of its tenant or not at all.
pub(crate) fn taken(tenant: &Tenant, state: &State) -> Vec<Write> {
    let Some(account) = &state.account else {
        return Vec::new();
    };
    let write = |node: &Node| {
        let sets = Unit::ALL.into_iter().flat_map(|unit| {
            let (held, spent) = (held(unit), spent(unit));
            [
                format!("{held} = if_not_exists({held}, :none) + :{held}"),
                format!("{spent} = if_not_exists({spent}, :none)"),
            ]
        });
        let mut sets: Vec<String> = sets.collect();
        let mut values = vec![(":none".to_owned(), number(0))];
        for unit in Unit::ALL {
            let granted = account.granted.of(unit);
            values.push((format!(":{}", held(unit)), number(granted)));
        }
        let key = Key::ledger(&tenant.id, node);
        let write = if *node == Node::Tenant {
            let counter = if account.waiting {
                "runs_waiting"
            } else {
                "runs_active"
            };
            sets.push(format!("{counter} = {counter} + :one"));
            values.push((":one".to_owned(), signed(1)));
            values.push((":revision".to_owned(), number(tenant.revision)));
            Write::update(
                key,
                format!("SET {}", sets.join(", ")),
                UNCHANGED.to_owned(),
            )
        } else {
            Write::update_always(key, format!("SET {}", sets.join(", ")))
        };
        let values = values.into_iter();
        values.fold(write, |write, (name, value)| write.with(name, value))
    };
    let nodes = std::iter::once(&Node::Tenant).chain(&account.nodes);
    nodes.map(write).collect()
}
