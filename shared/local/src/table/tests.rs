use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, GlobalSecondaryIndex,
    KeySchemaElement, KeyType, Projection, ProjectionType, Put, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, StreamSpecification, StreamViewType,
    TimeToLiveSpecification, TransactWriteItem,
};

use super::*;
use crate::wire::tests::dynamodb;

pub(crate) const TABLE: &str = "skein";

fn s(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(crate) fn item(pk: &str, sk: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

fn attribute(name: &str) -> AttributeDefinition {
    let attribute = AttributeDefinition::builder().attribute_name(name);
    let attribute = attribute.attribute_type(ScalarAttributeType::S);
    attribute.build().unwrap()
}

fn key(name: &str, key_type: KeyType) -> KeySchemaElement {
    let key = KeySchemaElement::builder().attribute_name(name);
    key.key_type(key_type).build().unwrap()
}

pub(crate) async fn create_table(client: &Client) {
    let index = GlobalSecondaryIndex::builder()
        .index_name("gsi1")
        .key_schema(key("gsi1pk", KeyType::Hash))
        .key_schema(key("gsi1sk", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::All)
                .build(),
        )
        .build()
        .unwrap();
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewAndOldImages)
        .build()
        .unwrap();
    client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .attribute_definitions(attribute("gsi1pk"))
        .attribute_definitions(attribute("gsi1sk"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(index)
        .stream_specification(stream)
        .send()
        .await
        .unwrap();
}

async fn table() -> (Table, Client) {
    let table = Table::open(None).unwrap();
    let client = dynamodb(table.router());
    create_table(&client).await;
    (table, client)
}

async fn put(client: &Client, item: HashMap<String, AttributeValue>) {
    let put = client.put_item().table_name(TABLE).set_item(Some(item));
    put.send().await.unwrap();
}

async fn read(client: &Client, pk: &str, sk: &str) -> Option<HashMap<String, AttributeValue>> {
    let get = client.get_item().table_name(TABLE);
    let get = get.set_key(Some(item(pk, sk))).consistent_read(true);
    get.send().await.unwrap().item
}

#[tokio::test]
async fn a_refused_conditional_put_returns_the_item_that_is_there() {
    let (_table, client) = table().await;
    let mut first = item("p", "1");
    first.insert("owner".into(), s("first"));
    put(&client, first.clone()).await;
    let error = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item("p", "1")))
        .condition_expression("attribute_not_exists(pk)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_conditional_check_failed_exception());
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(error) =
        error
    else {
        panic!("{error:?}");
    };
    assert_eq!(error.item, Some(first));
}

#[tokio::test]
async fn a_cancelled_transaction_names_a_reason_for_each_item_and_writes_nothing() {
    let (_table, client) = table().await;
    put(&client, item("p", "there")).await;
    let new = Put::builder()
        .table_name(TABLE)
        .set_item(Some(item("p", "new")));
    let absent = ConditionCheck::builder()
        .table_name(TABLE)
        .set_key(Some(item("p", "there")))
        .condition_expression("attribute_not_exists(pk)");
    let error = client
        .transact_write_items()
        .transact_items(
            TransactWriteItem::builder()
                .put(new.build().unwrap())
                .build(),
        )
        .transact_items(
            TransactWriteItem::builder()
                .condition_check(absent.build().unwrap())
                .build(),
        )
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(error) = error
    else {
        panic!("{error:?}");
    };
    let codes: Vec<_> = error
        .cancellation_reasons()
        .iter()
        .map(|reason| reason.code().unwrap_or_default())
        .collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
    assert_eq!(read(&client, "p", "new").await, None);
}

#[tokio::test]
async fn a_sparse_index_holds_only_the_items_with_its_keys() {
    let (_table, client) = table().await;
    put(&client, item("p", "1")).await;
    let mut indexed = item("p", "2");
    indexed.insert("gsi1pk".into(), s("queued"));
    indexed.insert("gsi1sk".into(), s("2026"));
    put(&client, indexed.clone()).await;
    let found = client
        .query()
        .table_name(TABLE)
        .index_name("gsi1")
        .key_condition_expression("gsi1pk = :p")
        .expression_attribute_values(":p", s("queued"))
        .send()
        .await
        .unwrap();
    assert_eq!(found.items(), [indexed]);
}

#[tokio::test]
async fn consumed_capacity_is_reported() {
    let (_table, client) = table().await;
    let mut large = item("p", "1");
    large.insert("data".into(), s(&"x".repeat(2_500)));
    let put = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(large))
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .send()
        .await
        .unwrap();
    assert_eq!(put.consumed_capacity.unwrap().capacity_units, Some(3.0));
}

#[tokio::test]
async fn a_stream_is_accepted_and_left_off() {
    let (_table, client) = table().await;
    let described = client.describe_table().table_name(TABLE).send().await;
    let table = described.unwrap().table.unwrap();
    assert_eq!(table.latest_stream_arn, None);
}

#[tokio::test]
async fn a_sweep_deletes_what_has_expired_and_nothing_else() {
    let (table, client) = table().await;
    let ttl = TimeToLiveSpecification::builder()
        .attribute_name("ttl")
        .enabled(true)
        .build()
        .unwrap();
    let update = client.update_time_to_live().table_name(TABLE);
    update.time_to_live_specification(ttl).send().await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for (sk, at) in [
        ("past", now - Duration::from_secs(60)),
        ("future", now + Duration::from_secs(3_600)),
    ] {
        let mut expiring = item("p", sk);
        let at = AttributeValue::N(at.as_secs().to_string());
        expiring.insert("ttl".into(), at);
        put(&client, expiring).await;
    }
    assert_eq!(table.sweep_once().await.unwrap(), 1);
    assert_eq!(read(&client, "p", "past").await, None);
    assert!(read(&client, "p", "future").await.is_some());
}

#[tokio::test]
async fn the_sweep_ends_at_shutdown() {
    let (table, _client) = table().await;
    table.sweep(std::future::ready(())).await;
}

#[tokio::test]
async fn a_reopened_folder_keeps_its_items() {
    let folder = tempfile::tempdir().unwrap();
    let first = Table::open(Some(folder.path())).unwrap();
    let client = dynamodb(first.router());
    create_table(&client).await;
    put(&client, item("p", "1")).await;
    drop((first, client));
    let second = Table::open(Some(folder.path())).unwrap();
    let client = dynamodb(second.router());
    assert_eq!(read(&client, "p", "1").await, Some(item("p", "1")));
}

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    std::fs::write(
        &path,
        "this is not a database, whatever its name says ".repeat(100),
    )
    .unwrap();
    let error = Table::open(Some(folder.path())).unwrap_err();
    assert!(
        error.to_string().contains(&*path.to_string_lossy()),
        "{error}"
    );
}

#[tokio::test]
async fn an_unreadable_request_is_a_validation_error() {
    let (_table, client) = table().await;
    let mut bad = item("p", "1");
    bad.insert("n".into(), AttributeValue::N("not a number".into()));
    let put = client.put_item().table_name(TABLE).set_item(Some(bad));
    let error = put.send().await.unwrap_err();
    let code = aws_sdk_dynamodb::error::ProvideErrorMetadata::code(&error);
    assert_eq!(code, Some("ValidationException"));
}
