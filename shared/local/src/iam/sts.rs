//! STS: `AssumeRole` in the query protocol.
//!
//! Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use uuid::Uuid;

use super::{ACCOUNT, Iam, Principal, Session, TEMPORARY, decoded};

/// How long a session lasts, in seconds, at least and, for who has a role already, at most.
const LASTS_S: std::ops::RangeInclusive<u64> = 900..=3_600;

type Fields = BTreeMap<String, String>;

/// Status, code and message of an error.
type Failure = (StatusCode, &'static str, String);

pub(super) fn router(iam: &Iam) -> Router {
    Router::new()
        .route("/", post(answer))
        .with_state(iam.clone())
}

async fn answer(State(iam): State<Iam>, headers: HeaderMap, body: Bytes) -> Response {
    let (status, body) = match assume(&iam, &headers, &fields(&body)) {
        Ok(body) => (StatusCode::OK, body),
        Err((status, code, message)) => (
            status,
            format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            ),
        ),
    };
    (status, [(CONTENT_TYPE, "text/xml")], body).into_response()
}

fn assume(iam: &Iam, headers: &HeaderMap, fields: &Fields) -> Result<String, Failure> {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    if (field("Action"), field("Version")) != ("AssumeRole", "2011-06-15") {
        return Err(invalid(
            "The local STS knows AssumeRole of 2011-06-15 alone",
        ));
    }
    let name = field("RoleSessionName");
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(2..=64).contains(&name.len()) || !name.bytes().all(is_name) {
        return Err(invalid("RoleSessionName must be 2 to 64 of [\\w+=,.@-]"));
    }
    let lasts_s = match field("DurationSeconds") {
        "" => Ok(*LASTS_S.end()),
        text => text.parse().map_err(|_| ()),
    };
    let Some(lasts_s) = lasts_s.ok().filter(|lasts_s| LASTS_S.contains(lasts_s)) else {
        return Err(invalid("DurationSeconds must be 900 to 3600"));
    };
    let tags: BTreeMap<_, _> = (1..=50)
        .map_while(|n| {
            let part = |part| fields.get(&format!("Tags.member.{n}.{part}"));
            Some((part("Key")?.clone(), part("Value")?.clone()))
        })
        .collect();
    let role = field("RoleArn");
    // Whoever has a session has what its role allows, and that is no other role. The trust policy wants a tenant and no
    // other tag.
    let is_session = !matches!(
        iam.principal(headers),
        Ok(None | Some(Principal::Restricted { .. }))
    );
    let is_tagged = tags.keys().eq(["TenantId"]) && tags.values().all(|value| !value.is_empty());
    let now = (iam.clock)();
    let mut state = iam.lock();
    let policy = state.roles.get(role).filter(|_| !is_session && is_tagged);
    let Some(policy) = policy.map(Arc::clone) else {
        let message = format!("Not authorized to perform sts:AssumeRole on resource: {role}");
        return Err((StatusCode::FORBIDDEN, "AccessDenied", message));
    };
    let random = || Uuid::new_v4().simple().to_string();
    let key = format!("{TEMPORARY}{}", random()[..16].to_uppercase());
    let (secret, token) = (random(), [random(), random()].join("/") + "==");
    let role_name = role.rsplit('/').next().unwrap_or_default();
    let session = Session {
        arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role_name}/{name}"),
        token: token.clone(),
        expires: now + Duration::from_secs(lasts_s),
        tags,
        policy,
    };
    let expires =
        Timestamp::try_from(session.expires).map_err(|error| invalid(&error.to_string()))?;
    let arn = session.arn.clone();
    // One that is over is still known to be so for as long again.
    let forgotten = now - Duration::from_secs(*LASTS_S.end());
    state
        .sessions
        .retain(|_, session| session.expires > forgotten);
    state.sessions.insert(key.clone(), Arc::new(session));
    state.issued += 1;
    Ok(format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <Arn>{arn}</Arn></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    ))
}

fn invalid(message: &str) -> Failure {
    (
        StatusCode::BAD_REQUEST,
        "ValidationError",
        message.to_owned(),
    )
}

/// What a form holds.
fn fields(body: &[u8]) -> Fields {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(&value.replace('+', " "))))
        .collect()
}
