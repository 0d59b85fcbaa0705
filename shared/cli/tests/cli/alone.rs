//! What needs no platform, or finds none.

use serde_json::Value;

use crate::place::Place;

#[tokio::test]
async fn openapi_is_printed_as_json_of_version_3_1() {
    let document: Value = Place::new().skein(&["openapi"]).await.json();
    let version = document["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1"), "{version}");
    assert!(document["paths"]["/v1/runs"]["post"].is_object());
}

#[tokio::test]
async fn completions_name_every_command_but_the_hidden_one() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let printed = place.skein(&["completions", shell]).await;
        let script = printed.answer();
        for command in ["dev", "runs", "agents", "doctor", "--follow"] {
            let command = command.trim_start_matches('-');
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[tokio::test]
async fn bad_arguments_end_with_2_and_say_what_is_wrong() {
    let place = Place::new();
    for (arguments, said) in [
        (&["walk", "hello"][..], "walk"),
        (&["run"], "<AGENT>"),
        (&["run", "hello", "--version", "two"], "two"),
        (&["runs", "ls", "--limit", "-1"], "-1"),
        (&["dev", "--memory", "--state", "here"], "--state"),
        (&["dev", "--port", "70000"], "70000"),
        (&["completions", "teletype"], "teletype"),
    ] {
        let outcome = place.skein(arguments).await;
        let err = outcome.error(2);
        assert!(err.contains(said), "{arguments:?}: {err}");
        assert_eq!(outcome.out, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn help_and_version_end_with_0() {
    let place = Place::new();
    let help = place.skein(&["--help"]).await;
    assert!(help.answer().contains("skein dev"), "{help:?}");
    let version = place.skein(&["--version"]).await;
    assert!(version.answer().starts_with("skein "), "{version:?}");
}

#[tokio::test]
async fn no_known_platform_ends_with_3_and_says_what_to_do() {
    let place = Place::new();
    for arguments in [
        &["run", "hello", "hi"][..],
        &["doctor"],
        &["agents", "ls"],
        &["runs", "ls"],
    ] {
        let outcome = place.skein(arguments).await;
        assert!(outcome.error(3).contains("skein dev"), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_unreachable_platform_ends_with_3_and_is_named() {
    let place = Place::new();
    // Had and given back: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let there = ["--url", &url, "--key", "skn_demo_x_y"];

    let run = [&["run", "hello", "hi"], &there[..]].concat();
    let outcome = place.skein(&run).await;
    assert!(outcome.error(3).contains(&url), "{outcome:?}");

    let doctor = [&["doctor"], &there[..]].concat();
    let outcome = place.skein(&doctor).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.out.contains("FAIL reachable"), "{outcome:?}");
    assert!(!outcome.out.contains("ok "), "{outcome:?}");
}
