use super::*;

const VALUE: &str = "abcdefghijklmnopqrst";
const NOW: Duration = Duration::from_secs(1_700_000_000);

fn gate(plan: Plan) -> Gate {
    let gate = Gate::default();
    gate.add_plan("plan", plan);
    gate.add_key("key", VALUE, "plan").unwrap();
    gate
}

#[test]
fn a_bucket_holds_the_burst_and_fills_at_the_rate() {
    let gate = gate(Plan {
        throttle: Some((0.5, 2)),
        per_day: None,
    });
    let admit = |after_s| {
        gate.admit_at(VALUE, NOW + Duration::from_secs(after_s))
            .map(drop)
    };
    assert_eq!([admit(0), admit(0)], [Ok(()); 2]);
    assert_eq!(admit(0), Err(Refusal::TooManyRequests));
    assert_eq!(admit(1), Err(Refusal::TooManyRequests));
    assert_eq!(admit(2), Ok(()));
    assert_eq!([admit(60), admit(60)], [Ok(()); 2]);
    assert_eq!(admit(60), Err(Refusal::TooManyRequests));
}

#[test]
fn a_day_has_so_many_requests_and_ends_at_midnight() {
    let gate = gate(Plan {
        throttle: None,
        per_day: Some(1),
    });
    let admit = |now| gate.admit_at(VALUE, now).map(drop);
    assert_eq!(admit(NOW), Ok(()));
    assert_eq!(admit(NOW), Err(Refusal::LimitExceeded));
    assert_eq!(admit(NOW + Duration::from_secs(DAY_S)), Ok(()));
}

const DAY_S: u64 = 86_400;

#[test]
fn a_value_that_no_plan_knows_is_forbidden() {
    let gate = gate(Plan::default());
    assert!(gate.admit_at(VALUE, NOW).is_ok());
    let another = gate.admit_at("zyxwvutsrqponmlkjihg", NOW);
    assert_eq!(another, Err(Refusal::Forbidden));
}

#[test]
fn keys_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = Gate::open(Some(folder.path())).unwrap();
    first.add_key("key", VALUE, "plan").unwrap();
    let second = Gate::open(Some(folder.path())).unwrap();
    second.add_plan("plan", Plan::default());
    assert_eq!(second.keys(), first.keys());
    assert!(second.admit_at(VALUE, NOW).is_ok());
    std::fs::write(folder.path().join(FILE), "nonsense").unwrap();
    assert!(Gate::open(Some(folder.path())).is_err());
}
