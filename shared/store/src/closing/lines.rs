//! Exports as lines of JSON: an item in DynamoDB's own JSON, an object by its name and content.

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::item::{Item, Read};

/// What a line of an export is about.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// An item, whole.
    Item(Item),
    /// An object, by its name.
    Object(String),
}

pub(super) fn of_item(item: &Item) -> Result<String, Error> {
    let shown = show_all(item).ok_or_else(|| item.corrupt("a type of attribute"))?;
    Ok(format!("{}\n", json!({ "item": shown })))
}

/// Ours are JSON, so text; whatever is not stands in Base64.
pub(super) fn of_object(name: &str, bytes: Vec<u8>) -> String {
    let line = match String::from_utf8(bytes) {
        Ok(text) => json!({"object": name, "text": text}),
        Err(error) => json!({"object": name, "base64": STANDARD.encode(error.as_bytes())}),
    };
    format!("{line}\n")
}

/// Reads a line of the export's part of this name.
pub(super) fn read(line: &[u8], name: &str) -> Result<Line, Error> {
    let corrupt = |source| Error::Corrupt {
        key: name.to_owned(),
        what: "a line of an export",
        source,
    };
    let line: Value = serde_json::from_slice(line).map_err(|error| corrupt(Some(error.into())))?;
    if let Some(object) = line["object"].as_str() {
        return Ok(Line::Object(object.to_owned()));
    }
    let item = line["item"].as_object().and_then(read_all);
    item.map(Line::Item).ok_or_else(|| corrupt(None))
}

fn show_all(item: &Item) -> Option<Map<String, Value>> {
    let shown = item
        .iter()
        .map(|(name, value)| Some((name.clone(), show(value)?)));
    shown.collect()
}

fn show(value: &AttributeValue) -> Option<Value> {
    Some(match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(digits) => json!({ "N": digits }),
        AttributeValue::Bool(value) => json!({ "BOOL": value }),
        AttributeValue::Null(value) => json!({ "NULL": value }),
        AttributeValue::M(map) => json!({ "M": show_all(map)? }),
        AttributeValue::L(list) => {
            json!({ "L": list.iter().map(show).collect::<Option<Vec<_>>>()? })
        }
        // The store writes no others.
        _ => return None,
    })
}

fn read_all(shown: &Map<String, Value>) -> Option<Item> {
    let read = shown
        .iter()
        .map(|(name, value)| Some((name.clone(), read_one(value)?)));
    read.collect()
}

fn read_one(shown: &Value) -> Option<AttributeValue> {
    let (kind, value) = shown.as_object()?.iter().next()?;
    let text = || value.as_str().map(str::to_owned);
    Some(match kind.as_str() {
        "S" => AttributeValue::S(text()?),
        "N" => AttributeValue::N(text()?),
        "BOOL" => AttributeValue::Bool(value.as_bool()?),
        "NULL" => AttributeValue::Null(value.as_bool()?),
        "M" => AttributeValue::M(read_all(value.as_object()?)?),
        "L" => {
            let read = value.as_array()?.iter().map(read_one);
            AttributeValue::L(read.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{number, text};

    #[test]
    fn what_is_exported_reads_back_as_it_was() {
        let blob = Item::from([
            ("sha256".to_owned(), text("ab")),
            ("bytes".to_owned(), number(7)),
        ]);
        let list = vec![AttributeValue::Bool(true), AttributeValue::Null(true)];
        let item = Item::from([
            ("pk".to_owned(), text("T#acme")),
            ("odd".to_owned(), text("a \"line\"\nbreak \u{fffe}")),
            ("n".to_owned(), AttributeValue::N("-1.5".to_owned())),
            ("blob".to_owned(), AttributeValue::M(blob)),
            ("list".to_owned(), AttributeValue::L(list)),
        ]);
        let line = of_item(&item).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(
            read(line.trim_end().as_bytes(), "p").unwrap(),
            Line::Item(item)
        );
        for bytes in [b"[1,\n2]".to_vec(), vec![0xff, 0xfe]] {
            let line = of_object("tenants/acme/x", bytes);
            let read = read(line.trim_end().as_bytes(), "p").unwrap();
            assert_eq!(read, Line::Object("tenants/acme/x".to_owned()));
        }
        assert!(read(b"{\"item\":{\"a\":{\"X\":1}}}", "p").is_err());
    }
}
