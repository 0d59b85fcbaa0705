//! Where a piece of work stands in a trace: W3C Trace Context, and the header by which X-Ray says the same.
//!
//! Sources: <https://www.w3.org/TR/trace-context/>,
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span, as those that follow from it know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// The trace; never 0.
    pub trace_id: u128,
    /// The span; never 0.
    pub span_id: u64,
    /// Whether whoever began the trace has it recorded.
    pub sampled: bool,
}

impl Context {
    /// Reads a `traceparent`. Of a version that is not known, what version 00 has; none of what breaks its rules.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.splitn(5, '-');
        let version = hexadecimal(parts.next()?, 2)?;
        let trace_id = hexadecimal(parts.next()?, 32)?;
        let span_id = hexadecimal(parts.next()?, 16)?;
        let flags = hexadecimal(parts.next()?, 2)?;
        let is_longer = parts.next().is_some();
        if version == 0xff || (version == 0 && is_longer) {
            return None;
        }
        Self::of(trace_id, span_id, flags & 1 == 1)
    }

    /// Reads X-Ray's header, `Root=1-...;Parent=...;Sampled=1`. None where X-Ray records nothing: its ids name nothing that
    /// anybody will see then, and whether we record is not for it to say.
    #[must_use]
    pub fn parse_xray(text: &str) -> Option<Self> {
        let (mut root, mut parent, mut sampled) = (None, None, false);
        for part in text.split(';') {
            match part.trim().split_once('=')? {
                ("Root", value) => root = Some(value),
                ("Parent", value) => parent = Some(value),
                ("Sampled", value) => sampled = value == "1",
                _ => {}
            }
        }
        let (seconds, rest) = root?.strip_prefix("1-")?.split_once('-')?;
        let trace_id = hexadecimal(seconds, 8)? << 96 | hexadecimal(rest, 24)?;
        Self::of(trace_id, hexadecimal(parent?, 16)?, sampled).filter(|it| it.sampled)
    }

    fn of(trace_id: u128, span_id: u128, sampled: bool) -> Option<Self> {
        let span_id = u64::try_from(span_id).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            sampled,
        })
    }
}

/// As a `traceparent`.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            sampled,
        } = self;
        write!(
            f,
            "00-{trace_id:032x}-{span_id:016x}-{:02x}",
            u8::from(*sampled)
        )
    }
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a traceparent"))
    }
}

/// A number of exactly so many lower-case hexadecimal digits.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(is_plain) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// What a queue message says of the trace that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The span in which it was sent.
    pub traceparent: Context,
    /// The run's drive before; the next one links to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive: Option<Context>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_written_as_it_was_read() {
        let context = Context::parse(PARENT).unwrap();
        assert_eq!(context.span_id, 0xb7ad_6b71_6920_3331);
        assert!(context.sampled);
        assert_eq!(context.to_string(), PARENT);
        let not = Context::parse(&PARENT.replace("-01", "-00")).unwrap();
        assert!(!not.sampled);
    }

    #[test]
    fn what_breaks_the_rules_is_no_parent() {
        for broken in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Context::parse(broken), None, "{broken}");
        }
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-will-be";
        assert!(Context::parse(later).is_some());
    }

    #[test]
    fn x_ray_is_heard_when_it_records() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:0";
        let context = Context::parse_xray(header).unwrap();
        assert_eq!(
            context.to_string(),
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"
        );
        for other in [
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            "nonsense",
        ] {
            assert_eq!(Context::parse_xray(other), None, "{other}");
        }
    }
}
