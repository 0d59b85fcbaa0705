//! JSON values from the form that the SDK has them in. See [`verbatim`](crate::verbatim) for the other way.

use aws_smithy_types::{Document, Number};
use serde_json::Value;

#[cfg(test)]
pub(crate) fn from_value(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(flag) => Document::Bool(*flag),
        Value::Number(number) => Document::Number(from_number(number)),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(items) => Document::Array(items.iter().map(from_value).collect()),
        Value::Object(members) => Document::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), from_value(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
fn from_number(number: &serde_json::Number) -> Number {
    if let Some(n) = number.as_u64() {
        Number::PosInt(n)
    } else if let Some(n) = number.as_i64() {
        Number::NegInt(n)
    } else {
        Number::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// Numbers that JSON cannot hold become `null`.
pub(crate) fn into_value(document: Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(flag) => Value::Bool(flag),
        Document::Number(Number::PosInt(n)) => Value::from(n),
        Document::Number(Number::NegInt(n)) => Value::from(n),
        Document::Number(Number::Float(n)) => Value::from(n),
        Document::String(text) => Value::String(text),
        Document::Array(items) => Value::Array(items.into_iter().map(into_value).collect()),
        Document::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| (name, into_value(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_comes_back_as_it_went() {
        let value = json!({
            "nothing": null,
            "flags": [true, false],
            "numbers": [0, 1, -1, u64::MAX, i64::MIN, 0.5, -2.0, 1e300],
            "text": "\u{0} é",
            "nested": {"empty": {}, "list": []},
        });
        assert_eq!(into_value(from_value(&value)), value);
    }

    #[test]
    fn a_number_that_json_cannot_hold_is_null() {
        let document = Document::Number(Number::Float(f64::INFINITY));
        assert_eq!(into_value(document), Value::Null);
    }
}
