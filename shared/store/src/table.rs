//! The operations of the table that the store uses: metered, with typed outcomes instead of SDK errors.

use std::borrow::Cow;
use std::sync::Arc;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, ConsumedCapacity, Delete, Put, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, Select, TransactWriteItem, Update,
};

use crate::item::{Item, Read, Set, keyed, text};
use crate::key::Key;
use crate::{Error, Store};

/// Attempts at a write that meets a transaction on the same item.
pub(crate) const ATTEMPTS: u32 = 5;

/// Attempts at a write where all that goes on for a tenant meets: its ledger, its audit trail, its usage.
pub(crate) const BUSY_ATTEMPTS: u32 = 16;

/// A change of one item, under a condition.
#[derive(Clone)]
pub(crate) struct Write {
    act: Act,
    condition: Option<Cow<'static, str>>,
    values: Vec<(Cow<'static, str>, AttributeValue)>,
    /// What stands for a name that expressions must not hold.
    name: Option<(&'static str, &'static str)>,
}

/// What a write does to its item.
#[derive(Clone)]
enum Act {
    /// Puts the whole item.
    Put(Item),
    /// Changes attributes, by an update expression.
    Update(Key, String),
    /// Removes it.
    Delete(Key),
    /// Leaves it as it is: only the condition counts.
    Check(Key),
}

/// The condition that there is no such item yet.
pub(crate) const ABSENT: &str = "attribute_not_exists(pk)";
/// The condition that there is such an item.
pub(crate) const PRESENT: &str = "attribute_exists(pk)";

impl Write {
    pub(crate) fn new(item: Item, condition: Option<&'static str>) -> Self {
        Self::of(Act::Put(item), condition.map(Cow::Borrowed))
    }

    /// Changes attributes by `expression` if `condition` holds.
    pub(crate) fn update(key: Key, expression: String, condition: String) -> Self {
        Self::of(Act::Update(key, expression), Some(Cow::Owned(condition)))
    }

    /// Changes attributes by `expression`, whatever they were.
    pub(crate) fn update_always(key: Key, expression: String) -> Self {
        Self::of(Act::Update(key, expression), None)
    }

    /// Removes the item, if it is there.
    pub(crate) fn delete(key: Key) -> Self {
        Self::of(Act::Delete(key), None)
    }

    /// Writes nothing, but has the transaction that it belongs to refused unless `condition` holds.
    pub(crate) fn check(key: Key, condition: &'static str) -> Self {
        Self::of(Act::Check(key), Some(Cow::Borrowed(condition)))
    }

    /// Only if `condition` holds as well.
    pub(crate) fn and(mut self, condition: &'static str) -> Self {
        self.condition = Some(match self.condition {
            Some(first) => Cow::Owned(format!("{first} AND {condition}")),
            None => Cow::Borrowed(condition),
        });
        self
    }

    /// Removes the item if `condition` holds.
    pub(crate) fn delete_if(key: Key, condition: &'static str) -> Self {
        Self::of(Act::Delete(key), Some(Cow::Borrowed(condition)))
    }

    /// The partition of its item.
    fn pk(&self) -> &str {
        match &self.act {
            Act::Put(item) => item.find_text("pk").unwrap_or_default(),
            Act::Update(key, _) | Act::Delete(key) | Act::Check(key) => key.pk(),
        }
    }

    fn of(act: Act, condition: Option<Cow<'static, str>>) -> Self {
        Self {
            act,
            condition,
            values: Vec::new(),
            name: None,
        }
    }

    /// Lets `placeholder` stand for the attribute `name` in the expression of an update.
    pub(crate) fn named(mut self, placeholder: &'static str, name: &'static str) -> Self {
        self.name = Some((placeholder, name));
        self
    }

    pub(crate) fn with(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: AttributeValue,
    ) -> Self {
        self.values.push((name.into(), value));
        self
    }
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is stored.
    Done,
    /// A condition failed: for each item whether it was its own and what stood there.
    Refused(Vec<Refusal>),
    /// Another transaction was at work on the same item; nothing was written.
    Conflict,
}

/// What a refused write found in place of one item.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) failed: bool,
    pub(crate) old: Option<Item>,
}

/// A range of one partition, of the table or of an index.
pub(crate) struct Range {
    pub(crate) index: Option<Index>,
    pub(crate) pk: String,
    pub(crate) sort: Sort,
    pub(crate) forward: bool,
    pub(crate) limit: Option<u32>,
    pub(crate) consistent: bool,
}

/// An index of the table.
#[derive(Clone, Copy)]
pub(crate) enum Index {
    List,
    Watch,
}

/// Which sort keys a range holds.
pub(crate) enum Sort {
    All,
    AtMost(String),
    Below(String),
    Above(String),
    Between(String, String),
}

/// One page of a range, and where the next one starts.
pub(crate) struct Rows {
    pub(crate) items: Vec<Item>,
    pub(crate) next: Option<Item>,
}

impl Store {
    pub(crate) async fn get(&self, key: Key, consistent: bool) -> Result<Option<Item>, Error> {
        let place = self.place_of(key.pk()).await?;
        let (table, pk) = (place.table, place.pk.into_owned());
        self.get_in(&table, key.moved_to(pk), consistent).await
    }

    pub(crate) async fn get_in(
        &self,
        table: &str,
        key: Key,
        consistent: bool,
    ) -> Result<Option<Item>, Error> {
        let (pk, sk) = key.into_parts();
        let answer = self
            .access
            .table
            .get_item()
            .table_name(table)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .consistent_read(consistent)
            .set_return_consumed_capacity(self.capacity())
            .send()
            .await;
        self.meter.add(|consumed| consumed.reads += 1);
        let answer = answer.map_err(|error| Error::of_sdk("GetItem", error))?;
        self.count_read(answer.consumed_capacity.as_ref());
        Ok(answer.item)
    }

    /// One page of a range.
    pub(crate) async fn query(&self, range: &Range, start: Option<Item>) -> Result<Rows, Error> {
        let request = self.ask(range).await?.set_exclusive_start_key(start);
        let answer = self.answer(request).await?;
        Ok(Rows {
            items: answer.items.unwrap_or_default(),
            next: answer.last_evaluated_key,
        })
    }

    /// How many items one page of a range has: read like them, but not sent.
    pub(crate) async fn count(&self, range: &Range) -> Result<u64, Error> {
        let request = self.ask(range).await?.select(Select::Count);
        let answer = self.answer(request).await?;
        Ok(u64::try_from(answer.count).unwrap_or_default())
    }

    async fn answer(&self, request: QueryFluentBuilder) -> Result<QueryOutput, Error> {
        let answer = Box::pin(request.send()).await;
        self.meter.add(|consumed| consumed.reads += 1);
        let answer = answer.map_err(|error| Error::of_sdk("Query", error))?;
        self.count_read(answer.consumed_capacity.as_ref());
        Ok(answer)
    }

    async fn ask(&self, range: &Range) -> Result<QueryFluentBuilder, Error> {
        let (pk, sk, index) = match range.index {
            None => ("pk", "sk", None),
            Some(Index::List) => ("list_pk", "list_sk", Some("list")),
            Some(Index::Watch) => ("watch_pk", "watch_sk", Some("watch")),
        };
        let place = self.place_of(&range.pk).await?;
        let request = self
            .access
            .table
            .query()
            .table_name(&*place.table)
            .set_index_name(index.map(str::to_owned))
            .expression_attribute_values(":pk", text(place.pk))
            .scan_index_forward(range.forward)
            .set_limit(range.limit.and_then(|limit| i32::try_from(limit).ok()))
            .set_consistent_read(range.consistent.then_some(true))
            .set_return_consumed_capacity(self.capacity());
        let one = |operator: &str| format!("{pk} = :pk AND {sk} {operator} :a");
        Ok(match &range.sort {
            Sort::All => request.key_condition_expression(format!("{pk} = :pk")),
            Sort::AtMost(a) => request
                .key_condition_expression(one("<="))
                .expression_attribute_values(":a", text(a)),
            Sort::Below(a) => request
                .key_condition_expression(one("<"))
                .expression_attribute_values(":a", text(a)),
            Sort::Above(a) => request
                .key_condition_expression(one(">"))
                .expression_attribute_values(":a", text(a)),
            Sort::Between(a, b) => request
                .key_condition_expression(format!("{pk} = :pk AND {sk} BETWEEN :a AND :b"))
                .expression_attribute_values(":a", text(a))
                .expression_attribute_values(":b", text(b)),
        })
    }

    /// Does one write on its own. What is no put goes as a transaction of one, at twice the price: it is rare.
    pub(crate) async fn put(&self, write: Write) -> Result<Outcome, Error> {
        let Act::Put(_) = write.act else {
            return self.transact(vec![write]).await;
        };
        let (table, write) = self.placed(write).await?;
        let Act::Put(item) = write.act else {
            unreachable!("it is a put");
        };
        let mut request = self
            .access
            .table
            .put_item()
            .table_name(&*table)
            .set_item(Some(item))
            .set_return_consumed_capacity(self.capacity());
        if let Some(condition) = write.condition {
            request = request
                .condition_expression(condition)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                );
        }
        for (name, value) in write.values {
            request = request.expression_attribute_values(name, value);
        }
        let answer = Box::pin(request.send()).await;
        self.meter.add(|consumed| consumed.writes += 1);
        let error = match answer {
            Ok(answer) => {
                self.count_write(answer.consumed_capacity.as_ref());
                return Ok(Outcome::Done);
            }
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Outcome::Refused(vec![Refusal {
                    failed: true,
                    old: failed.item.clone(),
                }]))
            }
            Some(service) if service.code() == Some("TransactionConflictException") => {
                Ok(Outcome::Conflict)
            }
            _ => Err(Error::of_sdk("PutItem", error)),
        }
    }

    /// The table that a write goes to, and the write with the keys of the epoch that it goes to.
    async fn placed(&self, mut write: Write) -> Result<(Arc<String>, Write), Error> {
        let place = self.place_to_write(write.pk()).await?;
        let (table, is_same) = (place.table, place.pk == write.pk());
        if !is_same {
            let pk = place.pk.into_owned();
            write.act = match write.act {
                Act::Put(mut item) => {
                    if let Some(list) = item.find_text("list_pk") {
                        let list = self.place_of(list).await?.pk.into_owned();
                        item.set_text("list_pk", list);
                    }
                    item.set_text("pk", pk);
                    Act::Put(item)
                }
                Act::Update(key, expression) => Act::Update(key.moved_to(pk), expression),
                Act::Delete(key) => Act::Delete(key.moved_to(pk)),
                Act::Check(key) => Act::Check(key.moved_to(pk)),
            };
        }
        Ok((table, write))
    }

    pub(crate) async fn transact(&self, writes: Vec<Write>) -> Result<Outcome, Error> {
        let mut items = Vec::with_capacity(writes.len());
        for write in writes {
            let (table, write) = self.placed(write).await?;
            items.push(transact_item(write, &table));
        }
        let request = self
            .access
            .table
            .transact_write_items()
            .set_transact_items(Some(items))
            .set_return_consumed_capacity(self.capacity());
        let answer = Box::pin(request.send()).await;
        self.meter.add(|consumed| consumed.transactions += 1);
        let error = match answer {
            Ok(answer) => {
                for consumed in answer.consumed_capacity.iter().flatten() {
                    self.count_write(Some(consumed));
                }
                return Ok(Outcome::Done);
            }
            Err(error) => error,
        };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        else {
            return Err(Error::of_sdk("TransactWriteItems", error));
        };
        let reasons = cancelled.cancellation_reasons();
        let any = |code: &str| reasons.iter().any(|reason| reason.code() == Some(code));
        if any("ConditionalCheckFailed") {
            let refusals = reasons.iter().map(|reason| Refusal {
                failed: reason.code() == Some("ConditionalCheckFailed"),
                old: reason.item.clone().filter(|item| !item.is_empty()),
            });
            Ok(Outcome::Refused(refusals.collect()))
        } else if any("TransactionConflict") {
            Ok(Outcome::Conflict)
        } else if any("ThrottlingError") || any("ProvisionedThroughputExceeded") {
            Err(Error::Throttled {
                operation: "TransactWriteItems",
                source: error.into(),
            })
        } else {
            Err(Error::of_sdk("TransactWriteItems", error))
        }
    }

    pub(crate) fn capacity(&self) -> Option<ReturnConsumedCapacity> {
        self.inner
            .config
            .capacity
            .then_some(ReturnConsumedCapacity::Total)
    }

    pub(crate) fn count_read(&self, consumed: Option<&ConsumedCapacity>) {
        if let Some(units) = consumed.and_then(ConsumedCapacity::capacity_units) {
            self.meter.add(|consumed| consumed.read_units += units);
        }
    }

    pub(crate) fn count_write(&self, consumed: Option<&ConsumedCapacity>) {
        if let Some(units) = consumed.and_then(ConsumedCapacity::capacity_units) {
            self.meter.add(|consumed| consumed.write_units += units);
        }
    }
}

fn transact_item(write: Write, table: &str) -> TransactWriteItem {
    const ALL_OLD: ReturnValuesOnConditionCheckFailure =
        ReturnValuesOnConditionCheckFailure::AllOld;
    let Write {
        act,
        condition,
        values,
        name,
    } = write;
    let names = name.map(|(placeholder, name)| [(placeholder.to_owned(), name.to_owned())].into());
    let told = condition.is_some().then_some(ALL_OLD);
    let condition = condition.map(Cow::into_owned);
    let values = (!values.is_empty()).then(|| {
        let values = values.into_iter();
        values
            .map(|(name, value)| (name.into_owned(), value))
            .collect()
    });
    let item = TransactWriteItem::builder();
    match act {
        Act::Put(put) => {
            let put = Put::builder()
                .table_name(table)
                .set_item(Some(put))
                .set_condition_expression(condition)
                .set_return_values_on_condition_check_failure(told)
                .set_expression_attribute_values(values)
                .build();
            item.put(put.expect("a put has a table and an item"))
        }
        Act::Update(key, expression) => {
            let update = Update::builder()
                .table_name(table)
                .set_key(Some(keyed(key, 0)))
                .update_expression(expression)
                .set_expression_attribute_names(names)
                .set_condition_expression(condition)
                .set_return_values_on_condition_check_failure(told)
                .set_expression_attribute_values(values)
                .build();
            item.update(update.expect("an update has a table, a key and an expression"))
        }
        Act::Delete(key) => {
            let delete = Delete::builder()
                .table_name(table)
                .set_key(Some(keyed(key, 0)))
                .set_condition_expression(condition)
                .set_return_values_on_condition_check_failure(told)
                .set_expression_attribute_values(values)
                .build();
            item.delete(delete.expect("a deletion has a table and a key"))
        }
        Act::Check(key) => {
            let check = ConditionCheck::builder()
                .table_name(table)
                .set_key(Some(keyed(key, 0)))
                .set_condition_expression(condition)
                .set_return_values_on_condition_check_failure(told)
                .set_expression_attribute_values(values)
                .build();
            item.condition_check(check.expect("a check has a table, a key and a condition"))
        }
    }
    .build()
}

/// Waits before a write that met a transaction is tried again: up to 5 ms, doubling to 1.28 s, drawn so that the two do not
/// meet again.
pub(crate) async fn pause(attempt: u32) {
    use std::hash::{BuildHasher, RandomState};
    let longest_us = 5_000_u64 << attempt.min(8);
    let wait_us = RandomState::new().hash_one(attempt) % longest_us;
    tokio::time::sleep(std::time::Duration::from_micros(wait_us)).await;
}
