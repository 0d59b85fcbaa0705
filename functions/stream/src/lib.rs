//! The same routes as the function `api`, with streamed answers: runs and their events as they happen.

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_http::Error> {
    api::run_streaming().await
}
