//! Requests of services whose own SDK would make each function much larger: signed and repeated by the machinery below
//! every SDK client. Their refusals are XML with a code and a message.

use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{PayloadSigningOverride, SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_dynamodb::error::ErrorMetadata;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, TransientErrorClassifier,
};
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{
    AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::SigningName;
use aws_types::region::{Region, SigningRegion};
use aws_types::service_config::ServiceConfigKey;
use http::request::Request;

/// Sends a request and gives the body of its answer.
pub(crate) type Ask = Operation<Request<SdkBody>, Vec<u8>, ErrorMetadata>;

/// How the requests of a service are signed.
pub(crate) struct Signing {
    /// The service, as signatures name it.
    pub(crate) service: &'static str,
    pub(crate) options: SigningOptions,
    /// How the body is, if not by its hash.
    pub(crate) body: Option<PayloadSigningOverride>,
}

/// The requests of one service at this endpoint, as `config` says that AWS is asked.
pub(crate) fn operation(config: &SdkConfig, endpoint: &str, signing: Signing) -> Ask {
    let retry = config.retry_config().cloned();
    let mut operation = Operation::builder()
        .service_name(signing.service)
        .operation_name("Request")
        .endpoint_url(endpoint)
        .runtime_plugin(signed(config, signing))
        .with_connection_poisoning()
        .standard_retry(&retry.unwrap_or_else(RetryConfig::standard))
        .retry_classifier(HttpStatusCodeClassifier::default())
        .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
        .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new());
    if let Some(client) = config.http_client() {
        operation = operation.http_client(client);
    }
    if let Some(timeouts) = config.timeout_config() {
        operation = operation.timeout_config(timeouts.clone());
    }
    if let Some(protection) = config.stalled_stream_protection() {
        operation = operation.stalled_stream_protection(protection);
    }
    operation
        .serializer(|request| Ok(HttpRequest::try_from(request)?))
        .deserializer(read)
        .build()
}

/// Where a service is asked, by its id (`S3`), if not where AWS has it.
pub(crate) fn chosen(config: &SdkConfig, service_id: &'static str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service_id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .expect("all three are set");
    config
        .service_config()
        .and_then(|settings| settings.load_config(key))
        .or_else(|| config.endpoint_url().map(str::to_owned))
}

/// The region, and what the names of its hosts end in.
pub(crate) fn region(config: &SdkConfig) -> (&str, &'static str) {
    let region = config.region().map_or("us-east-1", Region::as_ref);
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else if region.starts_with("eusc-") {
        "amazonaws.eu"
    } else {
        "amazonaws.com"
    };
    (region, suffix)
}

/// What stands in the first element of this name.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text)
}

fn signed(config: &SdkConfig, signing: Signing) -> StaticRuntimePlugin {
    let mut layer = Layer::new(signing.service);
    layer.store_put(SigV4OperationSigningConfig {
        region: config.region().cloned().map(SigningRegion::from),
        name: Some(SigningName::from_static(signing.service)),
        signing_options: signing.options,
        ..SigV4OperationSigningConfig::default()
    });
    if let Some(body) = signing.body {
        layer.store_put(body);
    }
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    let schemes = StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]);
    let mut components = RuntimeComponentsBuilder::new(signing.service);
    components
        .set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(schemes)))
        .push_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()));
    if let Some(credentials) = config.credentials_provider() {
        components.set_identity_resolver(SCHEME_ID, credentials);
    }
    if let Some(cache) = config.identity_cache() {
        components.set_identity_cache(Some(cache));
    }
    StaticRuntimePlugin::new()
        .with_config(layer.freeze())
        .with_runtime_components(components)
}

fn read(answer: &HttpResponse) -> Result<Vec<u8>, OrchestratorError<ErrorMetadata>> {
    let body = answer.body().bytes().unwrap_or_default();
    if answer.status().is_success() {
        return Ok(body.to_vec());
    }
    let text = String::from_utf8_lossy(body);
    let mut refusal = ErrorMetadata::builder();
    if let Some(code) = element(&text, "Code") {
        refusal = refusal.code(code);
    }
    if let Some(message) = element(&text, "Message") {
        refusal = refusal.message(message);
    }
    Err(OrchestratorError::operation(refusal.build()))
}
