//! The shapes that the values of keywords must have.

use std::convert::Infallible;

use serde_json::{Map, Number, Value};

use super::Compiler;
use crate::schema::plan::{Id, KINDS, Keyword, canonical};
use crate::schema::text::{Short, shown};
use crate::schema::{Error, number};

/// A place in a schema: a node, and the rest of the pointer.
pub(super) struct At<'a> {
    pub(super) id: Id,
    pub(super) tail: &'a str,
}

impl Compiler<'_> {
    pub(super) fn kinds(&self, at: &At<'_>, value: &Value) -> Result<u8, Error> {
        let list = match value {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        if list.is_empty() {
            return Err(self.unexpected(at, value, "at least one type"));
        }
        let mut kinds = 0;
        for kind in list {
            let Some(bit) = KINDS.iter().position(|name| kind == name) else {
                let text = format_args!("{} is not a type", shown(kind));
                return Err(self.invalid(at.id, at.tail, text));
            };
            if kinds & 1 << bit != 0 {
                return Err(self.unexpected(at, value, "each type once"));
            }
            kinds |= 1 << bit;
        }
        Ok(kinds)
    }

    pub(super) fn names(&self, at: &At<'_>, value: &Value) -> Result<Vec<String>, Error> {
        let names: Option<Vec<String>> = self
            .array(at, value)?
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect();
        let mut sorted = names.clone().unwrap_or_default();
        sorted.sort_unstable();
        match names {
            Some(names) if sorted.windows(2).all(|pair| pair[0] != pair[1]) => Ok(names),
            _ => Err(self.unexpected(at, value, "an array of different strings")),
        }
    }

    pub(super) fn object<'v>(
        &self,
        at: &At<'_>,
        value: &'v Value,
    ) -> Result<&'v Map<String, Value>, Error> {
        let object = value.as_object();
        object.ok_or_else(|| self.unexpected(at, value, "an object"))
    }

    pub(super) fn array<'v>(&self, at: &At<'_>, value: &'v Value) -> Result<&'v [Value], Error> {
        let array = value.as_array().map(Vec::as_slice);
        array.ok_or_else(|| self.unexpected(at, value, "an array"))
    }

    pub(super) fn text<'v>(&self, at: &At<'_>, value: &'v Value) -> Result<&'v str, Error> {
        let text = value.as_str();
        text.ok_or_else(|| self.unexpected(at, value, "a string"))
    }

    pub(super) fn number(&self, at: &At<'_>, value: &Value) -> Result<Number, Error> {
        match value {
            Value::Number(number) => Ok(number.clone()),
            _ => Err(self.unexpected(at, value, "a number")),
        }
    }

    pub(super) fn count(&self, at: &At<'_>, value: &Value) -> Result<u64, Error> {
        match value {
            Value::Number(number) if number::is_integer(number) && number.as_f64() >= Some(0.0) => {
                let count = number::integer(number).and_then(|count| u64::try_from(count).ok());
                Ok(count.unwrap_or(u64::MAX))
            }
            _ => Err(self.unexpected(at, value, "an integer of at least 0")),
        }
    }

    pub(super) fn unexpected(&self, at: &At<'_>, value: &Value, expected: &str) -> Error {
        let text = format_args!("{} is not what is expected: {expected}", shown(value));
        self.invalid(at.id, at.tail, text)
    }
}

/// `enum`, or `const` of one value.
pub(super) fn enumeration(values: &[Value]) -> Keyword {
    let text = |value| {
        let mut out = String::new();
        match canonical(value, &mut out, &mut |_| Ok::<(), Infallible>(())) {
            Ok(()) => out,
            Err(never) => match never {},
        }
    };
    let mut all = Vec::new();
    // A finding shows no more than this.
    for value in values.iter().take(20) {
        all.push(shown(value).to_string());
    }
    Keyword::Enum {
        allowed: values.iter().map(text).collect(),
        shown: Short(&all.join(", "), 200).to_string(),
    }
}
