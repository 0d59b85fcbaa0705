//! `skein agents`.

use serde_json::json;

use crate::place::Place;

const ECHO: &str = r#"{"model": "local.echo", "description": "Echoes."}"#;

#[tokio::test]
async fn definitions_are_applied_from_files_and_pipes_listed_and_shown() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;
    let samples = place.skein(&["agents", "ls", "--json"]).await.json();
    assert_eq!(samples["items"].as_array().unwrap().len(), 4);

    place.write("parrot.json", ECHO);
    place.write("named.json", r#"{"id": "jackdaw", "model": "local.echo"}"#);
    for (arguments, input, stored) in [
        (&["-f", "parrot.json"][..], "", "parrot version 1"),
        (
            &["-f", "parrot.json", "--id", "heron"],
            "",
            "heron version 1",
        ),
        (&["-f", "named.json"], "", "jackdaw version 1"),
        (
            &["-f", "-", "--id", "parrot"],
            r#"{"model": "local.tools"}"#,
            "parrot version 2",
        ),
    ] {
        let apply = [&["agents", "apply"], arguments].concat();
        let applied = place.skein_reading(input, &apply).await;
        assert_eq!(applied.answer(), stored, "{arguments:?}");
    }

    let listed = place.skein(&["agents", "ls"]).await;
    assert_eq!(listed.answer().lines().count(), 1 + 4 + 3, "{listed:?}");
    assert!(listed.out.contains("heron"), "{listed:?}");

    let latest = place.skein(&["agents", "show", "parrot"]).await.json();
    assert_eq!(
        (&latest["version"], &latest["definition"]["model"]),
        (&json!(2), &json!("local.tools"))
    );
    let first = place
        .skein(&["agents", "show", "parrot", "--version", "1"])
        .await
        .json();
    assert_eq!(first["definition"]["description"], "Echoes.");
    assert_eq!(place.skein(&["run", "heron", "hi"]).await.answer(), "hi");
}

#[tokio::test]
async fn definitions_that_cannot_be_stored_say_what_is_wrong_and_where() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;
    place.write("half.json", r#"{"model": "#);
    for (arguments, input, code, words) in [
        (
            &["-f", "half.json"][..],
            "",
            1,
            &["half.json is not JSON"][..],
        ),
        (
            &["-f", "nowhere.json"],
            "",
            1,
            &["nowhere.json", "No such file"],
        ),
        (
            &["-f", "-", "--id", "a"],
            "nonsense",
            1,
            &["standard input is not JSON"],
        ),
        (&["-f", "-"], ECHO, 1, &["--id"]),
        (&["-f", "-", "--id", "a"], "[]", 4, &["422"]),
        (
            &["-f", "-", "--id", "a"],
            r#"{"model": "local.echo", "tools": ["hammer"], "caps": {"steps": 0}}"#,
            4,
            &[
                "422",
                "/caps/steps: must be 1",
                "/tools/0: no tool is named `hammer`",
            ],
        ),
        (
            &["-f", "-", "--id", "a"],
            r#"{"model": "local.echo", "tolls": []}"#,
            4,
            &["/tolls: unknown field"],
        ),
        (&["-f", "-", "--id", "A B"], ECHO, 4, &["error: "]),
    ] {
        let apply = [&["agents", "apply"], arguments].concat();
        let refused = place.skein_reading(input, &apply).await;
        for word in words {
            assert!(
                refused.error(code).contains(word),
                "{arguments:?}: {refused:?}"
            );
        }
        assert_eq!(refused.out, "", "{arguments:?}");
        assert!(!refused.err.contains("  : "), "{refused:?}");
    }
    assert_eq!(place.skein(&["agents", "show", "a"]).await.code, Some(4));
}
