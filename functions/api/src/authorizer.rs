//! What API Gateway asks before a request reaches any other function: whose it is, and which gate key it counts for.
//!
//! It finds keys as [`crate::auth`] does, by the same code. **Invariant:** it lets nobody do anything: the functions look at the
//! key again and at nothing that was found here, so a stale or forged answer opens nothing. It refuses what has no key that
//! holds, and only that; what a tenant may do is for the functions to say.

use std::collections::HashMap;
use std::sync::Arc;

use domain::gate::Gate;
use domain::id::TenantId;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use serde::{Deserialize, Serialize};
use store::ApiKey;

use crate::auth::{self, OPERATOR};
use crate::edge::FOR_PAGES;
use crate::refusal::{self, Asking};
use crate::stream_token::{self, PARAMETER};
use crate::{Api, Problem};

/// What an authorizer of the kind `REQUEST` is told, as far as it is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The method, as a resource of IAM: `arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>`.
    pub method_arn: String,
    /// The route, with place holders.
    #[serde(default)]
    pub resource: Option<String>,
    /// The method.
    #[serde(default)]
    pub http_method: Option<String>,
    /// The headers, each with its last value.
    #[serde(default)]
    pub headers: Option<HashMap<String, String>>,
    /// The parameters of the query.
    #[serde(default)]
    pub query_string_parameters: Option<HashMap<String, String>>,
}

/// What API Gateway is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    principal_id: String,
    policy_document: Policy,
    context: Context,
    /// The value of the gate key that the request counts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_identifier_key: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: &'static str,
    effect: &'static str,
    /// Every method of the API: the answer is kept by the key, whatever is asked for with it next.
    resource: String,
}

/// What the gateway's own answers and logs may show; functions do not look at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Context {
    Allowed {
        tenant: String,
        key: String,
        tier: String,
    },
    Denied {
        code: &'static str,
        title: &'static str,
    },
}

/// What the function needs, from the environment.
///
/// # Errors
/// When a setting is missing or cannot be used.
pub fn start() -> Result<Api, lambda_http::Error> {
    crate::lambda::started("authorizer")
}

/// Says whose request it is and what it counts for.
///
/// # Errors
/// When that cannot be found out; API Gateway then answers that it is a fault of the platform.
pub async fn authorize(api: &Api, gate: &Gate, asked: &Asked) -> Result<Answered, Problem> {
    let parts = parts(asked);
    let asking = parts.extensions.get::<Asking>().cloned();
    match find(api, &parts, asked).await {
        Ok(found) => allowed(api, gate, asked, &found).await,
        Err(problem) if problem.kind().0 == StatusCode::UNAUTHORIZED => {
            if let Some(asking) = asking {
                Box::pin(refusal::tell(api, &asking, &problem)).await;
            }
            Ok(denied(asked, &problem))
        }
        // Two credentials: the function says what is wrong with that.
        Err(Problem::InvalidParameter(_)) => Ok(denied(asked, &Problem::Unauthenticated)),
        Err(problem) => Err(problem),
    }
}

async fn find(api: &Api, parts: &Parts, asked: &Asked) -> Result<Arc<ApiKey>, Problem> {
    if asked.resource.as_deref() == Some(FOR_PAGES) {
        let query = asked.query_string_parameters.as_ref();
        let parameter = query.and_then(|query| query.get(PARAMETER));
        let parameter = parameter.map(String::as_str);
        if let Some((key, _)) = stream_token::holder(parts, parameter, api).await? {
            return Ok(key);
        }
    }
    auth::authenticate(parts, api).await
}

async fn allowed(api: &Api, gate: &Gate, asked: &Asked, key: &ApiKey) -> Result<Answered, Problem> {
    let tier = if key.tenant.as_str() == OPERATOR {
        OPERATOR.to_owned()
    } else {
        let of_tenant = api.of(&key.tenant);
        let Some(tenant) = of_tenant.engine.tenant(&key.tenant).await? else {
            return Ok(denied(asked, &Problem::Unauthenticated));
        };
        tenant.tier.clone()
    };
    Ok(Answered {
        principal_id: key.id.to_string(),
        policy_document: policy(asked, "Allow"),
        usage_identifier_key: Some(counted_for(gate, key)),
        context: Context::Allowed {
            tenant: key.tenant.to_string(),
            key: key.id.to_string(),
            tier,
        },
    })
}

/// The gate key that a request with this key counts for: its own once that is there for sure.
fn counted_for(gate: &Gate, key: &ApiKey) -> String {
    let shared = |tenant: &TenantId| gate.shared_value(tenant);
    match &key.gate {
        Some(at) if at.is_ready => gate.own_value(&key.id),
        Some(_) | None => shared(&key.tenant),
    }
}

fn denied(asked: &Asked, problem: &Problem) -> Answered {
    let (_, code, title) = problem.kind();
    Answered {
        principal_id: "nobody".to_owned(),
        policy_document: policy(asked, "Deny"),
        usage_identifier_key: None,
        context: Context::Denied { code, title },
    }
}

fn policy(asked: &Asked, effect: &'static str) -> Policy {
    let stage: Vec<_> = asked.method_arn.splitn(3, '/').take(2).collect();
    Policy {
        version: "2012-10-17",
        statement: [Statement {
            action: "execute-api:Invoke",
            effect,
            resource: format!("{}/*", stage.join("/")),
        }],
    }
}

/// The request as [`crate::auth`] looks at it: its headers, and what it asks for.
fn parts(asked: &Asked) -> Parts {
    let mut headers = HeaderMap::new();
    for (name, value) in asked.headers.iter().flatten() {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.as_str())) {
            headers.insert(name, value);
        }
    }
    let method = asked.http_method.as_deref().unwrap_or_default();
    let resource = asked.resource.as_deref().unwrap_or_default();
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.headers = headers;
    parts.extensions.insert(Asking::new(method, resource));
    parts
}
