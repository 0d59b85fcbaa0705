//! Many writers at one ledger, on a table whose transactions take their time and refuse each other, as those of AWS do.

use local::wire::Conflicts;
use tokio::time::Instant;

use super::*;

const LASTS: Duration = Duration::from_millis(10);
const WRITERS: u8 = 10;
const RUNS_EACH: u8 = 10;

/// Ten writers that each begin and end ten runs, in as many processes as that: how many writes were refused.
async fn contend(processes: usize) -> u64 {
    let conflicts = Conflicts::lasting(LASTS);
    let table = conflicts.wrap(Table::open(None).unwrap().router());
    let payloads = sdk(Payloads::open(None).unwrap().router());
    let stores = (0..processes).map(|_| {
        let table = aws_sdk_dynamodb::Client::new(&sdk(table.clone()));
        let secret = *b"a secret that only tests may know";
        Store::new(table, &payloads, Config::new("skein", "payloads", secret))
    });
    let stores: Vec<_> = stores.collect();
    stores[0].provision().await.unwrap();
    let acme = onboarded(&stores[0], &[(Node::Tenant, vec![usd(1_000_000)])]).await;

    let began = Instant::now();
    let writers = (0..WRITERS).map(|writer| {
        let store = stores[usize::from(writer) % processes].clone();
        let acme = acme.clone();
        async move {
            for number in 0..RUNS_EACH {
                let n = writer * RUNS_EACH + number;
                let (mut script, creation) = begin(&store, &acme, n, 100, (500, 0), NOW).await;
                assert_eq!(creation, Creation::New);
                let last = vec![Event::Cancelled];
                let ended = go_on(&store, &acme, &mut script, last, 500, NOW).await;
                assert_eq!(ended, Written::Done { waiting: false });
            }
        }
    });
    join_all(writers).await;
    let (took, met) = (began.elapsed(), conflicts.met());
    println!("{processes} processes, 200 writes of {LASTS:?}: {took:?}, {met} refused");
    assert_eq!(parts(&stores[0], &acme).await, (1_000_000, 0, 0));
    assert_eq!(ledger(&stores[0], &acme).await.active, 0);
    met
}

#[tokio::test]
async fn ten_writers_of_one_process_line_up_at_a_ledger_and_all_get_their_turn() {
    let met = contend(1).await;
    assert!((1..50).contains(&met), "{met}");
}

#[tokio::test]
async fn ten_processes_at_one_ledger_all_get_their_turn() {
    let met = contend(10).await;
    assert!(met > 0, "{met}");
}
