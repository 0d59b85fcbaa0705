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
    let filter = filter(variable("SKEIN_LOG").as_deref());
    let layers = layers("orchestrator", filter, variable, buffer.clone());
    tracing::subscriber::with_default(registry().with(layers), work);
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
            "cold_start": true,
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

#[test]
fn no_key_stands_twice_and_the_nearest_counts() {
    let lines = logged(&[], || {
        let outer =
            tracing::info_span!("outer", run.id = "run_1", said = "\",\"step\":9", step = 1);
        let _outer = outer.enter();
        let inner = crate::work();
        inner.record("tenant.id", "acme").record("step", 2);
        let _inner = inner.enter();
        tracing::info!(tenant.id = "globex", "here");
    });
    let line = &lines[0];
    assert_eq!(
        (&line["tenant.id"], &line["step"], &line["run.id"]),
        (&json!("globex"), &json!(2), &json!("run_1"))
    );
    assert_eq!(line["said"], "\",\"step\":9");
    assert_eq!(line.to_string().matches("tenant.id").count(), 1);
}

#[test]
fn only_the_first_invocation_is_cold() {
    let lines = logged(&[], || {
        for _ in 0..2 {
            let invocation = tracing::info_span!("Lambda runtime invoke");
            invocation.in_scope(|| tracing::info!("here"));
        }
    });
    assert_eq!(
        (&lines[0]["cold_start"], &lines[1]["cold_start"]),
        (&json!(true), &json!(false))
    );
}

#[test]
fn credentials_and_what_people_write_are_not_read() {
    let lines = logged(&[("SKEIN_LOG", "debug")], || {
        let span = tracing::info_span!("request", authorization = "Bearer canary");
        let _span = span.enter();
        tracing::debug!(
            api_key = "canary",
            http.Authorization = "canary",
            model.prompt = ?"canary",
            error = "the key skn_acme_0123_c0ffee, and skn_globex_4567_canary",
            input_tokens = 3,
            "shown skn_demo_89ab_canary"
        );
    });
    let line = lines[0].to_string();
    assert!(
        !line.contains("canary") && !line.contains("c0ffee"),
        "{line}"
    );
    assert_eq!(lines[0]["authorization"], "[redacted]");
    assert_eq!(lines[0]["input_tokens"], 3);
    assert_eq!(
        lines[0]["error"],
        "the key skn_acme_[redacted], and skn_globex_[redacted]"
    );
}

/// One piece of work that logs a debug line, and ends so.
fn piece(run: &str, end: impl FnOnce()) {
    let work = crate::work();
    work.record("run.id", run);
    work.in_scope(|| {
        tracing::debug!(step = 1, "a detail");
        tracing::info!("in between");
        end();
    });
}

#[test]
fn what_is_finer_is_written_only_of_work_that_fails() {
    let buffer = [("SKEIN_LOG_BUFFER", "4096")];
    let lines = logged(&buffer, || {
        piece("run_1", || {});
        piece("run_2", || tracing::error!("it failed"));
        piece("run_3", || tracing::warn!("nearly"));
        tracing::debug!("in no work");
        tracing::error!("nor this");
    });
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["message"].as_str().unwrap(), line["run.id"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("in between", Some("run_1")),
            ("in between", Some("run_2")),
            ("it failed", Some("run_2")),
            ("a detail", Some("run_2")),
            ("in between", Some("run_3")),
            ("nearly", Some("run_3")),
            ("nor this", None),
        ]
    );
    let none = logged(&[], || piece("run_1", || tracing::error!("it failed")));
    assert_eq!(none.len(), 2, "nothing is held unless asked for");
}

#[test]
fn what_is_held_of_work_that_panics_is_written() {
    let lines = logged(&[("SKEIN_LOG_BUFFER", "4096")], || {
        let panics = || piece("run_1", || panic!("on purpose"));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
        assert!(caught.is_err());
    });
    assert_eq!(lines.last().unwrap()["message"], "a detail");
}

#[test]
fn of_too_many_lines_the_newest_are_held() {
    let lines = logged(&[("SKEIN_LOG_BUFFER", "1000")], || {
        crate::work().in_scope(|| {
            for number in 0..100 {
                tracing::debug!(number, "a detail");
            }
            tracing::error!("it failed");
        });
    });
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "earlier lines did not fit")
    );
    let numbers = lines.iter().filter_map(|line| line["number"].as_u64());
    let numbers: Vec<u64> = numbers.collect();
    assert!((3..20).contains(&numbers.len()), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&99));
}

#[test]
fn a_share_of_processes_logs_everything() {
    let lines = logged(&[("POWERTOOLS_LOGGER_SAMPLE_RATE", "0.25")], || {
        tracing::info!("here");
    });
    assert_eq!(lines[0]["sampling_rate"], 0.25);
    let draws: Vec<f64> = (0..1_000).map(|_| draw()).collect();
    assert!(draws.iter().all(|draw| (0.0..=1.0).contains(draw)));
    let below = draws.iter().filter(|draw| **draw < 0.25).count();
    assert!((150..350).contains(&below), "{below}");
}
