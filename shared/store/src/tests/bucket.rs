use std::sync::Mutex;

use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use local::wire::{Fault, Rule};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::Error;
use crate::bucket::{Bucket, address};

/// S3 as another library has it, which checks signatures and hashes: key `any` with this secret.
fn strict(secret: &str) -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let files = s3s_fs::FileSystem::new(folder.path()).unwrap();
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single("any", secret));
    let service = service.build();
    let router = Router::new().fallback(async move |request: Request| {
        let request = request.map(s3s::Body::http_body_unsync);
        let answer = service.call(request).await.unwrap();
        answer.map(axum::body::Body::new)
    });
    (router, folder)
}

fn hash(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text))
}

#[tokio::test]
async fn requests_are_signed_as_s3_asks() {
    let (router, _folder) = strict("thing");
    let bucket = Bucket::new(&sdk(router), "payloads");
    let error = bucket.ping().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    bucket.create().await.unwrap();
    bucket.create().await.unwrap();
    bucket.ping().await.unwrap();
    let json = "{}".to_owned();
    bucket.put("a/b", json, &hash("{}")).await.unwrap();
    assert_eq!(bucket.object("a/b").await.unwrap(), b"{}");
    let other = "[]".to_owned();
    let error = bucket.put("a/b", other, &hash("{}")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    bucket
        .put("a/c", "{}".to_owned(), &hash("{}"))
        .await
        .unwrap();
    let listed = bucket.keys("a/", Some("a/b"), 10).await.unwrap();
    assert_eq!(listed, (vec!["a/c".to_owned()], false));
    bucket.remove("a/c").await.unwrap();
    assert_eq!(bucket.keys("a/", None, 10).await.unwrap().0, ["a/b"]);
    let (router, _folder) = strict("another");
    let error = Bucket::new(&sdk(router), "payloads").create().await;
    let error = chain(&error.unwrap_err());
    assert!(error.contains("SignatureDoesNotMatch"), "{error}");
}

/// An error with everything below it.
fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |&error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Answers with these statuses and bodies, one after another, then with the last for ever.
fn scripted(answers: Vec<(u16, &'static str)>) -> (Router, std::sync::Arc<Mutex<usize>>) {
    let asked = std::sync::Arc::new(Mutex::new(0));
    let count = asked.clone();
    let router = Router::new().fallback(async move || {
        let mut asked = count.lock().unwrap();
        let (status, body) = answers[(*asked).min(answers.len() - 1)];
        *asked += 1;
        (StatusCode::from_u16(status).unwrap(), body)
    });
    (router, asked)
}

async fn read(answers: Vec<(u16, &'static str)>) -> (Result<Vec<u8>, Error>, usize) {
    let (router, asked) = scripted(answers);
    let read = Bucket::new(&sdk(router), "payloads").object("key").await;
    let asked = *asked.lock().unwrap();
    (read, asked)
}

#[tokio::test]
async fn what_may_pass_is_asked_again_and_a_refusal_is_final() {
    const SLOW: &str = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code></Error>";
    const MISSING: &str = "<Error><Code>NoSuchKey</Code><Message>No such key.</Message></Error>";
    let (read_, asked) = read(vec![(500, ""), (503, SLOW), (200, "[]")]).await;
    assert_eq!((read_.unwrap(), asked), (b"[]".to_vec(), 3));
    let (throttled, asked) = read(vec![(503, SLOW)]).await;
    assert!(matches!(throttled, Err(Error::Throttled { .. })));
    assert_eq!(asked, 3);
    let (down, asked) = read(vec![(500, "")]).await;
    assert!(matches!(down, Err(Error::Unavailable { .. })));
    assert_eq!(asked, 3);
    let (missing, asked) = read(vec![(404, MISSING)]).await;
    let missing = missing.unwrap_err();
    assert!(matches!(missing, Error::Refused { .. }), "{missing:?}");
    assert!(chain(&missing).contains("No such key."));
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_bucket_that_stays_silent_or_breaks_off_is_a_transient_error() {
    let asked = std::sync::Arc::new(Mutex::new(0));
    let count = asked.clone();
    let silent = Router::new().fallback(async move || {
        *count.lock().unwrap() += 1;
        std::future::pending::<StatusCode>().await
    });
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(10));
    let config = sdk(silent).to_builder();
    let config = config.timeout_config(timeouts.build()).build();
    let error = Bucket::new(&config, "payloads").object("key").await;
    assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
    assert_eq!(*asked.lock().unwrap(), 3);
    let faults = Faults::none();
    let broken = faults.wrap(Payloads::open(None).unwrap().router());
    let bucket = Bucket::new(&sdk(broken), "payloads");
    faults.add(Rule::new(Fault::LoseResponse).first(2));
    bucket.create().await.unwrap();
    faults.add(Rule::new(Fault::LoseResponse));
    let error = bucket.ping().await;
    assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
}

#[test]
fn s3_may_have_an_endpoint_of_its_own() {
    #[derive(Debug)]
    struct Own;
    impl LoadServiceConfig for Own {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            assert_eq!((key.service_id(), key.env()), ("S3", "AWS_ENDPOINT_URL"));
            Some("http://objects.local".to_owned())
        }
    }
    let config = SdkConfig::builder()
        .endpoint_url("http://cloud.local")
        .build();
    let own = config.to_builder().service_config(Own).build();
    let of = |endpoint: &str| (endpoint.to_owned(), "/b".to_owned());
    assert_eq!(address(&own, "b"), of("http://objects.local"));
    assert_eq!(address(&config, "b"), of("http://cloud.local"));
}

#[test]
fn aws_has_a_host_for_each_bucket() {
    let at = |region: &'static str, bucket: &str| {
        let config = SdkConfig::builder().region(Region::new(region)).build();
        let (endpoint, path) = address(&config, bucket);
        let uri: Uri = format!("{endpoint}{path}/key").parse().unwrap();
        uri.to_string()
    };
    assert_eq!(
        at("eu-west-1", "b"),
        "https://b.s3.eu-west-1.amazonaws.com/key"
    );
    assert_eq!(
        at("cn-north-1", "b"),
        "https://b.s3.cn-north-1.amazonaws.com.cn/key"
    );
    assert_eq!(
        at("us-east-1", "b.c"),
        "https://s3.us-east-1.amazonaws.com/b.c/key"
    );
}
