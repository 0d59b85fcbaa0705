//! The bucket: the four requests of S3 that the store makes. S3's own SDK would make each function more than 2 MB larger.

use aws_runtime::auth::{PayloadSigningOverride, SigningOptions};
use aws_sdk_dynamodb::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use http::Method;
use http::header::CONTENT_TYPE;
use http::request::{Builder, Request};

use crate::Error;
use crate::request::{Ask, Signing, chosen, operation, region};

/// A client of one bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// What stands before a key in the path of a URL.
    path: String,
    operation: Ask,
}

impl Bucket {
    pub(crate) fn new(config: &SdkConfig, name: &str) -> Self {
        let (endpoint, path) = address(config, name);
        let mut options = SigningOptions::default();
        options.double_uri_encode = false;
        options.content_sha256_header = true;
        options.normalize_uri_path = false;
        let signing = Signing {
            service: "s3",
            options,
            // The hash of a body is a header, and headers are signed.
            body: Some(PayloadSigningOverride::unsigned_payload()),
        };
        Self {
            path,
            operation: operation(config, &endpoint, signing),
        }
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
    let path = format!("/{bucket}");
    if let Some(endpoint) = chosen(config, "S3") {
        return (endpoint, path);
    }
    let (region, suffix) = region(config);
    if bucket.contains('.') {
        (format!("https://s3.{region}.{suffix}"), path)
    } else {
        let host = format!("https://{bucket}.s3.{region}.{suffix}");
        (host, String::new())
    }
}
