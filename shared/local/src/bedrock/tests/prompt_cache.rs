use std::time::{Duration, Instant};

use serde_json::json;

use super::super::{
    parse,
    prompt_cache::{Prompts, Read},
};

const MINUTE: Duration = Duration::from_secs(60);
const MICROSECOND: Duration = Duration::from_micros(1);

/// A system prompt of so many tokens, a point of that lifetime, and a question of three tokens.
fn request(tokens: usize, ttl: &str) -> String {
    let body = json!({
        "system": [{"text": "word ".repeat(tokens)}, {"cachePoint": {"type": "default", "ttl": ttl}}],
        "messages": [{"role": "user", "content": [{"text": "hi there"}]}],
    });
    body.to_string()
}

fn read(prompts: &Prompts, tokens: usize, ttl: &str, now: Instant) -> Read {
    let body = request(tokens, ttl);
    let request = parse(body.as_bytes()).unwrap_or_else(|_| panic!("{body}"));
    prompts.read("local.echo", &request, now)
}

fn tokens(kept: u64, to_keep: u64, anew: u64) -> Read {
    Read {
        kept,
        to_keep,
        anew,
    }
}

#[test]
fn a_prompt_is_kept_for_its_lifetime_after_it_was_last_read() {
    for (ttl, minutes) in [("5m", 5), ("1h", 60)] {
        let (prompts, start) = (Prompts::default(), Instant::now());
        let at = |minute| read(&prompts, 2_000, ttl, start + MINUTE * minute);
        assert_eq!(at(0), tokens(0, 2_000, 3), "{ttl}");
        assert_eq!(at(minutes - 1), tokens(2_000, 0, 3), "{ttl}");
        assert_eq!(
            at(2 * minutes - 2),
            tokens(2_000, 0, 3),
            "{ttl}: it was read"
        );
        assert_eq!(at(3 * minutes - 2), tokens(0, 2_000, 3), "{ttl}");
    }
}

#[test]
fn a_prompt_of_less_than_1_024_tokens_is_not_kept() {
    let (prompts, now) = (Prompts::default(), Instant::now());
    for _ in 0..2 {
        assert_eq!(read(&prompts, 1_023, "5m", now), tokens(0, 0, 1_026));
    }
    assert_eq!(read(&prompts, 1_024, "5m", now), tokens(0, 1_024, 3));
}

#[test]
fn what_ends_soonest_makes_room() {
    let (prompts, start) = (Prompts::default(), Instant::now());
    let body = request(1_024, "5m");
    let request = parse(body.as_bytes()).unwrap_or_else(|_| panic!("{body}"));
    let at = |n: u32| {
        prompts.read(
            &format!("local.echo-{n}"),
            &request,
            start + MICROSECOND * n,
        )
    };
    for n in 0..10_001 {
        assert_eq!(at(n).kept, 0);
    }
    assert_eq!((at(10_000).kept, at(0).kept), (1_024, 0));
}
