//! The table's stream in: counts what ended runs used and warns of budgets, off the path of the runs themselves.
//!
//! A stream may repeat what it told; each run is counted once all the same, since the transaction that counts it notes that
//! it did.

use std::collections::{BTreeMap, BTreeSet};

use domain::budget::Node;
use domain::id::TenantId;
use domain::run::Head;
use engine::{Engine, Error};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Deserialize;
use store::Ended;

/// What the stream hands over: of each record, what is read of it.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html>.
#[derive(Debug, Deserialize)]
pub struct Changes {
    /// The records, in order.
    #[serde(rename = "Records")]
    pub records: Vec<Record>,
}

/// A change of one item.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// The item.
    pub dynamodb: Change,
}

/// What changed.
#[derive(Debug, Deserialize)]
pub struct Change {
    /// The item's key.
    #[serde(rename = "Keys")]
    pub keys: Keys,
    /// The item as it is now; none when it was deleted.
    #[serde(rename = "NewImage")]
    pub new_image: Option<Image>,
}

/// A primary key.
#[derive(Debug, Deserialize)]
pub struct Keys {
    /// The partition.
    pub pk: Text,
    /// The place in it.
    pub sk: Text,
}

/// What is read of an item.
#[derive(Debug, Deserialize)]
pub struct Image {
    /// A run's head, as JSON.
    pub head: Option<Text>,
}

/// An attribute that is a text.
#[derive(Debug, Deserialize)]
pub struct Text {
    /// The text.
    #[serde(rename = "S")]
    pub s: String,
}

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    telemetry::init("relay");
    let engine = wiring::engine()?;
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<Changes>| {
        let engine = engine.clone();
        async move {
            Box::pin(handle(&engine, event.payload)).await?;
            Ok::<_, lambda_runtime::Error>(())
        }
    }))
    .await
}

/// Counts the runs among the records that have ended. Answers with how many were not counted before.
///
/// # Errors
/// When the table fails; the whole batch may come again.
pub async fn handle(engine: &Engine, changes: Changes) -> Result<usize, Error> {
    let mut heads = BTreeMap::<TenantId, Vec<(u64, Head)>>::new();
    for Record { dynamodb } in changes.records {
        let Keys { pk, sk } = dynamodb.keys;
        let head = dynamodb.new_image.and_then(|image| image.head);
        match store::head_in_stream(&pk.s, &sk.s, head.as_ref().map(|head| &*head.s)) {
            Ok(Some((tenant, epoch, head))) => {
                heads.entry(tenant).or_default().push((epoch, head));
            }
            Ok(None) => {}
            // It would be no better the next time, and nothing behind it would be counted.
            Err(error) => {
                tracing::error!(error = %telemetry::chain(&error), "a run is not counted");
            }
        }
    }
    let mut counted = 0;
    for (tenant, heads) in heads {
        // What comes late for a tenant that is gone would be written behind the proof that nothing of it remains.
        let Some(record) = engine.store.tenant(&tenant).await? else {
            tracing::warn!(tenant.id = %tenant, runs = heads.len(), "runs of a tenant that is gone are not counted");
            continue;
        };
        // Every Region's stream tells of every run; what counts is counted where the tenant is at home, and what is of an epoch
        // that is over was counted then or is void.
        if engine.store.check_home(&record).is_err() {
            continue;
        }
        let is_new = |(epoch, _): &(u64, Head)| *epoch == record.home.epoch;
        let (heads, late): (Vec<_>, Vec<_>) = heads.into_iter().partition(is_new);
        for (_, head) in late {
            engine.store.leave_behind(&record, &head.run).await?;
        }
        let heads: Vec<Head> = heads.into_iter().map(|(_, head)| head).collect();
        if heads.is_empty() {
            continue;
        }
        let mut ended = Vec::with_capacity(heads.len());
        for head in heads.iter().filter(|head| head.status.is_terminal()) {
            ended.extend(Ended::of(head, model(engine, &tenant, head).await?));
        }
        counted += Box::pin(engine.store.count_usage(&tenant, &ended)).await?;
        engine.warn(&tenant, &nodes(&heads)).await?;
    }
    Ok(counted)
}

/// The nodes whose ledgers these runs were charged to.
fn nodes(heads: &[Head]) -> BTreeSet<Node> {
    let mut nodes = BTreeSet::from([Node::Tenant]);
    for head in heads {
        nodes.extend(head.project.clone().map(Node::Project));
        nodes.extend(head.key.clone().map(Node::Key));
    }
    nodes
}

/// The model that the run's agent names; a definition is read once in each process.
async fn model(engine: &Engine, tenant: &TenantId, head: &Head) -> Result<Option<String>, Error> {
    let store = &engine.store;
    let version = store.agent_version(tenant, &head.agent.id, head.agent.version);
    Ok(version
        .await?
        .map(|version| version.definition.model.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_tells_of_a_run() {
        let event = include_str!("../../../events/relay-run-ended.json");
        let changes: Changes = serde_json::from_str(event).unwrap();
        let change = &changes.records[0].dynamodb;
        let head = change.new_image.as_ref().unwrap().head.as_ref().unwrap();
        let told = store::head_in_stream(&change.keys.pk.s, &change.keys.sk.s, Some(&head.s));
        let (tenant, epoch, head) = told.unwrap().unwrap();
        assert_eq!(epoch, 0);
        assert_eq!(tenant.as_str(), "demo");
        assert!(Ended::of(&head, None).is_some());
    }
}
