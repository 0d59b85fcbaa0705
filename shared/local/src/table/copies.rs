//! Copies of a table in another Region, as of a global table with eventual consistency: item by item, some time later, in no
//! order; of two writes to one item the last one wins, wherever it was made. Conditions and transactions hold in the Region
//! where they are asked.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html>.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dynoxide::Database;
use serde_json::{Value, json};

use super::{Changes, Table, dispatch};

/// How often it is looked what is to be copied.
const EVERY: Duration = Duration::from_millis(20);

/// Two tables that copy to each other. Clones share them.
#[derive(Clone, Debug)]
pub struct Copies(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sides: [Option<Side>; 2],
    /// Writes so far: tells which one is the last.
    clock: u64,
    /// What was written and has not arrived, by the instant of the write.
    under_way: BTreeMap<u64, Copy>,
    /// Where nothing arrives.
    cut: bool,
}

#[derive(Clone)]
struct Side {
    database: Database,
    changes: Option<Changes>,
    /// When each item was written last, as far as this side knows.
    written: HashMap<Address, u64>,
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").finish_non_exhaustive()
    }
}

/// A table's name, and the key of an item.
type Address = (String, String, String);

#[derive(Debug)]
struct Copy {
    to: usize,
    address: Address,
    /// The item; none when it was deleted.
    item: Option<Value>,
    since: Instant,
}

/// What sees the writes of one side.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    copies: Copies,
    side: usize,
}

impl Copies {
    /// Has these two copy to each other from now on. Nothing arrives until it is asked for, or [`Copies::run`] runs.
    ///
    /// What follows their changes must have been arranged before ([`Table::tell`]).
    #[must_use]
    pub fn between(one: &mut Table, other: &mut Table) -> Self {
        let copies = Self(Arc::default());
        for (side, table) in [one, other].into_iter().enumerate() {
            copies.lock().sides[side] = Some(Side {
                database: table.database.clone(),
                changes: table.changes.clone(),
                written: HashMap::new(),
            });
            table.tap = Some(Tap {
                copies: copies.clone(),
                side,
            });
        }
        copies
    }

    /// Cuts the two off from each other, or lets copies arrive again.
    pub fn cut(&self, cut: bool) {
        self.lock().cut = cut;
    }

    /// How many items have not arrived.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.lock().under_way.len()
    }

    /// Has everything arrive, the last first if `reversed`. Says how many items that were; none while they are cut off.
    pub fn arrive(&self, reversed: bool) -> usize {
        self.arrive_if(reversed, |_, _| true)
    }

    /// Has those items arrive, of which `which` holds, by partition and sort key.
    pub fn arrive_if(&self, reversed: bool, which: impl Fn(&str, &str) -> bool) -> usize {
        let mut state = self.lock();
        if state.cut {
            return 0;
        }
        let fits = |(_, copy): &(&u64, &Copy)| which(&copy.address.1, &copy.address.2);
        let mut due: Vec<u64> = state
            .under_way
            .iter()
            .filter(fits)
            .map(|it| *it.0)
            .collect();
        if reversed {
            due.reverse();
        }
        for at in &due {
            state.apply(*at);
        }
        due.len()
    }

    /// Has each item arrive `lag` after it was written, until `shutdown` resolves.
    pub async fn run(self, lag: Duration, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(EVERY.min(lag.max(Duration::from_millis(1)))) => {}
            }
            let mut state = self.lock();
            if state.cut {
                continue;
            }
            let is_due = |(_, copy): &(&u64, &Copy)| copy.since.elapsed() >= lag;
            let due: Vec<u64> = state
                .under_way
                .iter()
                .take_while(is_due)
                .map(|it| *it.0)
                .collect();
            for at in due {
                state.apply(at);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes a copy to its side, unless that has a later write of the item.
    fn apply(&mut self, at: u64) {
        let Some(copy) = self.under_way.remove(&at) else {
            return;
        };
        let Some(side) = &mut self.sides[copy.to] else {
            return;
        };
        let written = side.written.entry(copy.address.clone()).or_default();
        if *written > at {
            return;
        }
        *written = at;
        let (table, pk, sk) = &copy.address;
        let (operation, request) = match &copy.item {
            Some(item) => ("PutItem", json!({"TableName": table, "Item": item})),
            None => (
                "DeleteItem",
                json!({"TableName": table, "Key": {"pk": {"S": pk}, "sk": {"S": sk}}}),
            ),
        };
        let request = request.to_string();
        match dispatch(&side.database, operation, request.as_bytes()) {
            // The stream of a copy tells of what arrives, too.
            Ok(_) => {
                if let Some(changes) = &side.changes {
                    changes.take(operation, request.as_bytes());
                }
            }
            Err(error) => tracing::error!(?error, %table, %pk, %sk, "an item was not copied"),
        }
    }
}

impl Tap {
    /// Takes note of what a request wrote. To be called before anything else is written there.
    pub(super) fn take(&self, operation: &str, body: &[u8]) {
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        let mut state = self.copies.lock();
        for address in written(operation, &request) {
            let Some(side) = &state.sides[self.side] else {
                return;
            };
            let (table, pk, sk) = &address;
            let key = json!({"TableName": table, "ConsistentRead": true, "Key": {"pk": {"S": pk}, "sk": {"S": sk}}});
            let answer = dispatch(&side.database, "GetItem", key.to_string().as_bytes());
            let Ok(answer) = answer else { continue };
            let answer = serde_json::from_str::<Value>(&answer).unwrap_or_default();
            let item = answer.get("Item").filter(|item| item.is_object()).cloned();
            state.clock += 1;
            let at = state.clock;
            if let Some(side) = &mut state.sides[self.side] {
                side.written.insert(address.clone(), at);
            }
            let copy = Copy {
                to: 1 - self.side,
                address,
                item,
                since: Instant::now(),
            };
            state.under_way.insert(at, copy);
        }
    }
}

/// The items that a request wrote.
fn written(operation: &str, request: &Value) -> Vec<Address> {
    let address = |write: &Value, key: &str| {
        let table = write["TableName"].as_str()?;
        let key = &write[key];
        let (pk, sk) = (key["pk"]["S"].as_str()?, key["sk"]["S"].as_str()?);
        Some((table.to_owned(), pk.to_owned(), sk.to_owned()))
    };
    match operation {
        "PutItem" => address(request, "Item").into_iter().collect(),
        "UpdateItem" | "DeleteItem" => address(request, "Key").into_iter().collect(),
        "TransactWriteItems" => {
            let writes = request["TransactItems"].as_array();
            let writes = writes.into_iter().flatten().filter_map(|write| {
                address(&write["Put"], "Item")
                    .or_else(|| address(&write["Update"], "Key"))
                    .or_else(|| address(&write["Delete"], "Key"))
            });
            writes.collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let table = Table::open(None).unwrap();
        let definition = json!({"TableName": "items", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]});
        dispatch(
            &table.database,
            "CreateTable",
            definition.to_string().as_bytes(),
        )
        .unwrap();
        table
    }

    fn put(table: &Table, pk: &str, n: u64) {
        let item = json!({"pk": {"S": pk}, "sk": {"S": "s"}, "n": {"N": n.to_string()}});
        let body = json!({"TableName": "items", "Item": item}).to_string();
        dispatch(&table.database, "PutItem", body.as_bytes()).unwrap();
        table.tap.as_ref().unwrap().take("PutItem", body.as_bytes());
    }

    fn read(table: &Table, pk: &str) -> Option<String> {
        let body = json!({"TableName": "items", "Key": {"pk": {"S": pk}, "sk": {"S": "s"}}});
        let answer = dispatch(&table.database, "GetItem", body.to_string().as_bytes()).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["Item"]["n"]["N"].as_str().map(str::to_owned)
    }

    #[test]
    fn of_two_writes_to_one_item_the_last_wins_on_both_sides() {
        let (mut one, mut other) = (table(), table());
        let copies = Copies::between(&mut one, &mut other);
        put(&one, "a", 1);
        put(&other, "a", 2);
        put(&one, "b", 3);
        assert_eq!((read(&other, "b"), copies.under_way()), (None, 3));
        copies.cut(true);
        assert_eq!(copies.arrive(false), 0);
        copies.cut(false);
        assert_eq!(copies.arrive(true), 3);
        for table in [&one, &other] {
            assert_eq!(read(table, "a").as_deref(), Some("2"));
            assert_eq!(read(table, "b").as_deref(), Some("3"));
        }
        assert_eq!(copies.under_way(), 0, "what arrives is not copied back");
    }
}
