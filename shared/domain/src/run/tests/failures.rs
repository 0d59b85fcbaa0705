//! Runs that fail, or that are kept from failing.

use super::*;
use crate::caps::Cap;

#[test]
fn a_failing_model_is_asked_again_and_a_throttling_one_for_ever() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    for attempt in 0..6 {
        run.check(
            "d1",
            &answered(1, attempt, Err(failure(FailureKind::Throttled))),
            &["model_failed", "parked"],
        );
        run.later(60_000);
        run.check("d1", &drive("d1"), &["resumed", "step_started"]);
    }
    for attempt in 6..9 {
        run.check(
            "d1",
            &answered(1, attempt, Err(failure(FailureKind::Transient))),
            &["model_failed", "parked"],
        );
        run.later(60_000);
        run.check("d1", &drive("d1"), &["resumed", "step_started"]);
    }
    run.check(
        "d1",
        &answered(1, 9, Err(failure(FailureKind::Fault))),
        &["model_failed", "failed"],
    );
    assert_eq!(run.state().error.unwrap().code, ErrorCode::ModelFailed);
}

#[test]
fn what_cannot_be_right_fails_at_once() {
    for (kind, code) in [
        (FailureKind::Invalid, ErrorCode::ModelInvalid),
        (FailureKind::Refused, ErrorCode::ModelRefused),
    ] {
        let mut run = Script::new(agent());
        run.check("d1", &drive("d1"), &["run_started", "step_started"]);
        run.check(
            "d1",
            &answered(1, 0, Err(failure(kind))),
            &["model_failed", "failed"],
        );
        assert_eq!(run.state().error.unwrap().code, code);
    }
}

#[test]
fn an_answer_that_breaks_the_schema_is_repaired_once() {
    let mut shaped = agent();
    shaped.output_schema = Some(
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
    );
    let mut run = Script::new(shaped.clone());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.check(
        "d1",
        &answered(1, 0, Ok(says("two"))),
        &["model_answered", "answer_rejected", "step_started"],
    );
    run.check(
        "d1",
        &answered(2, 0, Ok(says("```json\n{\"n\": 2}\n```"))),
        &["model_answered", "succeeded"],
    );
    assert_eq!(run.state().output, Some(json!({"n": 2})));

    let mut run = Script::new(shaped);
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.check(
        "d1",
        &answered(1, 0, Ok(says("{\"n\": \"x\"}"))),
        &["model_answered", "answer_rejected", "step_started"],
    );
    run.check(
        "d1",
        &answered(2, 0, Ok(says("{}"))),
        &["model_answered", "failed"],
    );
    assert_eq!(run.state().error.unwrap().code, ErrorCode::OutputInvalid);
}

#[test]
fn unusable_answers_are_repaired_once() {
    for (useless, then) in [
        (says(" "), StopReason::EndTurn),
        (answer(vec![], StopReason::Malformed), StopReason::Malformed),
    ] {
        let mut run = Script::new(agent());
        run.check("d1", &drive("d1"), &["run_started", "step_started"]);
        run.check(
            "d1",
            &answered(1, 0, Ok(useless)),
            &["model_answered", "answer_rejected", "step_started"],
        );
        run.check(
            "d1",
            &answered(2, 0, Ok(answer(vec![], then))),
            &["model_answered", "failed"],
        );
        assert_eq!(run.state().error.unwrap().code, ErrorCode::AnswerUnusable);
    }
}

#[test]
fn caps_end_a_run_before_they_are_passed() {
    let loops = || calls(&[("wait", json!({"seconds": 0}))]);
    for (caps, cap, started) in [
        (
            Caps {
                steps: 1,
                ..Caps::default()
            },
            Cap::Steps,
            true,
        ),
        (
            Caps {
                tool_calls: 0,
                ..Caps::default()
            },
            Cap::ToolCalls,
            true,
        ),
        (
            Caps {
                tokens: 100,
                ..Caps::default()
            },
            Cap::Tokens,
            false,
        ),
        (
            Caps {
                micro_usd: 100,
                ..Caps::default()
            },
            Cap::MicroUsd,
            false,
        ),
    ] {
        let mut limited = agent();
        limited.caps = caps;
        let mut run = Script::new(limited);
        run.by("d1", &drive("d1")).unwrap();
        if started {
            run.by("d1", &answered(1, 0, Ok(loops()))).unwrap();
        }
        assert_eq!(
            run.state().error.map(|error| error.code),
            Some(ErrorCode::CapReached { cap }),
            "{caps:?}"
        );
    }
}

#[test]
fn a_result_that_is_too_large_is_a_typed_error() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.check(
        "d1",
        &answered(1, 0, Ok(calls(&[("clock", json!({}))]))),
        &["model_answered", "tool_called"],
    );
    let events = run.check(
        "d1",
        &returned(1, 0, &"x".repeat(2 * 1024 * 1024)),
        &["tool_returned", "step_started"],
    );
    assert!(
        matches!(&events[0], Event::ToolReturned { text, is_error: true, .. } if text.starts_with("result_too_large"))
    );
}

#[test]
fn a_destructive_call_whose_driver_died_parks_the_run() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.check(
        "d1",
        &answered(1, 0, Ok(calls(&[("clock", json!({}))]))),
        &["model_answered", "tool_called"],
    );
    for commit in &mut run.log {
        for event in &mut commit.events {
            if let Event::ToolCalled { class, .. } = event {
                *class = crate::tool::Class::Destructive;
            }
        }
    }
    run.later(30_000);
    run.check("d2", &drive("d2"), &["taken_over", "parked"]);
    assert!(matches!(
        run.state().parked,
        Some((ParkReason::UnknownEffect { .. }, _))
    ));
    run.later(60_000);
    run.check("d3", &drive("d3"), &[]);
}
