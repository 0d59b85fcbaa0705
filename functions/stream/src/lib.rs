//! Runs as they are created and followed, with streamed answers.

/// Serves until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), lambda_http::Error> {
    api::run_streaming().await
}
