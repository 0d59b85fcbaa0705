//! The keywords that contain no schema.

use serde_json::Value;

use super::{Checker, Fault, Verdict};
use crate::schema::number;
use crate::schema::plan::{Bound, KINDS, Keyword, Measure, Pattern, canonical, kinds};
use crate::schema::text::{Place, Short, shown};

impl Checker<'_> {
    pub(super) fn assertion(
        &mut self,
        keyword: &Keyword,
        value: &Value,
        at: &Place<'_>,
    ) -> Verdict {
        match (keyword, value) {
            (Keyword::Never, _) => self.demand(false, at, &"is not allowed"),
            (Keyword::Type(allowed), _) => {
                if allowed & kinds(value) != 0 {
                    return Ok(true);
                }
                let names: Vec<&str> = (0..)
                    .zip(KINDS)
                    .filter(|(bit, _)| allowed & 1 << bit != 0)
                    .map(|(_, name)| name)
                    .collect();
                let text = format_args!("{} is not of type {}", shown(value), names.join(" or "));
                self.fail(at, Fault::Type, &text)
            }
            (
                Keyword::Enum {
                    allowed,
                    shown: all,
                },
                _,
            ) => {
                let mut text = String::new();
                canonical(value, &mut text, &mut |steps| self.spend(steps))?;
                self.spend(allowed.len() / 8)?;
                if allowed.contains(&text) {
                    return Ok(true);
                }
                let (fault, is) = match allowed.len() {
                    1 => (Fault::Constant, "is not"),
                    _ => (Fault::Other, "is not one of"),
                };
                self.fail(at, fault, &format_args!("{} {is} {all}", shown(value)))
            }
            (Keyword::MultipleOf(divisor), Value::Number(number)) => {
                // Far powers of ten take a loop.
                let is_float = number.is_f64() || divisor.is_f64();
                self.spend(if is_float { 200 } else { 1 })?;
                let text = format_args!("{number} is not a multiple of {divisor}");
                self.demand(number::is_multiple(number, divisor), at, &text)
            }
            (Keyword::Bound(bound, limit), Value::Number(number)) => {
                let order = number::compare(number, limit);
                let (valid, text) = match bound {
                    Bound::Least => (order.is_ge(), "less than"),
                    Bound::Above => (order.is_gt(), "not more than"),
                    Bound::Most => (order.is_le(), "more than"),
                    Bound::Below => (order.is_lt(), "not less than"),
                };
                self.demand(valid, at, &format_args!("{number} is {text} {limit}"))
            }
            (
                Keyword::Size {
                    of,
                    at_least,
                    limit,
                },
                _,
            ) => {
                let (size, unit) = match (of, value) {
                    (Measure::Characters, Value::String(text)) => {
                        self.spend(text.len() / 64)?;
                        (text.chars().count(), "characters")
                    }
                    (Measure::Items, Value::Array(items)) => (items.len(), "items"),
                    (Measure::Properties, Value::Object(members)) => (members.len(), "properties"),
                    _ => return Ok(true),
                };
                let size = u64::try_from(size).unwrap_or(u64::MAX);
                let (valid, order) = if *at_least {
                    (size >= *limit, "fewer")
                } else {
                    (size <= *limit, "more")
                };
                self.demand(valid, at, &format_args!("has {order} than {limit} {unit}"))
            }
            (Keyword::Pattern(pattern), Value::String(text)) => {
                let valid = self.matches(pattern, text)?;
                let regex = Short(&pattern.regex, 100);
                let text = format_args!("{} does not match the pattern {regex}", shown(value));
                self.demand(valid, at, &text)
            }
            (Keyword::Unique, Value::Array(items)) => self.unique(items, at),
            (Keyword::Required(names), Value::Object(members)) => {
                self.spend(names.len())?;
                let mut missing = names.iter().filter(|name| !members.contains_key(*name));
                missing.try_fold(true, |_, name| {
                    let name = format_args!("{name:?}");
                    let text = format_args!("{} is a required property", Short(&name, 100));
                    self.demand(false, at, &text)
                })
            }
            (Keyword::DependentRequired(lists), Value::Object(members)) => {
                let mut valid = true;
                for (cause, names) in lists {
                    self.spend(1 + names.len())?;
                    if !members.contains_key(cause) {
                        continue;
                    }
                    for name in names.iter().filter(|name| !members.contains_key(*name)) {
                        let (name, cause) = (format_args!("{name:?}"), format_args!("{cause:?}"));
                        let (name, cause) = (Short(&name, 100), Short(&cause, 100));
                        let text = format_args!("{name} is a required property beside {cause}");
                        valid = self.demand(false, at, &text)?;
                    }
                }
                Ok(valid)
            }
            // The others are about values of another type.
            _ => Ok(true),
        }
    }

    fn unique(&mut self, items: &[Value], at: &Place<'_>) -> Verdict {
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let mut text = String::new();
            canonical(item, &mut text, &mut |steps| self.spend(steps))?;
            texts.push((text, index));
        }
        texts.sort_unstable();
        match texts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => {
                let text = format_args!("the items {} and {} are equal", pair[0].1, pair[1].1);
                self.demand(false, at, &text)
            }
            None => Ok(true),
        }
    }

    pub(super) fn matches(&mut self, pattern: &Pattern, text: &str) -> Verdict {
        self.spend(1 + (text.len() / 4).saturating_mul(pattern.weight))?;
        Ok(pattern.regex.is_match(text))
    }
}
