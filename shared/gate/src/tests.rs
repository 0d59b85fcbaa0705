use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::Credentials;
use aws_sdk_apigateway::config::retry::RetryConfig;
use aws_sdk_apigateway::config::{BehaviorVersion, Region};
use axum::Router;
use http::StatusCode;
use local::gate::{Gate as Standin, Plan};
use local::wire::{Fault, Faults, Rule, connector};

use super::*;

fn standin() -> Standin {
    let gate = Standin::default();
    gate.add_plan("skein.free", Plan::default());
    gate.add_plan("skein.business", Plan::default());
    gate
}

fn gate(router: Router) -> Gate {
    let config = aws_sdk_apigateway::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
        .endpoint_url("http://apigateway.local")
        .retry_config(RetryConfig::disabled())
        .http_client(connector(router))
        .build();
    let names = Names::parse("skein", "").unwrap();
    Gate::new(Client::from_conf(config), names)
}

fn ids() -> (TenantId, KeyId) {
    let key = KeyId::parse("0123456789abcdef").unwrap();
    (TenantId::parse("acme").unwrap(), key)
}

fn on(plan: &str) -> Vec<(String, Option<String>)> {
    vec![(
        "skein.acme.0123456789abcdef".to_owned(),
        Some(format!("skein.{plan}")),
    )]
}

#[tokio::test]
async fn a_key_is_made_moved_and_removed_however_often_that_is_asked_for() {
    let standin = standin();
    let gate = gate(standin.router());
    let (acme, key) = ids();
    for plan in ["free", "free", "business", "business", "free"] {
        gate.ensure(&acme, &key, plan).await.unwrap();
        assert_eq!(standin.keys(), on(plan));
    }
    let value = gate.names().own_value(&key);
    assert!(standin.admit(&value).is_ok());
    assert_eq!(gate.list(&acme).await.unwrap(), std::slice::from_ref(&key));
    let other = TenantId::parse("acm").unwrap();
    assert_eq!(gate.list(&other).await.unwrap(), []);
    for _ in 0..2 {
        gate.remove(&acme, &key).await.unwrap();
        assert_eq!(standin.keys(), []);
    }
}

/// Each request in turn fails before it is done, or is done and not answered; the same call again does what is left.
#[tokio::test]
async fn what_was_interrupted_anywhere_is_finished_by_the_same_call() {
    for lost in [false, true] {
        for interrupted in 1..9 {
            let (standin, faults) = (standin(), Faults::none());
            let gate = gate(faults.wrap(standin.router()));
            let (acme, key) = ids();
            gate.ensure(&acme, &key, "free").await.unwrap();
            let fault = if lost {
                Fault::LoseResponse
            } else {
                Fault::FailBefore
            };
            faults.add(Rule::new(fault).nth(interrupted));
            let _first = gate.ensure(&acme, &key, "business").await;
            faults.clear();
            gate.ensure(&acme, &key, "business").await.unwrap();
            assert_eq!(standin.keys(), on("business"), "{interrupted} {lost}");
        }
    }
}

#[tokio::test]
async fn what_api_gateway_refuses_is_told_apart_from_what_may_pass() {
    let (acme, key) = ids();
    let no_plan = gate(standin().router()).ensure(&acme, &key, "gold").await;
    assert!(matches!(no_plan, Err(Error::NoPlan(name)) if name == "skein.gold"));
    for (status, is_transient) in [
        (StatusCode::TOO_MANY_REQUESTS, true),
        (StatusCode::SERVICE_UNAVAILABLE, true),
        (StatusCode::FORBIDDEN, false),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let down = Router::new().fallback(async move || {
            count.fetch_add(1, Ordering::Relaxed);
            status
        });
        let error = gate(down).ensure(&acme, &key, "free").await.unwrap_err();
        assert_eq!(error.is_transient(), is_transient, "{error:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn a_value_that_another_stack_has_is_not_taken_from_it() {
    let standin = standin();
    let (acme, key) = ids();
    let gate = gate(standin.router());
    let value = gate.names().own_value(&key);
    standin.add_key("theirs", &value, "skein.free").unwrap();
    let taken = gate.ensure(&acme, &key, "free").await;
    assert!(matches!(taken, Err(Error::Taken(_))), "{taken:?}");
}
