//! The bucket: the four requests of S3 that the store makes, signed and repeated by the machinery below every SDK client.
//! S3's own SDK would make each function more than 2 MB larger.

use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{PayloadSigningOverride, SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_dynamodb::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
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
use http::Method;
use http::header::CONTENT_TYPE;
use http::request::{Builder, Request};

use crate::Error;

/// A client of one bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// What stands before a key in the path of a URL.
    path: String,
    operation: Operation<Request<SdkBody>, Vec<u8>, ErrorMetadata>,
}

impl Bucket {
    pub(crate) fn new(config: &SdkConfig, name: &str) -> Self {
        let (endpoint, path) = address(config, name);
        let retry = config.retry_config().cloned();
        let mut operation = Operation::builder()
            .service_name("S3")
            .operation_name("Request")
            .endpoint_url(&endpoint)
            .runtime_plugin(signing(config))
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
        let operation = operation
            .serializer(|request| Ok(HttpRequest::try_from(request)?))
            .deserializer(read)
            .build();
        Self { path, operation }
    }

    /// Stores JSON whose hash in Base64 is `sha256`: S3 refuses anything else.
    pub(crate) async fn put(&self, key: &str, json: String, sha256: &str) -> Result<(), Error> {
        let request = self
            .request(Method::PUT, &format!("{key}?x-id=PutObject"))
            .header(CONTENT_TYPE, "application/json")
            .header("x-amz-checksum-sha256", sha256)
            // A bucket with a lock asks for it.
            .header("x-amz-sdk-checksum-algorithm", "SHA256");
        let answer = self.ask(request, SdkBody::from(json)).await;
        answer.map_err(|error| Error::of_sdk("PutObject", error))?;
        Ok(())
    }

    pub(crate) async fn object(&self, key: &str) -> Result<Vec<u8>, Error> {
        let request = self.request(Method::GET, &format!("{key}?x-id=GetObject"));
        let answer = self.ask(request, SdkBody::empty()).await;
        answer.map_err(|error| Error::of_sdk("GetObject", error))
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        let answer = self.ask(self.request(Method::HEAD, ""), SdkBody::empty());
        answer
            .await
            .map_err(|error| Error::of_sdk("HeadBucket", error))?;
        Ok(())
    }

    /// Makes the bucket, unless it is there.
    pub(crate) async fn create(&self) -> Result<(), Error> {
        let answer = self.ask(self.request(Method::PUT, ""), SdkBody::empty());
        match answer.await {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(
                    error.code(),
                    Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(Error::of_sdk("CreateBucket", error)),
        }
    }

    /// A request of a key, whose characters all stand for themselves in a URL, or of the bucket.
    fn request(&self, method: Method, key: &str) -> Builder {
        let uri = format!("{}/{key}", self.path);
        Request::builder().method(method).uri(uri)
    }

    async fn ask(
        &self,
        request: Builder,
        body: SdkBody,
    ) -> Result<Vec<u8>, SdkError<ErrorMetadata, HttpResponse>> {
        let request = request.body(body).map_err(SdkError::construction_failure)?;
        Box::pin(self.operation.invoke(request)).await
    }
}

/// Where S3 is asked for this bucket: the endpoint, and the path of the bucket there.
///
/// AWS has a host for each bucket, except that none with dots has a certificate. Other endpoints know paths alone.
pub(crate) fn address(config: &SdkConfig, bucket: &str) -> (String, String) {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .expect("all three are set");
    let chosen = config
        .service_config()
        .and_then(|settings| settings.load_config(key))
        .or_else(|| config.endpoint_url().map(str::to_owned));
    let path = format!("/{bucket}");
    if let Some(endpoint) = chosen {
        return (endpoint, path);
    }
    let region = config.region().map_or("us-east-1", Region::as_ref);
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else if region.starts_with("eusc-") {
        "amazonaws.eu"
    } else {
        "amazonaws.com"
    };
    if bucket.contains('.') {
        (format!("https://s3.{region}.{suffix}"), path)
    } else {
        let host = format!("https://{bucket}.s3.{region}.{suffix}");
        (host, String::new())
    }
}

fn signing(config: &SdkConfig) -> StaticRuntimePlugin {
    let mut options = SigningOptions::default();
    options.double_uri_encode = false;
    options.content_sha256_header = true;
    options.normalize_uri_path = false;
    let mut layer = Layer::new("S3");
    layer.store_put(SigV4OperationSigningConfig {
        region: config.region().cloned().map(SigningRegion::from),
        name: Some(SigningName::from_static("s3")),
        signing_options: options,
        ..SigV4OperationSigningConfig::default()
    });
    // The hash of a body is a header, and headers are signed.
    layer.store_put(PayloadSigningOverride::unsigned_payload());
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    let schemes = StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]);
    let mut components = RuntimeComponentsBuilder::new("S3");
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

/// What stands in the first element of this name. S3's refusals are flat.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text)
}
