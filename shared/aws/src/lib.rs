//! The one SDK configuration: how every client of an AWS service connects, retries, times out and
//! finds its endpoint, made for a small process that starts often. It names no service.
//!
//! Everything comes from the environment, as Lambda gives it: `AWS_REGION`, the credentials, and
//! `AWS_ENDPOINT_URL` or `AWS_ENDPOINT_URL_<SERVICE>`. Profile files, the instance metadata service
//! and the rest of the usual search are never consulted.

use std::env;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

pub use client::{connector, http_client};

mod client;
mod connect;
mod failure;
#[cfg(test)]
mod tests;
mod tls;

/// Time to open a connection, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for one attempt up to the head of its answer. The table, the queues and the object store
/// answer within milliseconds; only models take longer, see [`patient`].
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

const ATTEMPTS: u32 = 3;

const ENDPOINT: &str = "AWS_ENDPOINT_URL";

/// The upper bound of the first wait before a retry; the wait is drawn between zero and the bound,
/// which doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// The configuration that every SDK client of a process is made from; read it once.
///
/// Connections take at most 2 s, attempts 5 s, and there are at most three attempts with jitter.
/// Certificates must go back to Amazon's own authorities; plain http works for endpoints that ask
/// for it.
///
/// It is put together here, since the SDK's own loader links every other source of settings: profiles, the metadata
/// services and a whole client of STS.
#[must_use]
pub fn config() -> SdkConfig {
    let region = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find_map(set);
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region.map(Region::new))
        .service_config(Endpoints)
        .credentials_provider(SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ))
        .identity_cache(IdentityCache::lazy().build())
        .http_client(http_client(tls::AMAZON_ROOTS))
        .timeout_config(timeouts(ATTEMPT_TIMEOUT))
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS)
                .with_initial_backoff(FIRST_BACKOFF)
                .with_max_backoff(LONGEST_BACKOFF),
        )
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    config.set_endpoint_url(set(ENDPOINT));
    config.build()
}

/// Where each service listens, if not where AWS has it: `AWS_ENDPOINT_URL_<SERVICE>`.
#[derive(Debug)]
struct Endpoints;

impl LoadServiceConfig for Endpoints {
    /// A service's own variable is that of all with its name behind: `Bedrock Runtime` as `BEDROCK_RUNTIME`.
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().replace(' ', "_").to_uppercase();
        set(&format!("{}_{service}", key.env()))
    }
}

fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The same configuration for a service whose answers take up to `attempt_timeout`, as models' do.
/// For a streamed answer this is the time to its head.
#[must_use]
pub fn patient(config: &SdkConfig, attempt_timeout: Duration) -> SdkConfig {
    let builder = config.to_builder();
    builder.timeout_config(timeouts(attempt_timeout)).build()
}

/// The same configuration for a service that takes few requests a second: more attempts, and a longer first wait.
#[must_use]
pub fn persistent(config: &SdkConfig, attempts: u32, first_backoff: Duration) -> SdkConfig {
    let retry = RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_initial_backoff(first_backoff)
        .with_max_backoff(LONGEST_BACKOFF);
    config.to_builder().retry_config(retry).build()
}

/// Makes ring the process's crypto provider for libraries that ask rustls for a default one, such
/// as `reqwest`. Harmless when called again; SDK clients do not need it.
pub fn install_crypto() {
    // The error says that a provider is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .build()
}
