//! Usage: each run counts once.

use domain::caps::Totals;
use domain::run::Status;
use domain::service::{Service, Spread};
use domain::usage::{Dimension, Interval, Row, Subject, Usage, group};
use local::wire::{Fault, Rule};

use super::*;
use crate::Ended;

fn ended(n: u8, at: At, agent: &str) -> Ended {
    let totals = Totals {
        steps: 2,
        tool_calls: 1,
        input_tokens: 100,
        output_tokens: 10,
        micro_usd: 7,
    };
    Ended {
        run: run(n),
        at,
        subject: Subject {
            agent: Some(AgentId::parse(agent).unwrap()),
            model: Some("vendor.model-v1:0#odd".to_owned()),
            ..Subject::default()
        },
        usage: Usage::of(Status::Succeeded, &totals),
        service: Service {
            succeeded: 1,
            waits: Spread::of(u64::from(n)),
            lives: Spread::of(1_000 * u64::from(n)),
            ..Service::default()
        },
    }
}

async fn all(store: &Store, tenant: &TenantId, interval: Interval) -> Vec<Row> {
    let to = NOW.plus_ms(40 * 86_400_000);
    store.usage(tenant, interval, NOW, to).await.unwrap()
}

fn sum(rows: &[Row]) -> Usage {
    let usages = rows.iter().map(|row| row.usage);
    usages.fold(Usage::default(), Usage::plus)
}

#[tokio::test]
async fn a_run_counts_once_however_often_it_is_told() {
    let World { store, faults, .. } = world().await;
    let acme = tenant("acme");
    let start = Interval::Day.start(NOW).plus_ms(86_400_000);
    let runs: Vec<_> = (0..=199)
        .map(|n| {
            let agent = ["a", "b", "c"][usize::from(n % 3)];
            ended(n, start.plus_ms(u64::from(n) * 3_600_000), agent)
        })
        .collect();
    faults.add(Rule::new(Fault::LoseResponse).with_probability(0.3, 1));
    faults.add(Rule::new(Fault::Throttle).with_probability(0.2, 2));
    let mut given = Vec::new();
    for (from, to) in [(0, 60), (30, 120), (0, 200), (199, 200), (50, 51)] {
        given.push(&runs[from..to]);
    }
    for runs in given {
        while let Err(error) = store.count_usage(&acme, runs).await {
            assert!(error.is_transient(), "{error:?}");
        }
    }
    faults.clear();
    let twice = [runs[3].clone(), runs[3].clone()];
    assert_eq!(store.count_usage(&acme, &twice).await.unwrap(), 0);
    for interval in Interval::ALL {
        let rows = all(&store, &acme, interval).await;
        assert_eq!((sum(&rows).runs, sum(&rows).cost_micro_usd), (200, 1_400));
        assert_eq!(sum(&rows).input_tokens, 20_000);
    }
    let to = NOW.plus_ms(40 * 86_400_000);
    let hours = store.service(&acme, NOW, to).await.unwrap();
    let services = hours.iter().map(|(_, service)| *service);
    let service = services.fold(Service::default(), Service::plus);
    assert_eq!(service.succeeded, 200);
    assert_eq!(service.waits.0[..3], [101, 99, 0]);
    assert_eq!(service.lives.0, [1, 0, 0, 1, 1, 3, 5, 20, 30, 139, 0, 0]);
    let days = all(&store, &acme, Interval::Day).await;
    let by_agent = group(days, &[Dimension::Agent]);
    let first: Vec<_> = by_agent
        .iter()
        .take_while(|row| row.start == start)
        .map(|row| (row.subject.agent.as_ref().unwrap().as_str(), row.usage.runs))
        .collect();
    assert_eq!(first, [("a", 8), ("b", 8), ("c", 8)]);
    assert_eq!(all(&store, &tenant("evil"), Interval::Day).await, []);
}

#[tokio::test]
async fn a_range_holds_what_begins_in_it_across_partitions() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    let first = Interval::Hour.start(NOW);
    // Over the ends of days and of months.
    let hours: Vec<_> = (0..30 * 24).step_by(7).collect();
    for (n, hour) in (0..).zip(&hours) {
        let at = first.plus_ms(hour * 3_600_000 + 1);
        let run = ended(n, at, "a");
        assert_eq!(store.count_usage(&acme, &[run]).await.unwrap(), 1);
    }
    for interval in [Interval::Minute, Interval::Hour] {
        let rows = async |from: u64, to: u64| {
            let at = |hour: u64| first.plus_ms(hour * 3_600_000);
            let rows = store.usage(&acme, interval, at(from), at(to)).await;
            rows.unwrap().len()
        };
        assert_eq!(rows(0, 30 * 24).await, hours.len());
        assert_eq!(rows(7, 14).await, 1);
        assert_eq!(rows(8, 14).await, 0);
        assert_eq!(
            rows(100, 400).await,
            hours.iter().filter(|h| (100..400).contains(*h)).count()
        );
        assert_eq!(rows(5, 5).await, 0);
    }
    let [row] = &store
        .usage(&acme, Interval::Hour, first, first.plus_ms(1))
        .await
        .unwrap()[..]
    else {
        panic!("the first hour has one row");
    };
    assert_eq!(row.subject, ended(0, first, "a").subject);
}
