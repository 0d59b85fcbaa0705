//! API Gateway's own events, through the same way as on Lambda.

use lambda_http::request::LambdaRequest;

use super::*;
use crate::lambda::{buffer, serve};

/// Answers an event; the body in one piece.
async fn answer(world: &World, event: &str) -> (u16, String) {
    let event: LambdaRequest = serde_json::from_str(event).unwrap();
    let response = serve(world.router.clone(), event.into()).await;
    let response = buffer(response).await.unwrap().0;
    let text = std::str::from_utf8(response.body()).unwrap().to_owned();
    (response.status().as_u16(), text)
}

#[tokio::test]
async fn the_events_of_the_gateway_find_their_routes() {
    let world = world().await;
    let key = world
        .key_of([7; keys::RANDOM_BYTES], "demo", auth::SCOPES, |_| {})
        .await;
    macro_rules! event {
        ($name:literal) => {
            include_str!(concat!("../../../../events/", $name, ".json"))
        };
    }
    world
        .post(
            &key,
            "/v1/agents/calculator",
            &json!({"model": "local.echo"}),
        )
        .await;
    for (event, status, part) in [
        (event!("api-health"), 200, "\"ok\""),
        (event!("api-unauthorized"), 401, "unauthenticated"),
        (event!("api-malformed-json"), 400, "malformed_json"),
        (event!("api-create-agent"), 201, "\"version\""),
        (event!("api-list-runs"), 200, "\"next_cursor\""),
        (event!("admin-create-tenant"), 403, "scope_missing"),
        (event!("stream-create-run"), 200, "event: end\n"),
        (event!("stream-run-events"), 404, "not_found"),
    ] {
        let (answered, text) = answer(&world, event).await;
        assert_eq!(answered, status, "{text}\n{event}");
        assert!(text.contains(part), "{text}");
    }
}
