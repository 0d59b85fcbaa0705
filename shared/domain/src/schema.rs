//! JSON Schema 2020-12, checked by a small validator of our own, since both schemas (from tenants) and values (from
//! models) are hostile.
//!
//! **Supported:** boolean schemas; `type`, `enum`, `const`; `multipleOf`, `minimum`, `maximum`, `exclusiveMinimum`,
//! `exclusiveMaximum`; `minLength`, `maxLength`, `pattern`; `minItems`, `maxItems`, `uniqueItems`, `contains`,
//! `minContains`, `maxContains`, `prefixItems`, `items`; `minProperties`, `maxProperties`, `required`,
//! `dependentRequired`, `properties`, `patternProperties`, `additionalProperties`, `propertyNames`,
//! `dependentSchemas`; `allOf`, `anyOf`, `oneOf`, `not`, `if`, `then`, `else`; `unevaluatedItems`,
//! `unevaluatedProperties`; `$ref` to `#`, `#/json/pointer` and `#anchor`, `$anchor`, `$defs`, `definitions`. Numbers
//! count by their value, so `1.0` is an integer and equal to `1`; `multipleOf` is exact in decimals.
//!
//! **Annotations, never checked:** `format`, `title`, `description`, `default`, `examples`, `$comment`, `$schema`, `$id`
//! at the root, and every keyword that is not known, such as `dependencies` of older drafts.
//!
//! **Refused by [`Schema::new`]:** references to other documents; `$dynamicRef` and `$dynamicAnchor`; `$id` below the
//! root, since it would move references; a reference that comes back to the same value without end; more than 64
//! combinations and references for one value inside each other; a keyword of the wrong shape; a pattern that
//! `regex-lite` does not know (look-around, back-references, `\p{..}`; `\d`, `\w` and `\s` are ASCII) or that needs
//! much memory.
//!
//! **Invariant:** the stack and the time of a check are bounded whatever schema and value are: it ends with a finding
//! after ten million steps or 512 schemas inside each other.

use std::fmt;

use serde_json::Value;

mod check;
mod compile;
mod number;
mod plan;
mod text;

#[cfg(test)]
mod difference;
#[cfg(test)]
mod tests;

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
    /// It is no JSON Schema, or one that is not supported; with the JSON Pointer of the place.
    #[error("not a valid JSON Schema: {0}")]
    Invalid(String),
}

/// A compiled schema.
pub struct Schema(Vec<plan::Node>);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// [`Error`] when it is too large, refers outside itself, is no JSON Schema, or is one that is not supported.
    pub fn new(schema: &Value) -> Result<Self, Error> {
        let bytes = schema.to_string().len();
        if bytes > MAX_BYTES {
            return Err(Error::TooLarge(bytes));
        }
        compile::compile(schema).map(Self)
    }

    /// Checks `value`.
    ///
    /// # Errors
    /// At most five findings joined by semicolons, each with its JSON Pointer.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        check::check(&self.0, value)
    }
}

/// Checks that `schema` can be used, without keeping it.
///
/// # Errors
/// As [`Schema::new`].
pub fn check(schema: &Value) -> Result<(), Error> {
    Schema::new(schema).map(drop)
}
