//! `skein load`.

use crate::place::Place;

const SMALL: &str = r#"
    description = "twenty requests"
    agent = { id = "hello", input = "Hello, geese!" }
    stages = [{ lasts = "2s", rate = "10/s" }]
    mix = { create_run = 1, read_run = 1, list_runs = 1, read_agent = 1 }
    targets = { errors_percent = 0, failed_runs_percent = 0, lag_cleared_ms = 60000 }
"#;

#[tokio::test]
async fn scenarios_are_listed_shown_and_exported_without_a_platform() {
    let place = Place::new();
    let listed = place.skein(&["load", "ls"]).await;
    assert_eq!(listed.answer().lines().count(), 1 + 7, "{listed:?}");
    let shown = place.skein(&["load", "show", "spike-runs"]).await;
    place.write("spike.toml", shown.answer());
    let export = ["load", "export", "spike.toml", "--scale", "0.1"];
    for (format, part) in [
        ("k6", r#""duration":"60000ms","target":200"#),
        ("locust", "STAGES = [[60.0,0.0,3.33"),
        ("jmeter", "rate(0/min) even_arrivals(60 sec) rate(200"),
    ] {
        let exported = place
            .skein(&[&export[..], &["--format", format]].concat())
            .await;
        assert!(exported.answer().contains(part), "{exported:?}");
    }
}

#[tokio::test]
async fn a_load_is_told_in_tables_and_reported_in_a_page_and_by_its_exit_code() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;
    place.write("small.toml", SMALL);
    let made = place
        .skein(&["load", "small.toml", "--report", "report.html"])
        .await;
    let told = made.answer();
    for part in [
        "create_run  5      0",
        "failed requests              0 %",
        "no run waits any more after",
        "memory of a process at the end: ",
        " stream ",
        "5 runs: $",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    let report = std::fs::read_to_string(place.path().join("report.html")).unwrap();
    assert!(report.starts_with("<!doctype html>") && report.contains("<svg"));

    // What an agent that fails does is told in JSON as well.
    place.write("faulty.json", r#"{"model": "local.flaky"}"#);
    let applied = place.skein(&["agents", "apply", "-f", "faulty.json"]).await;
    assert_eq!(applied.answer(), "faulty version 1");
    let faulty = ["--agent", "faulty", "--input", "refuse", "--scale", "0.5"];
    let load = ["load", "small.toml", "--json"];
    let failed = place.skein(&[&load[..], &faulty].concat()).await;
    failed.error(1);
    let told: serde_json::Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(told["runs"]["failed"]["model_refused"], 3, "{told}");
    assert_eq!(told["is_good"], false);
}

#[tokio::test]
async fn what_cannot_be_loaded_is_told_before_anything_is_asked() {
    let place = Place::new();
    place.write("wrong.toml", &SMALL.replace("10/s", "10"));
    for (arguments, code, told) in [
        (&["load"][..], 2, "<SCENARIO>"),
        (&["load", "nothing"], 1, "skein load ls"),
        (&["load", "wrong.toml"], 1, "write 100/s or 500/min"),
        (&["load", "steady-runs", "--scale", "0"], 1, "above 0"),
        (
            &["load", "steady-runs", "--duration", "1d"],
            2,
            "90s, 10m or 24h",
        ),
        (&["load", "steady-runs"], 3, "no platform is known"),
    ] {
        let refused = place.skein(arguments).await;
        let error = refused.error(code);
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
}
