//! One run each, step by step.

use super::*;

#[test]
fn a_run_without_tools_is_one_step() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.check(
        "d1",
        &answered(1, 0, Ok(says("2"))),
        &["model_answered", "succeeded"],
    );
    let state = run.state();
    assert_eq!(
        (state.status, state.output),
        (Status::Succeeded, Some(json!("2")))
    );
    assert_eq!((state.totals.steps, state.totals.micro_usd), (1, 35));
}

#[test]
fn a_quick_tool_shares_a_commit_with_the_next_step() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    let sum = calls(&[("calculator", json!({"expression": "1+1"}))]);
    run.check(
        "d1",
        &answered(1, 0, Ok(sum)),
        &["model_answered", "tool_called"],
    );
    let owed = outstanding(&run.state());
    assert!(
        matches!(
            owed.as_slice(),
            [Effect::CallTool {
                step: 1,
                call: 0,
                ..
            }]
        ) && !owed[0].needs_intent(),
        "{owed:?}"
    );
    run.check(
        "d1",
        &returned(1, 0, "2"),
        &["tool_returned", "step_started"],
    );
    assert!(matches!(
        outstanding(&run.state()).as_slice(),
        [Effect::CallModel {
            step: 2,
            attempt: 0,
            ..
        }]
    ));
    let transcript = &run.state().frames[&FrameId::root()].transcript;
    assert_eq!(transcript.len(), 3);
    assert_eq!(
        transcript[2].content,
        [Content::ToolResult {
            call_id: "c0".to_owned(),
            text: "2".to_owned(),
            is_error: false
        }]
    );
}

#[test]
fn late_answers_are_ignored() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.check("d1", &answered(2, 0, Ok(says("early"))), &[]);
    run.check("d1", &answered(1, 1, Ok(says("another attempt"))), &[]);
    run.check("d1", &returned(1, 0, "no such call"), &[]);
    run.check(
        "d1",
        &answered(1, 0, Ok(says("2"))),
        &["model_answered", "succeeded"],
    );
    run.check("d1", &answered(1, 0, Ok(says("again"))), &[]);
}

#[test]
fn tools_that_cannot_be_called_are_answered_at_once() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    let nonsense = calls(&[
        ("rm_rf", json!({})),
        ("http_get", json!({"url": "x"})),
        ("calculator", json!({"expression": 1})),
    ]);
    let tags = [
        "model_answered",
        "tool_called",
        "tool_returned",
        "tool_called",
        "tool_returned",
        "tool_called",
        "tool_returned",
        "step_started",
    ];
    let events = run.check("d1", &answered(1, 0, Ok(nonsense)), &tags);
    let texts: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            Event::ToolReturned {
                text,
                is_error: true,
                ..
            } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert!(
        texts[0].starts_with("unknown_tool: there is no tool `rm_rf`; there are: calculator"),
        "{texts:?}"
    );
    assert!(
        texts[1].starts_with("unknown_tool"),
        "not offered to this agent: {texts:?}"
    );
    assert!(
        texts[2].starts_with("invalid_arguments: /expression"),
        "{texts:?}"
    );
}

#[test]
fn a_wait_parks_until_its_time() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    let wait = calls(&[("wait", json!({"seconds": 30}))]);
    run.check(
        "d1",
        &answered(1, 0, Ok(wait)),
        &["model_answered", "tool_called", "parked"],
    );
    assert_eq!(
        run.state().parked,
        Some((ParkReason::Timer, run.now.plus_ms(30_000)))
    );
    run.later(29_999);
    run.check("d2", &drive("d2"), &[]);
    run.later(1);
    run.check(
        "d2",
        &drive("d2"),
        &["resumed", "tool_returned", "step_started"],
    );
}

#[test]
fn a_call_on_the_worker_parks_until_it_is_answered() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    let two = calls(&[
        ("slow_research", json!({"topic": "geese"})),
        ("calculator", json!({"expression": "1+1"})),
    ]);
    run.check(
        "d1",
        &answered(1, 0, Ok(two)),
        &["model_answered", "tool_called", "tool_called"],
    );
    run.check("d1", &returned(1, 1, "2"), &["tool_returned", "parked"]);
    assert_eq!(run.outside(&returned(1, 0, "a report")).unwrap().len(), 1);
    assert_eq!(run.outside(&returned(1, 0, "delivered twice")), Ok(vec![]));
    run.check("d2", &drive("d2"), &["resumed", "step_started"]);
}

#[test]
fn a_call_on_the_worker_that_never_answers_times_out() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.check(
        "d1",
        &answered(1, 0, Ok(calls(&[("slow_research", json!({"topic": "x"}))]))),
        &["model_answered", "tool_called", "parked"],
    );
    run.later(15 * 60_000);
    run.check(
        "d2",
        &drive("d2"),
        &["resumed", "tool_returned", "step_started"],
    );
}

#[test]
fn a_live_driver_keeps_its_run_and_a_dead_one_loses_it() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.later(LEASE_MS - 1);
    assert_eq!(
        run.by("d2", &drive("d2")),
        Err(Rejection::Held {
            until: run.now.plus_ms(1)
        })
    );
    let renewed = Command::Drive {
        driver: driver("d2"),
        handed_over_by: None,
        lease: Some((driver("d1"), run.now)),
    };
    run.later(1);
    assert!(
        run.by("d2", &renewed).is_err(),
        "the lease outside the log counts"
    );
    let reserved = match outstanding(&run.state()).as_slice() {
        [Effect::CallModel { .. }] => match run.state().frames[&FrameId::root()].phase {
            Phase::Thinking {
                reserved_micro_usd, ..
            } => reserved_micro_usd,
            _ => 0,
        },
        other => panic!("{other:?}"),
    };
    run.check(
        "d2",
        &drive("d2"),
        &["taken_over", "model_failed", "step_started"],
    );
    assert_eq!(
        run.state().totals.micro_usd,
        reserved,
        "the lost attempt is charged as reserved"
    );
    run.check("d1", &answered(1, 0, Ok(says("from the dead"))), &[]);
    run.check(
        "d2",
        &answered(1, 1, Ok(says("2"))),
        &["model_answered", "succeeded"],
    );
    assert_eq!(run.state().totals.steps, 1, "the same step");
}

#[test]
fn a_run_that_was_handed_over_is_taken_up_at_once() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    let handed = Command::Drive {
        driver: driver("d2"),
        handed_over_by: Some(driver("d1")),
        lease: None,
    };
    run.check(
        "d2",
        &handed,
        &["taken_over", "model_failed", "step_started"],
    );
    let again = Command::Drive {
        driver: driver("d3"),
        handed_over_by: Some(driver("d1")),
        lease: None,
    };
    assert!(
        run.by("d3", &again).is_err(),
        "the same hand-over counts once"
    );
}

#[test]
fn cancel_ends_a_run_that_nobody_drives_and_stops_a_driven_one() {
    let cancel = Command::Cancel {
        by: "key_1".to_owned(),
        reason: None,
    };
    let mut queued = Script::new(agent());
    assert_eq!(queued.outside(&cancel).unwrap().len(), 2);
    assert_eq!(queued.state().status, Status::Cancelled);
    queued.check("d1", &drive("d1"), &[]);

    let mut driven = Script::new(agent());
    driven.check("d1", &drive("d1"), &["run_started", "step_started"]);
    assert_eq!(driven.outside(&cancel).unwrap().len(), 1);
    assert_eq!(driven.outside(&cancel), Ok(vec![]));
    assert_eq!(
        outstanding(&driven.state()),
        [],
        "no effect starts after a cancel"
    );
    driven.check(
        "d1",
        &answered(1, 0, Ok(calls(&[("clock", json!({}))]))),
        &["model_answered", "cancelled"],
    );
}

#[test]
fn a_run_past_its_deadline_expires_whatever_it_does() {
    let mut run = Script::new(agent());
    run.check("d1", &drive("d1"), &["run_started", "step_started"]);
    run.later(3_600_000);
    run.check("d1", &drive("d1"), &["model_failed", "expired"]);
}

#[test]
fn stored_events_keep_their_shape() {
    let mut run = Script::new(agent());
    run.by("d1", &drive("d1")).unwrap();
    let stored = serde_json::to_value(&run.log).unwrap();
    assert_eq!(stored[0]["events"][0]["type"], "run_created");
    assert_eq!(
        stored[1],
        json!({"first": 2, "at": 1_000_000, "driver": "d1", "events": [
            {"type": "run_started", "driver": "d1"},
            {"type": "step_started", "frame": "0", "step": 1, "max_output_tokens": 1024,
             "reserved_tokens": stored[1]["events"][1]["reserved_tokens"],
             "reserved_micro_usd": stored[1]["events"][1]["reserved_micro_usd"]},
        ]})
    );
    let read: Vec<Commit> = serde_json::from_value(stored).unwrap();
    assert_eq!(read, run.log);
}
