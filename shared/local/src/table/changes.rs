//! What is put into the tables, for whoever follows them: a stream with new images, in one shard. (AWS has one for each table,
//! all of which feed the same function.)
//!
//! It tells of whole items that are put, alone or in transactions, and have a certain attribute, which is as far as an event
//! source's filter goes here; updates and deletions are not told. Whatever is told and not yet done with is kept in a file
//! beside the table; whoever opens that is told some of it again, as a stream may.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;

/// The file that holds what is not done with.
const FILE: &str = "changes.jsonl";

/// The changes of all tables. Clones share it.
#[derive(Clone, Debug)]
pub struct Changes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The attribute that an item must have, in quotes.
    attribute: String,
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// What was put, as `{"TableName": .., "Item": ..}`.
    puts: VecDeque<Value>,
    /// The number of the first one.
    first: u64,
    file: Option<File>,
}

impl Changes {
    /// Changes of items that have `attribute`, kept in `folder` if there is one.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(super) fn open(folder: Option<&Path>, attribute: &str) -> std::io::Result<Self> {
        let mut queue = Queue::default();
        if let Some(folder) = folder {
            let mut options = OpenOptions::new();
            let options = options.read(true).append(true).create(true);
            let file = options.open(folder.join(FILE))?;
            for line in BufReader::new(&file).lines() {
                // A line that was being written when the process died is whole in the table, or nowhere.
                let told = serde_json::from_str::<Value>(&line?);
                queue.puts.extend(told.map(|told| match told["Item"] {
                    // As it was written when there was one table.
                    Value::Null => json!({"TableName": "skein", "Item": told}),
                    _ => told,
                }));
            }
            queue.file = Some(file);
        }
        Ok(Self(Arc::new(Inner {
            attribute: format!("\"{attribute}\""),
            queue: Mutex::new(queue),
            more: Notify::new(),
        })))
    }

    /// Takes note of a write that was done. Most are passed over after one look at their text.
    pub(super) fn take(&self, operation: &str, body: &[u8]) {
        let is_put = matches!(operation, "PutItem" | "TransactWriteItems");
        let is_told = |text: &str| text.contains(&self.0.attribute);
        if !is_put || !std::str::from_utf8(body).is_ok_and(is_told) {
            return;
        }
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        let attribute = self.0.attribute.trim_matches('"');
        let writes = request["TransactItems"].as_array();
        let puts = writes.into_iter().flatten().map(|write| &write["Put"]);
        let puts = puts.chain([&request]);
        for put in puts.filter(|put| !put["Item"][attribute].is_null()) {
            self.push(json!({"TableName": put["TableName"], "Item": put["Item"]}));
        }
    }

    fn push(&self, put: Value) {
        let mut queue = self.lock();
        if let Some(file) = &mut queue.file
            && let Err(error) = writeln!(file, "{put}")
        {
            tracing::error!(%error, "a change of the table is lost when this process ends");
        }
        queue.puts.push_back(put);
        drop(queue);
        self.0.more.notify_one();
    }

    /// Up to `most` records of the stream, the oldest first, once there are any. They come again until they are
    /// [`done`](Self::done) with.
    pub(crate) async fn next(&self, most: usize, region: &str) -> Vec<Value> {
        loop {
            let more = self.0.more.notified();
            let records: Vec<_> = {
                let queue = self.lock();
                let numbered = (queue.first + 1..).zip(&queue.puts);
                let records = numbered.map(|(number, put)| record(number, put, region));
                records.take(most).collect()
            };
            if !records.is_empty() {
                return records;
            }
            more.await;
        }
    }

    /// Forgets the oldest `count` records.
    pub(crate) fn done(&self, count: usize) {
        let mut queue = self.lock();
        let count = count.min(queue.puts.len());
        queue.puts.drain(..count);
        queue.first += count as u64;
        // Only then: what is told again does no harm, and the file would be written anew each time.
        if queue.puts.is_empty()
            && let Some(file) = &queue.file
            && let Err(error) = file.set_len(0)
        {
            tracing::warn!(%error, "changes of the table will be told again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record as Lambda hands it to a function. Whether the item is new is not known, so none says `INSERT`.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html>.
fn record(number: u64, put: &Value, region: &str) -> Value {
    let image = &put["Item"];
    let table = put["TableName"].as_str().unwrap_or_default();
    json!({
        "eventID": format!("{number:032x}"),
        "eventName": "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": region,
        "eventSourceARN": format!("arn:aws:dynamodb:{region}:000000000000:table/{table}/stream/2026-01-01T00:00:00.000"),
        "dynamodb": {
            "Keys": {"pk": image["pk"], "sk": image["sk"]},
            "NewImage": image,
            "SequenceNumber": format!("{number:021}"),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(pk: &str) -> Value {
        json!({"TableName": "t", "Item": {"pk": {"S": pk}, "sk": {"S": "HEAD"}, "ended_at": {"N": "1"}}})
    }

    fn keys(records: &[Value]) -> Vec<&str> {
        let key = |record: &'_ Value| record["dynamodb"]["Keys"]["pk"]["S"].is_string();
        assert!(records.iter().all(key));
        let names = records
            .iter()
            .map(|record| &record["dynamodb"]["NewImage"]["pk"]["S"]);
        names.filter_map(Value::as_str).collect()
    }

    #[tokio::test]
    async fn what_has_the_attribute_is_told_until_it_is_done_with() {
        let folder = tempfile::tempdir().unwrap();
        let changes = Changes::open(Some(folder.path()), "ended_at").unwrap();
        changes.take("PutItem", put("a").to_string().as_bytes());
        let other = json!({"Item": {"pk": {"S": "b"}, "head": {"S": "{\"ended_at\":1}"}}});
        changes.take("PutItem", other.to_string().as_bytes());
        changes.take("UpdateItem", put("c").to_string().as_bytes());
        let transaction =
            json!({"TransactItems": [{"Put": other}, {"Update": {}}, {"Put": put("d")}]});
        changes.take("TransactWriteItems", transaction.to_string().as_bytes());
        assert_eq!(keys(&changes.next(10, "r").await), ["a", "d"]);
        assert_eq!(keys(&changes.next(1, "r").await), ["a"]);
        changes.done(1);
        assert_eq!(keys(&changes.next(10, "r").await), ["d"]);

        let again = Changes::open(Some(folder.path()), "ended_at").unwrap();
        assert_eq!(keys(&again.next(10, "r").await), ["a", "d"], "it died");
        again.done(2);
        let empty = Changes::open(Some(folder.path()), "ended_at").unwrap();
        assert!(empty.lock().puts.is_empty());
    }
}
