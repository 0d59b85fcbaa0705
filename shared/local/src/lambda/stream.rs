//! Event source mappings: a table's stream that feeds a function.

use std::time::Duration;

use serde_json::json;

use super::Lambda;
use crate::table::Changes;

/// Pause after a batch that failed; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A stream that feeds a function.
#[derive(Clone, Debug)]
pub struct StreamMapping {
    /// The name of the function.
    pub function: String,
    /// How many records one event holds at most.
    pub batch_size: usize,
    /// How long a batch may fill.
    pub batching_window: Duration,
}

/// Hands over one batch after the other, each until the function is done with it: nothing passes what fails.
pub(super) async fn follow(lambda: Lambda, changes: Changes, mapping: StreamMapping) {
    let mut pause = PAUSE;
    loop {
        let region = lambda.region().to_owned();
        let most = mapping.batch_size.max(1);
        let mut records = changes.next(most, &region).await;
        if records.len() < most {
            tokio::time::sleep(mapping.batching_window).await;
            records = changes.next(most, &region).await;
        }
        let event = json!({"Records": records}).to_string();
        let reply = match lambda.invoke(&mapping.function, event.into()).await {
            Ok(reply) => reply.bytes().await.map(drop),
            Err(error) => Err(error),
        };
        match reply {
            Ok(()) => {
                changes.done(records.len());
                pause = PAUSE;
            }
            Err(error) => {
                tracing::warn!(
                    function.name = %mapping.function, records = records.len(), %error,
                    "a batch of a stream failed and comes again"
                );
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        }
    }
}
