use http_body_util::BodyExt as _;

use super::*;

fn all() -> Vec<Problem> {
    vec![
        Problem::MalformedJson("line 1".to_owned()),
        Problem::parameter("limit", "must be 1 to 100"),
        Problem::InvalidHeader(Finding::header("Prefer", "no")),
        Problem::InvalidCursor,
        Problem::ExpiredCursor,
        Problem::Unauthenticated,
        Problem::KeyExpired,
        Problem::KeyRevoked,
        Problem::ScopeMissing("runs:read"),
        Problem::NotFound,
        Problem::MethodNotAllowed,
        Problem::AgentArchived,
        Problem::BodyTooLarge(65_536),
        Problem::UnsupportedMediaType,
        Problem::field("/model", "must have 1 to 256 bytes"),
        Problem::IdempotencyKeyReused,
        Problem::Internal,
        Problem::Unavailable,
    ]
}

#[test]
fn the_catalogue_never_changes_meaning() {
    let catalogue: Vec<(u16, &str)> = all()
        .iter()
        .map(|problem| (problem.kind().0.as_u16(), problem.kind().1))
        .collect();
    assert_eq!(
        catalogue,
        [
            (400, "malformed_json"),
            (400, "invalid_parameter"),
            (400, "invalid_header"),
            (400, "invalid_cursor"),
            (400, "expired_cursor"),
            (401, "unauthenticated"),
            (401, "key_expired"),
            (401, "key_revoked"),
            (403, "scope_missing"),
            (404, "not_found"),
            (405, "method_not_allowed"),
            (409, "agent_archived"),
            (413, "body_too_large"),
            (415, "unsupported_media_type"),
            (422, "invalid_body"),
            (422, "idempotency_key_reused"),
            (500, "internal"),
            (503, "unavailable"),
        ]
    );
}

#[tokio::test]
async fn a_problem_says_where_and_under_which_request() {
    let response = Problem::field("/model", "must have 1 to 256 bytes").response("req-1");
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        serde_json::json!({
            "type": "https://skein.dev/problems/invalid_body",
            "title": "The body breaks a rule",
            "status": 422,
            "code": "invalid_body",
            "errors": [{"pointer": "/model", "detail": "must have 1 to 256 bytes"}],
            "instance": "req-1",
        })
    );
}

#[test]
fn headers_help_the_caller_to_do_better() {
    let of = |problem: Problem| problem.response("r").headers().clone();
    assert!(of(Problem::Unauthenticated).contains_key("www-authenticate"));
    assert_eq!(of(Problem::Unavailable)["retry-after"], "1");
}
