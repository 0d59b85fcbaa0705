//! The wiring that all functions share: an [`Engine`] over clients made from the environment.
//!
//! Settings come from `SKEIN_TABLE`, `SKEIN_BUCKET`, `SKEIN_QUEUE_INTERACTIVE`, `SKEIN_QUEUE_STANDARD`, `SKEIN_QUEUE_BATCH`,
//! `SKEIN_QUEUE_TASKS`, `SKEIN_QUEUE_SWEEPS` (URLs) and `SKEIN_CURSOR_SECRET`, all needed; `SKEIN_SCHEDULER_ROLE_ARN` and
//! `SKEIN_SCHEDULER_GROUP`, without which long delays are made of short ones; `SKEIN_TENANT_ROLE_ARN`, without which tenants'
//! work is done as the function itself; `SKEIN_PRICES`, a file of the form of `shared/gateway/prices.toml` whose prices
//! replace those that are built in; `SKEIN_REGIONS`, the Regions that share the table as [`Regions::parse`] reads them, without
//! which there is but one; `SKEIN_ALLOW_LOOPBACK=true`, for development.
//! Whoever archives audit trails needs `SKEIN_AUDIT_BUCKET` and `SKEIN_AUDIT_KEY` (an id or ARN of KMS) as well.
//! Who has API Gateway count requests reads `SKEIN_GATE` and `SKEIN_GATE_POOLED`.
//! Traces go to the collector that OpenTelemetry's variables name. What the SDK itself reads stands in `aws`.

mod ending;
mod traces;

use std::env;
use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::region::Regions;
pub use ending::before_the_end;
use engine::tools::Tools;
use engine::{Engine, Platform};
use gate::Gate;
use gateway::{Gateway, Prices};
use queue::{Beat, Queue, Timers};
use signer::Signer;
use store::{Archive, Store, TenantRole};
use telemetry::Gauges;

/// A request to AWS is made of hundreds of small allocations that live for a millisecond. The C library's allocator took a
/// sixth of the CPU time of `api`, by `perf` under the benchmark's W2.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longest time to the head of a model's answer: for one that is not streamed, to its end.
const MODEL_PATIENCE: Duration = Duration::from_secs(300);
/// Attempts at a request to API Gateway, and the longest first wait between two.
const GATE_ATTEMPTS: u32 = 5;
const GATE_BACKOFF: Duration = Duration::from_millis(300);
/// Fewest bytes of the secret that cursors are signed with.
const MIN_SECRET_BYTES: usize = 32;

/// An engine over AWS, or over whatever `AWS_ENDPOINT_URL*` names.
///
/// # Errors
/// When a setting is missing or cannot be used.
pub fn engine() -> anyhow::Result<Engine> {
    aws::install_crypto();
    let settings = Settings::read(|name| env::var(name).ok())?;
    let config = aws::config();
    let table = aws_sdk_dynamodb::Client::new(&config);
    let mut of_store = settings.store;
    of_store.tenant_role = settings.tenant_role_arn.map(|arn| TenantRole {
        aws: config.clone(),
        arn,
    });
    let store = Store::new(table, &config, of_store);
    let scheduler = settings
        .queue
        .timers
        .is_some()
        .then(|| aws_sdk_scheduler::Client::new(&config));
    let queue = Queue::new(aws_sdk_sqs::Client::new(&config), scheduler, settings.queue);
    let models = aws_sdk_bedrockruntime::Client::new(&aws::patient(&config, MODEL_PATIENCE));
    let prices = prices(settings.prices.as_deref())?;
    let platform = Platform {
        prices: prices.units(&settings.region, env::consts::ARCH),
        memory_mb: settings.memory_mb,
    };
    let gateway = Gateway::new(models, prices);
    if settings.tools.allow_loopback {
        tracing::warn!(
            "tools may reach this machine: never set SKEIN_ALLOW_LOOPBACK in production"
        );
    }
    let engine = Engine::new(store, queue, gateway, Tools::new(settings.tools));
    let tracer = traces::tracer(telemetry::service(), |name| env::var(name).ok())?;
    Ok(engine.on(platform).traced(tracer))
}

/// The prices that are built in, under those of a file.
fn prices(file: Option<&str>) -> anyhow::Result<Prices> {
    let prices = Prices::builtin();
    let Some(file) = file else { return Ok(prices) };
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
    let over = Prices::parse(&text).with_context(|| format!("reading {file}"))?;
    Ok(prices.overridden_by(over))
}

/// A store over this table and nothing else, for a person at a terminal who may write to it.
#[must_use]
pub fn table(name: &str) -> Store {
    aws::install_crypto();
    let config = aws::config();
    let table = aws_sdk_dynamodb::Client::new(&config);
    Store::new(table, &config, store::Config::new(name, "", []))
}

/// Where audit trails are archived, and what signs their checkpoints.
///
/// # Errors
/// When a setting is missing.
pub fn audit() -> anyhow::Result<(Archive, Signer)> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let need = |name: &str| set(name).with_context(|| format!("{name} is not set"));
    let (bucket, key) = (need("SKEIN_AUDIT_BUCKET")?, need("SKEIN_AUDIT_KEY")?);
    let config = aws::config();
    let signer = Signer::new(aws_sdk_kms::Client::new(&config), key);
    Ok((Archive::new(&config, &bucket), signer))
}

/// What API Gateway's keys and plans are called here: `SKEIN_GATE`, with the tiers of `SKEIN_GATE_POOLED` pooled. None
/// without usage plans.
///
/// # Errors
/// When the name cannot be used.
pub fn gate_names() -> anyhow::Result<Option<gate::Names>> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let Some(name) = set("SKEIN_GATE") else {
        return Ok(None);
    };
    let pooled = set("SKEIN_GATE_POOLED").unwrap_or_default();
    let names = gate::Names::parse(&name, &pooled);
    names
        .map(Some)
        .context("SKEIN_GATE must have 1 to 64 letters and digits")
}

/// API Gateway's keys, where there are usage plans.
///
/// # Errors
/// As [`gate_names`].
pub fn gate() -> anyhow::Result<Option<Gate>> {
    let Some(names) = gate_names()? else {
        return Ok(None);
    };
    // It takes five new keys a second, from all of an account: worth waiting for.
    let config = aws::persistent(&aws::config(), GATE_ATTEMPTS, GATE_BACKOFF);
    let client = aws_sdk_apigateway::Client::new(&config);
    Ok(Some(Gate::new(client, names)))
}

/// Gauges of one function, in CloudWatch.
pub fn gauges(function: &str) -> Gauges {
    let config = aws::config();
    Gauges::new(aws_sdk_cloudwatch::Client::new(&config), function)
}

struct Settings {
    store: store::Config,
    tenant_role_arn: Option<String>,
    queue: queue::Config,
    tools: engine::tools::Config,
    prices: Option<String>,
    region: String,
    /// Megabytes of this function; nothing outside Lambda.
    memory_mb: u64,
}

impl Settings {
    fn read(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let need = |name: &str| set(name).with_context(|| format!("{name} is not set"));
        let secret = need("SKEIN_CURSOR_SECRET")?;
        if secret.len() < MIN_SECRET_BYTES {
            bail!("SKEIN_CURSOR_SECRET must have at least {MIN_SECRET_BYTES} bytes");
        }
        let timers = match (
            set("SKEIN_SCHEDULER_ROLE_ARN"),
            set("SKEIN_SCHEDULER_GROUP"),
        ) {
            (Some(role_arn), Some(group)) => Some(Timers { group, role_arn }),
            (None, None) => None,
            _ => bail!("SKEIN_SCHEDULER_ROLE_ARN and SKEIN_SCHEDULER_GROUP go together"),
        };
        let region = set("AWS_REGION").unwrap_or_default();
        let mut store = store::Config::new(need("SKEIN_TABLE")?, need("SKEIN_BUCKET")?, secret);
        let regions = set("SKEIN_REGIONS").unwrap_or_default();
        store.regions = Regions::parse(&regions, &region).context("SKEIN_REGIONS")?;
        Ok(Self {
            store,
            tenant_role_arn: set("SKEIN_TENANT_ROLE_ARN"),
            queue: queue::Config {
                interactive_url: need("SKEIN_QUEUE_INTERACTIVE")?,
                standard_url: need("SKEIN_QUEUE_STANDARD")?,
                batch_url: need("SKEIN_QUEUE_BATCH")?,
                tasks_url: need("SKEIN_QUEUE_TASKS")?,
                sweeps_url: need("SKEIN_QUEUE_SWEEPS")?,
                timers,
                beat: Beat::default(),
            },
            tools: engine::tools::Config {
                allow_loopback: set("SKEIN_ALLOW_LOOPBACK").is_some_and(|value| value == "true"),
            },
            prices: set("SKEIN_PRICES"),
            region,
            memory_mb: set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONAL: [&str; 4] = [
        "SKEIN_REGIONS",
        "SKEIN_SCHEDULER",
        "SKEIN_ALLOW_LOOPBACK",
        "SKEIN_TENANT_ROLE_ARN",
    ];

    fn read(over: &[(&str, &str)]) -> anyhow::Result<Settings> {
        Settings::read(|name| match over.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => Some((*value).to_owned()),
            None if OPTIONAL.iter().any(|optional| name.starts_with(optional)) => None,
            None => Some("x".repeat(32)),
        })
    }

    fn refusal(over: &[(&str, &str)]) -> String {
        read(over)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_missing_setting_is_named() {
        assert_eq!(refusal(&[("SKEIN_TABLE", "")]), "SKEIN_TABLE is not set");
        assert!(refusal(&[("SKEIN_CURSOR_SECRET", "short")]).contains("at least 32 bytes"));
        assert!(refusal(&[("SKEIN_SCHEDULER_GROUP", "timers")]).contains("go together"));
    }

    #[test]
    fn a_file_of_prices_lies_upon_those_that_are_built_in() {
        let file = std::env::temp_dir().join(format!("skein-prices-{}.toml", std::process::id()));
        let text = "[[unit]]\nregion = \"us-east-1\"\nunit = \"invocation\"\npico_usd = 7\nsource = \"a contract\"\neffective = 2026-11-01\n";
        std::fs::write(&file, text).unwrap();
        let name = file.to_str().unwrap();
        let units = prices(Some(name)).unwrap().units("us-east-1", "aarch64");
        assert_eq!((units.invocation, units.payload_read), (7, 400_000));
        std::fs::write(&file, "[[unit]]").unwrap();
        let error = prices(Some(name)).unwrap_err().to_string();
        assert!(error.contains("skein-prices"), "{error}");
        std::fs::remove_file(&file).unwrap();
        assert!(prices(Some(name)).is_err(), "it is not there");
    }

    #[test]
    fn development_switches_are_off_unless_asked_for() {
        let settings = read(&[]).unwrap();
        assert!(!settings.tools.allow_loopback);
        assert!(settings.queue.timers.is_none());
        assert!(
            read(&[("SKEIN_ALLOW_LOOPBACK", "true")])
                .unwrap()
                .tools
                .allow_loopback
        );
    }
}
