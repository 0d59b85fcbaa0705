//! Maintenance: it changes as it was read, and the operators' trail tells of each change.

use domain::maintenance::Maintenance;
use local::wire::{Fault, Rule};

use super::*;
use crate::Error;

fn said(message: &str, since: u64) -> Maintenance {
    Maintenance {
        message: message.to_owned(),
        retry_after_s: 300,
        by: "operator:o".to_owned(),
        since: At(since),
    }
}

async fn told(store: &Store) -> Vec<String> {
    let trail = store.audit(&tenant("operator"), 0, 100).await.unwrap();
    let entries = trail.items.into_iter();
    entries.map(|entry| entry.change.action).collect()
}

#[tokio::test]
async fn whoever_has_read_something_else_changes_nothing() {
    let World { store, .. } = world().await;
    let operator = tenant("operator");
    let (first, second) = (said("first", 1), said("second", 2));
    let put = async |new: Option<&Maintenance>, old: Option<&Maintenance>| {
        store.put_maintenance(&operator, new, old, NOW).await
    };
    let is_raced = |result: Result<(), Error>| matches!(result, Err(Error::Raced));
    assert_eq!(store.maintenance(true).await.unwrap(), None);
    put(None, None).await.unwrap();
    assert!(is_raced(put(None, Some(&first)).await), "there is none");
    assert!(is_raced(put(Some(&second), Some(&first)).await));
    put(Some(&first), None).await.unwrap();
    assert!(is_raced(put(Some(&second), None).await), "there is one");
    put(Some(&second), Some(&first)).await.unwrap();
    assert!(
        is_raced(put(None, Some(&first)).await),
        "it says another thing"
    );
    assert_eq!(store.maintenance(true).await.unwrap(), Some(second.clone()));
    put(None, Some(&second)).await.unwrap();
    assert_eq!(store.maintenance(true).await.unwrap(), None);
    let expected = ["maintenance.on", "maintenance.on", "maintenance.off"];
    assert_eq!(told(&store).await, expected);
}

#[tokio::test]
async fn what_was_told_before_an_act_stands_once() {
    let World { store, faults, .. } = world().await;
    let operator = tenant("operator");
    faults.add(
        Rule::new(Fault::LoseResponse)
            .on("TransactWriteItems")
            .nth(1),
    );
    let state = json!({"limit": 1});
    let tell = store.tell_operators(
        &operator,
        "dead_letters.redriven",
        "queue:tasks".to_owned(),
        state,
        NOW,
    );
    tell.await.unwrap();
    assert_eq!(told(&store).await, ["dead_letters.redriven"]);
}
