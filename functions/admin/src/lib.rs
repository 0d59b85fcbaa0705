//! What operators do, under `/v1/admin`: tenants, their keys, budgets, usage and audit trail. A function of its own, so that
//! what tenants reach has no right and no code that it does not need.

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_http::Error> {
    api::run_admin().await
}
