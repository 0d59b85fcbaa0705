//! Load: so many clients at once, and how long each waited.

use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt as _};

use crate::stage::{QUEUED, Run, Stage};

/// Clients at saturation.
pub(crate) const CLIENTS: usize = 64;
/// Requests of a burst at once: client and server stand in one process, which may have 1,024 open files by default.
const AT_ONCE: usize = 200;

/// Creates `runs` runs of an agent through the queue, with at most `clients` of them unfinished, and waits for the end of all.
pub(crate) async fn queued(
    stage: &Stage,
    agent: &str,
    runs: u64,
    clients: u64,
) -> anyhow::Result<Vec<String>> {
    let before = stage.transactions();
    let mut ids = Vec::new();
    let mut posts = FuturesUnordered::new();
    let mut posted = 0;
    while posted < runs || !posts.is_empty() {
        // Whatever is under way counts as taken up, so this is never too many.
        let ended = (stage.transactions() - before).saturating_sub((QUEUED - 1) * posted);
        while posted < runs && posted - ended < clients {
            posts.push(stage.create(agent, false));
            posted += 1;
        }
        tokio::select! {
            Some(run) = posts.next() => ids.push(run?.id),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    stage.settle(before, QUEUED * runs).await;
    Ok(ids)
}

/// Creates runs of an agent and waits for each, `clients` at a time.
pub(crate) async fn waited(
    stage: &Stage,
    agent: &str,
    runs: u64,
    clients: usize,
) -> anyhow::Result<Vec<String>> {
    create(stage, agent, runs, true, clients).await
}

/// Creates runs of an agent at once and waits for none.
pub(crate) async fn burst(stage: &Stage, agent: &str, runs: u64) -> anyhow::Result<Vec<String>> {
    create(stage, agent, runs, false, AT_ONCE).await
}

async fn create(
    stage: &Stage,
    agent: &str,
    runs: u64,
    waits: bool,
    at_once: usize,
) -> anyhow::Result<Vec<String>> {
    let creates = (0..runs).map(|_| stage.create(agent, waits));
    ids(futures_util::stream::iter(creates).buffer_unordered(at_once)).await
}

/// Creates runs of an agent at even intervals and waits for none.
pub(crate) async fn paced(
    stage: &Stage,
    agent: &str,
    runs: u32,
    every: Duration,
) -> anyhow::Result<Vec<String>> {
    let began = tokio::time::Instant::now();
    // Those whose time has not come count as under way.
    let creates = futures_util::stream::iter(0..runs).map(|number| async move {
        tokio::time::sleep_until(began + every * number).await;
        stage.create(agent, false).await
    });
    ids(creates.buffer_unordered(AT_ONCE)).await
}

async fn ids(creates: impl Stream<Item = anyhow::Result<Run>>) -> anyhow::Result<Vec<String>> {
    let mut creates = std::pin::pin!(creates);
    let mut ids = Vec::new();
    while let Some(run) = creates.next().await {
        ids.push(run?.id);
    }
    Ok(ids)
}

/// How long things took, to be asked for quantiles.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<Duration>);

impl Spans {
    pub(crate) fn push(&mut self, span: Duration) {
        self.0.push(span);
    }

    /// The span that `percent` of all spans do not exceed, in milliseconds; the nearest one there was.
    pub(crate) fn percentile_ms(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0
            .get(place)
            .map_or(f64::NAN, |span| crate::machine::ms(*span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_spans_that_there_were() {
        let mut spans = Spans::default();
        for ms in (1..=100).rev() {
            spans.push(Duration::from_millis(ms));
        }
        assert_eq!(spans.percentile_ms(50), 50.0);
        assert_eq!(spans.percentile_ms(95), 95.0);
        assert!(Spans::default().percentile_ms(50).is_nan());
    }
}
