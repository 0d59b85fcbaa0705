//! Metrics as lines of the log, in CloudWatch's embedded metric format (EMF).

use std::io::{self, Write as _};
use std::sync::{LazyLock, OnceLock};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

/// Most metrics of one line, and most values of one metric (limits of EMF).
const MOST: usize = 100;
const NAMESPACE: &str = "Skein";

/// Where metrics go, once logging was started.
static SINK: OnceLock<Sink> = OnceLock::new();

struct Sink {
    service: String,
    namespace: String,
    /// Whether a person reads the log.
    is_text: bool,
    /// Whether properties that have many values are dimensions as well.
    is_detailed: bool,
}

pub(crate) fn open(service: &str, namespace: Option<&str>, is_text: bool, is_detailed: bool) {
    SINK.get_or_init(|| Sink {
        service: service.to_owned(),
        namespace: namespace.unwrap_or(NAMESPACE).to_owned(),
        is_text,
        is_detailed,
    });
}

/// What this process is called in logs, metrics and traces; nothing before [`init`](crate::init()).
#[must_use]
pub fn service() -> &'static str {
    SINK.get().map_or("", |sink| &sink.service)
}

/// What all metrics of this process stand under.
pub(crate) fn namespace() -> &'static str {
    SINK.get().map_or(NAMESPACE, |sink| &sink.namespace)
}

/// Resident memory as part of the function's, to a hundredth.
fn memory_percent() -> Option<f64> {
    /// Pages of Linux on both of Lambda's architectures.
    const PAGE_BYTES: f64 = 4_096.0;
    static MEMORY_MB: LazyLock<Option<u32>> = LazyLock::new(|| {
        let said = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok()?;
        said.parse().ok().filter(|mb| *mb > 0)
    });
    let function_mb = (*MEMORY_MB)?;
    // <https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html>: size, then resident, in pages.
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u32 = statm.split(' ').nth(1)?.parse().ok()?;
    let resident_mb = f64::from(pages) * PAGE_BYTES / f64::from(1_u32 << 20);
    Some((resident_mb / f64::from(function_mb) * 10_000.0).round() / 100.0)
}

/// Counts the start of a process that somebody waits for; `initialization` is what Lambda says of it.
pub(crate) fn started(initialization: Option<&str>) {
    let is_text = SINK.get().is_some_and(|sink| sink.is_text);
    drop(cold_start(initialization, is_text));
}

/// A process that Lambda starts ahead of requests is no cold start, and a person at a terminal need not be told.
fn cold_start(initialization: Option<&str>, is_text: bool) -> Metrics {
    let mut metrics = Metrics::new();
    if initialization == Some("on-demand") && !is_text {
        metrics.put("cold_starts", Unit::Count, 1.0);
    }
    metrics
}

/// What a metric counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// Hundredths.
    Percent,
    /// Anything that CloudWatch has no name for: tokens, micro-USD.
    None,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Bytes => "Bytes",
            Self::Percent => "Percent",
            Self::None => "None",
        }
    }
}

/// The metrics of one unit of work, written as one line when this is dropped.
///
/// The only dimension is `service`, since each value of a dimension is a series that is paid for; the tenant, the run and
/// whatever else tells one unit from another are properties, which cost nothing but the line, unless somebody asked for
/// those that [`Metrics::by`] names. Nothing is written before
/// [`init`](crate::init()), nor when there is no metric; where a person reads the log, the line is text.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Name, unit and values.
    metrics: Vec<(&'static str, Unit, Vec<f64>)>,
    properties: Map<String, Value>,
    by: &'static [&'static str],
}

impl Metrics {
    /// An empty unit of work.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. Values of the same name stand together; beyond 100 names or 100 values of one they are dropped.
    pub fn put(&mut self, name: &'static str, unit: Unit, value: f64) -> &mut Self {
        let known = self.metrics.iter().position(|it| it.0 == name);
        match known {
            Some(known) if self.metrics[known].2.len() < MOST => self.metrics[known].2.push(value),
            None if self.metrics.len() < MOST => self.metrics.push((name, unit, vec![value])),
            Some(_) | None => {}
        }
        self
    }

    /// Adds a property: to be searched for, not to be summed.
    pub fn property(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }

    /// Names the properties by which the metrics are told apart as well, where `SKEIN_METRICS_BY_TENANT` asks for it.
    pub fn by(&mut self, properties: &'static [&'static str]) -> &mut Self {
        self.by = properties;
        self
    }

    /// Adds `memory_percent`: how much of the function's memory this process has in its hands. Nothing outside Lambda.
    pub fn memory(&mut self) -> &mut Self {
        if let Some(percent) = memory_percent() {
            self.put("memory_percent", Unit::Percent, percent);
        }
        self
    }

    fn text(&self) -> String {
        let shown = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let properties = self
            .properties
            .iter()
            .map(|(name, value)| format!("{name}={}", shown(value)));
        let metrics = self.metrics.iter().map(|(name, _, values)| {
            let values: Vec<String> = values.iter().map(f64::to_string).collect();
            format!("{name}={}", values.join(","))
        });
        let mut line = properties.chain(metrics).collect::<Vec<_>>().join(" ");
        line.push('\n');
        line
    }

    fn line(&mut self, sink: &Sink, at_ms: u64) -> String {
        let names: Vec<_> = self
            .metrics
            .iter()
            .map(|(name, unit, _)| json!({"Name": name, "Unit": unit.as_str()}))
            .collect();
        let mut line = std::mem::take(&mut self.properties);
        for (name, _, values) in self.metrics.drain(..) {
            let value = match values.as_slice() {
                [one] => json!(one),
                many => json!(many),
            };
            line.insert(name.to_owned(), value);
        }
        line.insert("service".to_owned(), json!(sink.service));
        let mut dimensions = vec![json!(["service"])];
        if sink.is_detailed && !self.by.is_empty() {
            dimensions.push(json!(self.by));
        }
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": at_ms,
                "CloudWatchMetrics": [{
                    "Namespace": sink.namespace,
                    "Dimensions": dimensions,
                    "Metrics": names,
                }],
            }),
        );
        let mut line = Value::Object(line).to_string();
        line.push('\n');
        line
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        let Some(sink) = SINK.get().filter(|_| !self.metrics.is_empty()) else {
            return;
        };
        let at_ms = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        let line = if sink.is_text {
            self.text()
        } else {
            self.line(sink, at_ms)
        };
        // A closed standard output is no reason to fail what was measured.
        let _ = io::stdout().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink() -> Sink {
        Sink {
            service: "orchestrator".to_owned(),
            namespace: NAMESPACE.to_owned(),
            is_text: false,
            is_detailed: false,
        }
    }

    #[test]
    fn a_person_reads_names_and_values() {
        let mut metrics = Metrics::new();
        metrics
            .property("outcome", "ended")
            .property("steps", 2)
            .put("drive_ms", Unit::Milliseconds, 12.5);
        assert_eq!(metrics.text(), "outcome=ended steps=2 drive_ms=12.5\n");
    }

    #[test]
    fn a_unit_of_work_is_one_line_that_cloudwatch_reads() {
        let mut metrics = Metrics::new();
        metrics
            .put("run_duration_ms", Unit::Milliseconds, 12.5)
            .put("steps", Unit::Count, 5.0)
            .put("steps", Unit::Count, 6.0)
            .property("tenant.id", "acme");
        let line = metrics.line(&sink(), 1_700_000_000_000);
        assert!(line.ends_with('\n') && line.len() < 1024, "{line}");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            line,
            json!({
                "_aws": {
                    "Timestamp": 1_700_000_000_000_u64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Skein",
                        "Dimensions": [["service"]],
                        "Metrics": [
                            {"Name": "run_duration_ms", "Unit": "Milliseconds"},
                            {"Name": "steps", "Unit": "Count"},
                        ],
                    }],
                },
                "service": "orchestrator",
                "tenant.id": "acme",
                "run_duration_ms": 12.5,
                "steps": [5.0, 6.0],
            })
        );
    }

    #[test]
    fn many_valued_properties_are_dimensions_where_somebody_asks_for_it() {
        for is_detailed in [false, true] {
            let mut metrics = Metrics::new();
            metrics
                .put("LLMCost", Unit::None, 0.5)
                .property("Model", "m")
                .property("TenantId", "acme")
                .by(&["Model", "TenantId"]);
            let sink = Sink {
                is_detailed,
                ..sink()
            };
            let line: Value = serde_json::from_str(&metrics.line(&sink, 0)).unwrap();
            let dimensions = &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
            let expected = if is_detailed {
                json!([["service"], ["Model", "TenantId"]])
            } else {
                json!([["service"]])
            };
            assert_eq!(*dimensions, expected);
            assert_eq!(
                (&line["Model"], &line["TenantId"]),
                (&json!("m"), &json!("acme"))
            );
        }
    }

    #[test]
    fn a_start_that_somebody_waits_for_is_counted_and_no_other() {
        let counted = cold_start(Some("on-demand"), false);
        assert_eq!(counted.metrics, [("cold_starts", Unit::Count, vec![1.0])]);
        for (initialization, is_text) in [
            (Some("provisioned-concurrency"), false),
            (None, false),
            (Some("on-demand"), true),
        ] {
            let not = cold_start(initialization, is_text);
            assert!(not.metrics.is_empty(), "{initialization:?} {is_text}");
        }
    }

    #[test]
    fn more_than_the_format_allows_is_dropped() {
        let mut metrics = Metrics::new();
        for _ in 0..=MOST {
            metrics.put("steps", Unit::Count, 1.0);
        }
        let line: Value = serde_json::from_str(&metrics.line(&sink(), 0)).unwrap();
        assert_eq!(line["steps"].as_array().unwrap().len(), MOST);
    }
}
