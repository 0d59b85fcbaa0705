//! Setting up the log.

use std::env;
use std::io::stdout;

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::emf;
use crate::held::Held;
use crate::json::{Fields, Invocations, Line};

/// Where the level comes from; the first that is set counts.
const LEVELS: [&str; 3] = ["SKEIN_LOG", "POWERTOOLS_LOG_LEVEL", "RUST_LOG"];
/// The share of processes that log from `debug` on.
pub(crate) const SAMPLE_RATE: &str = "POWERTOOLS_LOGGER_SAMPLE_RATE";
/// Bytes that are held of one piece of work.
const BUFFER: &str = "SKEIN_LOG_BUFFER";
/// Libraries that are heard from `WARN` on when only a level is asked for. The Lambda runtime is not among them: its span at
/// `INFO` carries the request id.
const QUIET: [&str; 5] = ["aws_", "hyper", "h2", "rustls", "tower"];

/// Starts logging to standard output for the rest of the process; only the first call counts.
///
/// `SKEIN_LOG`, else `POWERTOOLS_LOG_LEVEL`, else `RUST_LOG` holds a level (`info`, the default, `debug`, ...) or directives
/// (`info,engine=debug`). `SKEIN_LOG_FORMAT=text` writes lines for people instead of JSON.
/// `POWERTOOLS_SERVICE_NAME` replaces the service's name, `POWERTOOLS_METRICS_NAMESPACE` that of metrics. Whatever is not
/// logged costs one comparison. A cold start on Lambda is counted.
///
/// `POWERTOOLS_LOGGER_SAMPLE_RATE` (0 to 1) is the share of processes that log everything from `debug` on. With
/// `SKEIN_LOG_BUFFER`, a number of bytes, other processes hold such lines for as long as a piece of [work](crate::work()) goes
/// on, the newest of them, and write them when it meets an error. That costs the CPU of making those lines.
pub fn init(service: &str) {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let service = variable("POWERTOOLS_SERVICE_NAME").unwrap_or_else(|| service.to_owned());
    let directives = LEVELS.into_iter().find_map(variable);
    let filter = filter(directives.as_deref());
    let is_text = variable("SKEIN_LOG_FORMAT").is_some_and(|format| format == "text");
    let namespace = variable("POWERTOOLS_METRICS_NAMESPACE");
    let is_detailed = variable("SKEIN_METRICS_BY_TENANT").is_some_and(|value| value == "true");
    emf::open(&service, namespace.as_deref(), is_text, is_detailed);
    emf::started(variable("AWS_LAMBDA_INITIALIZATION_TYPE").as_deref());
    // Somebody else's subscriber stays in place.
    if is_text {
        let layer = fmt::layer().compact().with_writer(stdout);
        let _ = registry().with(layer.with_filter(filter)).try_init();
        return;
    }
    let sample = variable(SAMPLE_RATE).and_then(|rate| rate.parse().ok());
    let filter = match sample {
        Some(rate) if draw() < rate => self::filter(Some("debug")),
        Some(_) | None => filter,
    };
    let _ = registry()
        .with(layers(&service, filter, variable, stdout))
        .try_init();
}

/// What writes lines of JSON: those of the filter at once, finer ones held if that is asked for.
fn layers<S, W>(
    service: &str,
    filter: Targets,
    variable: impl Fn(&str) -> Option<String>,
    writer: W,
) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    let line = Line::new(service, &variable);
    let level = filter.default_level().unwrap_or(LevelFilter::INFO);
    let most_bytes = variable(BUFFER).and_then(|text| text.parse().ok());
    let held = most_bytes
        .filter(|most| *most > 0)
        .zip(level.into_level())
        .filter(|(_, level)| *level < Level::DEBUG)
        .map(|(most_bytes, level)| {
            let held = Held::new(line.clone(), level, most_bytes, writer.clone());
            held.with_filter(self::filter(Some("debug")))
        });
    let invocations = Invocations::default().with_filter(filter.clone());
    let lines = fmt::layer()
        .fmt_fields(Fields)
        .event_format(line)
        .with_writer(writer)
        .with_filter(filter);
    // In a list, one that is not there silences no other.
    let held = held.map(Layer::boxed);
    [invocations.boxed(), lines.boxed()]
        .into_iter()
        .chain(held)
        .collect::<Vec<_>>()
}

/// A number from 0 to 1.
fn draw() -> f64 {
    let [a, b, c, d, ..] = uuid::Uuid::new_v4().into_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

fn filter(directives: Option<&str>) -> Targets {
    let directives = directives.unwrap_or("info").trim();
    let level = match directives.to_ascii_lowercase().as_str() {
        // What Powertools calls levels that `tracing` has not.
        "warning" => LevelFilter::WARN,
        "critical" => LevelFilter::ERROR,
        level => match (level.parse(), directives.parse()) {
            (Ok(level), _) => level,
            // A word that is no level would parse as the only target to be heard, and silence everything.
            (Err(_), Ok(targets)) if directives.contains('=') => return targets,
            (Err(_), _) => LevelFilter::INFO,
        },
    };
    let quiet = QUIET.map(|target| (target, level.min(LevelFilter::WARN)));
    Targets::new().with_default(level).with_targets(quiet)
}

#[cfg(test)]
mod tests;
