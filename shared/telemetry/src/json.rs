//! Log lines as JSON, without building a value first.

use std::error::Error;
use std::fmt::{self, Write as _};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::chain::chain;

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

/// One line: level, message and fields, then what the enclosing spans say, then what the process is.
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
        Self { process: process.0 }
    }
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
        write!(writer, r#"{{"level":"{}""#, event.metadata().level())?;
        let mut own = Visitor(String::new());
        event.record(&mut own);
        writer.write_str(&own.0)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<Fields>>() {
                writer.write_str(fields)?;
            }
        }
        writer.write_str(&self.process)?;
        writer.write_str(r#","timestamp":""#)?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\"}\n")
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
}

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
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
        self.put(field.name(), &chain(value).to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), &format!("{value:?}"));
    }
}
