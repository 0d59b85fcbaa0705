//! What holds for the log of every run that ended, whatever happened on the way.

use std::collections::BTreeSet;

use domain::caps::{Caps, Totals};
use domain::id::{DriverId, RunId, TenantId};
use domain::run::{Commit, Event, Head, State, fold};
use store::Store;

/// The whole log of a run, read page by page.
pub(crate) async fn log(store: &Store, tenant: &TenantId, run: &RunId) -> Vec<Commit> {
    let mut log: Vec<Commit> = Vec::new();
    loop {
        let next = log.last().map_or(1, |commit| commit.last() + 1);
        let page = store.commits(tenant, run, next, 100).await.unwrap();
        if page.is_empty() {
            return log;
        }
        log.extend(page);
    }
}

/// Checks everything and answers with the state that the run ended in.
#[track_caller]
pub(crate) fn check(tenant: &TenantId, run: &RunId, log: &[Commit], head: &Head) -> State {
    if let Err(broken) = laws(log) {
        panic!("{run}: {broken}\n{}", show(log));
    }
    let state = fold(tenant.clone(), run.clone(), log);
    assert!(
        state.status.is_terminal(),
        "{run} did not end\n{}",
        show(log)
    );
    assert_eq!(
        *head,
        Head::of(&state),
        "{run}: the head says something else than the log"
    );
    let caps = state.created.as_ref().unwrap().caps;
    assert!(
        is_within(state.totals, caps),
        "{run}: {:?} is over {caps:?}",
        state.totals
    );
    state
}

fn is_within(totals: Totals, caps: Caps) -> bool {
    totals.steps <= caps.steps
        && totals.tool_calls <= caps.tool_calls
        && totals.tokens() <= caps.tokens
        && totals.micro_usd <= caps.micro_usd
}

/// A log for people: one line for each event.
pub(crate) fn show(log: &[Commit]) -> String {
    let lines = log.iter().flat_map(|commit| {
        let driver = commit.driver.as_ref().map_or("-", DriverId::as_str);
        commit
            .numbered()
            .map(move |(number, event)| format!("{number:>4} {} {driver:.8} {event:?}", commit.at))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn laws(log: &[Commit]) -> Result<(), String> {
    let mut next = 1;
    let mut thinking = None;
    let mut called = BTreeSet::new();
    let mut returned = BTreeSet::new();
    let mut steps = BTreeSet::new();
    let mut ended = false;
    for commit in log {
        if commit.first != next {
            return Err(format!(
                "a commit starts at {} instead of {next}",
                commit.first
            ));
        }
        next = commit.last() + 1;
        for (number, event) in commit.numbered() {
            if ended {
                return Err(format!("event {number} follows the end"));
            }
            match event {
                Event::RunCreated(_) if number != 1 => {
                    return Err(format!("event {number} creates the run again"));
                }
                Event::StepStarted {
                    frame,
                    step,
                    attempt,
                    ..
                } => {
                    if let Some(place) = thinking {
                        return Err(format!(
                            "event {number} starts a call while {place:?} has no outcome"
                        ));
                    }
                    if !steps.insert((frame.clone(), *step, *attempt)) {
                        return Err(format!(
                            "event {number} intends {step}.{attempt} a second time"
                        ));
                    }
                    thinking = Some((frame.clone(), *step));
                }
                Event::ModelAnswered { frame, step, .. }
                | Event::ModelFailed { frame, step, .. } => {
                    if thinking.take() != Some((frame.clone(), *step)) {
                        return Err(format!(
                            "event {number} is a second outcome, or one without an intent"
                        ));
                    }
                }
                Event::ToolCalled {
                    frame, step, call, ..
                } => {
                    if !called.insert((frame.clone(), *step, *call)) {
                        return Err(format!(
                            "event {number} intends the call {step}.{call} a second time"
                        ));
                    }
                }
                Event::ToolReturned {
                    frame, step, call, ..
                } => {
                    let place = (frame.clone(), *step, *call);
                    if !called.contains(&place) || !returned.insert(place) {
                        return Err(format!(
                            "event {number} is a second result of {step}.{call}, or one of no call"
                        ));
                    }
                }
                _ => ended = event.is_terminal(),
            }
        }
    }
    if let Some(place) = thinking {
        return Err(format!("the call at {place:?} has no outcome"));
    }
    let succeeded = log
        .last()
        .and_then(|commit| commit.events.last())
        .is_some_and(|event| matches!(event, Event::Succeeded { .. }));
    if succeeded && called != returned {
        return Err("the run succeeded although a tool call has no result".to_owned());
    }
    Ok(())
}
