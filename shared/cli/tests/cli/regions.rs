//! `skein dev --regions` and `skein region failover`: a Region is lost as a person at a laptop loses one.

use serde_json::Value;

use crate::place::{Place, eventually};

#[tokio::test]
async fn a_region_is_cut_off_and_the_other_takes_its_tenants_over() {
    let place = Place::new();
    let arguments = ["dev", "--memory", "--port", "0", "--json"];
    let regions = ["--regions", "us-east-1,eu-west-1", "--lag", "100ms"];
    let mut dev = place.start(&[&arguments[..], &regions].concat());
    let ready: Value = serde_json::from_str(&dev.line().await).unwrap();
    let url = |place: usize| ready["regions"][place]["url"].as_str().unwrap();
    let (us, eu) = (url(0), url(1));
    assert_eq!(ready["url"], us);

    let run = place
        .skein(&["run", "calculator", "17 * 23", "--json"])
        .await;
    let run = run.json()["id"].as_str().unwrap().to_owned();
    // Read where it was not written, as soon as it has arrived.
    eventually(async || {
        let read = place.skein(&["--url", eu, "runs", "show", &run]).await;
        (read.code == Some(0) && read.out.contains("succeeded")).then_some(())
    })
    .await;
    let refused = place.skein(&["--url", eu, "run", "hello", "hi"]).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.err.contains(us), "{refused:?}");

    dev.cut().await;
    let failover = ["--url", eu, "region", "failover", "--from", "us-east-1"];
    let moved = place
        .skein(&[&failover[..], &["--to", "eu-west-1"]].concat())
        .await;
    assert!(
        moved
            .answer()
            .contains("demo is at home in eu-west-1 (epoch 1)"),
        "{moved:?}"
    );
    let run = place
        .skein(&["--url", eu, "run", "calculator", "6 * 7", "--json"])
        .await;
    let output = run.json()["output"].to_string();
    assert!(output.contains("42"), "{output}");
    let wrong = place
        .skein(&[&failover[..], &["--to", "us-east-1"]].concat())
        .await;
    assert!(wrong.err.contains("/to"), "{wrong:?}");
}

#[tokio::test]
async fn one_region_does_not_make_two() {
    let place = Place::new();
    let one = place
        .skein(&["dev", "--memory", "--regions", "us-east-1"])
        .await;
    assert!(one.error(1).contains("two Regions"), "{one:?}");
    let lag = place.skein(&["dev", "--memory", "--lag", "soon"]).await;
    assert!(lag.error(2).contains("must begin with a number"), "{lag:?}");
}
