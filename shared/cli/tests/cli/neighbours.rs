//! Several platforms started in one folder: commands go to the one started last of those that run.

use crate::place::{Dev, Place};

/// Where commands of this folder go.
async fn reached(place: &Place) -> Option<String> {
    let doctor = place.skein(&["doctor"]).await;
    let line = doctor.out.lines().next()?.to_owned();
    let url = line.strip_prefix("ok   reachable")?;
    Some(url.trim().to_owned())
}

async fn two(place: &Place) -> (Dev, Dev) {
    let first = place.dev(&[]).await;
    assert_eq!(reached(place).await.as_ref(), Some(&first.url));
    let second = place.dev(&["--state", "other"]).await;
    assert_ne!(first.url, second.url);
    assert_eq!(reached(place).await.as_ref(), Some(&second.url));
    (first, second)
}

#[tokio::test]
async fn commands_go_back_to_the_first_platform_when_the_second_stops() {
    let place = Place::new();
    let (first, second) = two(&place).await;
    second.stop().await;
    assert_eq!(reached(&place).await.as_ref(), Some(&first.url));
    assert_eq!(place.skein(&["run", "hello", "hi"]).await.answer(), "hi");
    first.stop().await;
    assert_eq!(reached(&place).await, None);
    assert_eq!(place.skein(&["runs", "ls"]).await.code, Some(3));
}

#[tokio::test]
async fn commands_stay_with_the_second_platform_when_the_first_stops() {
    let place = Place::new();
    let (first, second) = two(&place).await;
    first.stop().await;
    assert_eq!(reached(&place).await.as_ref(), Some(&second.url));
    second.stop().await;
    assert!(!place.path().join(".skein/endpoint.json").exists());
}
