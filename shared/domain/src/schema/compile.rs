//! From a JSON Schema to its plan; every shape is checked here. Walks a list of work rather than calling itself, so
//! that no schema is too deep for the stack.

use std::collections::HashMap;

use regex_lite::RegexBuilder;
use serde_json::{Map, Value};

use super::Error;
use super::plan::{Bound, Id, Keyword, Measure, Node, Pattern};
use super::text::{Short, decode, escape, shown};

mod shape;

use shape::{At, enumeration};

/// Most schemas that may be applied to one value inside each other.
const MAX_IN_PLACE: usize = 64;
/// Most bytes that one compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// Most bytes that all compiled patterns may take, each counted once per group as its memory is when it runs.
const MAX_PATTERNS_BYTES: usize = 4 * 1024 * 1024;

/// Compiles `root`, whose node is the first.
pub(super) fn compile(root: &Value) -> Result<Vec<Node>, Error> {
    let mut compiler = Compiler {
        root,
        nodes: Vec::new(),
        sources: Vec::new(),
        known: HashMap::new(),
        anchors: HashMap::new(),
        awaited: Vec::new(),
        patterns_bytes: MAX_PATTERNS_BYTES,
    };
    compiler.reserve(root, None, String::new());
    let mut next = 0;
    while next < compiler.sources.len() {
        compiler.node(next)?;
        next += 1;
    }
    for (id, name) in std::mem::take(&mut compiler.awaited) {
        let Some(target) = compiler.anchors.get(name) else {
            return Err(compiler.invalid(id, "/$ref", format_args!("no `$anchor` is {name:?}")));
        };
        // First, for what it looks at must be known to `unevaluated...`.
        compiler.nodes[id]
            .keywords
            .insert(0, Keyword::All(vec![*target]));
    }
    let mut heights = vec![Height::Unknown; compiler.nodes.len()];
    for id in 0..compiler.nodes.len() {
        compiler.height(id, 0, &mut heights)?;
    }
    Ok(compiler.nodes)
}

/// A schema, and where it was found: in another one, or by a reference from the root.
struct Source<'s> {
    schema: &'s Value,
    parent: Option<Id>,
    tail: String,
}

/// How many schemas a node applies to one value inside each other, itself included.
#[derive(Clone, Copy)]
enum Height {
    Unknown,
    Started,
    Known(usize),
}

struct Compiler<'s> {
    root: &'s Value,
    nodes: Vec<Node>,
    sources: Vec<Source<'s>>,
    /// The nodes by the address of their schema, which stays where it is while this compiles.
    known: HashMap<*const Value, Id>,
    anchors: HashMap<&'s str, Id>,
    /// References to anchors.
    awaited: Vec<(Id, &'s str)>,
    patterns_bytes: usize,
}

impl<'s> Compiler<'s> {
    /// The node of `schema`, compiled later unless it has been.
    fn reserve(&mut self, schema: &'s Value, parent: Option<Id>, tail: String) -> Id {
        let id = self.nodes.len();
        let known = *self.known.entry(std::ptr::from_ref(schema)).or_insert(id);
        if known == id {
            self.nodes.push(Node::default());
            self.sources.push(Source {
                schema,
                parent,
                tail,
            });
        }
        known
    }

    /// That `tail` of node `id` breaks a rule.
    fn invalid(&self, id: Id, tail: &str, text: impl std::fmt::Display) -> Error {
        let mut tails = vec![tail];
        let mut at = Some(id);
        while let Some(id) = at {
            tails.push(&self.sources[id].tail);
            at = self.sources[id].parent;
        }
        tails.reverse();
        let place = tails.concat();
        if place.is_empty() {
            Error::Invalid(text.to_string())
        } else {
            Error::Invalid(format!("{}: {text}", Short(&place, 300)))
        }
    }

    fn node(&mut self, id: Id) -> Result<(), Error> {
        let members = match self.sources[id].schema {
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => {
                self.nodes[id].keywords.push(Keyword::Never);
                return Ok(());
            }
            Value::Object(members) => members,
            other => {
                let text =
                    format_args!("{} is no schema: object or boolean expected", shown(other));
                return Err(self.invalid(id, "", text));
            }
        };
        let mut keywords = Vec::new();
        for (name, value) in members {
            keywords.extend(self.keyword(id, name, value)?);
        }
        self.groups(id, members, &mut keywords)?;
        self.nodes[id].tracks = keywords
            .iter()
            .any(|keyword| matches!(keyword, Keyword::Unevaluated { .. }));
        self.nodes[id].keywords = keywords;
        Ok(())
    }

    /// A keyword that stands for itself.
    fn keyword(
        &mut self,
        id: Id,
        name: &'s str,
        value: &'s Value,
    ) -> Result<Option<Keyword>, Error> {
        let tail = format!("/{}", escape(name));
        let at = At { id, tail: &tail };
        Ok(Some(match name {
            "type" => Keyword::Type(self.kinds(&at, value)?),
            "const" => enumeration(std::slice::from_ref(value)),
            "enum" => enumeration(self.array(&at, value)?),
            "multipleOf" => match value {
                Value::Number(number) if number.as_f64().is_some_and(|float| float > 0.0) => {
                    Keyword::MultipleOf(number.clone())
                }
                _ => return Err(self.unexpected(&at, value, "a number above 0")),
            },
            "minimum" => Keyword::Bound(Bound::Least, self.number(&at, value)?),
            "exclusiveMinimum" => Keyword::Bound(Bound::Above, self.number(&at, value)?),
            "maximum" => Keyword::Bound(Bound::Most, self.number(&at, value)?),
            "exclusiveMaximum" => Keyword::Bound(Bound::Below, self.number(&at, value)?),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties" => Keyword::Size {
                of: match name.get(3..) {
                    Some("Length") => Measure::Characters,
                    Some("Items") => Measure::Items,
                    _ => Measure::Properties,
                },
                at_least: name.starts_with("min"),
                limit: self.count(&at, value)?,
            },
            "pattern" => {
                let text = self.text(&at, value)?;
                Keyword::Pattern(self.pattern(&at, text)?)
            }
            "uniqueItems" | "deprecated" | "readOnly" | "writeOnly" => match value {
                Value::Bool(true) if name == "uniqueItems" => Keyword::Unique,
                Value::Bool(_) => return Ok(None),
                _ => return Err(self.unexpected(&at, value, "a boolean")),
            },
            "required" => Keyword::Required(self.names(&at, value)?),
            "dependentRequired" => Keyword::DependentRequired(
                self.object(&at, value)?
                    .iter()
                    .map(|(name, list)| {
                        let tail = format!("{tail}/{}", escape(name));
                        Ok((name.clone(), self.names(&At { id, tail: &tail }, list)?))
                    })
                    .collect::<Result<_, Error>>()?,
            ),
            "propertyNames" => Keyword::Names(self.schema(&at, value)),
            "dependentSchemas" => Keyword::DependentSchemas(self.named(&at, value)?),
            "allOf" => Keyword::All(self.list(&at, value)?),
            "anyOf" | "oneOf" => Keyword::Choice {
                only_one: name == "oneOf",
                of: self.list(&at, value)?,
            },
            "not" => Keyword::Not(self.schema(&at, value)),
            "$ref" => return self.reference(&at, value),
            "$anchor" => return self.anchor(&at, value).map(|()| None),
            "$defs" | "definitions" => return self.named(&at, value).map(|_| None),
            "$dynamicRef" | "$dynamicAnchor" => {
                return Err(self.invalid(id, &tail, "dynamic references are not supported"));
            }
            "$id" => {
                self.text(&at, value)?;
                if id != 0 {
                    let text = "an `$id` below the root is not supported";
                    return Err(self.invalid(id, &tail, text));
                }
                return Ok(None);
            }
            "$schema" | "$comment" | "title" | "description" | "format" | "contentEncoding"
            | "contentMediaType" => {
                self.text(&at, value)?;
                return Ok(None);
            }
            "examples" => {
                self.array(&at, value)?;
                return Ok(None);
            }
            _ => return Ok(None),
        }))
    }

    /// The keywords that are defined together, and those that come last.
    fn groups(
        &mut self,
        id: Id,
        members: &'s Map<String, Value>,
        keywords: &mut Vec<Keyword>,
    ) -> Result<(), Error> {
        let at = |tail| At { id, tail };
        let list = |compiler: &mut Self, tail: &'static str| match members.get(&tail[1..]) {
            Some(value) => compiler.list(&at(tail), value),
            None => Ok(Vec::new()),
        };
        let one = |compiler: &mut Self, tail: &'static str| {
            let value = members.get(&tail[1..])?;
            Some(compiler.schema(&at(tail), value))
        };
        let count =
            |compiler: &Self, tail: &'static str, default: u64| match members.get(&tail[1..]) {
                Some(value) => compiler.count(&at(tail), value),
                None => Ok(default),
            };

        let prefix = list(self, "/prefixItems")?;
        let rest = match members.get("items") {
            Some(Value::Array(_)) => {
                let text = "a list of schemas is called `prefixItems`";
                return Err(self.invalid(id, "/items", text));
            }
            Some(_) => one(self, "/items"),
            None => None,
        };
        if rest.is_some() || !prefix.is_empty() {
            keywords.push(Keyword::Items { prefix, rest });
        }

        let min = count(self, "/minContains", 1)?;
        let max = count(self, "/maxContains", u64::MAX)?;
        if let Some(node) = one(self, "/contains") {
            keywords.push(Keyword::Contains { node, min, max });
        }

        let mut named = match members.get("properties") {
            Some(value) => self.named(&at("/properties"), value)?,
            None => Vec::new(),
        };
        named.sort_unstable();
        let mut patterns = Vec::new();
        if let Some(value) = members.get("patternProperties") {
            for (text, node) in self.named(&at("/patternProperties"), value)? {
                let tail = format!("/patternProperties/{}", escape(&text));
                patterns.push((self.pattern(&At { id, tail: &tail }, &text)?, node));
            }
        }
        let rest = one(self, "/additionalProperties");
        if rest.is_some() || !named.is_empty() || !patterns.is_empty() {
            keywords.push(Keyword::Members {
                named,
                patterns,
                rest,
            });
        }

        let then = one(self, "/then");
        let otherwise = one(self, "/else");
        if let Some(test) = one(self, "/if") {
            keywords.push(Keyword::If {
                test,
                then,
                otherwise,
            });
        }

        for (tail, items) in [
            ("/unevaluatedItems", true),
            ("/unevaluatedProperties", false),
        ] {
            if let Some(node) = one(self, tail) {
                keywords.push(Keyword::Unevaluated { items, node });
            }
        }
        Ok(())
    }

    fn reference(&mut self, at: &At<'_>, value: &'s Value) -> Result<Option<Keyword>, Error> {
        let target = self.text(at, value)?;
        let Some(fragment) = target.strip_prefix('#') else {
            return Err(Error::Remote(Short(&target, 200).to_string()));
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            self.awaited.push((at.id, fragment));
            return Ok(None);
        }
        let root = self.root;
        let found = decode(fragment).and_then(|pointer| Some((root.pointer(&pointer)?, pointer)));
        let Some((schema, pointer)) = found else {
            let text = format_args!("{} points to nothing in the schema", shown(value));
            return Err(self.invalid(at.id, at.tail, text));
        };
        Ok(Some(Keyword::All(vec![
            self.reserve(schema, None, pointer),
        ])))
    }

    fn anchor(&mut self, at: &At<'_>, value: &'s Value) -> Result<(), Error> {
        let name = self.text(at, value)?;
        let mut bytes = name.bytes();
        let starts = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        if !starts || !bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(self.unexpected(at, value, "a name of letters, digits, `-`, `_` and `.`"));
        }
        match self.anchors.insert(name, at.id) {
            None => Ok(()),
            Some(_) => {
                let text = format_args!("{} is used twice", shown(value));
                Err(self.invalid(at.id, at.tail, text))
            }
        }
    }

    /// Compiles a pattern and learns its size, which the library does not tell, by allowing it more and more.
    fn pattern(&mut self, at: &At<'_>, text: &str) -> Result<Pattern, Error> {
        let mut bytes = 512;
        let regex = loop {
            match RegexBuilder::new(text).size_limit(bytes).build() {
                Ok(regex) => break regex,
                Err(_) if bytes < MAX_PATTERN_BYTES => bytes *= 2,
                Err(error) => {
                    let text = format_args!("{text:?}");
                    let text =
                        format_args!("the pattern {} cannot be used: {error}", Short(&text, 80));
                    return Err(self.invalid(at.id, at.tail, text));
                }
            }
        };
        let needed = bytes.saturating_mul(regex.captures_len());
        let Some(left) = self.patterns_bytes.checked_sub(needed) else {
            let text =
                "the patterns need too much memory: use fewer, smaller repetitions, `(?:` for `(`";
            return Err(self.invalid(at.id, at.tail, text));
        };
        self.patterns_bytes = left;
        Ok(Pattern {
            regex,
            // A state has 32 bytes.
            weight: bytes / 32,
        })
    }

    /// Refuses nodes that apply themselves to the same value, at once or through others, and long chains of such.
    fn height(&self, id: Id, depth: usize, heights: &mut [Height]) -> Result<usize, Error> {
        let refused = |text| Err(self.invalid(id, "", text));
        match heights[id] {
            Height::Known(height) => return Ok(height),
            Height::Started => return refused("refers to itself for the same value, without end"),
            Height::Unknown if depth == MAX_IN_PLACE => {}
            Height::Unknown => {
                heights[id] = Height::Started;
                let mut height = 1;
                for node in self.nodes[id].keywords.iter().flat_map(Keyword::in_place) {
                    height = height.max(1 + self.height(node, depth + 1, heights)?);
                }
                heights[id] = Height::Known(height);
                if height <= MAX_IN_PLACE {
                    return Ok(height);
                }
            }
        }
        refused("too many references and combinations inside each other")
    }

    fn schema(&mut self, at: &At<'_>, value: &'s Value) -> Id {
        self.reserve(value, Some(at.id), at.tail.to_owned())
    }

    fn list(&mut self, at: &At<'_>, value: &'s Value) -> Result<Vec<Id>, Error> {
        let schemas = self.array(at, value)?;
        if schemas.is_empty() {
            return Err(self.unexpected(at, value, "at least one schema"));
        }
        let reserve =
            |(index, schema)| self.reserve(schema, Some(at.id), format!("{}/{index}", at.tail));
        Ok(schemas.iter().enumerate().map(reserve).collect())
    }

    fn named(&mut self, at: &At<'_>, value: &'s Value) -> Result<Vec<(String, Id)>, Error> {
        let members = self.object(at, value)?.iter();
        let reserve = |(name, schema): (&'s String, &'s Value)| {
            let tail = format!("{}/{}", at.tail, escape(name));
            (name.clone(), self.reserve(schema, Some(at.id), tail))
        };
        Ok(members.map(reserve).collect())
    }
}
