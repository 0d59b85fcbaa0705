//! Runs that the load created, followed to their end.
//!
//! Most are found in pages of the list, a second or two after their creation: one request for a hundred of them. What has not
//! ended by then, or is not in the list, is read by itself, less and less often. So following costs the platform little beside
//! the load, and does not grow with runs that take long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::api::{Api, instant, rfc3339};
use crate::measured::{Measured, Runs};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A run that was created within the last second may be missing in a list (`GET /v1/runs`); twice that.
const LISTED_AFTER_MS: i64 = 2_000;
/// Between the first two looks at a run by itself; each next one takes twice as long, up to [`LEAST_OFTEN`].
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const LEAST_OFTEN: Duration = Duration::from_secs(15);
/// Runs read by themselves in one look, and how many of them at once.
const READS: usize = 128;
const AT_ONCE: usize = 8;
/// Failed runs whose error is asked for; the others count by their status.
const ERRORS_TOLD: u64 = 100;

/// A run that was created.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: String,
    /// When its creation was due, counted from the beginning of the load.
    pub(crate) due: Duration,
    /// When it was created, as the platform says.
    pub(crate) at_ms: i64,
}

/// A run that is read by itself.
struct Slow {
    due: Duration,
    look_at: Instant,
    again_after: Duration,
}

/// What follows the runs of a load.
pub(crate) struct Follower {
    api: Api,
    measured: Arc<Mutex<Measured>>,
    created: UnboundedReceiver<Created>,
    /// Of every so many runs one has its receipt read.
    receipt_every: u64,
    /// Not looked for yet.
    fresh: HashMap<String, Created>,
    slow: HashMap<String, Slow>,
    /// What was created before this instant was looked for.
    looked_until_ms: i64,
    last_created_ms: i64,
    last_started_ms: i64,
    ended: u64,
    errors_told: u64,
}

impl Follower {
    pub(crate) fn new(
        api: Api,
        measured: Arc<Mutex<Measured>>,
        created: UnboundedReceiver<Created>,
        receipt_every: u64,
    ) -> Self {
        Self {
            api,
            measured,
            created,
            receipt_every,
            fresh: HashMap::new(),
            slow: HashMap::new(),
            looked_until_ms: 0,
            last_created_ms: 0,
            last_started_ms: 0,
            ended: 0,
            errors_told: 0,
        }
    }

    /// Follows runs until no more are created and all have ended, or the last have had so long.
    pub(crate) async fn follow(mut self, settles_in: Duration) {
        let mut closed_at = None;
        loop {
            if self.receive() && closed_at.is_none() {
                closed_at = Some(Instant::now());
            }
            self.look(closed_at.map(|at| at.elapsed())).await;
            let is_over = self.fresh.is_empty() && self.slow.is_empty();
            if closed_at.is_some_and(|at| is_over || at.elapsed() >= settles_in) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let (created, started) = (self.last_created_ms, self.last_started_ms);
        let slow = self.slow.values().map(|slow| slow.due);
        let left = slow.chain(self.fresh.values().map(|fresh| fresh.due));
        let left: Vec<Duration> = left.collect();
        self.count(|measured| {
            measured.runs.unfinished += left.len() as u64;
            for due in &left {
                measured.bin_at(*due).failed_runs += 1;
            }
            if left.is_empty() && started > 0 {
                measured.runs.lag_cleared = Some(span(created, started));
            }
        });
    }

    fn count(&self, how: impl FnOnce(&mut Measured)) {
        how(&mut self.measured.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes in what was created since; answers whether nothing will come any more.
    fn receive(&mut self) -> bool {
        let now = Instant::now();
        loop {
            let run = match self.created.try_recv() {
                Ok(run) => run,
                Err(error) => return error == tokio::sync::mpsc::error::TryRecvError::Disconnected,
            };
            self.last_created_ms = self.last_created_ms.max(run.at_ms);
            if self.looked_until_ms == 0 {
                self.looked_until_ms = run.at_ms;
            }
            if run.at_ms < self.looked_until_ms {
                // Its answer took so long that it was passed over.
                self.read_later(run.id, run.due, now);
            } else {
                self.fresh.insert(run.id.clone(), run);
            }
        }
    }

    fn read_later(&mut self, id: String, due: Duration, look_at: Instant) {
        let slow = Slow {
            due,
            look_at,
            again_after: AGAIN_AFTER,
        };
        self.slow.insert(id, slow);
    }

    async fn look(&mut self, closed_for: Option<Duration>) {
        // Once no more are created, the last ones are listed as soon as they surely can be.
        let all = closed_for.is_some_and(|closed| closed >= 2 * LOOK_EVERY);
        let until_ms = if all {
            self.last_created_ms + 1
        } else {
            self.last_created_ms - LISTED_AFTER_MS
        };
        let mut ended = Vec::new();
        if until_ms > self.looked_until_ms
            && let Some(listed) = self.list(self.looked_until_ms, until_ms).await
        {
            self.looked_until_ms = until_ms;
            for run in listed {
                let created = run["id"].as_str().and_then(|id| self.fresh.remove(id));
                let Some(created) = created else { continue };
                if is_over(&run) {
                    ended.push((created.due, run));
                } else {
                    let look_at = Instant::now() + AGAIN_AFTER;
                    self.read_later(created.id, created.due, look_at);
                }
            }
            let missing = self.fresh.extract_if(|_, run| run.at_ms < until_ms);
            let missing: Vec<Created> = missing.map(|(_, run)| run).collect();
            for run in missing {
                self.read_later(run.id, run.due, Instant::now());
            }
        }
        self.read_slow(&mut ended).await;
        self.settle(ended).await;
    }

    /// Every run of the tenant that was created in this time; none when a page could not be had.
    async fn list(&self, from_ms: i64, until_ms: i64) -> Option<Vec<Value>> {
        let path = format!(
            "/v1/runs?created_after={}&created_before={}&limit=100",
            rfc3339(from_ms),
            rfc3339(until_ms)
        );
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = if cursor.is_empty() {
                path.clone()
            } else {
                format!("{path}&cursor={cursor}")
            };
            let mut page = self.api.get(&path).await.ok()?;
            if let Value::Array(items) = page["items"].take() {
                all.extend(items);
            }
            page["next_cursor"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut cursor);
            if cursor.is_empty() {
                return Some(all);
            }
        }
    }

    async fn read_slow(&mut self, ended: &mut Vec<(Duration, Value)>) {
        let now = Instant::now();
        let due = self.slow.iter().filter(|(_, slow)| slow.look_at <= now);
        let due: Vec<String> = due.map(|(id, _)| id.clone()).take(READS).collect();
        let api = &self.api;
        let reads = due.into_iter().map(|id| async move {
            let read = api.get(&format!("/v1/runs/{id}")).await;
            (id, read)
        });
        let reads: Vec<_> = futures_util::stream::iter(reads)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (id, read) in reads {
            match read {
                Ok(run) if is_over(&run) => {
                    if let Some(slow) = self.slow.remove(&id) {
                        ended.push((slow.due, run));
                    }
                }
                Err(word) if word == "not_found" => {
                    if let Some(slow) = self.slow.remove(&id) {
                        self.count(|measured| {
                            measured.runs.lost += 1;
                            measured.bin_at(slow.due).failed_runs += 1;
                        });
                    }
                }
                // Still under way, or the question failed.
                _ => {
                    if let Some(slow) = self.slow.get_mut(&id) {
                        slow.look_at = Instant::now() + slow.again_after;
                        slow.again_after = (2 * slow.again_after).min(LEAST_OFTEN);
                    }
                }
            }
        }
    }

    /// Counts runs that ended, with the receipts of some.
    async fn settle(&mut self, ended: Vec<(Duration, Value)>) {
        let api = &self.api;
        let (every, before) = (self.receipt_every, self.ended);
        let (told, most) = (self.errors_told, ERRORS_TOLD);
        self.ended += ended.len() as u64;
        let asks = ended
            .into_iter()
            .zip(before..)
            .map(|((due, run), number)| async move {
                let id = run["id"].as_str().unwrap_or_default();
                let (mut error, mut receipt) = (None, None);
                if run["status"] == "failed" && told < most {
                    let read = api.get(&format!("/v1/runs/{id}")).await.ok();
                    error = read.and_then(|run| Some(run["error"]["code"].as_str()?.to_owned()));
                }
                if number % every == 0 {
                    receipt = api.get(&format!("/v1/runs/{id}/receipt")).await.ok();
                }
                (due, run, error, receipt)
            });
        let settled: Vec<_> = futures_util::stream::iter(asks)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (due, run, error, receipt) in settled {
            self.errors_told += u64::from(error.is_some());
            if let Some(started) = instant(&run["started_at"]) {
                self.last_started_ms = self.last_started_ms.max(started);
            }
            self.count(|measured| {
                settle(measured, due, &run, error, receipt.as_ref());
            });
        }
    }
}

/// Counts a run that ended.
fn settle(
    measured: &mut Measured,
    due: Duration,
    run: &Value,
    error: Option<String>,
    receipt: Option<&Value>,
) {
    let [created, started, ended] =
        ["created_at", "started_at", "ended_at"].map(|name| instant(&run[name]));
    let wait = created.zip(started).map(|(from, to)| span(from, to));
    let whole = created.zip(ended).map(|(from, to)| span(from, to));
    let has_succeeded = run["status"] == "succeeded";
    let bin = measured.bin_at(due);
    bin.failed_runs += u64::from(!has_succeeded);
    if let Some(wait) = wait {
        bin.wait.push(wait);
    }
    if let Some(whole) = whole {
        bin.whole.push(whole);
    }
    let runs: &mut Runs = &mut measured.runs;
    if has_succeeded {
        runs.succeeded += 1;
    } else {
        let status = run["status"].as_str().unwrap_or_default();
        let why = error.unwrap_or_else(|| status.to_owned());
        *runs.failed.entry(why).or_default() += 1;
    }
    if let Some(wait) = wait {
        runs.wait.push(wait);
    }
    if let Some(whole) = whole {
        runs.whole.push(whole);
    }
    runs.costs.model_micro_usd += run["totals"]["micro_usd"].as_u64().unwrap_or_default();
    if let Some(receipt) = receipt {
        let model_ms = receipt["total"]["model_ms"].as_u64().unwrap_or_default();
        if let Some(whole) = whole {
            let overhead = whole.saturating_sub(Duration::from_millis(model_ms));
            runs.overhead.push(overhead);
        }
        let parts = receipt["platform"]["cost"].as_object();
        let parts = parts.into_iter().flat_map(|parts| parts.values());
        runs.costs.platform_pico_usd += parts.filter_map(Value::as_f64).sum::<f64>();
        runs.costs.receipts += 1;
    }
}

/// From one instant to another, which the platform's clocks may have the other way round.
fn span(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms - from_ms).unwrap_or_default())
}

fn is_over(run: &Value) -> bool {
    matches!(
        run["status"].as_str(),
        Some("succeeded" | "failed" | "cancelled" | "expired")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_that_ended_is_counted_with_its_waits_and_its_costs() {
        let mut measured = Measured::new(Duration::from_secs(10));
        let mut run = json!({
            "id": "run_1",
            "status": "succeeded",
            "created_at": "2026-11-27T22:10:05.000Z",
            "started_at": "2026-11-27T22:10:05.250Z",
            "ended_at": "2026-11-27T22:10:06.000Z",
            "totals": {"micro_usd": 545},
        });
        let receipt = json!({
            "total": {"model_ms": 700},
            "platform": {"cost": {"table_pico_usd": 2_000_000.0, "queue_pico_usd": 1_000_000}},
        });
        settle(&mut measured, Duration::ZERO, &run, None, Some(&receipt));
        run["status"] = json!("failed");
        run["started_at"] = json!("2026-11-27T22:10:04.999Z");
        let error = Some("model_refused".to_owned());
        settle(&mut measured, Duration::ZERO, &run, error, None);

        let Measured { runs, bins, .. } = &measured;
        assert_eq!(runs.succeeded, 1);
        assert_eq!(runs.failed["model_refused"], 1);
        assert_eq!(runs.not_succeeded(), 1);
        assert_eq!((bins[0].wait.len(), bins[0].failed_runs), (2, 1));
        let near = |spans: &crate::Spans, ms: f64| {
            let most = spans.max_ms().unwrap_or_default();
            assert!((most - ms).abs() < ms * 0.01, "{most}");
        };
        near(&runs.wait, 250.0);
        near(&runs.whole, 1_000.0);
        near(&runs.overhead, 300.0);
        assert_eq!(runs.costs.model_micro_usd, 1_090);
        assert_eq!(runs.costs.platform_micro_usd_a_run(), Some(3.0));
    }
}
