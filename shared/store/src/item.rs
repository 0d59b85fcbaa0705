//! Items as the SDK holds them, built and read without an intermediate form.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::time::At;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::key::Key;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// An item with its key and room for `more` attributes.
pub(crate) fn keyed(key: Key, more: usize) -> Item {
    let mut item = Item::with_capacity(2 + more);
    let (pk, sk) = key.into_parts();
    item.set_text("pk", pk);
    item.set_text("sk", sk);
    item
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Writing attributes.
pub(crate) trait Set {
    fn set_text(&mut self, name: &str, value: impl Into<String>);
    fn set_number(&mut self, name: &str, value: u64);
}

impl Set for Item {
    fn set_text(&mut self, name: &str, value: impl Into<String>) {
        self.insert(name.to_owned(), text(value));
    }

    fn set_number(&mut self, name: &str, value: u64) {
        self.insert(name.to_owned(), number(value));
    }
}

/// Reading attributes; an attribute that is missing or of another type makes the item corrupt.
pub(crate) trait Read {
    fn find_text(&self, name: &str) -> Option<&str>;
    fn find_number(&self, name: &str) -> Option<u64>;
    fn text(&self, name: &'static str) -> Result<&str, Error>;
    fn number(&self, name: &'static str) -> Result<u64, Error>;
    fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, Error>;
    fn corrupt(&self, what: &'static str) -> Error;

    fn at(&self, name: &'static str) -> Result<At, Error> {
        self.number(name).map(At)
    }

    fn sort(&self) -> &str {
        self.find_text("sk").unwrap_or_default()
    }
}

impl Read for Item {
    fn find_text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(AttributeValue::S(text)) => Some(text),
            _ => None,
        }
    }

    fn find_number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(AttributeValue::N(number)) => number.parse().ok(),
            _ => None,
        }
    }

    fn text(&self, name: &'static str) -> Result<&str, Error> {
        self.find_text(name).ok_or_else(|| self.corrupt(name))
    }

    fn number(&self, name: &'static str) -> Result<u64, Error> {
        self.find_number(name).ok_or_else(|| self.corrupt(name))
    }

    fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, Error> {
        parse(self, name, self.text(name)?.as_bytes())
    }

    fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt {
            key: name_of(self),
            what,
            source: None,
        }
    }
}

/// Parses what stands in, or belongs to, the attribute `what` of an item.
pub(crate) fn parse<T: DeserializeOwned>(
    item: &Item,
    what: &'static str,
    json: &[u8],
) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Error::Corrupt {
        key: name_of(item),
        what,
        source: Some(error.into()),
    })
}

/// Serialises what the store's own types can always be serialised to.
pub(crate) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("domain types have text keys and no failing serialiser")
}

fn name_of(item: &Item) -> String {
    let pk = item.find_text("pk").unwrap_or("?");
    format!("{pk} {}", item.sort())
}
