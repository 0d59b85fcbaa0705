use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::Credentials;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use axum::Router;
use http::StatusCode;
use local::kms::Key;
use local::wire::{Meter, connector};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::*;

fn signer(router: Router, key: &str) -> Signer {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
        .endpoint_url("http://kms.local")
        .retry_config(RetryConfig::disabled())
        .http_client(connector(router))
        .build();
    Signer::new(Client::from_conf(config), key)
}

#[tokio::test]
async fn a_signature_is_verified_by_the_public_key_alone() {
    let key = Key::open(None).unwrap();
    let meter = Meter::new();
    let signer = signer(meter.wrap(key.router()), local::kms::KEY);
    let message = "x".repeat(MAX_BYTES);
    let signature = STANDARD.decode(signer.sign(&message).await.unwrap());
    let public = signer.public_key().await.unwrap();
    let spki = STANDARD.decode(&public.spki).unwrap();
    let point = &spki[spki.len() - 65..];
    let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
    let signature = signature.unwrap();
    verifier.verify(message.as_bytes(), &signature).unwrap();
    verifier.verify(b"another", &signature).unwrap_err();
    assert_eq!(public.id.len(), 64);
    signer.clone().public_key().await.unwrap();
    let asked = meter.snapshot().of("GetPublicKey");
    assert_eq!(asked.requests, 1, "it never changes");
}

#[tokio::test]
async fn what_kms_refuses_is_told_apart_from_what_may_pass() {
    let key = Key::open(None).unwrap();
    let error = signer(key.router(), "another").sign("x").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let large = "x".repeat(MAX_BYTES + 1);
    let error = signer(key.router(), local::kms::KEY).sign(&large).await;
    assert!(matches!(error, Err(Error::Refused { .. })), "{error:?}");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let down = Router::new().fallback(async move || {
        count.fetch_add(1, Ordering::Relaxed);
        StatusCode::SERVICE_UNAVAILABLE
    });
    let signer = signer(down, local::kms::KEY);
    for _ in 0..2 {
        let error = signer.public_key().await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "a failure is not kept");
}
