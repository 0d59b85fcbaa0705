use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Full};

use super::*;
use crate::wire::connector;

/// A client of the object store without retries.
pub(crate) fn s3(router: Router) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .force_path_style(true)
        .http_client(connector(router))
        .build();
    Client::from_conf(config)
}

async fn put(client: &Client, key: &str, body: impl Into<ByteStream>) {
    let put = client.put_object().bucket("payloads").key(key);
    put.body(body.into()).send().await.unwrap();
}

async fn read(client: &Client, key: &str) -> Bytes {
    let got = client.get_object().bucket("payloads").key(key).send();
    let body = got.await.unwrap().body;
    body.collect().await.unwrap().into_bytes()
}

#[tokio::test]
async fn an_object_is_read_back_whole_and_by_range() {
    let payloads = Payloads::open(None).unwrap();
    let client = s3(payloads.router());
    let create = client.create_bucket().bucket("payloads").send();
    create.await.unwrap();
    let key = "tenants/acme/runs/1/output.json";
    put(&client, key, b"hello, payload".to_vec()).await;
    assert_eq!(read(&client, key).await, "hello, payload");
    let part = client.get_object().bucket("payloads").key(key);
    let part = part.range("bytes=7-13").send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 7-13/14"));
    assert_eq!(part.body.collect().await.unwrap().into_bytes(), "payload");
}

#[tokio::test]
async fn a_streamed_body_is_stored_without_its_encoding() {
    let payloads = Payloads::open(None).unwrap();
    payloads.create_bucket("payloads").unwrap();
    let client = s3(payloads.router());
    let body = Full::new(Bytes::from(vec![7; 100_000])).map_err(|never| match never {});
    let body = ByteStream::new(SdkBody::from_body_1_x::<_, std::io::Error>(body));
    put(&client, "streamed", body).await;
    assert_eq!(read(&client, "streamed").await, vec![7; 100_000]);
}

#[tokio::test]
async fn a_wrong_checksum_is_refused() {
    let payloads = Payloads::open(None).unwrap();
    payloads.create_bucket("payloads").unwrap();
    let client = s3(payloads.router());
    let put = client.put_object().bucket("payloads").key("key");
    let put = put.body(ByteStream::from_static(b"body"));
    let error = put.checksum_crc32("AAAAAA==").send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 400);
}

#[tokio::test]
async fn a_missing_object_is_no_such_key() {
    let payloads = Payloads::open(None).unwrap();
    payloads.create_bucket("payloads").unwrap();
    let client = s3(payloads.router());
    let got = client.get_object().bucket("payloads").key("missing").send();
    assert_eq!(got.await.unwrap_err().code(), Some("NoSuchKey"));
}

#[tokio::test]
async fn a_presigned_target_needs_no_credentials() {
    let payloads = Payloads::open(None).unwrap();
    payloads.create_bucket("payloads").unwrap();
    let client = s3(payloads.router());
    put(&client, "key", b"body".to_vec()).await;
    let minute = PresigningConfig::expires_in(std::time::Duration::from_secs(60)).unwrap();
    let get = client.get_object().bucket("payloads").key("key");
    let presigned = get.presigned(minute).await.unwrap();
    let uri: Uri = presigned.uri().parse().unwrap();
    let target = uri.path_and_query().unwrap().as_str();
    let request = http::Request::get(target).body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(payloads.router(), request)
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "body");
}

#[tokio::test]
async fn a_reopened_folder_keeps_its_objects_and_a_temporary_one_goes() {
    let folder = tempfile::tempdir().unwrap();
    let first = Payloads::open(Some(folder.path())).unwrap();
    first.create_bucket("payloads").unwrap();
    put(&s3(first.router()), "key", b"kept".to_vec()).await;
    drop(first);
    let second = Payloads::open(Some(folder.path())).unwrap();
    assert_eq!(read(&s3(second.router()), "key").await, "kept");

    let temporary = Payloads::open(None).unwrap();
    let path = temporary.root.path().to_owned();
    let router = temporary.router();
    drop(temporary);
    assert!(path.exists());
    drop(router);
    assert!(!path.exists());
}
