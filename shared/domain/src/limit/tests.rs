use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tier::Subject;

fn window(requests: u64, seconds: u32) -> Window {
    Window {
        name: "permin".to_owned(),
        requests,
        seconds,
        by: Subject::Tenant,
    }
}

/// The shared counter, as the table keeps it.
#[derive(Debug, Default)]
struct Counter {
    window: Option<u64>,
    left: u64,
    writes: u64,
}

impl Counter {
    fn lease(&mut self, window: u64, want: u64, limit: u64) -> Leased {
        self.writes += 1;
        if self.window.is_none_or(|open| open < window) {
            self.window = Some(window);
            self.left = limit;
        }
        let tokens = want.min(self.left);
        self.left -= tokens;
        Leased {
            window: self.window.unwrap(),
            tokens,
            left: self.left,
        }
    }
}

/// Sends a request of window `own` through one process without faults.
fn ask(share: &mut Share, counter: &mut Counter, own: u64, requests: u64) -> Spend {
    match share.spend(own, requests) {
        Spend::NeedsLease { window, tokens } => {
            share.leased(counter.lease(window, tokens, requests));
            share.spend(own, requests)
        }
        done => done,
    }
}

#[test]
fn windows_follow_each_other_from_the_epoch_on() {
    let minute = window(1, 60);
    let of = |ms| index(&minute, At(ms));
    assert_eq!((of(0), of(59_999), of(60_000)), (0, 0, 1));
    assert_eq!(ends_at(&minute, 0), At(60_000));
    let at = At(1_700_000_000_123);
    let ends = ends_at(&minute, index(&minute, at));
    assert_eq!(ends.to_string(), "2023-11-14T22:14:00.000Z");
    assert_eq!(index(&minute, ends), index(&minute, at) + 1);
    let day = window(1, 86_400);
    let ends = ends_at(&day, index(&day, at));
    assert_eq!(ends.to_string(), "2023-11-15T00:00:00.000Z");
    assert_eq!(ends_at(&day, u64::MAX), At(u64::MAX));
}

#[test]
fn one_process_admits_all_of_a_window_and_writes_for_less_than_a_tenth() {
    for (requests, most_writes) in [
        (1, 1),
        (10, 10),
        (100, 65),
        (1_000, 100),
        (100_000, 1_000),
        (1_000_000, 1_000),
    ] {
        let (mut share, mut counter) = (Share::default(), Counter::default());
        for n in 1..=requests {
            let spent = ask(&mut share, &mut counter, 7, requests);
            let remaining = requests - n;
            assert_eq!(
                spent,
                Spend::Admitted {
                    window: 7,
                    remaining
                }
            );
        }
        assert!(
            counter.writes <= most_writes,
            "{requests}: {}",
            counter.writes
        );
        assert_eq!(share.spend(7, requests), Spend::Refused { window: 7 });
    }
}

#[test]
fn leases_double_up_to_a_bound_and_shrink_as_the_counter_runs_out() {
    let (mut share, mut counter) = (Share::default(), Counter::default());
    let mut sizes = Vec::new();
    for _ in 0..1_000 {
        if let Spend::NeedsLease { window, tokens } = share.spend(7, 1_000) {
            sizes.push(tokens);
            share.leased(counter.lease(window, tokens, 1_000));
            share.spend(7, 1_000);
        }
    }
    assert_eq!(sizes[..8], [1, 2, 4, 8, 16, 32, 50, 50]);
    assert!(sizes.iter().all(|&tokens| tokens <= 50), "{sizes:?}");
    assert_eq!(sizes[sizes.len() - 8..], [1; 8]);

    // The window after it begins where this one was; the one after a pause begins anew.
    let wish = |share: &mut Share, own| match share.spend(own, 1_000) {
        Spend::NeedsLease { tokens, .. } => tokens,
        other => panic!("{other:?}"),
    };
    assert_eq!(wish(&mut share.clone(), 8), 25);
    assert_eq!(wish(&mut share.clone(), 9), 1);
    assert_eq!(wish(&mut share.clone(), 8), 25);
    share.spend(8, 1_000);
    share.leased(counter.lease(8, 25, 1_000));
    assert_eq!(wish(&mut share, 9), 12);
}

#[test]
fn an_exhausted_counter_is_not_asked_again_before_the_next_window() {
    let (mut share, mut counter) = (Share::default(), Counter::default());
    counter.lease(7, 3, 3);
    assert_eq!(
        ask(&mut share, &mut counter, 7, 3),
        Spend::Refused { window: 7 }
    );
    let writes = counter.writes;
    for _ in 0..100 {
        assert!(share.refuses(7));
        assert_eq!(share.spend(7, 3), Spend::Refused { window: 7 });
    }
    assert_eq!(counter.writes, writes);
    assert!(!share.refuses(8));
    assert!(matches!(
        ask(&mut share, &mut counter, 8, 3),
        Spend::Admitted { window: 8, .. }
    ));
}

#[test]
fn tokens_lapse_with_their_window() {
    let mut share = Share::default();
    share.spend(7, 1_000);
    let late = Leased {
        window: 7,
        tokens: 5,
        left: 10,
    };
    share.leased(late);
    assert!(matches!(
        share.spend(8, 1_000),
        Spend::NeedsLease { window: 8, .. }
    ));
    // So does a lease that arrives late, and a token that is put back late.
    share.leased(late);
    share.put_back(7);
    assert!(matches!(
        share.spend(8, 1_000),
        Spend::NeedsLease { window: 8, .. }
    ));
    assert_eq!(share.remaining(8, 1_000), 1_000);
}

#[test]
fn a_token_that_is_put_back_is_spent_again() {
    let (mut share, mut counter) = (Share::default(), Counter::default());
    counter.lease(7, 2, 3);
    ask(&mut share, &mut counter, 7, 3);
    assert!(share.refuses(7));
    share.put_back(7);
    assert!(!share.refuses(7));
    assert_eq!(share.remaining(7, 3), 1);
    assert_eq!(
        share.spend(7, 3),
        Spend::Admitted {
            window: 7,
            remaining: 0
        }
    );
}

#[test]
fn a_slow_clock_adopts_the_window_of_the_counter() {
    let (mut fast, mut slow) = (Share::default(), Share::default());
    let mut counter = Counter::default();
    for _ in 0..6 {
        ask(&mut fast, &mut counter, 12, 10);
    }
    for n in 0..4 {
        let remaining = 3 - n;
        assert_eq!(
            ask(&mut slow, &mut counter, 7, 10),
            Spend::Admitted {
                window: 12,
                remaining
            }
        );
    }
    assert_eq!(
        ask(&mut slow, &mut counter, 7, 10),
        Spend::Refused { window: 12 }
    );
    assert_eq!(slow.window(7), 12);
    assert!(slow.refuses(12) && !slow.refuses(13));
}

/// Something that happens among processes that share a counter.
#[derive(Clone, Debug)]
enum Happening {
    /// A request, and what becomes of the lease that it may need.
    Request(usize, Answer),
    /// The answer to a lease that was under way arrives.
    Arrive(usize),
    /// The last request that was admitted is not done after all.
    PutBack(usize),
    /// Time passes, in ms.
    Later(u64),
    /// A clock is set to be so many ms off.
    Set(usize, i64),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Prompt,
    UnderWay,
    Lost,
    /// The lease was taken twice, as when the answer was lost and the request repeated; the second answer arrived.
    Repeated,
}

const PROCESSES: usize = 5;
const MOST_SKEW_MS: i64 = 300_000;

fn happening() -> impl Strategy<Value = Happening> {
    let answer = prop_oneof![
        6 => Just(Answer::Prompt),
        2 => Just(Answer::UnderWay),
        1 => Just(Answer::Lost),
        1 => Just(Answer::Repeated),
    ];
    let skew = -MOST_SKEW_MS..=MOST_SKEW_MS;
    prop_oneof![
        30 => (0..PROCESSES, answer).prop_map(|(by, answer)| Happening::Request(by, answer)),
        4 => (0..PROCESSES).prop_map(Happening::Arrive),
        3 => (0..PROCESSES).prop_map(Happening::PutBack),
        3 => prop_oneof![0..5_000u64, 20_000..90_000u64].prop_map(Happening::Later),
        2 => (0..PROCESSES, skew).prop_map(|(by, skew)| Happening::Set(by, skew)),
    ]
}

#[derive(Debug, Default)]
struct Process {
    share: Share,
    skew_ms: i64,
    under_way: Vec<Leased>,
    admitted: Option<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_of_a_counter_admits_more_than_its_limit(
        happenings in prop::collection::vec(happening(), 1..300),
        requests in prop_oneof![1..30u64, 100..1_000u64],
        skews in prop::array::uniform5(-MOST_SKEW_MS..=MOST_SKEW_MS),
    ) {
        let minute = window(requests, 60);
        let mut counter = Counter::default();
        let mut processes: Vec<Process> = skews
            .into_iter()
            .map(|skew_ms| Process { skew_ms, ..Process::default() })
            .collect();
        let mut now_ms = 1_700_000_000_000_u64;
        let mut admitted: BTreeMap<u64, u64> = BTreeMap::new();
        for happening in happenings {
            let opened = counter.window;
            match happening {
                Happening::Later(ms) => now_ms += ms,
                Happening::Set(by, skew_ms) => processes[by].skew_ms = skew_ms,
                Happening::Arrive(by) => {
                    if let Some(leased) = processes[by].under_way.pop() {
                        processes[by].share.leased(leased);
                    }
                }
                Happening::PutBack(by) => {
                    if let Some(window) = processes[by].admitted.take() {
                        processes[by].share.put_back(window);
                        *admitted.get_mut(&window).unwrap() -= 1;
                    }
                }
                Happening::Request(by, answer) => {
                    let Process { share, skew_ms, under_way, admitted: last } = &mut processes[by];
                    let own = index(&minute, At(now_ms.checked_add_signed(*skew_ms).unwrap()));
                    let mut spent = share.spend(own, requests);
                    if let Spend::NeedsLease { window, tokens } = spent {
                        prop_assert!(window >= own);
                        prop_assert!((1..=(requests / 20).max(1)).contains(&tokens));
                        let leased = counter.lease(window, tokens, requests);
                        match answer {
                            Answer::Prompt => share.leased(leased),
                            Answer::UnderWay => under_way.push(leased),
                            Answer::Lost => {}
                            Answer::Repeated => share.leased(counter.lease(window, tokens, requests)),
                        }
                        spent = share.spend(own, requests);
                    }
                    if let Spend::Admitted { window, remaining } = spent {
                        prop_assert!(remaining < requests);
                        *last = Some(window);
                        let count = admitted.entry(window).or_default();
                        *count += 1;
                        prop_assert!(*count <= requests, "{count} of {requests} in {window}");
                    }
                }
            }
            prop_assert!(counter.window >= opened);
        }
    }
}
