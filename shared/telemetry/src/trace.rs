//! Spans: what was done in a trace, from when to when, and what is known of it.

mod otlp;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use domain::trace::Context;
use uuid::Uuid;

pub use otlp::Collector;
use otlp::Exporter;

/// Most bytes of a text in an attribute: none of ours needs more, and nothing that is longer belongs there.
const MAX_BYTES: usize = 256;

/// How a span stands to its parent and its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work of this process.
    Internal,
    /// An answer to a request from elsewhere.
    Server,
    /// A request to elsewhere.
    Client,
    /// Work that a queue message asked for.
    Consumer,
}

impl Kind {
    /// The number that OTLP has for it.
    fn number(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Server => 2,
            Self::Client => 3,
            Self::Consumer => 5,
        }
    }
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A text; what is over 256 bytes is cut.
    Text(&'a str),
    /// A list of one text, as some conventions want it.
    Only(&'a str),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Begins spans and has them exported; does nothing, and allocates nothing, where there is no collector. A clone is cheap
/// and shares what waits.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Exporter>>);

impl Tracer {
    /// A tracer that records nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// A tracer whose spans go to this collector.
    #[must_use]
    pub fn to(collector: Collector) -> Self {
        Self(Some(Arc::new(Exporter::new(collector))))
    }

    /// Whether anything is recorded at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span, which lasts until it is dropped. Without a parent it begins a trace, which is recorded as often as the
    /// collector is to have it; with one, as its parent is.
    #[must_use]
    pub fn span(&self, kind: Kind, parent: Option<Context>, name: impl FnOnce() -> String) -> Span {
        let Some(exporter) = &self.0 else {
            return Span::default();
        };
        let context = match parent {
            Some(parent) => Context {
                span_id: new_span_id(),
                ..parent
            },
            None => {
                let trace_id = new_trace_id();
                Context {
                    trace_id,
                    span_id: new_span_id(),
                    sampled: exporter.wants(trace_id),
                }
            }
        };
        let open = context.sampled.then(|| {
            Box::new(Open {
                exporter: Arc::clone(exporter),
                parent: parent.map(|parent| parent.span_id),
                kind,
                name: name(),
                began_ns: now_ns(),
                began: Instant::now(),
                attributes: String::new(),
                links: String::new(),
                error: false,
            })
        });
        Span {
            context: Some(context),
            open,
        }
    }

    /// Exports every span that has ended, in bounded time. For the end of an invocation: Lambda freezes the process then.
    /// What cannot be exported is lost and counted, as the metric `spans_lost`.
    pub async fn flush(&self) {
        if let Some(exporter) = &self.0 {
            Box::pin(exporter.flush()).await;
        }
    }
}

/// A piece of work under way. It ends, and waits to be exported, when this is dropped.
#[derive(Debug, Default)]
pub struct Span {
    context: Option<Context>,
    /// None when nothing is recorded.
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    exporter: Arc<Exporter>,
    parent: Option<u64>,
    kind: Kind,
    name: String,
    began_ns: u128,
    began: Instant,
    /// JSON, each after a comma.
    attributes: String,
    /// The same.
    links: String,
    error: bool,
}

impl Span {
    /// What follows from this span has it as its parent; none where there are no traces at all.
    #[must_use]
    pub fn context(&self) -> Option<Context> {
        self.context
    }

    /// Whether what is said of it is kept: for what is dear to find out.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.open.is_some()
    }

    /// Says something about it. **Rule:** nothing that a tenant or a model wrote, but names that were checked.
    pub fn put<'a>(&mut self, key: &'static str, value: impl Into<Value<'a>>) -> &mut Self {
        if let Some(open) = &mut self.open {
            attribute(&mut open.attributes, key, value.into());
        }
        self
    }

    /// Says what failed, by a word of a small set.
    pub fn fail(&mut self, kind: &str) -> &mut Self {
        if let Some(open) = &mut self.open {
            open.error = true;
            attribute(&mut open.attributes, "error.type", Value::Text(kind));
        }
        self
    }

    /// Says that it goes on from another span, which is not its parent.
    pub fn link(&mut self, other: Context) -> &mut Self {
        if let Some(open) = &mut self.open {
            let Context {
                trace_id, span_id, ..
            } = other;
            // A `String` takes everything.
            let _ = write!(
                open.links,
                r#",{{"traceId":"{trace_id:032x}","spanId":"{span_id:016x}"}}"#
            );
        }
        self
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let (Some(open), Some(context)) = (self.open.take(), self.context) {
            let span = open.encode(context);
            open.exporter.take(span);
        }
    }
}

impl Open {
    /// As a span of OTLP/JSON.
    fn encode(&self, context: Context) -> String {
        let Context {
            trace_id, span_id, ..
        } = context;
        let mut json = format!(r#"{{"traceId":"{trace_id:032x}","spanId":"{span_id:016x}""#);
        if let Some(parent) = self.parent {
            let _ = write!(json, r#","parentSpanId":"{parent:016x}""#);
        }
        let _ = write!(
            json,
            r#","flags":1,"name":{},"kind":{},"startTimeUnixNano":"{}","endTimeUnixNano":"{}","attributes":[{}],"links":[{}]"#,
            quoted(&self.name),
            self.kind.number(),
            self.began_ns,
            self.began_ns + self.began.elapsed().as_nanos(),
            self.attributes.trim_start_matches(','),
            self.links.trim_start_matches(','),
        );
        json.push_str(if self.error {
            r#","status":{"code":2}}"#
        } else {
            "}"
        });
        json
    }
}

/// Appends an attribute as OTLP/JSON has it, where numbers of 64 bits are texts.
fn attribute(json: &mut String, key: &str, value: Value<'_>) {
    let _ = match value {
        Value::Text(text) => write!(
            json,
            r#",{{"key":"{key}","value":{{"stringValue":{}}}}}"#,
            quoted(text)
        ),
        Value::Only(text) => write!(
            json,
            r#",{{"key":"{key}","value":{{"arrayValue":{{"values":[{{"stringValue":{}}}]}}}}}}"#,
            quoted(text)
        ),
        Value::Number(number) => write!(
            json,
            r#",{{"key":"{key}","value":{{"intValue":"{number}"}}}}"#
        ),
        Value::Flag(flag) => write!(json, r#",{{"key":"{key}","value":{{"boolValue":{flag}}}}}"#),
    };
}

/// A text as JSON, cut.
fn quoted(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_BYTES);
    serde_json::to_string(&text[..end]).unwrap_or_default()
}

/// X-Ray wants traces to begin with the seconds of their time.
fn new_trace_id() -> u128 {
    let seconds = now_ns() / 1_000_000_000;
    (seconds << 96) | (Uuid::new_v4().as_u128() & (u128::MAX >> 32))
}

fn new_span_id() -> u64 {
    // The upper half has four bits that say what kind of id it is, and is never 0 for them.
    Uuid::new_v4().as_u64_pair().0
}

fn now_ns() -> u128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests;
