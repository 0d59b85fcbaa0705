//! `skein dev`: what it prints, what it serves, how it ends.

use std::net::TcpListener;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;

use crate::place::{Dev, Place, client, gone, within};

#[tokio::test]
async fn one_line_of_json_says_how_to_reach_it_and_ctrl_c_ends_it_whole() {
    let place = Place::new();
    let mut dev = place.start(&["dev", "--memory", "--port", "0", "--json"]);
    let ready: Value = serde_json::from_str(&dev.line().await).unwrap();
    let text = |name: &str| ready[name].as_str().unwrap();

    let health = format!("{}/health/ready", text("url"));
    let answer = client().get(health).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let agents = format!("{}/v1/agents", text("url"));
    for (key, expected) in [
        ("api_key", StatusCode::OK),
        ("operator_key", StatusCode::FORBIDDEN),
    ] {
        let request = client().get(&agents).bearer_auth(text(key));
        assert_eq!(request.send().await.unwrap().status(), expected, "{key}");
    }
    assert!(text("url").starts_with("http://127.0.0.1:"));

    let functions = dev.functions().await;
    assert!(functions.len() >= 3, "{functions:?}");
    let (status, rest) = dev.end(Signal::INT).await;
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
    gone(&functions).await;
    assert!(!place.path().join(".skein/endpoint.json").exists());
}

#[tokio::test]
async fn the_banners_request_streams_an_answer_and_a_polite_kill_ends_it_whole() {
    let place = Place::new();
    let mut dev = place.start(&["dev", "--memory", "--port", "0"]);
    let banner = dev.lines_until("Ctrl-C").await;

    let answer = within(perform_curl(&banner)).await;
    assert!(answer.contains("event: tool_called"), "{answer}");
    assert!(answer.contains("event: delta"), "{answer}");
    assert!(answer.contains("395"), "{answer}");
    assert!(answer.contains("event: succeeded"), "{answer}");
    assert!(banner.contains("in memory"), "{banner}");

    let functions = dev.functions().await;
    let (status, _) = dev.end(Signal::TERM).await;
    assert_eq!(status.code(), Some(0));
    gone(&functions).await;
}

/// Does what the curl command in the text would do; answers with the body.
async fn perform_curl(banner: &str) -> String {
    let command = &banner[banner.find("curl -N ").unwrap()..];
    let command = command[..command.find("\n\n").unwrap()].replace("\\\n", " ");
    let quoted = |option: &str| -> Vec<String> {
        let values = command.split(option).skip(1);
        values
            .map(|rest| rest.split('\'').next().unwrap().to_owned())
            .collect()
    };
    let url = command.split_whitespace().nth(2).unwrap();
    let mut request = client().post(url).body(quoted("-d '").remove(0));
    for header in quoted("-H '") {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_port_in_use_is_named_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let place = Place::new();
    let outcome = place.skein(&["dev", "--memory", "--port", &port]).await;
    let err = outcome.error(1);
    assert!(err.contains(&format!("port {port}")), "{err}");
    assert!(err.contains("--port"), "{err}");
    assert_eq!(outcome.out, "");
    assert!(!place.path().join(".skein/endpoint.json").exists());
}

#[tokio::test]
async fn classic_functions_serve_runs_too() {
    let place = Place::new();
    let dev = place.dev(&["--memory", "--classic"]).await;
    let answer = place
        .skein(&["run", "calculator", "What is 17 * 23 + 4?"])
        .await;
    assert!(answer.answer().contains("395"), "{answer:?}");
    stopped_whole(dev).await;
}

async fn stopped_whole(dev: Dev) {
    let functions = dev.functions().await;
    dev.stop().await;
    gone(&functions).await;
}

#[tokio::test]
async fn doctor_tells_a_well_platform_from_a_wrong_key_and_a_gone_platform() {
    let place = Place::new();
    let dev = place.dev(&["--memory"]).await;
    let well = place.skein(&["doctor"]).await;
    assert!(well.answer().contains("ok   reachable"), "{well:?}");
    assert!(
        well.out.contains("ok   key") && !well.out.contains("FAIL"),
        "{well:?}"
    );

    let wrong = place.skein(&["doctor", "--key", "skn_demo_x_y"]).await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.out.contains("ok   reachable"), "{wrong:?}");
    assert!(wrong.out.contains("FAIL key"), "{wrong:?}");

    // Killed, it cannot take back what it announced.
    let functions = dev.functions().await;
    dev.end(Signal::KILL).await;
    gone(&functions).await;
    let dead = place.skein(&["doctor"]).await;
    assert_eq!(dead.code, Some(1), "{dead:?}");
    assert!(dead.out.contains("FAIL reachable"), "{dead:?}");
    let run = place.skein(&["run", "hello", "hi"]).await;
    assert!(run.error(3).contains("cannot be reached"), "{run:?}");
}

#[tokio::test]
async fn loopback_is_closed_to_tools_unless_it_is_opened() {
    let place = Place::new();
    for (arguments, opened) in [
        (&["--memory"][..], false),
        (&["--memory", "--allow-loopback"], true),
    ] {
        let dev = place.dev(arguments).await;
        let live = format!("fetch {}/health/live", dev.url);
        let run = place.skein(&["run", "researcher", &live, "--json"]).await;
        let run = run.json();
        let path = format!("/v1/runs/{}/events", run["id"].as_str().unwrap());
        let events = dev.request(Method::GET, &path).send().await.unwrap();
        let events: Value = events.json().await.unwrap();
        let mut items = events["items"].as_array().unwrap().iter();
        let returned = items
            .find(|event| event["type"] == "tool_returned")
            .unwrap();
        assert_eq!(returned["is_error"] == true, !opened, "{returned}");
        dev.stop().await;
    }
}
