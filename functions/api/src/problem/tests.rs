use http_body_util::BodyExt as _;

use super::*;
use crate::limit::Standing;

fn verdict() -> Verdict {
    let window = |name: &str, remaining, resets_in_seconds| Standing {
        name: name.to_owned(),
        requests: 100,
        seconds: 60,
        remaining,
        resets_in_seconds,
        violated: remaining == 0,
    };
    Verdict {
        windows: vec![window("a", 0, 40), window("b", 7, 900), window("c", 0, 50)],
    }
}

fn notice() -> domain::maintenance::Maintenance {
    domain::maintenance::Maintenance {
        message: "Back at noon.".to_owned(),
        retry_after_s: 600,
        by: "operator:o".to_owned(),
        since: domain::time::At(1),
    }
}

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
        Problem::TokenExpired,
        Problem::ScopeMissing("runs:read"),
        Problem::NotFound,
        Problem::MethodNotAllowed,
        Problem::Misdirected,
        Problem::HomeElsewhere(domain::region::Region {
            name: "eu-west-1".to_owned(),
            url: None,
        }),
        Problem::AgentArchived,
        Problem::BodyTooLarge(65_536),
        Problem::UnsupportedMediaType,
        Problem::field("/model", "must have 1 to 256 bytes"),
        Problem::IdempotencyKeyReused,
        Problem::RateLimited(verdict()),
        Problem::LineFull,
        Problem::BudgetReached("which".to_owned()),
        Problem::SwitchedOff(domain::flag::Flag::Streaming),
        Problem::TenantSuspended,
        Problem::TenantExists,
        Problem::KeyOver,
        Problem::Maintenance(std::sync::Arc::new(notice())),
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
            (401, "token_expired"),
            (403, "scope_missing"),
            (404, "not_found"),
            (405, "method_not_allowed"),
            (421, "misdirected"),
            (421, "home_elsewhere"),
            (409, "agent_archived"),
            (413, "body_too_large"),
            (415, "unsupported_media_type"),
            (422, "invalid_body"),
            (422, "idempotency_key_reused"),
            (429, "rate_limited"),
            (429, "line_full"),
            (402, "budget_reached"),
            (403, "switched_off"),
            (403, "tenant_suspended"),
            (409, "tenant_exists"),
            (409, "key_over"),
            (503, "maintenance"),
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

#[tokio::test]
async fn too_many_requests_say_of_which_limit_and_until_when() {
    let response = Problem::RateLimited(verdict()).response("req-1");
    let headers = response.headers();
    assert_eq!(headers["retry-after"], "50");
    assert_eq!(
        headers["ratelimit"],
        r#""a";r=0;t=40, "b";r=7;t=900, "c";r=0;t=50"#
    );
    assert!(headers.contains_key("ratelimit-policy"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        serde_json::json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Too many requests",
            "status": 429,
            "code": "rate_limited",
            "detail": "Send it again after as many seconds as `Retry-After` says.",
            "violated-policies": ["a", "c"],
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
