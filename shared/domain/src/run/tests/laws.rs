//! What holds for every run, whatever arrives in whatever order.

use proptest::prelude::*;

use super::*;
use crate::receipt::{Receipt, Spent};

/// Something that happens to a run.
#[derive(Clone, Debug)]
enum Happening {
    Drive(u8),
    HandOver(u8, u8),
    Answer(u8, u32, u32),
    Return(u32, u32),
    Cancel,
    Suspend,
    Wake,
    Admit(u64),
    Deny(bool),
    Later(u64),
    Again(usize),
    Stale(usize, u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3u8).prop_map(Happening::Drive),
        1 => (0..3u8, 0..3u8).prop_map(|(to, from)| Happening::HandOver(to, from)),
        6 => (0..10u8, 0..8u32, 0..3u32).prop_map(|(kind, step, attempt)| Happening::Answer(kind, step, attempt)),
        6 => (0..8u32, 0..3u32).prop_map(|(step, call)| Happening::Return(step, call)),
        1 => Just(Happening::Cancel),
        1 => Just(Happening::Suspend),
        2 => Just(Happening::Wake),
        2 => (1..50_000u64).prop_map(Happening::Admit),
        2 => any::<bool>().prop_map(Happening::Deny),
        3 => prop_oneof![0..2_000u64, 20_000..70_000u64, 900_000..2_000_000u64].prop_map(Happening::Later),
        3 => (0..20usize).prop_map(Happening::Again),
        2 => (0..20usize, 0..3u8).prop_map(|(back, by)| Happening::Stale(back, by)),
    ]
}

fn outcome(kind: u8, reserved: (u64, u64)) -> Result<Answer, Failure> {
    let (tokens, _) = reserved;
    let mut answer = match kind {
        0 => return Err(failure(FailureKind::Throttled)),
        1 => return Err(failure(FailureKind::Transient)),
        2 => says("done"),
        3 => answer(vec![], StopReason::EndTurn),
        4 => answer(vec![], StopReason::Malformed),
        5 => calls(&[("wait", json!({"seconds": 3}))]),
        6 => calls(&[
            ("slow_research", json!({"topic": "x"})),
            ("calculator", json!({"expression": "1"})),
        ]),
        7 => calls(&[("nothing", json!({})), ("clock", json!({}))]),
        _ => calls(&[("calculator", json!({"expression": "1+1"}))]),
    };
    // An honest provider: never more than what was reserved.
    answer.usage = Usage {
        input_tokens: tokens / 2,
        output_tokens: tokens / 100,
        ..Usage::default()
    };
    answer.cost_micro_usd = PRICE.of(&answer.usage);
    Ok(answer)
}

fn reserved(state: &State) -> (u64, u64) {
    match state.frames.get(&FrameId::root()).map(|frame| &frame.phase) {
        Some(Phase::Thinking {
            reserved_tokens,
            reserved_micro_usd,
            ..
        }) => (*reserved_tokens, *reserved_micro_usd),
        _ => (200, 200),
    }
}

/// The items of a receipt add up to its total, and that to what the run is charged.
fn adds_up(receipt: &Receipt, state: &State) {
    let sum = |items: &mut dyn Iterator<Item = &Spent>| {
        items.fold(Amount::ZERO, |sum, item| sum.plus(item.amount()))
    };
    let total = receipt.total.amount();
    assert_eq!(total, state.totals.amount());
    assert_eq!(
        sum(&mut receipt.agents.iter().map(|item| &item.spent)),
        total
    );
    assert_eq!(
        sum(&mut receipt.steps.iter().map(|item| &item.spent)),
        total
    );
    let calls: u32 = receipt
        .steps
        .iter()
        .map(|item| item.spent.model_calls)
        .sum();
    assert_eq!(calls, receipt.total.model_calls);
    assert!(receipt.total.lost_calls <= calls);
    assert_eq!(receipt.is_final, state.status.is_terminal());
}

fn name(n: u8) -> String {
    format!("d{n}")
}

impl Script {
    /// The place that an answer most likely belongs to, shifted by what the test drew: most fit, some are late or early.
    fn place(&self, step: u32, attempt: u32) -> (u32, u32) {
        let state = self.state();
        let frame = &state.frames[&FrameId::root()];
        if step < 6 {
            (frame.step, frame.attempt)
        } else {
            (step, attempt)
        }
    }

    fn command(&self, happening: &Happening) -> Option<(u8, Command)> {
        let state = self.state();
        Some(match happening {
            Happening::Drive(by) => (*by, drive(&name(*by))),
            Happening::HandOver(to, from) => {
                let handed_over_by = Some(driver(&name(*from)));
                (
                    *to,
                    Command::Drive {
                        driver: driver(&name(*to)),
                        handed_over_by,
                        lease: None,
                    },
                )
            }
            Happening::Answer(kind, step, attempt) => {
                let (step, attempt) = self.place(*step, *attempt);
                let by = state
                    .driver
                    .as_ref()
                    .map_or(0, |(driver, _)| driver.as_str().as_bytes()[1] - b'0');
                (
                    by,
                    answered(step, attempt, outcome(*kind, reserved(&state))),
                )
            }
            Happening::Return(step, call) => {
                let by = state
                    .driver
                    .as_ref()
                    .map_or(0, |(driver, _)| driver.as_str().as_bytes()[1] - b'0');
                (by, returned(self.place(*step, 0).0, *call, "result"))
            }
            Happening::Cancel => (
                9,
                Command::Cancel {
                    by: "someone".to_owned(),
                    reason: None,
                },
            ),
            Happening::Suspend => (
                9,
                Command::Suspend {
                    by: "an operator".to_owned(),
                },
            ),
            Happening::Wake => (
                9,
                Command::Wake {
                    by: "an operator".to_owned(),
                },
            ),
            Happening::Admit(grant) => {
                let grant = Amount {
                    micro_usd: *grant,
                    tokens: *grant,
                };
                (9, Command::Admit { grant })
            }
            Happening::Deny(exact) => {
                let by = state
                    .driver
                    .as_ref()
                    .map_or(0, |(driver, _)| driver.as_str().as_bytes()[1] - b'0');
                let deny = Command::Deny {
                    node: Node::Tenant,
                    budget: Budget {
                        period: Period::Day,
                        unit: Unit::MicroUsd,
                        limit: 1,
                    },
                    renews_at: None,
                    exact: *exact,
                };
                (by, deny)
            }
            Happening::Later(_) | Happening::Again(_) | Happening::Stale(..) => return None,
        })
    }

    fn perform(&mut self, by: u8, command: &Command) {
        let applied = if by == 9 {
            self.outside(command)
        } else {
            self.by(&name(by), command)
        };
        if applied.is_ok() {
            let before = self.state();
            let again = if by == 9 {
                self.outside(command)
            } else {
                self.by(&name(by), command)
            };
            assert_eq!(again.as_deref(), Ok(&[][..]), "delivered twice equals once");
            assert_eq!(before, self.state());
        }
    }
}

fn within_caps(state: &State) {
    let Some(created) = &state.created else {
        return;
    };
    let (caps, totals) = (created.caps, state.totals);
    assert!(
        totals.steps <= caps.steps && totals.tool_calls <= caps.tool_calls,
        "{totals:?} {caps:?}"
    );
    assert!(
        totals.tokens() <= caps.tokens && totals.micro_usd <= caps.micro_usd,
        "{totals:?} {caps:?}"
    );
    if let Some(account) = &state.account {
        let granted = account.granted;
        assert_eq!(
            totals.amount().minus(granted),
            Amount::ZERO,
            "what is spent was reserved before"
        );
    }
}

/// Adds up what every commit of a log enters into the ledger: runs under way, runs waiting, and what is held.
fn ledger(log: &[Commit]) -> (i32, i32, i128, u64) {
    let mut state = State::empty(tenant(), run_id());
    let (mut active, mut waiting, mut held, mut spent) = (0, 0, 0, 0);
    for commit in log {
        evolve(&mut state, commit);
        let entry = state.entry(&commit.events);
        active += i32::from(entry.active);
        waiting += i32::from(entry.waiting);
        held += i128::from(entry.reserve.micro_usd) - i128::from(entry.release.micro_usd);
        spent += entry.spent.micro_usd;
        assert!(held >= 0 && (0..=1).contains(&active) && (0..=1).contains(&waiting));
    }
    (active, waiting, held, spent)
}

/// Whatever state a log leaves behind, a driver brings the run to its end.
fn finish(script: &mut Script) {
    for round in 0..400_u32 {
        let state = script.state();
        if state.status.is_terminal() {
            return;
        }
        let name = format!("f{round}");
        script.later(60_000);
        let grant = Amount {
            micro_usd: 1,
            tokens: 1,
        };
        script.outside(&Command::Admit { grant }).unwrap();
        let by = "an operator".to_owned();
        script.outside(&Command::Wake { by }).unwrap();
        if script.by(&name, &drive(&name)).is_err() {
            continue;
        }
        for effect in outstanding(&script.state()) {
            let command = match effect {
                Effect::CallModel { step, attempt, .. } => {
                    answered(step, attempt, outcome(2, (200, 200)))
                }
                Effect::CallTool { step, call, .. } => returned(step, call, "late but fine"),
            };
            script.by(&name, &command).unwrap();
        }
    }
    panic!("stuck: {:?}", script.state());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_keeps_its_laws(
        happenings in prop::collection::vec(happening(), 1..60),
        steps in 1..6u32,
        tool_calls in 0..8u32,
        tokens in prop_oneof![2_000..9_000u64, Just(1_000_000)],
        micro_usd in prop_oneof![5_000..30_000u64, Just(10_000_000)],
        grant in prop_oneof![Just(None), Just(Some(0)), (1..40_000u64).prop_map(Some)],
    ) {
        let mut agent = agent();
        agent.caps = Caps { steps, tool_calls, tokens, micro_usd, wall_ms: 3_600_000 };
        let grant = grant.map(|grant| Amount { micro_usd: grant, tokens: grant });
        let mut script = Script::granted(agent, grant);
        let mut done: Vec<(u8, Command)> = Vec::new();
        for happening in &happenings {
            let ended = script.state().status.is_terminal().then_some(script.log.len());
            match happening {
                Happening::Later(ms) => script.later(*ms),
                Happening::Again(back) => {
                    if let Some((by, command)) = done.iter().rev().nth(*back).cloned() {
                        script.perform(by, &command);
                    }
                }
                Happening::Stale(back, by) => {
                    // A writer that read an old log commits to a place that is taken: the fence refuses it.
                    let old = &script.log[..script.log.len().saturating_sub(*back).max(1)];
                    let mut state = fold(tenant(), run_id(), old);
                    let first = state.next_event();
                    let events = advance(&script.known, &mut state, &drive(&name(*by)), script.now).unwrap_or_default();
                    let taken = first != script.state().next_event();
                    if !taken && !events.is_empty() {
                        script.push(&events, Some(driver(&name(*by))));
                    }
                    let stale = Commit { first, at: script.now, driver: None, events, used: None };
                    let mut now = script.state();
                    if taken {
                        evolve(&mut now, &stale);
                        assert_eq!(now, script.state(), "a stale commit changes nothing");
                    }
                }
                other => {
                    if let Some((by, command)) = script.command(other) {
                        script.perform(by, &command);
                        done.push((by, command));
                    }
                }
            }
            within_caps(&script.state());
            if let Some(commits) = ended {
                assert_eq!(script.log.len(), commits, "terminal is final");
            }
        }
        // The log is whole, and every prefix of it is a valid state from which the run can end.
        let mut next = 1;
        for commit in &script.log {
            assert_eq!(commit.first, next);
            next = commit.last() + 1;
        }
        let state = script.state();
        adds_up(&Receipt::of(&script.log), &state);
        let (active, waiting, held, spent) = ledger(&script.log);
        match &state.account {
            Some(_) if state.status.is_terminal() => {
                assert_eq!((active, waiting, held, spent), (0, 0, 0, state.totals.micro_usd), "the end gives everything back");
            }
            Some(account) => {
                assert_eq!((active, waiting), (i32::from(!account.waiting), i32::from(account.waiting)));
                assert_eq!((held, spent), (i128::from(account.granted.micro_usd), 0));
            }
            None => assert_eq!((active, waiting, held, spent), (0, 0, 0, 0)),
        }
        let stored: State = serde_json::from_str(&serde_json::to_string(&script.state()).unwrap()).unwrap();
        assert_eq!(stored, script.state(), "a snapshot is the state");
        for length in 1..=script.log.len() {
            let mut prefix = Script {
                known: Known::new(script.known.agent.clone(), PRICE).unwrap(),
                log: script.log[..length].to_vec(),
                now: script.now,
            };
            let _head = Head::of(&prefix.state());
            if length + 3 > script.log.len() {
                finish(&mut prefix);
            }
            within_caps(&prefix.state());
        }
    }
}
