//! Where traces go, by the variables that OpenTelemetry has for it.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{HeaderName, HeaderValue};
use telemetry::{Collector, Tracer};

/// Longest time for one export unless said otherwise: an invocation waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// And whatever is said.
const LONGEST: Duration = Duration::from_secs(10);
/// How long a collector that failed is left alone.
const PAUSE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_millis(500);
const ALL: u16 = 1_000;

/// A tracer to the collector at `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else at `OTEL_EXPORTER_OTLP_ENDPOINT`; without one,
/// none.
pub(crate) fn tracer(
    service: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Tracer> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let whole = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let base = || {
        let base = set("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        Some(format!("{}/v1/traces", base.trim().trim_end_matches('/')))
    };
    let Some(url) = whole.or_else(base) else {
        return Ok(Tracer::off());
    };
    let with_tls = url.starts_with("https://");
    if !with_tls && !url.starts_with("http://") {
        bail!("the collector `{url}` must begin with http:// or https://");
    }
    let timeout = set("OTEL_EXPORTER_OTLP_TIMEOUT").and_then(|ms| ms.parse().ok());
    let timeout = timeout.map_or(PATIENCE, Duration::from_millis);
    let mut resource = vec![
        ("service.name", service.to_owned()),
        ("service.namespace", "skein".to_owned()),
        ("cloud.provider", "aws".to_owned()),
    ];
    let described = [
        ("cloud.region", "AWS_REGION"),
        ("faas.name", "AWS_LAMBDA_FUNCTION_NAME"),
        ("faas.version", "AWS_LAMBDA_FUNCTION_VERSION"),
        ("faas.instance", "AWS_LAMBDA_LOG_STREAM_NAME"),
        ("deployment.environment.name", "SKEIN_STAGE"),
    ];
    resource.extend(
        described
            .into_iter()
            .filter_map(|(key, name)| Some((key, set(name)?))),
    );
    Ok(Tracer::to(Collector {
        url,
        headers: headers(&set("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default())?,
        timeout: timeout.min(LONGEST),
        pause: PAUSE,
        per_mille: set("OTEL_TRACES_SAMPLER_ARG").map_or(Ok(ALL), |text| share(&text))?,
        connector: aws::connector(CONNECT, with_tls),
        resource,
    }))
}

/// `name=value,name=value`, where values may have `%` and two digits in place of a byte. What is wrong is never shown, since
/// it may be a secret.
fn headers(text: &str) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let pairs = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    pairs
        .enumerate()
        .map(|(index, pair)| {
            let read = || {
                let (name, value) = pair.split_once('=')?;
                let mut value = HeaderValue::from_bytes(&decoded(value.trim())?).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::try_from(name.trim()).ok()?, value))
            };
            read().with_context(|| {
                format!(
                    "header {} of OTEL_EXPORTER_OTLP_HEADERS must be `name=value`",
                    index + 1
                )
            })
        })
        .collect()
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(*byte);
        }
    }
    Some(bytes)
}

/// A share of one in thousandths.
fn share(text: &str) -> anyhow::Result<u16> {
    let share: f64 = text.trim().parse().unwrap_or(f64::NAN);
    if !(0.0..=1.0).contains(&share) {
        bail!("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, as 0.1");
    }
    let thousandths = (0..=ALL).rev();
    let fits = |part: &u16| f64::from(*part) <= share * f64::from(ALL) + 1e-6;
    Ok(thousandths.into_iter().find(fits).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> anyhow::Result<Tracer> {
        tracer("api", |name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_an_endpoint_nothing_is_traced() {
        assert!(!of(&[]).unwrap().is_on());
        assert!(!of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap().is_on());
        let here = of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/")]).unwrap();
        let shown = format!("{here:?}");
        assert!(shown.contains("http://127.0.0.1:4318/v1/traces"), "{shown}");
        let whole = of(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://there/spans")]).unwrap();
        let shown = format!("{whole:?}");
        assert!(shown.contains("\"http://there/spans\""), "{shown}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_no_secret_is_told() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%2"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_TRACES_SAMPLER_ARG", "all"),
        ] {
            let refused = of(&[(name, value), endpoint]).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
        let keyed = [endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")];
        let shown = format!("{:?}", of(&keyed).unwrap());
        assert!(
            shown.contains("x-key") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn headers_are_read_as_w3c_baggage_has_them() {
        let read = headers("authorization=Basic%20YQ==, x-team=geese").unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].1, "Basic YQ==");
        assert_eq!(
            (read[1].0.as_str(), read[1].1.to_str().unwrap()),
            ("x-team", "geese")
        );
    }

    #[test]
    fn a_share_of_traces_is_counted_in_thousandths() {
        let shares = ["0", "0.001", "0.29", "1.0"].map(|text| share(text).unwrap());
        assert_eq!(shares, [0, 1, 290, 1_000]);
    }
}
