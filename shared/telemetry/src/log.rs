//! Setting up the log.

use std::env;
use std::io::stdout;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::emf;
use crate::json::{Fields, Line};

/// Where the level comes from; the first that is set counts.
const LEVELS: [&str; 3] = ["SKEIN_LOG", "POWERTOOLS_LOG_LEVEL", "RUST_LOG"];
/// Libraries that are heard from `WARN` on when only a level is asked for. The Lambda runtime is not among them: its span at
/// `INFO` carries the request id.
const QUIET: [&str; 5] = ["aws_", "hyper", "h2", "rustls", "tower"];

/// Starts logging to standard output for the rest of the process; only the first call counts.
///
/// `SKEIN_LOG`, else `POWERTOOLS_LOG_LEVEL`, else `RUST_LOG` holds a level (`info`, the default, `debug`, ...) or directives
/// (`info,engine=debug`). `SKEIN_LOG_FORMAT=text` writes lines for people instead of JSON.
/// `POWERTOOLS_SERVICE_NAME` replaces the service's name, `POWERTOOLS_METRICS_NAMESPACE` that of metrics. Whatever is not
/// logged costs one comparison. A cold start on Lambda is counted.
pub fn init(service: &str) {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let service = variable("POWERTOOLS_SERVICE_NAME").unwrap_or_else(|| service.to_owned());
    let directives = LEVELS.into_iter().find_map(variable);
    let filter = filter(directives.as_deref());
    let is_text = variable("SKEIN_LOG_FORMAT").is_some_and(|format| format == "text");
    let namespace = variable("POWERTOOLS_METRICS_NAMESPACE");
    emf::open(&service, namespace.as_deref(), is_text);
    emf::started(variable("AWS_LAMBDA_INITIALIZATION_TYPE").as_deref());
    let layer = if is_text {
        fmt::layer().compact().with_writer(stdout).boxed()
    } else {
        fmt::layer()
            .fmt_fields(Fields)
            .event_format(Line::new(&service, variable))
            .with_writer(stdout)
            .boxed()
    };
    // Somebody else's subscriber stays in place.
    let _ = registry().with(layer.with_filter(filter)).try_init();
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
