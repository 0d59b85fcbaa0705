use std::fs;
use std::process::Command;

use super::*;
use crate::SCENARIOS;

fn scenario(name: &str) -> Scenario {
    Scenario::find(name).unwrap()
}

/// The value that a script gives a name, up to the end of the line.
fn value<'a>(script: &'a str, name: &str) -> &'a str {
    let line = script.lines().find(|line| line.trim().starts_with(name));
    line.unwrap_or_else(|| panic!("{name} is not in {script}"))
        .trim()
        .strip_prefix(name)
        .unwrap()
        .trim_end_matches([',', ';'])
}

/// Has a program read a script. A machine with nothing but Rust has none of them; CI has Python.
fn reads(program: &str, arguments: &[&str], script: &str, suffix: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("script{suffix}"));
    fs::write(&file, script).unwrap();
    match Command::new(program).args(arguments).arg(&file).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}\n{script}"),
        Err(error) => assert!(
            program == "node" || std::env::var_os("CI").is_none(),
            "{program}: {error}"
        ),
    }
}

#[test]
fn k6_gets_the_same_rates_by_the_minute_and_jumps_where_the_scenario_does() {
    let script = export(&scenario("spike-requests"), Format::K6);
    assert_eq!(value(&script, "startRate: "), "6000");
    assert_eq!(
        value(&script, "stages: "),
        r#"[{"duration":"60000ms","target":6000},{"duration":"60000ms","target":60000},{"duration":"600000ms","target":60000}]"#
    );
    assert_eq!(
        value(&script, "thresholds: "),
        r#"{"http_req_duration":["p(95)<=50"],"http_req_failed":["rate<=0"]}"#
    );
    let jumps = Scenario::parse(
        "jumps",
        r#"
            description = "d"
            agent = { id = "a", input = "it's \"so\"" }
            stages = [{ lasts = "10s", rate = "1/s" }, { lasts = "500s", rate = "5/s" }]
            mix = { create_run = 1 }
            targets = { errors_percent = 1 }
        "#,
    );
    let script = export(&jumps.unwrap(), Format::K6);
    let stages = value(&script, "stages: ");
    assert!(
        stages.contains(r#"{"duration":"0s","target":300},{"duration":"500000ms","target":300}"#),
        "{stages}"
    );
    assert_eq!(
        value(&script, "thresholds: "),
        r#"{"http_req_failed":["rate<=0.01"]}"#
    );
}

#[test]
fn locust_gets_as_many_users_as_follow_the_rate_closely() {
    let script = export(&scenario("peak-requests"), Format::Locust);
    assert_eq!(value(&script, "STAGES = "), "[[1800.0,1000.0,1000.0]]");
    assert_eq!(value(&script, "RATE_OF_A_USER = "), "1.0");
    assert_eq!(value(&script, "P95_MS = "), "50.0");
    let slow = export(&scenario("steady-runs"), Format::Locust);
    let rate: f64 = value(&slow, "RATE_OF_A_USER = ").parse().unwrap();
    assert!((rate * 50.0 - 100.0 / 60.0).abs() < 1e-9, "{rate}");
}

#[test]
fn jmeter_gets_arrivals_and_not_threads() {
    let plan = export(&scenario("spike-requests"), Format::Jmeter);
    for part in [
        "rate(6000/min) even_arrivals(60 sec) rate(6000/min) even_arrivals(60 sec) rate(60000/min) even_arrivals(600 sec)",
        "<OpenModelThreadGroup ",
        "n &lt; 20 ? &quot;create_run&quot; : n &lt; 70 ? &quot;read_run&quot; : ",
        "<stringProp name=\"HTTPSampler.path\">/v1/agents/load-echo</stringProp>",
        "{&quot;agent&quot;:&quot;load-echo&quot;,&quot;input&quot;:&quot;Hello, geese!&quot;}",
    ] {
        assert!(plan.contains(part), "{part} is not in {plan}");
    }
    // The setup's and the mix's.
    assert_eq!(plan.matches("testname=\"create_run\"").count(), 2);
    let alone = export(&scenario("steady-runs"), Format::Jmeter);
    assert_eq!(alone.matches("testname=\"create_run\"").count(), 1);
    assert!(!alone.contains("testname=\"read_run\""));
}

#[test]
fn no_place_of_a_template_is_left_open() {
    for (name, _) in SCENARIOS {
        for format in [Format::K6, Format::Locust, Format::Jmeter] {
            let script = export(&scenario(name), format);
            let open = if format == Format::Jmeter { "{{" } else { "/*" };
            assert!(!script.contains(open), "{name} for {format:?}: {script}");
        }
    }
}

#[test]
fn the_languages_of_the_scripts_can_read_them() {
    const XML: &str = "import sys, xml.dom.minidom as dom; dom.parse(sys.argv[1])";
    for (name, _) in SCENARIOS {
        let script = |format| export(&scenario(name), format);
        reads("node", &["--check"], &script(Format::K6), ".mjs");
        reads(
            "python3",
            &["-m", "py_compile"],
            &script(Format::Locust),
            ".py",
        );
        reads("python3", &["-c", XML], &script(Format::Jmeter), ".jmx");
    }
}
