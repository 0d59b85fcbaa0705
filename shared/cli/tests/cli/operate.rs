//! `skein dlq`, `skein maintenance`, `skein doctor --stack`, `skein runs stuck`, `skein tenants top` and `flag`.

use crate::place::Place;

#[tokio::test]
async fn whoever_runs_the_platform_sees_what_there_is_and_switches_it() {
    let place = Place::new();
    let _dev = place.dev(&["--memory"]).await;
    assert_eq!(place.skein(&["run", "hello", "hi"]).await.answer(), "hi");

    for _ in 0..2 {
        let smoke = place.skein(&["doctor", "--stack", "local"]).await;
        let steps = smoke
            .answer()
            .lines()
            .filter(|line| line.starts_with("ok "));
        assert_eq!(steps.count(), 10, "{smoke:?}");
    }
    let keys = place
        .skein(&["keys", "ls", "canary", "--json"])
        .await
        .json();
    let keys = keys["items"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(
        keys.iter().all(|key| key["revoked_at"].is_string()),
        "{keys:?}"
    );
    let deaf = ["doctor", "--stack", "local", "--model", "local.nobody"];
    let deaf = place.skein(&deaf).await;
    assert_eq!(deaf.code, Some(1), "{deaf:?}");
    assert!(deaf.out.contains("FAIL run"), "{deaf:?}");
    assert!(deaf.out.contains("ok   key revoked"), "{deaf:?}");
    let whose = place
        .skein(&["doctor", "--stack", "https://skein.example"])
        .await;
    assert!(whose.error(1).contains("--model"), "{whose:?}");

    let queues = place.skein(&["dlq", "ls"]).await;
    let lines: Vec<_> = queues.answer().lines().collect();
    assert_eq!(lines.len(), 1 + 5, "{queues:?}");
    assert!(lines[1].starts_with("runs-interactive  0"), "{queues:?}");
    let shown = place.skein(&["dlq", "show", "tasks"]).await;
    assert_eq!(shown.answer().lines().count(), 1, "{shown:?}");
    let all = place.skein(&["dlq", "redrive", "tasks", "--all"]).await;
    assert_eq!(all.answer(), "0 moved, 0 failed, 0 left");
    let one = place.skein(&["dlq", "redrive", "tasks", "nowhere"]).await;
    assert!(one.error(1).contains("were not found"), "{one:?}");
    assert!(
        place
            .skein(&["dlq", "redrive", "tasks"])
            .await
            .error(2)
            .contains("--all")
    );
    assert!(
        place
            .skein(&["dlq", "show", "bogus"])
            .await
            .error(4)
            .contains("(404)")
    );

    let stuck = place.skein(&["runs", "stuck"]).await;
    assert_eq!(stuck.answer(), "");
    assert!(stuck.err.starts_with("0 stuck, of "), "{stuck:?}");
    let json = place.skein(&["runs", "stuck", "--json"]).await.json();
    assert_eq!(json["is_whole"], true);

    let top = place.skein(&["tenants", "top", "--by", "runs"]).await;
    assert!(top.answer().contains("TENANT"), "{top:?}");
    assert!(top.err.contains("tenants read: 2, "), "{top:?}");
    let wrong = place.skein(&["tenants", "top", "--by", "size"]).await;
    assert!(
        wrong.error(4).contains("by: must be cost, runs"),
        "{wrong:?}"
    );

    let flags = place
        .skein(&["tenants", "flag", "demo", "streaming", "off"])
        .await;
    let line = flags
        .answer()
        .lines()
        .find(|line| line.starts_with("streaming"));
    assert!(line.unwrap().contains("off  on "), "{flags:?}");
    let wrong = place
        .skein(&["tenants", "flag", "demo", "colour", "off"])
        .await;
    assert!(
        wrong.error(4).contains("there is no flag `colour`"),
        "{wrong:?}"
    );
    let half = place.skein(&["tenants", "flag", "demo", "streaming"]).await;
    assert!(half.error(2).contains("<SWITCH>"), "{half:?}");
    place
        .skein(&["tenants", "flag", "demo", "streaming", "default"])
        .await
        .answer();
    let shown = place.skein(&["tenants", "flag", "demo"]).await;
    assert!(!shown.answer().contains("off  on "), "{shown:?}");

    let status = ["maintenance", "status"];
    assert_eq!(place.skein(&status).await.answer(), "off");
    let on = ["maintenance", "on", "--message", "Back at noon."];
    let on = place.skein(&on).await;
    assert!(
        on.answer().contains("ask again after 300 s: Back at noon."),
        "{on:?}"
    );
    assert_eq!(place.skein(&status).await.answer(), on.answer());
    let empty = place.skein(&["maintenance", "on", "--message", " "]).await;
    assert!(
        empty.error(4).contains("/message: must have 1 to 500"),
        "{empty:?}"
    );
    assert_eq!(place.skein(&["maintenance", "off"]).await.answer(), "off");
}
