//! Spans out: OTLP as JSON over HTTP, in batches, in bounded memory and time.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>. Written here because `opentelemetry-otlp` brings an HTTP stack and a
//! second span model of its own; the connections are those of the SDK clients.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::{Value, attribute};
use crate::chain::chain;
use crate::emf::{Metrics, Unit};

/// Spans that wait before they are exported without being asked for: a drive of five minutes has thousands.
const BATCH: usize = 256;
/// Most spans that wait; those that come then are lost.
const MOST: usize = 2_048;
/// How often it is told what was lost.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The whole address, as in `http://127.0.0.1:4318/v1/traces`.
    pub url: String,
    /// Further headers, as for a key.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Longest time for one export.
    pub timeout: Duration,
    /// How long it is left alone after a failure, so that one that is down does not cost every invocation the timeout.
    pub pause: Duration,
    /// How many of a thousand traces that begin here are recorded.
    pub per_mille: u16,
    /// What sends the requests.
    pub connector: SharedHttpConnector,
    /// What every span of this process is of.
    pub resource: Vec<(&'static str, String)>,
}

#[derive(Debug)]
pub(super) struct Exporter {
    collector: Collector,
    waiting: Mutex<Waiting>,
    /// One export at a time.
    exporting: tokio::sync::Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: Vec<String>,
    lost: u64,
    /// Why those that were lost last were.
    because: Option<Error>,
}

/// When what is done again.
#[derive(Debug, Default)]
struct Pace {
    export_from: Option<Instant>,
    tell_from: Option<Instant>,
}

/// Why spans were lost.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the collector's address is not one")]
    Address(#[from] http::Error),
    #[error("the collector cannot be asked")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the collector answered with status {0}")]
    Refused(u16),
    #[error("the collector did not answer in time")]
    Late,
}

impl Exporter {
    pub(super) fn new(collector: Collector) -> Self {
        Self {
            collector,
            waiting: Mutex::default(),
            exporting: tokio::sync::Mutex::default(),
        }
    }

    /// Whether a trace that begins with this id is recorded.
    pub(super) fn wants(&self, trace_id: u128) -> bool {
        trace_id % 1_000 < self.collector.per_mille.into()
    }

    /// Takes a span that ended.
    pub(super) fn take(self: &Arc<Self>, span: String) {
        let mut waiting = self.waiting();
        if waiting.spans.len() >= MOST {
            waiting.lost += 1;
            return;
        }
        waiting.spans.push(span);
        let is_due = waiting.spans.len().is_multiple_of(BATCH);
        drop(waiting);
        if is_due && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let exporter = Arc::clone(self);
            runtime.spawn(async move { exporter.flush().await });
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exports what waits; what was being exported is waited for.
    pub(super) async fn flush(&self) {
        let mut pace = self.exporting.lock().await;
        let spans = std::mem::take(&mut self.waiting().spans);
        if !spans.is_empty()
            && let Err(error) = self.export(&spans, &pace).await
        {
            let mut waiting = self.waiting();
            waiting.lost += u64::try_from(spans.len()).unwrap_or(u64::MAX);
            if error.is_some() {
                pace.export_from = Some(Instant::now() + self.collector.pause);
                waiting.because = error;
            }
        }
        self.tell(&mut pace);
    }

    /// Without an error when the collector is left alone.
    async fn export(&self, spans: &[String], pace: &Pace) -> Result<(), Option<Error>> {
        if pace.export_from.is_some_and(|from| Instant::now() < from) {
            return Err(None);
        }
        let sent = tokio::time::timeout(self.collector.timeout, self.send(self.body(spans)));
        sent.await.unwrap_or(Err(Error::Late)).map_err(Some)
    }

    async fn send(&self, body: String) -> Result<(), Error> {
        let collector = &self.collector;
        let mut request = http::Request::post(&collector.url).body(SdkBody::from(body))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(collector.headers.iter().cloned());
        let request = request
            .try_into()
            .map_err(|error| Error::Request(Box::new(error)))?;
        let answer = collector.connector.call(request).await;
        let answer = answer.map_err(|error| Error::Request(error.into()))?;
        let status = answer.status();
        // What is read to its end leaves the connection for the next export.
        let _answer = ByteStream::new(answer.into_body()).collect().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(Error::Refused(status.as_u16()))
        }
    }

    fn body(&self, spans: &[String]) -> String {
        let mut resource = String::new();
        for (key, value) in &self.collector.resource {
            attribute(&mut resource, key, Value::Text(value));
        }
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}},"scopeSpans":[{{"scope":{{"name":"skein","version":"{}"}},"spans":[{}]}}]}}]}}"#,
            resource.trim_start_matches(','),
            env!("CARGO_PKG_VERSION"),
            spans.join(","),
        )
    }

    /// Tells what was lost, once a minute.
    fn tell(&self, pace: &mut Pace) {
        let now = Instant::now();
        if pace.tell_from.is_some_and(|from| now < from) {
            return;
        }
        let mut waiting = self.waiting();
        let lost = std::mem::take(&mut waiting.lost);
        if lost > 0 {
            pace.tell_from = Some(now + TELL_EVERY);
            let mut metrics = Metrics::new();
            let count = f64::from(u32::try_from(lost).unwrap_or(u32::MAX));
            metrics.put("spans_lost", Unit::Count, count);
            if let Some(error) = waiting.because.take() {
                metrics.property("error", chain(&error).to_string());
            }
        }
    }
}
