//! `skein run` and `skein runs`.

use serde_json::Value;

use crate::place::Place;

/// The events in lines of JSON.
fn events(lines: &str) -> Vec<Value> {
    let parsed = lines.lines().map(serde_json::from_str);
    parsed.collect::<Result<_, _>>().unwrap()
}

fn types(events: &[Value]) -> Vec<&str> {
    let typed = events.iter().filter_map(|event| event["type"].as_str());
    typed.collect()
}

#[tokio::test]
async fn run_prints_the_answer_alone_on_standard_output() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;

    let plain = place.skein(&["run", "hello", "hi"]).await;
    assert_eq!(plain.answer(), "hi");
    assert!(plain.err.contains("1 step, $0."), "{plain:?}");

    let typed = place.skein_reading("from a pipe", &["run", "hello"]).await;
    assert_eq!(typed.answer(), "from a pipe");
    let typed = place
        .skein_reading("and again", &["run", "hello", "-"])
        .await;
    assert_eq!(typed.answer(), "and again");

    let version = ["run", "hello", "hi", "--version", "1", "--json"];
    let run = place.skein(&version).await.json();
    assert_eq!(
        (&run["status"], &run["output"]),
        (&"succeeded".into(), &"hi".into())
    );
    assert_eq!(run["agent"]["version"], 1);

    let contact = ["run", "extractor", "Ada Lovelace, ada@example.com"];
    let contact = place.skein(&contact).await.json();
    assert_eq!(contact["email"], "ada@example.com");
}

#[tokio::test]
async fn following_shows_the_steps_beside_the_answer() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;

    let shown = place.skein(&["run", "calculator", "1+1", "--follow"]).await;
    assert!(shown.answer().ends_with("1+1 is 2."), "{shown:?}");
    assert_eq!(shown.out.matches("1+1 is 2.").count(), 1, "{shown:?}");
    assert!(
        shown.err.contains("step 1: calling calculator"),
        "{shown:?}"
    );
    assert!(shown.err.contains("succeeded"), "{shown:?}");

    let lines = place
        .skein(&["run", "calculator", "1+1", "--follow", "--json"])
        .await;
    let lines = events(lines.answer());
    let types = types(&lines);
    assert_eq!(
        (types[0], *types.last().unwrap()),
        ("run_created", "succeeded")
    );
    assert!(types.contains(&"tool_returned"), "{types:?}");
    assert!(
        lines.iter().any(|event| event["text"].is_string()),
        "deltas"
    );
}

#[tokio::test]
async fn a_run_that_fails_ends_with_1_and_its_reason() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;
    place.write("flaky.json", r#"{"model": "local.flaky"}"#);
    let short = r#"{"model": "local.tools", "tools": ["calculator"], "caps": {"steps": 1}}"#;
    place.write("short.json", short);
    for file in ["flaky.json", "short.json"] {
        let applied = place.skein(&["agents", "apply", "-f", file]).await;
        assert!(applied.answer().ends_with("version 1"), "{applied:?}");
    }

    for more in [&[][..], &["--follow"]] {
        let denied = place
            .skein(&[&["run", "flaky", "deny"], more].concat())
            .await;
        assert!(denied.error(1).contains("failed: "), "{denied:?}");
        assert!(denied.err.contains("deny"), "{denied:?}");
        assert_eq!(denied.out, "");
    }

    let capped = place.skein(&["run", "short", "1+1", "--json"]).await;
    assert_eq!(capped.code, Some(1), "{capped:?}");
    let run: Value = serde_json::from_str(&capped.out).unwrap();
    assert_eq!(run["status"], "failed");
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("step"), "{run}");
}

#[tokio::test]
async fn what_the_platform_refuses_ends_with_4_and_its_words() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;
    for (arguments, words) in [
        (
            &["run", "nobody", "hi"][..],
            &["422", "/agent: there is no such agent"][..],
        ),
        (
            &["run", "nobody", "hi", "--follow"],
            &["422", "/agent: there is no such agent"],
        ),
        (&["run", "hello", "hi", "--version", "7"], &["422"]),
        (
            &["run", "hello", "hi", "--key", "skn_demo_x_y"],
            &["401", "API key"],
        ),
        (&["runs", "show", "run_x"], &["404"]),
        (&["runs", "events", "run_x", "--follow"], &["404"]),
        (&["runs", "cancel", "run_x"], &["404"]),
        (
            &["runs", "ls", "--status", "odd"],
            &["400", "status: must be one of queued"],
        ),
        (&["agents", "show", "nobody"], &["404"]),
    ] {
        let outcome = place.skein(arguments).await;
        for word in words {
            assert!(
                outcome.error(4).contains(word),
                "{arguments:?}: {outcome:?}"
            );
        }
        assert_eq!(outcome.out, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn runs_are_listed_shown_and_told_event_by_event() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;
    let empty = place.skein(&["runs", "ls", "--json"]).await.json();
    assert_eq!(empty["items"], Value::Array(Vec::new()));

    place.skein(&["run", "hello", "hi"]).await.answer();
    let run = place.skein(&["run", "calculator", "1+1", "--json"]).await;
    let run = run.json()["id"].as_str().unwrap().to_owned();

    let all = place.skein(&["runs", "ls"]).await;
    let lines: Vec<&str> = all.answer().lines().collect();
    assert_eq!(lines.len(), 3, "{all:?}");
    assert!(lines[0].starts_with("RUN "), "{all:?}");
    assert!(
        lines[1].starts_with(&run) && lines[1].contains("calculator@1"),
        "{all:?}"
    );
    assert!(lines[2].contains("hello@1"), "{all:?}");
    for (filter, expected) in [
        (&["--agent", "calculator"][..], 1),
        (&["--status", "succeeded"], 2),
        (&["--status", "failed"], 0),
        (&["--limit", "1"], 1),
    ] {
        let page = place
            .skein(&[&["runs", "ls", "--json"], filter].concat())
            .await
            .json();
        assert_eq!(
            page["items"].as_array().unwrap().len(),
            expected,
            "{filter:?}"
        );
    }

    let shown = place.skein(&["runs", "show", &run]).await;
    for text in ["succeeded", "calculator@1", "STEP", "\n1+1 is 2."] {
        assert!(shown.answer().contains(text), "{text}: {shown:?}");
    }
    let shown = place.skein(&["runs", "show", &run, "--json"]).await.json();
    assert_eq!(shown["run"]["output"], "1+1 is 2.");
    assert_eq!(shown["steps"].as_array().unwrap().len(), 2);

    let told = place.skein(&["runs", "events", &run]).await;
    assert_eq!(told.code, Some(0));
    assert!(told.err.contains("step 1: returned 2"), "{told:?}");
    let told = place.skein(&["runs", "events", &run, "--json"]).await;
    let told = events(told.answer());
    let followed = place
        .skein(&["runs", "events", &run, "--json", "--follow"])
        .await;
    let followed = events(followed.answer());
    assert_eq!(types(&told), types(&followed));
    let numbers = told.iter().map(|event| event["event"].as_u64().unwrap());
    assert!(numbers.eq(1..=told.len() as u64), "{told:?}");
    let tail = place
        .skein(&["runs", "events", &run, "--json", "--after", "2"])
        .await;
    assert_eq!(events(tail.answer()), told[2..]);
}

#[tokio::test]
async fn a_cancelled_run_ends_for_everyone_who_waits_for_it() {
    let place = Place::new();
    let dev = place.dev(&["--memory"]).await;
    let run = dev.create("researcher", "wait 1 hour").await;
    dev.has_status(&run, "parked").await;

    let follow = ["runs", "events", &run, "--follow", "--json"];
    let cancel = ["runs", "cancel", &run, "--reason", "no longer needed"];
    let (followed, cancelled) = tokio::join!(place.skein(&follow), place.skein(&cancel));
    assert!(cancelled.answer().starts_with(&run), "{cancelled:?}");
    let followed = events(followed.answer());
    assert_eq!(types(&followed).last(), Some(&"cancelled"), "{followed:?}");

    dev.has_status(&run, "cancelled").await;
    let again = place.skein(&["runs", "cancel", &run]).await;
    assert_eq!(again.answer(), format!("{run} cancelled"));
    let shown = place.skein(&["runs", "show", &run]).await;
    assert!(shown.answer().contains("cancelled"), "{shown:?}");
}

#[tokio::test]
async fn whoever_waits_for_a_run_that_is_cancelled_gets_1() {
    let place = Place::new();
    let dev = place.dev(&["--memory"]).await;
    let waiting = ["run", "researcher", "wait 1 hour"];
    let cancel = async {
        let parked = ["runs", "ls", "--status", "parked", "--json"];
        let run = crate::place::eventually(async || {
            let page = place.skein(&parked).await.json();
            page["items"][0]["id"].as_str().map(str::to_owned)
        })
        .await;
        place.skein(&["runs", "cancel", &run]).await.answer();
        dev.has_status(&run, "cancelled").await;
    };
    let (waited, ()) = tokio::join!(place.skein(&waiting), cancel);
    assert!(waited.error(1).contains("cancelled"), "{waited:?}");
}

#[tokio::test]
async fn usage_counts_the_runs_that_ended() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;
    for text in ["1+1", "2*3"] {
        place.skein(&["run", "calculator", text]).await.answer();
    }
    let asked = ["usage", "--interval", "hour", "--json"];
    let counted = async {
        loop {
            let report = place.skein(&asked).await.json();
            if report["total"]["runs"] == 2 {
                return report;
            }
        }
    };
    let counted = tokio::time::timeout(std::time::Duration::from_secs(60), counted);
    let report = counted.await.unwrap();
    let item = &report["items"][0];
    assert_eq!(
        (&item["agent"], &item["steps"]),
        (&"calculator".into(), &4.into())
    );

    let table = place.skein(&["usage", "--by", "agent"]).await;
    let last = table.answer().lines().last().unwrap();
    assert!(
        last.contains("so far $0.") && last.contains("by its end"),
        "{table:?}"
    );
    assert!(
        table.out.contains("AGENT") && !table.out.contains("MODEL"),
        "{table:?}"
    );
    let csv = place.skein(&["usage", "--csv"]).await;
    assert_eq!(csv.out.lines().count(), 2, "{csv:?}");

    let service = place.skein(&["slo", "--tenant", "demo", "--hours"]).await;
    let total = service
        .answer()
        .lines()
        .find(|line| line.starts_with("total"));
    let total: Vec<&str> = total.unwrap().split_whitespace().collect();
    assert_eq!(total[4..6], ["2", "100.000%"], "{service:?}");
    let nobody = place.skein(&["slo", "--tenant", "nobody"]).await;
    assert!(nobody.error(4).contains("404"), "{nobody:?}");
}
