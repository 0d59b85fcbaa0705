//! The prompt cache of local models, which works as Bedrock's does.

use super::*;

/// Long enough to be kept: at least 1,024 tokens.
const LONG: usize = 5_000;

fn counting(cache: PromptCache) -> Talk {
    let mut talk = Talk::with("local.tools", "count to 19");
    talk.system = "Count with the calculator. ".repeat(LONG / 27);
    talk.tools.push(calculator());
    talk.prompt_cache = cache;
    talk
}

/// Talks to the end, with an answer for each tool call; what each call used, and what all cost.
async fn to_the_end(gateway: &Gateway, mut talk: Talk) -> (Vec<Usage>, u64) {
    let (mut usages, mut cost) = (Vec::new(), 0);
    loop {
        let answer = gateway.call(&talk.request()).await.unwrap();
        usages.push(answer.usage);
        cost += answer.cost_micro_usd;
        if answer.stop_reason != StopReason::ToolUse {
            return (usages, cost);
        }
        let result = Content::ToolResult {
            call_id: call_of(&answer).id.clone(),
            text: "counted".into(),
            is_error: false,
        };
        let (role, content) = (Role::Assistant, answer.content);
        talk.messages.push(Message { role, content });
        let (role, content) = (Role::User, vec![result]);
        talk.messages.push(Message { role, content });
    }
}

fn read(usages: &[Usage]) -> u64 {
    usages.iter().map(|usage| usage.cache_read_tokens).sum()
}

/// All that was read, at whatever price.
fn input(usage: &Usage) -> u64 {
    usage.total() - usage.output_tokens
}

#[tokio::test]
async fn most_of_what_a_long_tool_loop_reads_comes_from_the_cache() {
    let (off, dear) = to_the_end(&models(), counting(PromptCache::Off)).await;
    let (on, cheap) = to_the_end(&models(), counting(PromptCache::FiveMinutes)).await;
    assert_eq!((off.len(), on.len()), (20, 20), "steps");
    assert_eq!(read(&off), 0);
    let inputs = |usages: &[Usage]| usages.iter().map(input).collect::<Vec<_>>();
    assert_eq!(
        inputs(&off),
        inputs(&on),
        "nothing is read twice or left out"
    );
    let all: u64 = inputs(&on).iter().sum();
    assert!(read(&on) * 10 >= all * 7, "{} of {all}", read(&on));
    assert!(cheap * 2 < dear, "{cheap} of {dear} micro-USD");
}

#[tokio::test]
async fn runs_of_an_agent_share_its_system_prompt() {
    let gateway = models();
    let (first, _) = to_the_end(&gateway, counting(PromptCache::FiveMinutes)).await;
    let mut other = counting(PromptCache::FiveMinutes);
    other.messages = vec![Message::user("Good morning")];
    let (second, _) = to_the_end(&gateway, other).await;
    assert_eq!(first[0].cache_read_tokens, 0);
    assert!(second[0].cache_read_tokens >= 1_024, "{second:?}");

    let mut elsewhere = counting(PromptCache::FiveMinutes);
    elsewhere.model = "local.echo";
    let (third, _) = to_the_end(&gateway, elsewhere).await;
    assert_eq!(third[0].cache_read_tokens, 0, "each model keeps its own");
}

#[tokio::test]
async fn what_is_kept_for_an_hour_is_written_at_its_own_price() {
    let cost = async |cache| {
        let mut talk = counting(cache);
        talk.messages = vec![Message::user("Good morning")];
        let (usages, cost) = to_the_end(&models(), talk).await;
        (usages[0], cost)
    };
    let (short, (long, dear)) = (
        cost(PromptCache::FiveMinutes).await,
        cost(PromptCache::OneHour).await,
    );
    assert_eq!(short.0, long);
    // $2.00 and $1.25 per million tokens.
    let written = long.cache_write_tokens;
    assert!(written >= 1_024);
    let more = (written * 3).div_ceil(4);
    assert!(
        (more - 1..=more).contains(&(dear - short.1)),
        "{dear} {}",
        short.1
    );
}

#[tokio::test]
async fn a_prompt_that_is_too_short_is_read_whole() {
    let mut talk = counting(PromptCache::FiveMinutes);
    talk.system = "Count.".into();
    talk.messages = vec![Message::user("count to 2")];
    let (usages, _) = to_the_end(&models(), talk).await;
    assert!(
        usages
            .iter()
            .all(|usage| usage.cache_write_tokens == 0 && usage.cache_read_tokens == 0)
    );
}
