mod client;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::error::SdkError;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use tokio::net::TcpListener;

use super::*;

const SERVICES: [&str; 7] = [
    "DYNAMODB",
    "SQS",
    "BEDROCK_RUNTIME",
    "SCHEDULER",
    "CLOUDWATCH",
    "KMS",
    "API_GATEWAY",
];

/// Runs twice: first as a server that starts this same test again with the variables set, then
/// as that process, which calls each service once.
#[tokio::test]
async fn every_service_is_called_at_its_own_endpoint_over_plain_http() {
    if env::var_os("AWS_ENDPOINT_URL_SQS").is_some() {
        return call_each_service().await;
    }
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let record = seen.clone();
    let router = Router::new().fallback(async move |request: Request| {
        let first = request.uri().path().split('/').nth(1).unwrap_or_default();
        let signed = request.headers()["authorization"].to_str().unwrap();
        assert!(signed.contains("AKIDTEST/"), "{signed}");
        assert!(signed.contains("/eu-test-1/"), "{signed}");
        record.lock().unwrap().insert(first.to_owned());
        StatusCode::BAD_REQUEST
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async { axum::serve(listener, router).await });
    let child = tokio::task::spawn_blocking(move || {
        let name = "tests::every_service_is_called_at_its_own_endpoint_over_plain_http";
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", name, "--nocapture"]);
        child.env("AWS_REGION", "eu-test-1");
        child.env("AWS_ACCESS_KEY_ID", "AKIDTEST");
        child.env("AWS_SECRET_ACCESS_KEY", "secret");
        // A damaged profile would show that profiles are read.
        child.env("AWS_CONFIG_FILE", file!());
        for service in SERVICES {
            let url = format!("http://{address}/{service}/");
            child.env(format!("AWS_ENDPOINT_URL_{service}"), url);
        }
        child.output().unwrap()
    });
    let output = child.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    server.abort();
    assert_eq!(*seen.lock().unwrap(), SERVICES.map(str::to_owned).into());
}

async fn call_each_service() {
    let config = config();
    let table = aws_sdk_dynamodb::Client::new(&config);
    let error = table.list_tables().send().await.unwrap_err();
    assert!(matches!(error, SdkError::ServiceError(_)), "{error:?}");
    let queues = aws_sdk_sqs::Client::new(&config);
    queues.list_queues().send().await.unwrap_err();
    let models = aws_sdk_bedrockruntime::Client::new(&config);
    let converse = models.converse().model_id("m").messages(message());
    converse.send().await.unwrap_err();
    let scheduler = aws_sdk_scheduler::Client::new(&config);
    scheduler.list_schedules().send().await.unwrap_err();
    let metrics = aws_sdk_cloudwatch::Client::new(&config);
    metrics.list_metrics().send().await.unwrap_err();
    let keys = aws_sdk_kms::Client::new(&config);
    keys.list_keys().send().await.unwrap_err();
    let gate = aws_sdk_apigateway::Client::new(&config);
    gate.get_usage_plans().send().await.unwrap_err();
}

fn message() -> aws_sdk_bedrockruntime::types::Message {
    aws_sdk_bedrockruntime::types::Message::builder()
        .role(aws_sdk_bedrockruntime::types::ConversationRole::User)
        .content(aws_sdk_bedrockruntime::types::ContentBlock::Text(
            "hello".into(),
        ))
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_embedded_roots_make_a_client_that_reaches_for_tls() {
    let config = config().into_builder();
    let config = config
        .region(Region::new("eu-test-1"))
        .credentials_provider(aws_sdk_dynamodb::config::SharedCredentialsProvider::new(
            Credentials::new("any", "thing", None, None, "test"),
        ))
        .endpoint_url("https://127.0.0.1:1")
        .retry_config(RetryConfig::disabled())
        .build();
    let client = aws_sdk_dynamodb::Client::new(&config);
    let error = client.list_tables().send().await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
}

#[test]
fn a_patient_configuration_differs_in_its_attempt_timeout_alone() {
    let config = config();
    let minutes = Duration::from_secs(300);
    let patient = patient(&config, minutes);
    let timeouts = patient.timeout_config().unwrap();
    assert_eq!(timeouts.operation_attempt_timeout(), Some(minutes));
    assert_eq!(timeouts.connect_timeout(), Some(CONNECT_TIMEOUT));
    assert_eq!(patient.retry_config(), config.retry_config());
}

#[test]
fn a_persistent_configuration_differs_in_its_attempts_and_their_waits_alone() {
    let config = config();
    let second = Duration::from_secs(1);
    let persistent = persistent(&config, 7, second);
    let retry = persistent.retry_config().unwrap();
    assert_eq!((retry.max_attempts(), retry.initial_backoff()), (7, second));
    assert_eq!(retry.max_backoff(), LONGEST_BACKOFF);
    assert_eq!(persistent.timeout_config(), config.timeout_config());
}

#[test]
fn crypto_can_be_installed_twice() {
    install_crypto();
    install_crypto();
    assert!(rustls::crypto::CryptoProvider::get_default().is_some());
}
