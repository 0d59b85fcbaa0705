//! Clients for the tests of the stand-ins, and the tests of the wire itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{Fault, Faults, Meter, Rule, connector, serve};
use crate::table::Table;
use crate::table::tests::{TABLE, create_table, item};

/// A client of the table without retries.
pub(crate) fn dynamodb(router: Router) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(connector(router))
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

async fn table_behind(faults: &Faults) -> (aws_sdk_dynamodb::Client, aws_sdk_dynamodb::Client) {
    let table = Table::open(None).unwrap();
    let direct = dynamodb(table.router());
    create_table(&direct).await;
    (dynamodb(faults.wrap(table.router())), direct)
}

async fn put(
    client: &aws_sdk_dynamodb::Client,
    sk: &str,
) -> Result<(), SdkError<aws_sdk_dynamodb::operation::put_item::PutItemError>> {
    let put = client.put_item().table_name(TABLE);
    let put = put.set_item(Some(item("p", sk)));
    put.condition_expression("attribute_not_exists(pk)")
        .send()
        .await
        .map(|_| ())
}

async fn exists(client: &aws_sdk_dynamodb::Client, sk: &str) -> bool {
    let get = client.get_item().table_name(TABLE);
    let get = get.key("pk", AttributeValue::S("p".into()));
    let get = get.key("sk", AttributeValue::S(sk.into()));
    get.send().await.unwrap().item.is_some()
}

#[tokio::test]
async fn a_throttled_write_is_not_executed_and_reads_as_throttled() {
    let faults = Faults::none();
    let (client, direct) = table_behind(&faults).await;
    faults.add(Rule::new(Fault::Throttle).on("PutItem").nth(2));
    put(&client, "1").await.unwrap();
    let error = put(&client, "2").await.unwrap_err().into_service_error();
    assert!(error.is_provisioned_throughput_exceeded_exception());
    assert!(!exists(&direct, "2").await);
    put(&client, "2").await.unwrap();
    assert_eq!(faults.struck(), 1);
}

#[tokio::test]
async fn a_write_that_fails_before_is_not_executed() {
    let faults = Faults::none();
    let (client, direct) = table_behind(&faults).await;
    faults.add(Rule::new(Fault::FailBefore).containing("poison"));
    let error = put(&client, "poison").await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 500);
    assert_eq!(error.code(), Some("InternalServerError"));
    assert!(!exists(&direct, "poison").await);
    put(&client, "1").await.unwrap();
}

#[tokio::test]
async fn a_lost_response_is_executed_and_reads_as_a_broken_connection() {
    let faults = Faults::none();
    let (client, direct) = table_behind(&faults).await;
    faults.add(Rule::new(Fault::LoseResponse).on("PutItem").first(1));
    let error = put(&client, "1").await.unwrap_err();
    assert!(matches!(&error, SdkError::DispatchFailure(failure) if failure.is_io()));
    assert!(exists(&direct, "1").await);
}

#[tokio::test]
async fn a_duplicated_conditional_write_fails_its_own_condition() {
    let faults = Faults::none();
    let (client, direct) = table_behind(&faults).await;
    faults.add(Rule::new(Fault::Duplicate).on("PutItem"));
    let error = put(&client, "1").await.unwrap_err().into_service_error();
    assert!(error.is_conditional_check_failed_exception());
    assert!(exists(&direct, "1").await);
    faults.clear();
    put(&client, "2").await.unwrap();
}

#[tokio::test]
async fn a_delayed_request_takes_that_long() {
    let faults = Faults::none();
    let (client, _) = table_behind(&faults).await;
    let delay = Duration::from_millis(20);
    faults.add(Rule::new(Fault::Delay(delay)).on("PutItem"));
    let started = std::time::Instant::now();
    put(&client, "1").await.unwrap();
    assert!(started.elapsed() >= delay);
}

#[tokio::test]
async fn a_throttled_object_store_says_slow_down() {
    let faults = Faults::none();
    faults.add(Rule::new(Fault::Throttle).on("GetObject"));
    let payloads = crate::s3::Payloads::open(None).unwrap();
    let client = crate::s3::tests::s3(faults.wrap(payloads.router()));
    let got = client.get_object().bucket("bucket").key("key").send();
    assert_eq!(got.await.unwrap_err().code(), Some("SlowDown"));
}

#[tokio::test]
async fn the_same_seed_strikes_the_same_requests() {
    let strikes = async |seed| {
        let faults = Faults::none();
        faults.add(Rule::new(Fault::FailBefore).with_probability(0.3, seed));
        let router = faults.wrap(Router::new().route("/", get(async || "ok")));
        let mut struck = Vec::new();
        for _ in 0..200 {
            let request = http::Request::get("/").body(Body::empty()).unwrap();
            let response = tower::ServiceExt::oneshot(router.clone(), request).await;
            struck.push(response.unwrap().status() == 500);
        }
        struck
    };
    let first = strikes(7).await;
    assert_eq!(first, strikes(7).await);
    assert_ne!(first, strikes(8).await);
    let count = first.iter().filter(|struck| **struck).count();
    assert!((40..80).contains(&count), "{count} of 200");
}

#[tokio::test]
async fn a_meter_counts_requests_errors_and_units() {
    let table = Table::open(None).unwrap();
    create_table(&dynamodb(table.router())).await;
    let meter = Meter::new();
    let client = dynamodb(meter.wrap(table.router()));
    put(&client, "1").await.unwrap();
    put(&client, "1").await.unwrap_err();
    let before = meter.snapshot();
    client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item("p", "2")))
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .send()
        .await
        .unwrap();
    client
        .query()
        .table_name(TABLE)
        .key_condition_expression("pk = :p")
        .expression_attribute_values(":p", AttributeValue::S("p".into()))
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .consistent_read(true)
        .send()
        .await
        .unwrap();
    let now = meter.snapshot();
    assert_eq!(now.of("PutItem").requests, 3);
    assert_eq!(now.of("PutItem").errors, 1);
    assert_eq!(now.total().requests, 4);
    let since = now.since(&before);
    assert_eq!(since.of("PutItem").requests, 1);
    assert!((since.of("PutItem").write_units - 1.0).abs() < f64::EPSILON);
    assert!((since.of("Query").read_units - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn bodies_stream_through_the_connector() {
    let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
    let receive = Arc::new(tokio::sync::Mutex::new(receive));
    let router = Router::new().route(
        "/bucket/key",
        get(move || {
            let chunks = futures_util::stream::unfold(receive, async |receive| {
                let chunk = receive.lock().await.recv().await?;
                Some((Ok::<_, std::io::Error>(chunk), receive.clone()))
            });
            async { Body::from_stream(chunks) }
        }),
    );
    let client = crate::s3::tests::s3(router);
    let got = client.get_object().bucket("bucket").key("key").send();
    let mut body = got.await.unwrap().body;
    // Each chunk arrives before the next is sent, so nothing collects the body on the way.
    for chunk in ["one", "two"] {
        send.send(chunk.into()).await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), chunk);
    }
    drop(send);
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_served_router_answers_over_one_connection_and_stops() {
    let executed = Arc::new(AtomicU32::new(0));
    let counted = executed.clone();
    let router = Router::new()
        .route(
            "/count",
            post(async move || counted.fetch_add(1, Ordering::Relaxed).to_string()),
        )
        .route("/never", get(std::future::pending::<()>));
    let faults = Faults::none();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, faults.wrap(router), async {
        stopped.await.ok();
    }));
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let request = |method: http::Method, path: &str| {
        let request = http::Request::builder().method(method);
        let request = request.uri(format!("http://{address}{path}"));
        client.request(request.body(Body::empty()).unwrap())
    };
    let count = async || -> Result<Bytes, hyper_util::client::legacy::Error> {
        let response = request(http::Method::POST, "/count").await?;
        Ok(response.into_body().collect().await.unwrap().to_bytes())
    };
    assert_eq!(count().await.unwrap(), "0");
    assert_eq!(count().await.unwrap(), "1");
    faults.add(Rule::new(Fault::LoseResponse).on("POST /count"));
    assert!(count().await.is_err(), "the connection must break");
    assert_eq!(executed.load(Ordering::Relaxed), 3);
    let never = tokio::spawn(request(http::Method::GET, "/never"));
    tokio::task::yield_now().await;
    stop.send(()).unwrap();
    server.await.unwrap();
    assert!(never.await.unwrap().is_err());
}
