//! Drivers that are short of time, and drivers that die.

use super::*;

/// What a driver short of time does with a command.
fn settled(run: &mut Script, command: &Command) -> Vec<&'static str> {
    let mut foreseen = run.state();
    let events = settle(&run.known, &mut foreseen, command, run.now).unwrap();
    run.push(&events, Some(driver("d1")));
    events.iter().map(Event::tag).collect()
}

fn thinking() -> Script {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run
}

/// What the model call in flight may cost at most.
fn reserved_micro_usd(run: &Script) -> u64 {
    match run.state().frames[&FrameId::root()].phase {
        Phase::Thinking {
            reserved_micro_usd, ..
        } => reserved_micro_usd,
        _ => 0,
    }
}

#[test]
fn a_driver_short_of_time_begins_nothing() {
    let mut run = thinking();
    let sum = calls(&[("calculator", json!({"expression": "1+1"}))]);
    assert_eq!(
        settled(&mut run, &answered(1, 0, Ok(sum))),
        ["model_answered"]
    );
    assert_eq!(outstanding(&run.state()), []);
    let handed = Command::Drive {
        driver: driver("d2"),
        handed_over_by: Some(driver("d1")),
        lease: None,
    };
    run.check("d2", &handed, &["taken_over", "tool_called"]);
    assert_eq!(run.state().totals.micro_usd, 35, "nothing was lost");
}

#[test]
fn a_driver_short_of_time_ends_what_ends() {
    let mut run = thinking();
    assert_eq!(
        settled(&mut run, &answered(1, 0, Ok(says("2")))),
        ["model_answered", "succeeded"]
    );

    let mut run = thinking();
    let cancel = Command::Cancel {
        by: "key_1".to_owned(),
        reason: None,
    };
    run.outside(&cancel).unwrap();
    assert_eq!(
        settled(&mut run, &drive("d1")),
        ["model_failed", "cancelled"]
    );

    let mut run = thinking();
    run.later(3_600_000);
    assert_eq!(settled(&mut run, &drive("d1")), ["model_failed", "expired"]);
}

#[test]
fn a_step_that_ends_every_process_fails_the_run() {
    let mut run = thinking();
    for successor in ["d2", "d3", "d4"] {
        run.later(LEASE_MS);
        let again = ["taken_over", "model_failed", "step_started"];
        run.check(successor, &drive(successor), &again);
    }
    run.later(LEASE_MS);
    run.check(
        "d5",
        &drive("d5"),
        &["taken_over", "model_failed", "failed"],
    );
    let error = run.state().error.unwrap();
    assert_eq!(error.code, ErrorCode::ModelFailed);
}

#[test]
fn a_run_that_fails_for_another_reason_pays_for_its_call_in_flight() {
    let mut run = thinking();
    let reserved = reserved_micro_usd(&run);
    let error = Error {
        code: ErrorCode::TooLarge,
        message: "the answer is too large".to_owned(),
    };
    run.check("d1", &Command::Fail(error), &["model_failed", "failed"]);
    assert_eq!(run.state().totals.micro_usd, reserved);
}
