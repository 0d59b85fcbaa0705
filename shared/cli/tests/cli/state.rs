//! The state folder: what survives, who may use it, what is said when it is damaged.

use rustix::process::Signal;

use crate::place::{Place, gone};

#[tokio::test]
async fn a_killed_platform_goes_on_with_its_runs_and_keys() {
    let place = Place::new();
    let dev = place.dev(&[]).await;
    let run = dev.create("researcher", "wait 5 seconds").await;
    dev.has_status(&run, "parked").await;
    let (functions, key) = (dev.functions().await, dev.key.clone());
    dev.end(Signal::KILL).await;
    gone(&functions).await;

    let dev = place.dev(&[]).await;
    assert_eq!(dev.key, key);
    let ended = dev.has_status(&run, "succeeded").await;
    assert!(ended["output"].is_string(), "{ended}");
    // Samples are not stored a second time.
    let hello = place.skein(&["agents", "show", "hello"]).await.json();
    assert_eq!(hello["version"], 1);
    dev.stop().await;
}

#[tokio::test]
async fn a_folder_in_use_is_named_and_left_alone() {
    let place = Place::new();
    let dev = place.dev(&["--state", "nest"]).await;
    let second = place
        .skein(&["dev", "--port", "0", "--state", "nest"])
        .await;
    assert!(second.error(1).contains("nest is in use"), "{second:?}");
    assert!(second.err.contains("--state"), "{second:?}");
    assert_eq!(second.out, "");
    assert_eq!(place.skein(&["run", "hello", "hi"]).await.answer(), "hi");
    dev.stop().await;
    place.dev(&["--state", "nest"]).await.stop().await;
}

#[tokio::test]
async fn damaged_files_are_named() {
    let nonsense = "no such thing ".repeat(1_000);
    let no_keys = r#"{"api_key": "hello", "operator_key": "hi"}"#;
    for (file, text) in [
        (".skein/table.sqlite", nonsense.as_str()),
        (".skein/keys.json", &nonsense),
        (".skein/keys.json", no_keys),
    ] {
        let place = Place::new();
        place.write(file, text);
        let outcome = place.skein(&["dev", "--port", "0", "--json"]).await;
        let name = file.trim_start_matches(".skein/");
        assert!(outcome.error(1).contains(name), "{outcome:?}");
        assert!(outcome.err.contains("damaged"), "{outcome:?}");
        assert_eq!(outcome.out, "");
    }
}

#[tokio::test]
async fn a_file_where_the_folder_should_be_is_named() {
    let place = Place::new();
    place.write("nest", "");
    let outcome = place
        .skein(&["dev", "--port", "0", "--state", "nest"])
        .await;
    assert!(outcome.error(1).contains("nest"), "{outcome:?}");
}

#[tokio::test]
async fn a_removed_table_starts_empty_and_the_key_stays_good() {
    let place = Place::new();
    let dev = place.dev(&[]).await;
    let key = dev.key.clone();
    place.skein(&["run", "hello", "hi"]).await.answer();
    dev.stop().await;
    for end in ["", "-shm", "-wal"] {
        // The last two may be gone already.
        let _gone = std::fs::remove_file(place.path().join(format!(".skein/table.sqlite{end}")));
    }

    let dev = place.dev(&[]).await;
    assert_eq!(dev.key, key);
    let runs = place.skein(&["runs", "ls"]).await;
    assert_eq!(runs.answer().lines().count(), 1, "{runs:?}");
    assert_eq!(place.skein(&["run", "hello", "hi"]).await.answer(), "hi");
    dev.stop().await;
}
