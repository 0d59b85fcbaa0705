//! The bucket: the six requests of S3 that the store makes. S3's own SDK would make each function more than 2 MB larger.

use aws_runtime::auth::{PayloadSigningOverride, SigningOptions};
use aws_sdk_dynamodb::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use http::Method;
use http::header::CONTENT_TYPE;
use http::request::{Builder, Request};

use crate::Error;
use crate::request::{Ask, Signing, chosen, element, operation, region};

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

    /// Removes an object, if it is there.
    pub(crate) async fn remove(&self, key: &str) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &format!("{key}?x-id=DeleteObject"));
        let answer = self.ask(request, SdkBody::empty()).await;
        answer.map_err(|error| Error::of_sdk("DeleteObject", error))?;
        Ok(())
    }

    /// The keys that begin with `prefix`, behind `after` if there is one, in order, at most `most` (1 to 1,000); and whether
    /// there are more.
    pub(crate) async fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: u32,
    ) -> Result<(Vec<String>, bool), Error> {
        let in_query = |text: &str| text.replace('/', "%2F");
        let mut query = format!("?list-type=2&max-keys={most}&prefix={}", in_query(prefix));
        if let Some(after) = after {
            query.push_str("&start-after=");
            query.push_str(&in_query(after));
        }
        let answer = self.ask(self.request(Method::GET, &query), SdkBody::empty());
        let answer = answer
            .await
            .map_err(|error| Error::of_sdk("ListObjectsV2", error))?;
        listed(&String::from_utf8_lossy(&answer))
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

/// What a list of objects says. None of our names has a character that XML or a URL writes in another way.
fn listed(xml: &str) -> Result<(Vec<String>, bool), Error> {
    let keys = xml.split("<Key>").skip(1).map(|rest| {
        let (key, _) = rest.split_once("</Key>").unwrap_or((rest, ""));
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        if key.bytes().all(is_plain) {
            Ok(key.to_owned())
        } else {
            Err(Error::Corrupt {
                key: key.to_owned(),
                what: "a name that is none of ours",
                source: None,
            })
        }
    });
    let is_cut = element(xml, "IsTruncated") == Some("true");
    Ok((keys.collect::<Result<_, _>>()?, is_cut))
}
