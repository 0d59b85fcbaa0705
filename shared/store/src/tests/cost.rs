//! What things cost, pinned: a change here is a change of the bill.

use super::*;
use crate::Consumed;

#[tokio::test]
async fn a_run_of_five_steps_costs_two_transactions_and_five_puts() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let metered = store.metered();
    let mut script = Script::created(&metered, &acme, &run).await;
    for n in 1..=5 {
        script
            .append(&metered, vec![step(n), answered(n, "go on")])
            .await;
    }
    script.append(&metered, vec![succeeded()]).await;
    let consumed = metered.consumed();
    // Creation: two items in a transaction (4), an entry in each index (2). Each step 1. The end: 4, the entry in the
    // list moves to another partition (2), the one in the watch index goes (1). That each item says until when it is kept
    // costs nothing more, and neither does its deletion.
    assert_eq!(
        consumed,
        Consumed {
            reads: 0,
            writes: 5,
            transactions: 2,
            write_units: 18.0,
            ..Consumed::default()
        }
    );
    assert_eq!(store.consumed(), consumed);

    let reader = store.metered();
    reader.load(&acme, &run).await.unwrap().unwrap();
    reader.read(&acme, &run, false).await.unwrap().unwrap();
    let consumed = reader.consumed();
    assert_eq!((consumed.reads, consumed.read_units), (2, 1.5));
    assert_eq!(store.consumed().reads, 2);
}

#[tokio::test]
async fn units_are_counted_only_when_asked_for() {
    let World { store, .. } = world_with(|config| config.capacity = false).await;
    Script::created(&store, &tenant("acme"), &run(1)).await;
    let consumed = store.consumed();
    assert_eq!((consumed.transactions, consumed.write_units), (1, 0.0));
}
