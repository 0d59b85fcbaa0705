use domain::run::Event;
use serde_json::json;

use super::*;

const RUN_ID: &str = "run_0123456789abcdef0123456789abcdef";

fn run_message() -> RunMessage {
    RunMessage::new(
        TenantId::parse("acme").unwrap(),
        RunId::parse(RUN_ID).unwrap(),
    )
}

fn first_message(commit: Commit) -> RunMessage {
    let mut message = run_message();
    message.carry(commit);
    message
}

fn commit(bytes: usize) -> Commit {
    Commit {
        first: 1,
        at: At(1_700_000_000_000),
        driver: None,
        events: vec![Event::CancelRequested {
            by: "x".repeat(bytes),
            reason: None,
        }],
        used: None,
    }
}

fn tool_message(arguments: Value) -> ToolMessage {
    ToolMessage {
        lane: Lane::Interactive,
        step: 3,
        effect: "e".to_owned(),
        tool: "slow_research".to_owned(),
        arguments,
        due_at: At(1_700_000_000_000),
        hops: 2,
        ..ToolMessage::new(run_message().tenant, run_message().run)
    }
}

#[test]
fn the_bodies_that_travel_never_change() {
    assert_eq!(
        run_message().body().unwrap(),
        r#"{"v":1,"type":"run","tenant":"acme","run":"run_0123456789abcdef0123456789abcdef","hops":0}"#
    );
    assert_eq!(
        tool_message(json!({"topic": "geese"})).body().unwrap(),
        concat!(
            r#"{"v":1,"type":"tool","tenant":"acme","run":"run_0123456789abcdef0123456789abcdef","lane":"interactive","#,
            r#""frame":"0","step":3,"call":0,"effect":"e","tool":"slow_research","arguments":{"topic":"geese"},"#,
            r#""due_at":1700000000000,"hops":2}"#
        )
    );
    let sweep = SweepMessage {
        up_to: At(1_700_000_000_000),
    };
    let body = r#"{"v":1,"type":"sweep","up_to":1700000000000}"#;
    assert_eq!(sweep.body().unwrap(), body);
    assert_eq!(SweepMessage::parse(body).unwrap(), sweep);
    let revives = RunMessage {
        revives: true,
        ..run_message()
    };
    assert_eq!(
        RunMessage::parse(&revives.body().unwrap()).unwrap(),
        revives
    );
}

#[test]
fn a_message_says_which_trace_it_belongs_to_and_is_read_without() {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let context = domain::trace::Context::parse(traceparent).unwrap();
    let trace = Some(Carried {
        traceparent: context,
        drive: Some(context),
    });
    let mut run = first_message(commit(MAX_FIRST_BYTES));
    run.trace = trace;
    let body = run.body().unwrap();
    assert!(body.len() < 1_000, "the commit stays behind");
    assert_eq!(RunMessage::parse(&body).unwrap().trace, trace);
    let mut tool = tool_message(json!({}));
    tool.trace = trace;
    let body = tool.body().unwrap();
    assert_eq!(ToolMessage::parse(&body).unwrap(), tool);
    for broken in [
        r#""nonsense""#,
        "7",
        "null",
        r#"{"traceparent":"00-0-0-00"}"#,
    ] {
        let body = body.replace(&serde_json::to_string(&trace).unwrap(), broken);
        assert_eq!(ToolMessage::parse(&body).unwrap().trace, None, "{broken}");
    }
}

#[test]
fn what_was_sent_is_what_is_read() {
    let mut message = first_message(commit(10));
    message.handed_over_by = Some(DriverId::parse("d-1").unwrap());
    assert_eq!(
        RunMessage::parse(&message.body().unwrap()).unwrap(),
        message
    );
    let message = tool_message(json!({"text": "\u{fffe}\u{ffff}\u{0}é"}));
    let body = message.body().unwrap();
    assert!(!body.contains(['\u{fffe}', '\u{ffff}', '\u{0}']));
    assert_eq!(ToolMessage::parse(&body).unwrap(), message);
}

#[test]
fn the_first_commit_travels_only_while_the_body_is_small() {
    let sent = |bytes| {
        let message = first_message(commit(bytes));
        let body = message.body().unwrap();
        assert!(body.len() <= MAX_FIRST_BYTES);
        RunMessage::parse(&body).unwrap().first.is_some()
    };
    assert!(sent(48 * 1024 - 300));
    assert!(!sent(48 * 1024));
}

#[test]
fn a_commit_that_is_not_the_first_is_left_aside() {
    let mut late = commit(1);
    late.first = 2;
    let body = first_message(late).body().unwrap();
    assert_eq!(RunMessage::parse(&body).unwrap().first, None);
}

#[test]
fn each_hop_counts_and_drops_what_only_the_first_needs() {
    let first = first_message(commit(1));
    let second = first.next_hop();
    assert_eq!((second.hops, &second.first), (1, &None));
    assert_eq!(second.next_hop().hops, 2);
}

#[test]
fn newer_senders_may_add_fields() {
    let body =
        json!({"v": 1, "type": "run", "tenant": "acme", "run": RUN_ID, "colour": {"is": "blue"}});
    assert_eq!(RunMessage::parse(&body.to_string()).unwrap(), run_message());
}

#[test]
fn a_malformed_body_says_what_is_wrong() {
    let parse = |body: Value| RunMessage::parse(&body.to_string()).unwrap_err();
    let body = |v: u64, r#type: &str, tenant: &str, run: &str| json!({"v": v, "type": r#type, "tenant": tenant, "run": run});
    assert!(matches!(
        parse(body(2, "run", "acme", RUN_ID)),
        Malformed::Version(2)
    ));
    assert!(matches!(
        parse(body(1, "tool", "acme", RUN_ID)),
        Malformed::Type {
            expected: "run",
            ..
        }
    ));
    assert!(matches!(
        parse(body(1, "run", "a#b", RUN_ID)),
        Malformed::Id(Invalid {
            what: "a tenant id",
            ..
        })
    ));
    assert!(matches!(
        parse(body(1, "run", "acme", "run_1")),
        Malformed::Id(Invalid {
            what: "a run id",
            ..
        })
    ));
    for shapeless in [json!({}), json!([]), json!("run"), json!(null)] {
        assert!(matches!(parse(shapeless), Malformed::Shape(_)));
    }
    for broken in ["", "{", "\u{0}"] {
        assert!(matches!(
            RunMessage::parse(broken).unwrap_err(),
            Malformed::Shape(_)
        ));
    }
    let mut tool = serde_json::from_str::<Value>(&tool_message(json!(1)).body().unwrap()).unwrap();
    tool["frame"] = json!("0#1");
    assert!(matches!(
        ToolMessage::parse(&tool.to_string()).unwrap_err(),
        Malformed::Id(_)
    ));
}

#[test]
fn what_sqs_would_refuse_is_refused_before() {
    let error = tool_message(json!("x".repeat(MAX_BYTES)))
        .body()
        .unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }) && !error.is_transient());
}
