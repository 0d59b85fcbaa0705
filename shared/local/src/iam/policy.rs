//! Policies: what is allowed is what a statement allows; there is no denying.

use std::collections::BTreeMap;

/// The tags of a session.
pub(super) type Tags = BTreeMap<String, String>;

/// What a principal may do.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Whatever one of these allows.
    pub statements: Vec<Statement>,
}

/// A statement that allows something.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// Actions, each by its whole name: `dynamodb:GetItem`.
    pub actions: Vec<String>,
    /// Patterns of resources: of a table `table/<name>`, of an index `table/<name>/index/<name>`, of an object
    /// `<bucket>/<key>`.
    pub resources: Vec<String>,
    /// Patterns of the partition keys that may be named: the condition `ForAllValues:StringLike` on `dynamodb:LeadingKeys`,
    /// with the one that there are any. None where that does not matter.
    pub leading_keys: Option<Vec<String>>,
}

/// One thing that a request does.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) action: String,
    pub(super) resource: String,
    /// The partition keys that it names; of an index those of the index.
    pub(super) leading_keys: Vec<String>,
}

/// A part of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Is(char),
    /// `?`
    One,
    /// `*`
    Any,
}

impl Policy {
    /// A policy of these statements.
    #[must_use]
    pub fn new(statements: impl IntoIterator<Item = Statement>) -> Self {
        Self {
            statements: statements.into_iter().collect(),
        }
    }

    pub(super) fn allows(&self, request: &Request, tags: &Tags) -> bool {
        let mut statements = self.statements.iter();
        statements.any(|statement| statement.allows(request, tags))
    }
}

impl Statement {
    /// Allows these actions on resources of these patterns.
    #[must_use]
    pub fn new(actions: &[&str], resources: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Self {
            actions: owned(actions),
            resources: owned(resources),
            leading_keys: None,
        }
    }

    /// The same for partition keys of these patterns alone.
    #[must_use]
    pub fn leading(mut self, patterns: &[&str]) -> Self {
        self.leading_keys = Some(patterns.iter().map(|&text| text.to_owned()).collect());
        self
    }

    fn allows(&self, request: &Request, tags: &Tags) -> bool {
        let any = |patterns: &[String], text: &str| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| parts(pattern, tags).is_some_and(|parts| like(&parts, text)))
        };
        let keys = &request.leading_keys;
        self.actions.contains(&request.action)
            && any(&self.resources, &request.resource)
            && self.leading_keys.as_ref().is_none_or(|patterns| {
                !keys.is_empty() && keys.iter().all(|key| any(patterns, key))
            })
    }
}

/// The parts of a pattern, where a variable stands for its very text; none when a variable has no value, which matches
/// nothing.
fn parts(pattern: &str, tags: &Tags) -> Option<Vec<Part>> {
    const VARIABLE: &str = "${aws:PrincipalTag/";
    let mut parts = Vec::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if let Some(named) = rest.strip_prefix(VARIABLE) {
            let (name, after) = named.split_once('}')?;
            parts.extend(tags.get(name)?.chars().map(Part::Is));
            rest = after;
            continue;
        }
        parts.push(match first {
            '*' => Part::Any,
            '?' => Part::One,
            other => Part::Is(other),
        });
        rest = &rest[first.len_utf8()..];
    }
    Some(parts)
}

/// `StringLike`.
fn like(parts: &[Part], text: &str) -> bool {
    let Some((first, others)) = parts.split_first() else {
        return text.is_empty();
    };
    let mut chars = text.chars();
    match first {
        Part::Is(wanted) => chars.next() == Some(*wanted) && like(others, chars.as_str()),
        Part::One => chars.next().is_some() && like(others, chars.as_str()),
        Part::Any => like(others, text) || (chars.next().is_some() && like(parts, chars.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tenant: &str) -> Tags {
        [("TenantId".to_owned(), tenant.to_owned())].into()
    }

    fn matches(pattern: &str, tenant: &str, text: &str) -> bool {
        parts(pattern, &tags(tenant)).is_some_and(|parts| like(&parts, text))
    }

    #[test]
    fn a_pattern_admits_what_aws_does() {
        let own = "T#${aws:PrincipalTag/TenantId}#*";
        assert!(matches(own, "ab", "T#ab#R#run"));
        assert!(matches(own, "ab", "T#ab#"));
        assert!(!matches(own, "ab", "T#abc#R#run"));
        assert!(!matches(own, "ab", "T#ab"));
        assert!(!matches(own, "ab", "xT#ab#R"));
        assert!(matches("a?c*", "", "abc") && matches("a?c*", "", "abcd"));
        assert!(!matches("a?c", "", "ac") && !matches("a", "", "A"));
        assert!(!matches(own, "*", "T#abc#R"), "a tag is no pattern");
        assert!(matches(own, "*", "T#*#R"));
        assert!(
            !matches("${aws:PrincipalTag/Other}*", "ab", "ab"),
            "no such tag"
        );
    }

    #[test]
    fn all_keys_of_a_request_must_match_and_there_must_be_one() {
        let statement = Statement::new(&["dynamodb:GetItem"], &["table/t"]).leading(&["a*", "b"]);
        let policy = Policy::new([statement]);
        let request = |action: &str, resource: &str, keys: &[&str]| Request {
            action: action.to_owned(),
            resource: resource.to_owned(),
            leading_keys: keys.iter().map(|&key| key.to_owned()).collect(),
        };
        let allows = |request: Request| policy.allows(&request, &Tags::new());
        assert!(allows(request("dynamodb:GetItem", "table/t", &["ax", "b"])));
        assert!(!allows(request(
            "dynamodb:GetItem",
            "table/t",
            &["ax", "c"]
        )));
        assert!(!allows(request("dynamodb:GetItem", "table/t", &[])));
        assert!(!allows(request("dynamodb:PutItem", "table/t", &["b"])));
        assert!(!allows(request(
            "dynamodb:GetItem",
            "table/t/index/i",
            &["b"]
        )));
    }
}
