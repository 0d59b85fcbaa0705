//! Every way in which a request can fail: the one place that knows status codes of errors.
//!
//! Bodies are problem details (RFC 9457). A code never changes meaning; `type` is its address, or the one that IANA has
//! registered for it.

mod from;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use domain::agent::FieldError;
use domain::flag::Flag;
use domain::maintenance::Maintenance;
use domain::region::Region;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::limit::Verdict;

/// What the address of a problem type begins with.
pub const TYPE_PREFIX: &str = "https://skein.dev/problems/";

/// The registered type of a request over a rate limit (draft-ietf-httpapi-ratelimit-headers-10).
pub const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The body is not JSON.
    MalformedJson(String),
    /// Query parameters or parts of the path break a rule.
    InvalidParameter(Vec<Finding>),
    /// A header breaks a rule.
    InvalidHeader(Finding),
    /// The cursor was not given out for this list.
    InvalidCursor,
    /// The cursor was given out too long ago.
    ExpiredCursor,
    /// There is no credential, or it is none of ours.
    Unauthenticated,
    /// The API key is past its expiry.
    KeyExpired,
    /// The API key was revoked.
    KeyRevoked,
    /// The stream token is past its expiry.
    TokenExpired,
    /// The API key may not do this.
    ScopeMissing(&'static str),
    /// There is no such resource, or it is somebody else's.
    NotFound,
    /// The resource has no such method.
    MethodNotAllowed,
    /// Another function answers this.
    Misdirected,
    /// The tenant is at home in this other Region, where alone anything is written for it.
    HomeElsewhere(Region),
    /// The agent is archived.
    AgentArchived,
    /// The body is larger than this many bytes.
    BodyTooLarge(usize),
    /// The body is of another media type than JSON.
    UnsupportedMediaType,
    /// The body breaks rules.
    InvalidBody(Vec<Finding>),
    /// The idempotency key came with another body before.
    IdempotencyKeyReused,
    /// A rate limit is used up for now.
    RateLimited(Verdict),
    /// As many runs stand in line as may.
    LineFull,
    /// A budget has nothing left; which one, and until when.
    BudgetReached(String),
    /// An operator has switched this off for the tenant.
    SwitchedOff(Flag),
    /// The tenant is suspended.
    TenantSuspended,
    /// The tenant of the key is being closed.
    TenantClosed,
    /// What is to change belongs to a tenant that is being closed.
    TenantClosing,
    /// Another tenant has this id, or had it.
    TenantExists,
    /// The tenant has a stack of its own, which answers at this address.
    TenantElsewhere(String),
    /// Where a tenant's data is cannot be changed.
    IsolationSettled,
    /// The key that is to be rotated holds no longer.
    KeyOver,
    /// Nothing new begins for a while, as an operator says.
    Maintenance(Arc<Maintenance>),
    /// A fault of ours.
    Internal,
    /// Something that this depends on fails; it passes.
    Unavailable,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// JSON Pointer (RFC 6901) into the body.
    Pointer(String),
    /// Name of a query parameter or a part of the path.
    Parameter(String),
    /// Name of a header.
    Header(&'static str),
}

impl Finding {
    /// A finding in the body.
    pub fn body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Place::Pointer(pointer.into()), detail)
    }

    /// A finding in the query or the path.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Place::Parameter(name.into()), detail)
    }

    /// A finding in a header.
    pub fn header(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Place::Header(name), detail)
    }

    fn new(place: Place, detail: impl Into<String>) -> Self {
        Self {
            place,
            detail: detail.into(),
        }
    }
}

impl From<FieldError> for Finding {
    fn from(error: FieldError) -> Self {
        Self::body(error.pointer, error.detail)
    }
}

impl Problem {
    /// One wrong query parameter or part of the path.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::InvalidParameter(vec![Finding::parameter(name, detail)])
    }

    /// One wrong field of the body.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::InvalidBody(vec![Finding::body(pointer, detail)])
    }

    /// Status, code and title.
    #[must_use]
    pub fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedJson(_) => (
                S::BAD_REQUEST,
                "malformed_json",
                "The body is not valid JSON",
            ),
            Self::InvalidParameter(_) => (
                S::BAD_REQUEST,
                "invalid_parameter",
                "A parameter of the address is not valid",
            ),
            Self::InvalidHeader(_) => (S::BAD_REQUEST, "invalid_header", "A header is not valid"),
            Self::InvalidCursor => (
                S::BAD_REQUEST,
                "invalid_cursor",
                "The cursor does not belong to this list",
            ),
            Self::ExpiredCursor => (S::BAD_REQUEST, "expired_cursor", "The cursor has expired"),
            Self::Unauthenticated => (
                S::UNAUTHORIZED,
                "unauthenticated",
                "A valid API key is needed",
            ),
            Self::KeyExpired => (S::UNAUTHORIZED, "key_expired", "The API key has expired"),
            Self::TokenExpired => (
                S::UNAUTHORIZED,
                "token_expired",
                "The stream token has expired",
            ),
            Self::KeyRevoked => (S::UNAUTHORIZED, "key_revoked", "The API key was revoked"),
            Self::ScopeMissing(_) => (S::FORBIDDEN, "scope_missing", "The API key lacks a scope"),
            Self::NotFound => (S::NOT_FOUND, "not_found", "There is no such resource"),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The resource has no such method",
            ),
            Self::Misdirected => (
                S::MISDIRECTED_REQUEST,
                "misdirected",
                "The gateway sent this to a function that does not answer it",
            ),
            Self::HomeElsewhere(_) => (
                S::MISDIRECTED_REQUEST,
                "home_elsewhere",
                "The tenant is at home in another Region",
            ),
            Self::AgentArchived => (S::CONFLICT, "agent_archived", "The agent is archived"),
            Self::BodyTooLarge(_) => (
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is too large",
            ),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body is not declared as JSON",
            ),
            Self::InvalidBody(_) => (
                S::UNPROCESSABLE_ENTITY,
                "invalid_body",
                "The body breaks a rule",
            ),
            Self::IdempotencyKeyReused => (
                S::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The idempotency key was used with another body",
            ),
            Self::LineFull => (
                S::TOO_MANY_REQUESTS,
                "line_full",
                "Too many runs wait for their turn",
            ),
            Self::BudgetReached(_) => (
                S::PAYMENT_REQUIRED,
                "budget_reached",
                "A budget has nothing left",
            ),
            Self::SwitchedOff(_) => (
                S::FORBIDDEN,
                "switched_off",
                "This is switched off for the tenant",
            ),
            Self::TenantSuspended => (S::FORBIDDEN, "tenant_suspended", "The tenant is suspended"),
            Self::TenantClosed => (S::FORBIDDEN, "tenant_closed", "The tenant is being closed"),
            Self::TenantClosing => (S::CONFLICT, "tenant_closing", "The tenant is being closed"),
            Self::TenantExists => (S::CONFLICT, "tenant_exists", "Another tenant has this id"),
            Self::TenantElsewhere(_) => (
                S::CONFLICT,
                "tenant_elsewhere",
                "The tenant has a stack of its own",
            ),
            Self::IsolationSettled => (
                S::CONFLICT,
                "isolation_settled",
                "Where a tenant's data is stays as it was onboarded",
            ),
            Self::KeyOver => (S::CONFLICT, "key_over", "The key holds no longer"),
            Self::RateLimited(_) => (S::TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
            Self::Maintenance(_) => (
                S::SERVICE_UNAVAILABLE,
                "maintenance",
                "There is maintenance",
            ),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Something went wrong"),
            Self::Unavailable => (
                S::SERVICE_UNAVAILABLE,
                "unavailable",
                "The service cannot answer now",
            ),
        }
    }

    /// Whether a rule about who may do what, and how much of it, refuses the request: not a request that is wrong in itself,
    /// and no fault. That something is not there counts: it may be somebody else's.
    pub(crate) fn is_policy(&self) -> bool {
        match self {
            Self::InvalidCursor
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::TokenExpired
            | Self::ScopeMissing(_)
            | Self::NotFound
            | Self::RateLimited(_)
            | Self::LineFull
            | Self::BudgetReached(_)
            | Self::SwitchedOff(_)
            | Self::TenantSuspended => true,
            Self::MalformedJson(_)
            | Self::InvalidParameter(_)
            | Self::InvalidHeader(_)
            | Self::ExpiredCursor
            | Self::Unauthenticated
            | Self::MethodNotAllowed
            | Self::Misdirected
            | Self::HomeElsewhere(_)
            | Self::AgentArchived
            | Self::BodyTooLarge(_)
            | Self::UnsupportedMediaType
            | Self::InvalidBody(_)
            | Self::IdempotencyKeyReused
            // The trail of a tenant that is being closed is to come to its end.
            | Self::TenantClosed
            | Self::TenantClosing
            | Self::TenantExists
            | Self::TenantElsewhere(_)
            | Self::IsolationSettled
            | Self::KeyOver
            | Self::Maintenance(_)
            | Self::Internal
            | Self::Unavailable => false,
        }
    }

    /// What helps whoever asked, in words of ours: never a secret.
    pub(crate) fn detail(&self) -> Option<String> {
        let text = match self {
            Self::MalformedJson(detail) => return Some(detail.clone()),
            Self::ScopeMissing(scope) => return Some(format!("This needs the scope `{scope}`.")),
            Self::BodyTooLarge(limit) => return Some(format!("At most {limit} bytes are taken.")),
            Self::InvalidCursor => {
                "Start over without a cursor; a cursor goes with the filters it was given out for."
            }
            Self::ExpiredCursor => "Cursors are good for a day. Start over without one.",
            Self::Unauthenticated => {
                "Send a key as `Authorization: Bearer skn_...` or as `X-Api-Key: skn_...`."
            }
            Self::TokenExpired => "Whoever has the key can make another one.",
            Self::HomeElsewhere(Region { name, url }) => {
                let there = url
                    .as_ref()
                    .map_or("there".to_owned(), |url| format!("to {url}"));
                return Some(format!(
                    "Send it {there}: for this tenant {name} alone writes; here it can be read."
                ));
            }
            Self::AgentArchived => "No runs can be created of it; those under way go on.",
            Self::UnsupportedMediaType => "Send `Content-Type: application/json`.",
            Self::LineFull => "Send it again when some of them have ended.",
            Self::BudgetReached(which) => return Some(which.clone()),
            Self::SwitchedOff(flag) => {
                let (name, means) = (flag.as_str(), flag.off_means());
                return Some(format!("While `{name}` is off, {means}."));
            }
            Self::Maintenance(notice) => return Some(notice.message.clone()),
            Self::TenantSuspended => "No run begins and none goes on until the operator lets it.",
            Self::TenantClosed => "Its keys open nothing any longer.",
            Self::TenantClosing => {
                "Nothing of it changes any more; until deletion begins it can be resumed."
            }
            Self::TenantExists => "Ids are for ever; choose another one.",
            Self::TenantElsewhere(endpoint) => {
                return Some(format!("Nothing of it is here; ask {endpoint}."));
            }
            Self::IsolationSettled => {
                "There is no move between tables or stacks; onboard another tenant there."
            }
            Self::KeyOver => "It was revoked or has expired; issue a new one.",
            Self::RateLimited(_) => "Send it again after as many seconds as `Retry-After` says.",
            Self::Internal => {
                "The fault is ours and was recorded under the request id in `instance`."
            }
            Self::Unavailable => "The same request can be sent again.",
            Self::Misdirected => {
                "The gateway's routes are not those of this version: deploy both together."
            }
            Self::InvalidParameter(_)
            | Self::InvalidHeader(_)
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::InvalidBody(_)
            | Self::IdempotencyKeyReused => return None,
        };
        Some(text.to_owned())
    }

    fn findings(&self) -> &[Finding] {
        match self {
            Self::InvalidParameter(findings) | Self::InvalidBody(findings) => findings,
            Self::InvalidHeader(finding) => std::slice::from_ref(finding),
            _ => &[],
        }
    }

    /// The address of the problem type: ours, but for the one that is registered.
    fn address(&self, code: &str) -> String {
        match self {
            Self::RateLimited(_) => QUOTA_EXCEEDED.to_owned(),
            _ => format!("{TYPE_PREFIX}{code}"),
        }
    }

    fn violated_policies(&self) -> Vec<&str> {
        match self {
            Self::RateLimited(verdict) => verdict.violated().collect(),
            _ => Vec::new(),
        }
    }

    /// The answer that says so to the request named `instance`.
    #[must_use]
    pub fn response(&self, instance: &str) -> Response {
        let (status, code, title) = self.kind();
        let body = Body {
            r#type: self.address(code),
            title,
            status: status.as_u16(),
            code,
            detail: self.detail(),
            errors: self.findings(),
            violated_policies: self.violated_policies(),
            instance,
        };
        let json = serde_json::to_vec(&body).expect("a problem is plain data with text keys");
        let mut response = Response::new(json.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self {
            Self::Unauthenticated => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"skein\""),
                );
            }
            Self::KeyExpired | Self::KeyRevoked | Self::TokenExpired => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"skein\", error=\"invalid_token\""),
                );
            }
            Self::RateLimited(verdict) => verdict.write(headers),
            Self::LineFull => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
            }
            Self::Maintenance(notice) => {
                headers.insert(RETRY_AFTER, notice.retry_after_s.into());
            }
            Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Finding],
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<&'a str>,
    instance: &'a str,
}

impl IntoResponse for Problem {
    /// An answer without a body; the edge writes the body, since only it knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.kind().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests;
