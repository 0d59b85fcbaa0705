//! Checks a value against a plan, within a budget of steps and a bound of depth.

use std::fmt::{self, Display};

use serde_json::Value;

use super::plan::{Id, Keyword, Node};
use super::text::{Place, Step, shown};

mod assert;

/// Most findings that are told.
const MAX_FINDINGS: usize = 5;
/// Most schemas inside each other while checking: what a value of `serde_json`'s 128 levels needs with four schemas a
/// level. One takes at most about a kilobyte of stack.
const MAX_DEPTH: u32 = 512;
/// Most steps of one check. Measured with optimisation one takes about ten nanoseconds, and thirty at worst.
const MAX_STEPS: usize = 10_000_000;
/// What one finding costs.
const FINDING_STEPS: usize = 32;

/// Checks `value` against the first of `nodes`.
pub(super) fn check(nodes: &[Node], value: &Value) -> Result<(), String> {
    let mut checker = Checker {
        nodes,
        steps: MAX_STEPS,
        depth: 0,
        quiet: 0,
        findings: Vec::new(),
    };
    let root = Place {
        parent: None,
        step: Step::Root,
    };
    let stopped = match checker.apply(0, value, &root, &mut []) {
        Ok(true) => return Ok(()),
        Ok(false) => None,
        Err(Stop::Steps) => Some("checking takes too many steps; give a smaller value".to_owned()),
        Err(Stop::Depth) => Some("is nested too deeply to be checked".to_owned()),
    };
    let findings: Vec<String> = checker
        .findings
        .into_iter()
        .map(|finding| finding.to_string())
        .chain(stopped)
        .collect();
    Err(findings.join("; "))
}

/// Why a check ended without a verdict.
enum Stop {
    Steps,
    Depth,
}

/// What is wrong at a place.
struct Finding {
    pointer: String,
    text: String,
    fault: Fault,
}

/// What a finding tells about an alternative that does not match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The value is of another type, so where it is the whole value, another alternative is meant.
    Type,
    /// A constant differs, as the one that names the alternatives of a tagged union does.
    Constant,
    Other,
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.pointer, self.text)
        }
    }
}

struct Checker<'s> {
    nodes: &'s [Node],
    steps: usize,
    depth: u32,
    /// Above zero where only the verdict matters.
    quiet: u32,
    findings: Vec<Finding>,
}

/// The verdict of a node or keyword. The slice beside it marks the members or items of the value that were looked at; it
/// is empty where nobody asks.
type Verdict = Result<bool, Stop>;

impl<'s> Checker<'s> {
    fn spend(&mut self, steps: usize) -> Result<(), Stop> {
        self.steps = self.steps.checked_sub(steps).ok_or(Stop::Steps)?;
        Ok(())
    }

    /// Whether one more finding would change nothing.
    fn is_enough(&self) -> bool {
        self.quiet > 0 || self.findings.len() >= MAX_FINDINGS
    }

    fn fail(&mut self, at: &Place<'_>, fault: Fault, text: &dyn Display) -> Verdict {
        if !self.is_enough() {
            self.spend(FINDING_STEPS)?;
            self.findings.push(Finding {
                pointer: at.pointer(),
                text: text.to_string(),
                fault,
            });
        }
        Ok(false)
    }

    /// Fails unless `valid`.
    fn demand(&mut self, valid: bool, at: &Place<'_>, text: &dyn Display) -> Verdict {
        if valid {
            Ok(true)
        } else {
            self.fail(at, Fault::Other, text)
        }
    }

    fn apply(&mut self, id: Id, value: &Value, at: &Place<'_>, seen: &mut [bool]) -> Verdict {
        if self.depth == MAX_DEPTH {
            return Err(Stop::Depth);
        }
        self.depth += 1;
        let node = &self.nodes[id];
        let mut own = Vec::new();
        if node.tracks {
            own.resize(
                match value {
                    Value::Array(items) => items.len(),
                    Value::Object(members) => members.len(),
                    _ => 0,
                },
                false,
            );
        }
        self.spend(1 + own.len() / 16)?;
        let marks = if node.tracks { &mut own } else { &mut *seen };
        let mut valid = true;
        for keyword in &node.keywords {
            self.spend(1)?;
            valid &= self.keyword(keyword, value, at, marks)?;
            if !valid && self.is_enough() {
                break;
            }
        }
        merge(seen, &own);
        self.depth -= 1;
        Ok(valid)
    }

    fn keyword(
        &mut self,
        keyword: &Keyword,
        value: &Value,
        at: &Place<'_>,
        seen: &mut [bool],
    ) -> Verdict {
        match (keyword, value) {
            (Keyword::All(nodes), _) => self.all(nodes.iter().copied(), value, at, seen),
            (Keyword::Choice { only_one, of }, _) => self.choice(*only_one, of, value, at, seen),
            (Keyword::Not(node), _) => {
                let matches = self.quietly(*node, value, at, &mut [])?;
                self.demand(!matches, at, &"is what it must not be (`not`)")
            }
            (
                Keyword::If {
                    test,
                    then,
                    otherwise,
                },
                _,
            ) => {
                let mut marks = vec![false; seen.len()];
                let next = if self.quietly(*test, value, at, &mut marks)? {
                    merge(seen, &marks);
                    then
                } else {
                    otherwise
                };
                self.all(next.iter().copied(), value, at, seen)
            }
            (Keyword::DependentSchemas(nodes), Value::Object(members)) => {
                self.spend(nodes.len())?;
                let present = nodes.iter().filter(|(name, _)| members.contains_key(name));
                self.all(present.map(|(_, node)| *node), value, at, seen)
            }
            (Keyword::Members { .. }, Value::Object(_)) => self.members(keyword, value, at, seen),
            (Keyword::Items { prefix, rest }, Value::Array(items)) => {
                self.items(items, at, seen, |index, _| {
                    prefix.get(index).copied().or(*rest)
                })
            }
            (Keyword::Unevaluated { items: true, node }, Value::Array(items)) => {
                self.items(items, at, seen, |_, seen| (!seen).then_some(*node))
            }
            (Keyword::Unevaluated { items: false, node }, Value::Object(members)) => {
                let mut valid = true;
                for ((name, member), seen) in members.iter().zip(seen) {
                    if !*seen {
                        valid &= self.apply(*node, member, &at.name(name), &mut [])?;
                        *seen = true;
                    }
                }
                Ok(valid)
            }
            (Keyword::Contains { node, min, max }, Value::Array(items)) => {
                let mut found = 0;
                for (index, item) in items.iter().enumerate() {
                    if self.quietly(*node, item, &at.index(index), &mut [])? {
                        found += 1;
                        mark(seen, index);
                    }
                }
                let valid = (*min..=*max).contains(&found);
                let (order, limit) = if found < *min {
                    ("least", min)
                } else {
                    ("most", max)
                };
                let text = format_args!(
                    "has {found} items that match `contains`; at {order} {limit} expected"
                );
                self.demand(valid, at, &text)
            }
            (Keyword::Names(node), Value::Object(members)) => {
                let mut valid = true;
                for name in members.keys() {
                    valid &= self.name(*node, name, at)?;
                }
                Ok(valid)
            }
            _ => self.assertion(keyword, value, at),
        }
    }

    fn all(
        &mut self,
        nodes: impl Iterator<Item = Id>,
        value: &Value,
        at: &Place<'_>,
        seen: &mut [bool],
    ) -> Verdict {
        let mut valid = true;
        for node in nodes {
            valid &= self.apply(node, value, at, seen)?;
            if !valid && self.is_enough() {
                break;
            }
        }
        Ok(valid)
    }

    fn quietly(&mut self, id: Id, value: &Value, at: &Place<'_>, seen: &mut [bool]) -> Verdict {
        self.spend(1 + seen.len() / 16)?;
        self.quiet += 1;
        let verdict = self.apply(id, value, at, seen);
        self.quiet -= 1;
        verdict
    }

    /// Applies `id` and keeps its findings apart.
    fn apart(
        &mut self,
        id: Id,
        value: &Value,
        at: &Place<'_>,
        seen: &mut [bool],
    ) -> Result<(bool, Vec<Finding>), Stop> {
        self.spend(1 + seen.len() / 16)?;
        let others = std::mem::take(&mut self.findings);
        let verdict = self.apply(id, value, at, seen);
        let findings = std::mem::replace(&mut self.findings, others);
        Ok((verdict?, findings))
    }

    fn choice(
        &mut self,
        only_one: bool,
        nodes: &[Id],
        value: &Value,
        at: &Place<'_>,
        seen: &mut [bool],
    ) -> Verdict {
        let mut matching = Vec::new();
        // What is wrong with the only alternative that seems to be meant.
        let mut meant = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let mut marks = vec![false; seen.len()];
            let (valid, findings) = self.apart(*node, value, at, &mut marks)?;
            if valid {
                matching.push(index);
                merge(seen, &marks);
                if only_one && matching.len() > 1 || !only_one && seen.is_empty() {
                    break;
                }
            } else if !self.is_enough() {
                let here = at.pointer();
                let other = |finding: &Finding| match finding.fault {
                    Fault::Type => finding.pointer == here,
                    Fault::Constant => true,
                    Fault::Other => false,
                };
                if !findings.iter().any(other) {
                    meant.push(findings);
                }
            }
        }
        match matching[..] {
            [] => match &mut meant[..] {
                [findings] => {
                    self.findings.append(findings);
                    self.findings.truncate(MAX_FINDINGS);
                    Ok(false)
                }
                _ => {
                    let count = nodes.len();
                    let text =
                        format_args!("{} matches none of {count} alternatives", shown(value));
                    self.fail(at, Fault::Other, &text)
                }
            },
            [first, second, ..] if only_one => {
                let text = format_args!(
                    "matches more than one alternative (numbers {} and {}); exactly one expected",
                    first + 1,
                    second + 1
                );
                self.fail(at, Fault::Other, &text)
            }
            _ => Ok(true),
        }
    }

    /// Applies to each item the schema that `of` tells from its index and its mark.
    fn items(
        &mut self,
        items: &[Value],
        at: &Place<'_>,
        seen: &mut [bool],
        of: impl Fn(usize, bool) -> Option<Id>,
    ) -> Verdict {
        let mut valid = true;
        for (index, item) in items.iter().enumerate() {
            self.spend(1)?;
            let marked = seen.get(index).copied().unwrap_or_default();
            if let Some(node) = of(index, marked) {
                valid &= self.apply(node, item, &at.index(index), &mut [])?;
                mark(seen, index);
            }
            if !valid && self.is_enough() {
                break;
            }
        }
        Ok(valid)
    }

    fn members(
        &mut self,
        keyword: &Keyword,
        value: &Value,
        at: &Place<'_>,
        seen: &mut [bool],
    ) -> Verdict {
        let (
            Keyword::Members {
                named,
                patterns,
                rest,
            },
            Value::Object(members),
        ) = (keyword, value)
        else {
            return Ok(true);
        };
        let mut valid = true;
        for (index, (name, member)) in members.iter().enumerate() {
            self.spend(1)?;
            let at = at.name(name);
            let found = named.binary_search_by(|(known, _)| known.cmp(name)).ok();
            let mut nodes: Vec<Id> = found.map(|index| named[index].1).into_iter().collect();
            for (pattern, node) in patterns {
                if self.matches(pattern, name)? {
                    nodes.push(*node);
                }
            }
            if nodes.is_empty() {
                nodes.extend(*rest);
            }
            if !nodes.is_empty() {
                mark(seen, index);
                valid &= self.all(nodes.into_iter(), member, &at, &mut [])?;
            }
            if !valid && self.is_enough() {
                break;
            }
        }
        Ok(valid)
    }

    fn name(&mut self, id: Id, name: &str, at: &Place<'_>) -> Verdict {
        self.spend(1 + name.len() / 64)?;
        let text = Value::String(name.to_owned());
        let (valid, findings) = self.apart(id, &text, at, &mut [])?;
        if valid {
            return Ok(true);
        }
        let why = findings.first().map_or("", |finding| &finding.text);
        let text = format_args!("the property name {} is refused: {why}", shown(&text));
        self.fail(at, Fault::Other, &text)
    }
}

fn mark(seen: &mut [bool], index: usize) {
    if let Some(seen) = seen.get_mut(index) {
        *seen = true;
    }
}

fn merge(seen: &mut [bool], more: &[bool]) {
    for (seen, more) in seen.iter_mut().zip(more) {
        *seen |= more;
    }
}
