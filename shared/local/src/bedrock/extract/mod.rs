//! Builds a JSON value that fits a JSON Schema from what a text says, by the names, types and
//! formats of the properties.
//!
//! Keywords understood: `type`, `properties`, `required`, `items`, `enum`, `const`, `format`, the
//! bounds of lengths, numbers and items, `uniqueItems`, `anyOf`, `oneOf`, `allOf` and local `$ref`.
//! `pattern` is not: a text rarely says what fits one.

mod facts;
mod spelling;

use serde_json::{Map, Number, Value};

use facts::Facts;
pub(super) use spelling::{date, url_at};

/// Deeper schemas (a `$ref` to itself, chiefly) end in `null`.
const MAX_DEPTH: usize = 12;

/// The most items taken into one array unless the schema demands more.
const MAX_ITEMS: u64 = 100;

/// A value that fits `schema`, filled from `text`.
pub(super) fn value(schema: &Value, text: &str) -> Value {
    let mut builder = Builder {
        root: schema,
        facts: Facts::of(text),
    };
    builder.build(schema, "", 0).into_value()
}

/// A JSON number: an integer where the value is whole.
pub(super) fn number(value: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within 2^53 by the condition"
    )]
    let whole = (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
    match whole {
        Some(whole) => Value::from(whole),
        None => Number::from_f64(value).map_or(Value::Null, Value::Number),
    }
}

/// Whether a value was in the text or had to be made up.
enum Built {
    Found(Value),
    MadeUp(Value),
}

use Built::{Found, MadeUp};

impl Built {
    fn into_value(self) -> Value {
        match self {
            Found(value) | MadeUp(value) => value,
        }
    }
}

struct Builder<'a> {
    root: &'a Value,
    facts: Facts<'a>,
}

impl<'a> Builder<'a> {
    fn build(&mut self, schema: &'a Value, name: &str, depth: usize) -> Built {
        if depth > MAX_DEPTH {
            return MadeUp(Value::Null);
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(MadeUp(Value::Null), |t| self.build(t, name, depth + 1));
        }
        if let Some(constant) = schema.get("const") {
            return Found(constant.clone());
        }
        if let Some(options) = schema.get("enum").and_then(Value::as_array) {
            return self.choose(options);
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(options) = schema.get(several).and_then(Value::as_array) {
                return self.first_found(options.iter(), name, depth);
            }
        }
        let kind = schema.get("type");
        if let Some(kinds) = kind.and_then(Value::as_array) {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            return self.any_kind(schema, &kinds, name, depth);
        }
        let kind = kind
            .and_then(Value::as_str)
            .unwrap_or_else(|| implied(schema));
        self.of_kind(schema, kind, name, depth)
    }

    fn first_found(
        &mut self,
        options: impl Iterator<Item = &'a Value>,
        name: &str,
        depth: usize,
    ) -> Built {
        let mut made_up = None;
        for option in options {
            match self.build(option, name, depth + 1) {
                Found(Value::Null) => made_up = Some(Value::Null),
                Found(value) => return Found(value),
                MadeUp(value) => made_up = made_up.or(Some(value)),
            }
        }
        MadeUp(made_up.unwrap_or_default())
    }

    fn any_kind(&mut self, schema: &'a Value, kinds: &[&str], name: &str, depth: usize) -> Built {
        let mut made_up = None;
        for kind in kinds.iter().filter(|kind| **kind != "null") {
            match self.of_kind(schema, kind, name, depth) {
                Found(value) => return Found(value),
                MadeUp(value) => made_up = made_up.or(Some(value)),
            }
        }
        if kinds.contains(&"null") {
            return MadeUp(Value::Null);
        }
        MadeUp(made_up.unwrap_or_default())
    }

    fn of_kind(&mut self, schema: &'a Value, kind: &str, name: &str, depth: usize) -> Built {
        match kind {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "string" => self.string(schema, name),
            "integer" | "number" => self.number(schema, name, kind == "integer"),
            "boolean" => match self.facts.truth(name) {
                Some(truth) => Found(Value::Bool(truth)),
                None => MadeUp(Value::Bool(false)),
            },
            _ => Found(Value::Null),
        }
    }

    fn choose(&self, options: &[Value]) -> Built {
        let said = |option: &&Value| {
            option.as_str().is_some_and(|text| {
                self.facts.says(&text.replace(['_', '-'], " ")) || self.facts.says(text)
            })
        };
        match options.iter().find(said) {
            Some(option) => Found(option.clone()),
            None => MadeUp(options.first().cloned().unwrap_or_default()),
        }
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Built {
        let all: Vec<&'a Value> = std::iter::once(schema)
            .chain(
                schema
                    .get("allOf")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten(),
            )
            .collect();
        let required: Vec<&str> = all
            .iter()
            .filter_map(|part| part.get("required")?.as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut members = Map::new();
        let mut any_found = false;
        let properties = all
            .iter()
            .filter_map(|part| part.get("properties")?.as_object())
            .flatten();
        for (name, property) in properties {
            let built = self.build(property, name, depth + 1);
            let found = matches!(built, Found(_));
            any_found |= found;
            if found || required.contains(&&**name) {
                members.insert(name.clone(), built.into_value());
            }
        }
        for name in required {
            members
                .entry(name)
                .or_insert_with(|| Value::from("unknown"));
        }
        if any_found {
            Found(members.into())
        } else {
            MadeUp(members.into())
        }
    }

    fn array(&mut self, schema: &'a Value, name: &str, depth: usize) -> Built {
        let bound = |key| schema.get(key).and_then(Value::as_u64);
        let least = bound("minItems").unwrap_or(0);
        let most = bound("maxItems").unwrap_or_else(|| MAX_ITEMS.max(least));
        let unique = schema
            .get("uniqueItems")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let mut items: Vec<Value> = Vec::new();
        let any = Value::Bool(true);
        let item = schema.get("items").unwrap_or(&any);
        if let Some(listed) = self.facts.list(name) {
            items.extend(
                listed
                    .into_iter()
                    .filter(|text| fits(item, text))
                    .map(Value::from),
            );
        } else if let Some(item) = schema.get("items") {
            while items.len() < usize::try_from(most).unwrap_or(usize::MAX) {
                match self.build(item, name, depth + 1) {
                    Found(value) if !items.contains(&value) => items.push(value),
                    Found(_) | MadeUp(_) => break,
                }
            }
        }
        items.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        let found = !items.is_empty();
        if let Some(item) = schema.get("items") {
            for extra in items.len()..usize::try_from(least).unwrap_or(0) {
                let mut value = self.build(item, name, depth + 1).into_value();
                if unique && items.contains(&value) {
                    value = another(&value, extra);
                }
                items.push(value);
            }
        }
        if found {
            Found(items.into())
        } else {
            MadeUp(items.into())
        }
    }

    fn string(&mut self, schema: &Value, name: &str) -> Built {
        let format = schema
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let (text, found) = match self.facts.text(name, format) {
            Some(text) => (text, true),
            None => (made_up(format).to_owned(), false),
        };
        let bound = |key| {
            schema
                .get(key)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
        };
        let mut text: String = match bound("maxLength") {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        };
        let short = bound("minLength")
            .unwrap_or(0)
            .saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('-', short));
        if found {
            Found(text.into())
        } else {
            MadeUp(text.into())
        }
    }

    fn number(&mut self, schema: &Value, name: &str, integer: bool) -> Built {
        let said = self.facts.number(name, integer);
        let mut value = said.unwrap_or(0.0);
        let bound = |key| schema.get(key).and_then(Value::as_f64);
        let step = if integer { 1.0 } else { 1e-3 };
        let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|b| b + step));
        let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|b| b - step));
        value = value
            .max(least.unwrap_or(f64::MIN))
            .min(most.unwrap_or(f64::MAX));
        if let Some(multiple) = bound("multipleOf").filter(|m| *m > 0.0) {
            let down = (value / multiple).floor() * multiple;
            value = if least.is_some_and(|least| down < least) {
                down + multiple
            } else {
                down
            };
        }
        if said.is_some() {
            Found(number(value))
        } else {
            MadeUp(number(value))
        }
    }
}

/// The type a schema implies when it names none.
fn implied(schema: &Value) -> &'static str {
    if schema.get("properties").is_some() || schema.get("allOf").is_some() {
        "object"
    } else if schema.get("items").is_some() {
        "array"
    } else if schema.get("minimum").is_some() || schema.get("maximum").is_some() {
        "number"
    } else {
        "string"
    }
}

/// Whether a listed word may stand in an array of `item`.
fn fits(item: &Value, text: &str) -> bool {
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("string");
    let options = item.get("enum").and_then(Value::as_array);
    kind == "string"
        && options.is_none_or(|options| options.iter().any(|o| o.as_str() == Some(text)))
}

/// A value unlike `value`, for arrays that must be filled with different ones.
fn another(value: &Value, ordinal: usize) -> Value {
    match value {
        Value::String(text) => {
            // As long as before, so that bounds still hold.
            let ending = ordinal.to_string();
            let keep = text.chars().count().saturating_sub(ending.len());
            Value::from(
                text.chars()
                    .take(keep)
                    .chain(ending.chars())
                    .collect::<String>(),
            )
        }
        Value::Number(_) => Value::from(ordinal),
        Value::Bool(truth) => Value::from(!truth),
        Value::Null | Value::Array(_) | Value::Object(_) => value.clone(),
    }
}

fn made_up(format: &str) -> &'static str {
    match format {
        "email" => "unknown@example.com",
        "date" => "1970-01-01",
        "date-time" => "1970-01-01T00:00:00Z",
        "time" => "00:00:00Z",
        "uri" | "url" | "iri" => "https://example.com/",
        "uuid" => "00000000-0000-0000-0000-000000000000",
        "ipv4" => "0.0.0.0",
        "ipv6" => "::",
        "hostname" => "example.com",
        _ => "unknown",
    }
}
