//! `skein audit`.

use crate::place::Place;

#[tokio::test]
async fn an_export_is_whole_until_somebody_touches_it() {
    let place = Place::new();
    let dev = place.dev(&["--memory"]).await;
    let created = place.skein(&["tenants", "create", "acme"]).await;
    assert_eq!(created.answer(), "acme free active");
    place.skein(&["keys", "issue", "acme"]).await.answer();
    place.skein(&["tenants", "suspend", "acme"]).await.answer();
    let listed = place.skein(&["audit", "ls", "--tenant", "acme"]).await;
    assert_eq!(listed.out.lines().count(), 1 + 3, "{listed:?}");
    assert!(listed.out.contains("tenant.created"), "{listed:?}");
    let exported = place.skein(&["audit", "export", "--tenant", "acme"]).await;
    let lines: Vec<&str> = exported.answer().lines().collect();
    assert_eq!(lines.len(), 3, "{exported:?}");
    drop(dev);

    let verify = ["audit", "verify", "-"];
    let whole = place.skein_reading(&exported.out, &verify).await;
    assert!(
        whole.answer().starts_with("entries 1 to 3 are whole"),
        "{whole:?}"
    );
    let changed = exported.out.replace("suspended", "active");
    let broken = place.skein_reading(&changed, &verify).await;
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(
        broken.err.contains("broken at line 3: entry 3"),
        "{broken:?}"
    );
    let left_out = [lines[0], lines[2]].join("\n");
    let broken = place.skein_reading(&left_out, &verify).await;
    assert!(
        broken.err.contains("broken at line 2: entry 3"),
        "{broken:?}"
    );
    let nonsense = place.skein_reading("nonsense", &verify).await;
    assert!(
        nonsense.err.contains("broken at line 1: is no entry"),
        "{nonsense:?}"
    );
    let nothing = place.skein_reading("", &verify).await;
    assert_eq!(
        (nothing.code, nothing.err.trim()),
        (Some(1), "there is no entry")
    );
}
