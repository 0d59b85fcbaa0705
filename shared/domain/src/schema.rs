//! JSON Schema 2020-12, without references to files or the network.

use std::fmt;

use serde_json::Value;

/// Most bytes of a schema.
const MAX_BYTES: usize = 32_000;

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is too large.
    #[error("the schema has {0} bytes; at most {MAX_BYTES} are allowed")]
    TooLarge(usize),
    /// It refers to something outside itself.
    #[error("`{0}` refers outside the schema; only `#...` references are allowed")]
    Remote(String),
    /// It is no JSON Schema.
    #[error("not a valid JSON Schema: {0}")]
    Invalid(String),
}

/// A compiled schema.
pub struct Schema(jsonschema::Validator);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// [`Error`] when it is too large, refers outside itself, or is no JSON Schema.
    pub fn new(schema: &Value) -> Result<Self, Error> {
        check(schema)?;
        compile(schema).map(Self)
    }

    /// Checks `value`.
    ///
    /// # Errors
    /// At most five findings joined by semicolons, each with its JSON Pointer.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let findings: Vec<String> = self
            .0
            .iter_errors(value)
            .take(5)
            .map(|error| {
                let place = error.instance_path().to_string();
                if place.is_empty() {
                    error.to_string()
                } else {
                    format!("{place}: {error}")
                }
            })
            .collect();
        if findings.is_empty() {
            Ok(())
        } else {
            Err(findings.join("; "))
        }
    }
}

fn compile(schema: &Value) -> Result<jsonschema::Validator, Error> {
    jsonschema::draft202012::new(schema).map_err(|error| Error::Invalid(error.to_string()))
}

/// Checks that `schema` can be used, without keeping it.
///
/// # Errors
/// As [`Schema::new`].
pub fn check(schema: &Value) -> Result<(), Error> {
    let bytes = schema.to_string().len();
    if bytes > MAX_BYTES {
        return Err(Error::TooLarge(bytes));
    }
    if let Some(reference) = remote(schema) {
        return Err(Error::Remote(reference));
    }
    compile(schema).map(drop)
}

fn remote(schema: &Value) -> Option<String> {
    match schema {
        Value::Object(members) => members.iter().find_map(|(key, value)| match value {
            Value::String(target)
                if matches!(key.as_str(), "$ref" | "$dynamicRef") && !target.starts_with('#') =>
            {
                Some(target.clone())
            }
            other => remote(other),
        }),
        Value::Array(items) => items.iter().find_map(remote),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn findings_name_their_place() {
        let schema = Schema::new(
            &json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
        )
        .unwrap();
        assert_eq!(schema.check(&json!({"n": 1})), Ok(()));
        assert!(
            schema
                .check(&json!({"n": "x"}))
                .unwrap_err()
                .starts_with("/n: ")
        );
        assert!(schema.check(&json!({})).is_err());
    }

    #[test]
    fn schemas_may_not_reach_outside() {
        assert!(matches!(
            check(&json!({"$ref": "https://example.com/s.json"})),
            Err(Error::Remote(_))
        ));
        assert!(matches!(
            check(&json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}})),
            Err(Error::Remote(_))
        ));
        assert!(check(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}})).is_ok());
        assert!(matches!(
            check(&json!({"type": "nothing"})),
            Err(Error::Invalid(_))
        ));
    }
}
