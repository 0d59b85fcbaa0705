//! The local cloud: in-process stand-ins for the AWS services that the platform uses. Each is an
//! axum router that can be served on a port or plugged straight into an SDK client, so there is
//! one implementation of every adapter: production's.

pub mod bedrock;
pub mod cloudwatch;
pub mod front;
pub mod gate;
pub mod iam;
pub mod kms;
pub mod lambda;
pub mod s3;
pub mod scheduler;
pub mod sqs;
pub mod table;
pub mod wire;
