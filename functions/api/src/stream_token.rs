//! Stream tokens: for a browser that is to watch one run and should hold no key.
//!
//! A token opens `GET /v1/runs/{run}/events` of one run and nothing else. It is taken as `Authorization: Bearer` and, since an
//! `EventSource` sends no headers of its own, as the query parameter `access_token`, there alone. **Invariant:** it opens
//! nothing that the key it was made with does not open at that moment, and no text of it is logged.

use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use domain::id::RunId;
use domain::time::At;
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use store::{ApiKey, StreamToken};
use utoipa::ToSchema;

use crate::address::{Params, Path};
use crate::auth::{self, As, RunsRead};
use crate::body::Optional;
use crate::runs::read_kept;
use crate::view::rfc_3339;
use crate::{Api, Problem, schema};

/// How long a token opens its run, in seconds: a quarter of an hour unless given, an hour at most.
const LIFETIME_S: u64 = 900;
const MAX_LIFETIME_S: u64 = 3_600;

/// The query parameter that a token may come in.
pub(crate) const PARAMETER: &str = "access_token";

/// What token is wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// How long it opens the run, in seconds: 900 unless given.
    #[schema(minimum = 1, maximum = 3_600)]
    lifetime_seconds: Option<u64>,
}

/// A token that was made just now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    /// The token; nobody keeps it.
    token: String,
    /// The run whose events it opens.
    #[schema(value_type = String)]
    run: RunId,
    /// From when on it opens nothing.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    expires_at: At,
}

/// Make a stream token
///
/// It opens the events of this run and nothing else, for whoever has it: a browser's `EventSource` gives it as the query
/// parameter `access_token`. It ends with the key that made it.
#[utoipa::path(
    post,
    path = "/v1/runs/{run}/stream-tokens",
    operation_id = "create_stream_token",
    tag = "runs",
    params(("run" = String, Path, description = "The run")),
    request_body(content = Option<NewToken>, description = "May be left out"),
    responses(
        (status = 201, description = "The token", body = TokenView),
        (status = 404, description = "No such run", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body breaks a rule", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["runs:read"]))
)]
pub(crate) async fn create(
    who: As<RunsRead>,
    Path(run): Path<RunId>,
    Optional(asked): Optional<NewToken>,
) -> Result<Response, Problem> {
    let lifetime_s = asked.lifetime_seconds.unwrap_or(LIFETIME_S);
    if !(1..=MAX_LIFETIME_S).contains(&lifetime_s) {
        return Err(Problem::field("/lifetime_seconds", "must be 1 to 3,600"));
    }
    let api = &who.api;
    read_kept(api, &who.tenant, &run).await?;
    let token = StreamToken {
        expires_at: api.engine.now().plus_ms(lifetime_s * 1_000),
        tenant: who.tenant,
        key: who.key,
        run,
    };
    let view = TokenView {
        token: api.engine.store.seal_stream_token(&token),
        run: token.run,
        expires_at: token.expires_at,
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Whoever may follow the run that the path names: a principal that may read runs, or the holder of a token for this one.
pub(crate) struct Follower {
    pub(crate) who: As<RunsRead>,
    pub(crate) run: RunId,
    /// When the right to follow ends, if it is a token's.
    pub(crate) until: Option<At>,
}

impl FromRequestParts<Api> for Follower {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let query = Params::from_request_parts(parts, api).await.ok();
        let parameter = query.as_ref().and_then(|query| query.text(PARAMETER));
        let Some((key, token)) = holder(parts, parameter, api).await? else {
            let who = As::from_request_parts(parts, api).await?;
            let Path(run) = Path::from_request_parts(parts, api).await?;
            let until = None;
            return Ok(Self { who, run, until });
        };
        let who = As::of(key, parts, api).await?;
        let Path(run) = Path::<RunId>::from_request_parts(parts, api).await?;
        // As if it were not there, which is all that the holder may know of other runs.
        if run != token.run {
            return Err(Problem::NotFound);
        }
        let until = Some(token.expires_at);
        Ok(Self { who, run, until })
    }
}

/// The token that a request came with, in its header or as this parameter, and the key that made it, both of which hold; none
/// when it came with a key or with nothing.
pub(crate) async fn holder(
    parts: &Parts,
    parameter: Option<&str>,
    api: &Api,
) -> Result<Option<(Arc<ApiKey>, StreamToken)>, Problem> {
    let header = auth::credential(&parts.headers);
    let text = match (header, parameter) {
        (Some(_), Some(_)) => {
            let detail = "must not come with a credential in a header";
            return Err(Problem::parameter(PARAMETER, detail));
        }
        (None, Some(token)) => token,
        (Some(token), None) if StreamToken::may_be(token) => token,
        (Some(_) | None, None) => return Ok(None),
    };
    let (store, now) = (&api.engine.store, api.engine.now());
    let token = store.open_stream_token(text);
    let token = token.ok_or(Problem::Unauthenticated)?;
    let key = api.keys.read(store, &token.key, now).await?;
    let key = key.filter(|key| key.tenant == token.tenant);
    let key = auth::admit(key.ok_or(Problem::Unauthenticated)?, parts, now)?;
    if token.expires_at <= now {
        return Err(Problem::TokenExpired);
    }
    Ok(Some((key, token)))
}
