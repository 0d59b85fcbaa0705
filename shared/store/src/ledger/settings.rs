//! What a change of a tenant means to its ledgers.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::budget::{Budget, Node, Unit};
use domain::tenant::Tenant;

use super::{held, left, name_of, spent, warned};
use crate::item::number;
use crate::key::Key;
use crate::table::Write;

/// The changes that a tenant's ledgers need when it is stored after `old`, the tenant's first.
pub(crate) fn settings(old: Option<&Tenant>, new: &Tenant) -> Vec<Write> {
    let nodes = old.into_iter().flat_map(|old| old.budgets.keys());
    let mut nodes: Vec<&Node> = nodes.chain(new.budgets.keys()).collect();
    nodes.push(&Node::Tenant);
    nodes.sort();
    nodes.dedup();
    nodes
        .into_iter()
        .filter_map(|node| setting(old, new, node))
        .collect()
}

fn setting(old: Option<&Tenant>, new: &Tenant, node: &Node) -> Option<Write> {
    let before = old.map(|old| old.budgets_of(node)).unwrap_or_default();
    let after = new.budgets_of(node);
    if *node != Node::Tenant && before == after {
        return None;
    }
    let (mut sets, mut removes, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for name in Unit::ALL
        .map(held)
        .into_iter()
        .chain(Unit::ALL.map(spent))
        .chain((*node == Node::Tenant).then(|| "runs_active".to_owned()))
        .chain((*node == Node::Tenant).then(|| "runs_waiting".to_owned()))
    {
        sets.push(format!("{name} = if_not_exists({name}, :none)"));
    }
    for budget in after {
        let same = |other: &&Budget| (other.period, other.unit) == (budget.period, budget.unit);
        let (name, period) = (left(budget), name_of(budget.period));
        match before.iter().find(same) {
            Some(known) => {
                let change = i128::from(budget.limit) - i128::from(known.limit);
                if change != 0 {
                    // Of another limit another part is spent: it warns anew.
                    removes.push(warned(budget));
                }
                sets.push(format!("{name} = {name} + :{name}"));
                values.push((format!(":{name}"), AttributeValue::N(change.to_string())));
            }
            None => {
                let held = held(budget.unit);
                sets.push(format!("{name} = :{name} - if_not_exists({held}, :none)"));
                values.push((format!(":{name}"), number(budget.limit)));
                let set = format!("{period} = if_not_exists({period}, :{period})");
                if !sets.contains(&set) {
                    sets.push(set);
                    let number = number(budget.period.number(new.updated_at));
                    values.push((format!(":{period}"), number));
                }
            }
        }
    }
    for budget in before {
        let same = |other: &Budget| (other.period, other.unit) == (budget.period, budget.unit);
        if !after.iter().any(same) {
            removes.extend([left(budget), warned(budget)]);
        }
    }
    // The others change together with the tenant's, whose condition speaks for all.
    let mut condition = None;
    if *node == Node::Tenant {
        sets.push("tenant_revision = :revision".to_owned());
        values.push((":revision".to_owned(), number(new.revision)));
        condition = Some("attribute_not_exists(tenant_revision)");
        if let Some(old) = old {
            condition = Some("tenant_revision = :old_revision");
            values.push((":old_revision".to_owned(), number(old.revision)));
        }
    }
    let mut expression = format!("SET {}", sets.join(", "));
    if !removes.is_empty() {
        expression.push_str(" REMOVE ");
        expression.push_str(&removes.join(", "));
    }
    let key = Key::ledger(&new.id, node);
    let write = match condition {
        Some(condition) => Write::update(key, expression, condition.to_owned()),
        None => Write::update_always(key, expression),
    };
    let write = write.with(":none", number(0));
    Some(
        values
            .into_iter()
            .fold(write, |write, (name, value)| write.with(name, value)),
    )
}
