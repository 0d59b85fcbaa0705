//! The load itself: requests when they are due, whatever became of those before.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};

use crate::api::{Api, Word, instant};
use crate::error::Error;
use crate::follow::{Created, Follower};
use crate::measured::Measured;
use crate::memory;
use crate::mix::Operation;
use crate::scenario::Scenario;
use crate::schedule::{arrivals, peak, rate_at};

/// Requests at once; others wait for theirs, which counts as latency. Less than the files that a process may have open by
/// default (1,024), of which each takes one.
const CONNECTIONS: usize = 500;
/// Requests that may be under way or wait for a connection; beyond that one fails at once as `not_sent`. They take a few
/// kilobytes each.
const MOST: usize = 20_000;
/// Runs that are remembered, to be read.
const REMEMBERED: usize = 1_000;
/// Receipts that are read in a second, at most about.
const RECEIPTS_A_SECOND: f64 = 5.0;
/// Between two tellings of progress.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at memory, at least.
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// How far a load is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// How long it has made requests, or waited for the last runs after them.
    pub elapsed: Duration,
    /// How long requests are made.
    pub lasts: Duration,
    /// Requests a second that are due now.
    pub rate: f64,
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// 95 % of them took no longer, in milliseconds.
    pub p95_ms: Option<f64>,
    /// Runs that were created.
    pub created: u64,
    /// Those of them that have ended, as far as is known.
    pub ended: u64,
}

/// Makes a scenario's requests and follows the runs that they create, until all have ended or `stop` comes. `dev` is the
/// process id of a `skein dev` on this machine whose functions' memory is to be watched.
///
/// # Errors
/// When the agent cannot be stored or read, or a first run of it cannot be created.
pub async fn drive(
    scenario: &Scenario,
    api: Api,
    dev: Option<u32>,
    mut tell: impl FnMut(Progress),
    stop: impl Future<Output = ()>,
) -> Result<Measured, Error> {
    prepare(scenario, &api).await?;
    let first = match scenario.mix.read_run {
        0 => None,
        _ => Some(first_run(scenario, &api).await?),
    };
    let lasts = scenario.lasts();
    let measured = Arc::new(Mutex::new(Measured::new(lasts)));
    let (send, created) = unbounded_channel();
    let creations = peak(&scenario.stages) * scenario.mix.share(Operation::CreateRun);
    let follower = Follower::new(
        api.clone(),
        Arc::clone(&measured),
        created,
        one_of(creations / RECEIPTS_A_SECOND),
    );
    let load = Load {
        api,
        body: body(scenario),
        agent: format!("/v1/agents/{}", scenario.agent.id),
        known: Mutex::new(first.into_iter().collect()),
        connections: Semaphore::new(CONNECTIONS),
        created: send,
        measured: Arc::clone(&measured),
        began: Instant::now(),
    };
    let began = load.began;
    let work = async {
        tokio::join!(
            load.request(scenario, stop),
            follower.follow(scenario.settles_in)
        )
    };
    let mut work = pin!(work);
    let mut telling = interval(TELL_EVERY);
    let look_every = lock(&measured).bin.max(MEMORY_EVERY);
    let mut looking = interval(look_every);
    loop {
        tokio::select! {
            biased;
            _ = &mut work => break,
            _ = telling.tick() => {
                let elapsed = began.elapsed();
                tell(progress(&lock(&measured), elapsed, rate_at(&scenario.stages, elapsed)));
            }
            _ = looking.tick() => {
                let resident = dev.and_then(|dev| memory::look(dev, began.elapsed()));
                lock(&measured).memory.extend(resident);
            }
        }
    }
    let measured = lock(&measured).clone();
    Ok(measured)
}

fn lock(measured: &Mutex<Measured>) -> std::sync::MutexGuard<'_, Measured> {
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

fn progress(measured: &Measured, elapsed: Duration, rate: f64) -> Progress {
    let runs = &measured.runs;
    Progress {
        elapsed,
        lasts: measured.lasts,
        rate,
        requests: measured.requests(),
        failed: measured.failed(),
        p95_ms: measured.latency.percentile_ms(95.0),
        created: runs.created,
        ended: runs.succeeded + runs.failed.values().sum::<u64>() + runs.lost,
    }
}

/// So that of `many` there is about one: every how many.
fn one_of(many: f64) -> u64 {
    let mut every = 1_u32;
    while f64::from(every) < many {
        every += 1;
    }
    u64::from(every)
}

fn body(scenario: &Scenario) -> Value {
    json!({
        "agent": scenario.agent.id,
        "input": scenario.agent.input,
        "metadata": {"load": scenario.name},
    })
}

/// Has the agent be there.
async fn prepare(scenario: &Scenario, api: &Api) -> Result<(), Error> {
    let path = format!("/v1/agents/{}", scenario.agent.id);
    match &scenario.agent.definition {
        Some(definition) => {
            let definition = Value::Object(definition.clone());
            api.expect(Method::POST, &path, Some(&definition)).await?;
        }
        None => {
            api.expect(Method::GET, &path, None).await?;
        }
    }
    Ok(())
}

/// A run to read until the load has created some.
async fn first_run(scenario: &Scenario, api: &Api) -> Result<String, Error> {
    let body = body(scenario);
    let run = api.expect(Method::POST, "/v1/runs", Some(&body)).await?;
    Ok(run["id"].as_str().unwrap_or_default().to_owned())
}

/// What all requests of a load share.
struct Load {
    api: Api,
    body: Value,
    /// The agent's path.
    agent: String,
    /// Runs to read, the newest last.
    known: Mutex<VecDeque<String>>,
    connections: Semaphore,
    created: UnboundedSender<Created>,
    measured: Arc<Mutex<Measured>>,
    began: Instant,
}

impl Load {
    /// Makes every request when it is due, and waits for the last answers. Nothing is created any more once it is over.
    async fn request(self, scenario: &Scenario, stop: impl Future<Output = ()>) {
        let load = Arc::new(self);
        let mut stop = pin!(stop);
        let mut under_way = JoinSet::new();
        let mut turns = scenario.mix.turns();
        for due in arrivals(&scenario.stages) {
            tokio::select! {
                () = sleep_until(load.began + due) => {}
                () = &mut stop => {
                    lock(&load.measured).stop(load.began.elapsed());
                    break;
                }
            }
            while under_way.try_join_next().is_some() {}
            let Some(operation) = turns.next() else { break };
            if under_way.len() >= MOST {
                let failure = Some("not_sent".to_owned());
                lock(&load.measured).answered(operation, due, Duration::ZERO, failure);
            } else {
                under_way.spawn(Arc::clone(&load).one(operation, due));
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Makes one request and counts it.
    async fn one(self: Arc<Self>, operation: Operation, due: Duration) {
        let late = self.began.elapsed().saturating_sub(due);
        let Ok(_connection) = self.connections.acquire().await else {
            return;
        };
        let asked = self.ask(operation).await;
        let took = self.began.elapsed().saturating_sub(due);
        let mut measured = lock(&self.measured);
        measured.late.push(late);
        let failure = match asked {
            Ok(None) => None,
            Ok(Some((id, at_ms))) => {
                measured.runs.created += 1;
                // Nobody follows a load that was given up.
                let _followed = self.created.send(Created { id, due, at_ms });
                None
            }
            Err(word) => Some(word),
        };
        measured.answered(operation, due, took, failure);
    }

    /// Makes the request; answers with the run that it created, if it did, and when that was.
    async fn ask(&self, operation: Operation) -> Result<Option<(String, i64)>, Word> {
        match operation {
            Operation::CreateRun => {
                let run = self.api.create(&self.body).await?;
                let id = run["id"].as_str().map(str::to_owned);
                let Some((id, at_ms)) = id.zip(instant(&run["created_at"])) else {
                    return Err("broken".to_owned());
                };
                self.remember(id.clone());
                return Ok(Some((id, at_ms)));
            }
            Operation::ReadRun => {
                let run = self.a_run();
                self.api.get(&format!("/v1/runs/{run}")).await?;
            }
            Operation::ListRuns => {
                self.api.get("/v1/runs").await?;
            }
            Operation::ReadAgent => {
                self.api.get(&self.agent).await?;
            }
        }
        Ok(None)
    }

    fn remember(&self, run: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == REMEMBERED {
            known.pop_front();
        }
        known.push_back(run);
    }

    /// The run that was remembered longest, which is remembered anew: so each is read in its turn.
    fn a_run(&self) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.rotate_left(1);
        known.back().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_so_many_receipts_are_read_as_were_meant() {
        assert_eq!([0.3, 1.0, 6.7, 40.0].map(one_of), [1, 1, 7, 40]);
    }
}
