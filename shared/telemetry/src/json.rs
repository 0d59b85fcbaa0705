//! Log lines as JSON, without building a value first, and without what nobody is to read.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::chain::chain;
use crate::log::SAMPLE_RATE;

/// Fields as `,"key":value` each, so that they can be put after anything.
pub(crate) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut visitor = Visitor(String::new());
        fields.record(&mut visitor);
        writer.write_str(&visitor.0)
    }
}

/// What stands in place of a value that nobody is to read.
const REDACTED: &str = "[redacted]";
/// Keys whose values nobody is to read, by the last of their parts: credentials, and what tenants and models write.
const SECRET: [&str; 20] = [
    "access_token",
    "api_key",
    "apikey",
    "arguments",
    "authorization",
    "body",
    "content",
    "cookie",
    "credential",
    "credentials",
    "input",
    "messages",
    "output",
    "password",
    "prompt",
    "secret",
    "system",
    "token",
    "transcript",
    "x-api-key",
];
/// What keys of ours begin with, wherever they stand in a text.
const KEY_PREFIX: &str = "skn_";
/// The span that the Lambda runtime puts around an invocation.
const INVOCATION: &str = "Lambda runtime invoke";

/// Marks the first invocation of the process.
#[derive(Default)]
pub(crate) struct Invocations(AtomicBool);

/// Whether an invocation is the first of its process.
struct IsCold(bool);

impl<S> Layer<S> for Invocations
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() == INVOCATION
            && let Some(span) = context.span(id)
        {
            let is_cold = !self.0.swap(true, Ordering::Relaxed);
            span.extensions_mut().insert(IsCold(is_cold));
        }
    }
}

/// One line: level, message and fields, then what the enclosing spans say, then what the process is. No key stands twice: the
/// one that is nearest counts.
#[derive(Clone)]
pub(crate) struct Line {
    /// `,"service":"..."` and the rest of what never changes.
    process: String,
}

impl Line {
    pub(crate) fn new(service: &str, variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut process = Visitor(String::new());
        process.put("service", service);
        if let Some(name) = variable("AWS_LAMBDA_FUNCTION_NAME") {
            process.put("function_name", &name);
        }
        let memory_mb = variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
        if let Some(memory_mb) = memory_mb.and_then(|text| text.parse::<u32>().ok()) {
            process.put("function_memory_size", &memory_mb);
        }
        let rate = variable(SAMPLE_RATE).and_then(|text| text.parse::<f64>().ok());
        if let Some(rate) = rate {
            process.put("sampling_rate", &rate);
        }
        Self { process: process.0 }
    }

    pub(crate) fn write<'a, S>(
        &self,
        writer: &mut impl fmt::Write,
        event: &Event<'_>,
        scope: Option<Scope<'a, S>>,
    ) -> fmt::Result
    where
        S: Subscriber + LookupSpan<'a>,
    {
        write!(writer, r#"{{"level":"{}""#, event.metadata().level())?;
        let mut line = Visitor(String::new());
        event.record(&mut line);
        for span in scope.into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<Fields>>() {
                add_absent(&mut line.0, fields);
            }
            if let Some(IsCold(is_cold)) = extensions.get() {
                line.put("cold_start", is_cold);
            }
        }
        writer.write_str(&line.0)?;
        writer.write_str(&self.process)?;
        writer.write_str(r#","timestamp":""#)?;
        SystemTime.format_time(&mut Writer::new(writer))?;
        writer.write_str("\"}\n")
    }
}

/// Adds those of `fields` whose keys a line does not have.
fn add_absent(line: &mut String, fields: &str) {
    let mut rest = fields;
    while let Some(end) = end_of_field(rest) {
        let (field, behind) = rest.split_at(end);
        rest = behind;
        let key = field.find(':').map_or(field, |colon| &field[1..=colon]);
        // Within a value its second quotation mark would have a backslash before it.
        if !line.contains(key) {
            line.push_str(field);
        }
    }
}

/// Where the first field of `,"key":value,...` ends; none when there is none.
fn end_of_field(fields: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in fields.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    (!fields.is_empty()).then_some(fields.len())
}

impl<S> FormatEvent<S, Fields> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Fields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        self.write(&mut writer, event, context.event_scope())
    }
}

/// What the Lambda runtime calls its fields, and what Powertools calls them.
fn key(name: &str) -> &str {
    match name {
        "requestId" => "function_request_id",
        "xrayTraceId" => "xray_trace_id",
        name => name,
    }
}

struct Visitor(String);

impl Visitor {
    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        // Neither a text nor a number can fail to serialise.
        let value = serde_json::to_string(value).unwrap_or_default();
        let _ = write!(self.0, r#","{}":{value}"#, key(name));
    }

    fn put_text(&mut self, name: &str, text: &str) {
        if is_secret(name) {
            self.put(name, REDACTED);
        } else if text.contains(KEY_PREFIX) {
            self.put(name, &without_keys(text));
        } else {
            self.put(name, text);
        }
    }
}

/// Whether nobody is to read what a field of this name holds.
fn is_secret(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    SECRET
        .iter()
        .any(|secret| last.eq_ignore_ascii_case(secret))
}

/// A text in which keys of ours cannot be used any more: they lose all but the tenant.
fn without_keys(text: &str) -> String {
    let mut parts = text.split(KEY_PREFIX);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_of_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let end = part.find(|c| !is_of_key(c)).unwrap_or(part.len());
        let tenant = part[..end].split('_').next().unwrap_or_default();
        let rest = &part[end..];
        let _ = write!(shown, "{KEY_PREFIX}{tenant}_{REDACTED}{rest}");
    }
    shown
}

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), &value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put_text(field.name(), &chain(value).to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field.name(), &format!("{value:?}"));
    }
}
