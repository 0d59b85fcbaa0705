//! What a schema is compiled to: nodes in one list, which refer to each other by index.

use std::fmt::Write;

use regex_lite::Regex;
use serde_json::{Number, Value};

use super::number;

/// The index of a [`Node`].
pub(super) type Id = usize;

/// One schema.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What it demands; `unevaluated...` last, since they depend on the others.
    pub(super) keywords: Vec<Keyword>,
    /// Whether it must know which members or items its keywords have looked at.
    pub(super) tracks: bool,
}

/// One keyword, or several that are defined together.
#[derive(Debug)]
pub(super) enum Keyword {
    /// `false`
    Never,
    /// `type`, as a set of [`KINDS`]
    Type(u8),
    /// `enum` and `const`: each allowed value as [`canonical`] writes it, and all of them for a finding
    Enum { allowed: Vec<String>, shown: String },
    /// `multipleOf`
    MultipleOf(Number),
    /// `minimum` and so on
    Bound(Bound, Number),
    /// `minLength` and so on
    Size {
        of: Measure,
        at_least: bool,
        limit: u64,
    },
    /// `pattern`
    Pattern(Pattern),
    /// `uniqueItems`
    Unique,
    /// `contains`, `minContains`, `maxContains`
    Contains { node: Id, min: u64, max: u64 },
    /// `prefixItems`, `items`
    Items { prefix: Vec<Id>, rest: Option<Id> },
    /// `required`
    Required(Vec<String>),
    /// `dependentRequired`
    DependentRequired(Vec<(String, Vec<String>)>),
    /// `properties` sorted by name, `patternProperties`, `additionalProperties`
    Members {
        named: Vec<(String, Id)>,
        patterns: Vec<(Pattern, Id)>,
        rest: Option<Id>,
    },
    /// `propertyNames`
    Names(Id),
    /// `dependentSchemas`
    DependentSchemas(Vec<(String, Id)>),
    /// `allOf` and `$ref`
    All(Vec<Id>),
    /// `anyOf`, and `oneOf` when only one may match
    Choice { only_one: bool, of: Vec<Id> },
    /// `not`
    Not(Id),
    /// `if`, `then`, `else`
    If {
        test: Id,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
    /// `unevaluatedItems`, `unevaluatedProperties`
    Unevaluated { items: bool, node: Id },
}

impl Keyword {
    /// The schemas that this keyword applies to the same value.
    pub(super) fn in_place(&self) -> Vec<Id> {
        match self {
            Self::All(nodes) | Self::Choice { of: nodes, .. } => nodes.clone(),
            Self::Not(node) => vec![*node],
            Self::DependentSchemas(nodes) => nodes.iter().map(|(_, node)| *node).collect(),
            Self::If {
                test,
                then,
                otherwise,
            } => [Some(*test), *then, *otherwise]
                .into_iter()
                .flatten()
                .collect(),
            Self::Never
            | Self::Type(_)
            | Self::Enum { .. }
            | Self::MultipleOf(_)
            | Self::Bound(..)
            | Self::Size { .. }
            | Self::Pattern(_)
            | Self::Unique
            | Self::Contains { .. }
            | Self::Items { .. }
            | Self::Required(_)
            | Self::DependentRequired(_)
            | Self::Members { .. }
            | Self::Names(_)
            | Self::Unevaluated { .. } => Vec::new(),
        }
    }
}

/// How a number is bounded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// `minimum`
    Least,
    /// `exclusiveMinimum`
    Above,
    /// `maximum`
    Most,
    /// `exclusiveMaximum`
    Below,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    /// The characters of a string.
    Characters,
    /// The items of an array.
    Items,
    /// The members of an object.
    Properties,
}

/// A regular expression.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// An upper bound of the work for one byte of text.
    pub(super) weight: usize,
}

/// The names of the types; the position is the bit in a set. An integer has the bits of `integer` and `number`.
pub(super) const KINDS: [&str; 7] = [
    "null", "boolean", "integer", "number", "string", "array", "object",
];

/// The types that `value` has.
pub(super) fn kinds(value: &Value) -> u8 {
    match value {
        Value::Null => 1,
        Value::Bool(_) => 1 << 1,
        Value::Number(number) if number::is_integer(number) => 1 << 2 | 1 << 3,
        Value::Number(_) => 1 << 3,
        Value::String(_) => 1 << 4,
        Value::Array(_) => 1 << 5,
        Value::Object(_) => 1 << 6,
    }
}

/// Writes `value` so that equal values have equal texts, and asks `spend` before each piece of work.
///
/// # Errors
/// Those of `spend`.
pub(super) fn canonical<E>(
    value: &Value,
    out: &mut String,
    spend: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<(), E> {
    spend(8)?;
    match value {
        Value::Null => out.push('n'),
        Value::Bool(true) => out.push('t'),
        Value::Bool(false) => out.push('f'),
        Value::Number(number) => {
            let _ = match number::integer(number) {
                Some(integer) => write!(out, "{integer};"),
                None => write!(out, "{number};"),
            };
        }
        Value::String(text) => canonical_text(text, out, spend)?,
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out, spend)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (name, member) in members {
                canonical_text(name, out, spend)?;
                canonical(member, out, spend)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn canonical_text<E>(
    text: &str,
    out: &mut String,
    spend: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<(), E> {
    spend(text.len() / 8)?;
    let _ = write!(out, "\"{}:", text.len());
    out.push_str(text);
    Ok(())
}
