//! What API Gateway asks before a request reaches any other function, where there are usage plans: whose it is, and which of
//! API Gateway's own keys it counts for. What is answered stands in [`api::authorizer`].

use anyhow::Context as _;
use api::authorizer::{Asked, authorize};
use lambda_runtime::{LambdaEvent, service_fn};

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    let api = api::authorizer::start()?;
    let gate = wiring::gate_names()?.context("SKEIN_GATE is not set")?;
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<Asked>| {
        let (api, gate) = (api.clone(), gate.clone());
        async move {
            let answered = Box::pin(authorize(&api, &gate, &event.payload)).await;
            answered.map_err(|problem| lambda_runtime::Error::from(problem.kind().1))
        }
    }))
    .await
}
