//! The function `orchestrator`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    orchestrator::run().await
}
