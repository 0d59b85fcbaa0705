use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Buffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The lines that `work` logs, in a process of this environment.
fn logged(variables: &[(&str, &str)], work: impl FnOnce()) -> Vec<Value> {
    let buffer = Buffer::default();
    let variable = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name)?;
        Some(found.1.to_owned())
    };
    let layer = fmt::layer()
        .fmt_fields(Fields)
        .event_format(Line::new("orchestrator", variable))
        .with_writer(buffer.clone())
        .with_filter(filter(variable("SKEIN_LOG").as_deref()));
    tracing::subscriber::with_default(registry().with(layer), work);
    let bytes = buffer.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_line_has_the_keys_of_powertools_and_what_the_spans_say() {
    let lambda = [
        ("AWS_LAMBDA_FUNCTION_NAME", "skein-orchestrator"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ];
    let mut lines = logged(&lambda, || {
        let request = tracing::info_span!(target: "lambda_runtime::layers::trace", "Lambda runtime invoke", requestId = "r-1", xrayTraceId = "1-2");
        let _request = request.enter();
        let run = tracing::info_span!("run", tenant.id = "acme", run.id = tracing::field::Empty);
        run.record("run.id", "run_1");
        let _run = run.enter();
        tracing::warn!(
            step = 3,
            ratio = 0.5,
            late = true,
            detail = ?Some(1),
            "it said \"no\"\n"
        );
    });
    let mut line = lines.pop().unwrap();
    let timestamp = line.as_object_mut().unwrap().remove("timestamp").unwrap();
    let timestamp = timestamp.as_str().unwrap();
    assert!(
        timestamp.starts_with("20") && timestamp.ends_with('Z'),
        "{timestamp}"
    );
    assert_eq!(
        line,
        json!({
            "level": "WARN",
            "message": "it said \"no\"\n",
            "service": "orchestrator",
            "function_name": "skein-orchestrator",
            "function_memory_size": 256,
            "function_request_id": "r-1",
            "xray_trace_id": "1-2",
            "tenant.id": "acme",
            "run.id": "run_1",
            "step": 3,
            "ratio": 0.5,
            "late": true,
            "detail": "Some(1)",
        })
    );
}

#[test]
fn an_error_is_logged_with_its_sources() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot save")]
    struct Outer(#[source] io::Error);

    let outer = Outer(io::Error::other("the disk is full"));
    let lines = logged(&[], || {
        tracing::error!(error = &outer as &dyn std::error::Error, "lost");
    });
    assert_eq!(lines[0]["error"], "cannot save: the disk is full");
}

#[test]
fn libraries_are_heard_from_warnings_on() {
    let lines = |level| {
        logged(&[("SKEIN_LOG", level)], || {
            tracing::debug!("ours");
            tracing::debug!(target: "aws_smithy_runtime::client", "theirs");
            tracing::warn!(target: "hyper::proto", "theirs, but grave");
        })
        .len()
    };
    assert_eq!(lines("info"), 1);
    assert_eq!(lines("DEBUG"), 2);
    assert_eq!(lines("error"), 0);
    assert_eq!(lines("debug,hyper=error"), 2);
    assert_eq!(lines("WARNING"), 1);
    assert_eq!(lines("inof"), 1);
}

#[test]
fn what_is_not_logged_is_never_enabled() {
    let filter = filter(None);
    assert!(filter.would_enable("engine", &Level::INFO));
    assert!(!filter.would_enable("engine", &Level::DEBUG));
    assert!(!filter.would_enable("aws_sdk_sqs", &Level::INFO));
}
