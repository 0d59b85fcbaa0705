use domain::model::Usage;

use super::*;

fn entry(id: &str, input: u64, output: u64) -> String {
    format!(
        "[[model]]\nid = {id:?}\ninput = {input}\noutput = {output}\ncache_read = 1\ncache_write = 2\n\
         source = \"a test\"\neffective = 2026-01-01\n"
    )
}

fn unit(region: &str, unit: &str, pico_usd: u64) -> String {
    format!(
        "[[unit]]\nregion = {region:?}\nunit = {unit:?}\npico_usd = {pico_usd}\n\
         source = \"a test\"\neffective = 2026-01-01\n"
    )
}

fn problem(text: &str) -> String {
    Prices::parse(text).unwrap_err().to_string()
}

#[test]
fn the_built_in_table_knows_its_models_under_every_name() {
    let prices = Prices::builtin();
    let haiku = prices.of("anthropic.claude-haiku-4-5-20251001-v1:0", PromptCache::Off);
    assert_eq!((haiku.input, haiku.output), (1_100_000, 5_500_000));
    for name in [
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0",
    ] {
        assert_eq!(prices.of(name, PromptCache::Off), haiku, "{name}");
    }
    let nova = prices.of("apac.amazon.nova-lite-v1:0", PromptCache::Off);
    assert_eq!((nova.input, nova.output), (60_000, 240_000));
    let local = prices.of("local.echo", PromptCache::Off);
    assert_eq!((local.input, local.output), (1_000_000, 5_000_000));
}

#[test]
fn a_global_profile_has_its_own_price() {
    let prices = Prices::builtin();
    let global = prices.of(
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        PromptCache::Off,
    );
    let regional = prices.of(
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        PromptCache::Off,
    );
    assert_eq!((global.input, regional.input), (3_000_000, 3_300_000));
}

#[test]
fn a_prompt_is_kept_as_long_as_the_model_can() {
    use PromptCache::{FiveMinutes, Off, OneHour};
    let prices = Prices::builtin();
    let claude = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
    for (model, can) in [
        (claude, [Off, FiveMinutes, OneHour]),
        ("amazon.nova-lite-v1:0", [Off, FiveMinutes, FiveMinutes]),
        ("meta.llama3-1-8b-instruct-v1:0", [Off, Off, Off]),
        ("nobody.knows", [Off, Off, Off]),
    ] {
        let kept = [Off, FiveMinutes, OneHour].map(|asked| prices.cache(model, asked));
        assert_eq!(kept, can, "{model}");
    }
    let write = |cache| prices.of(claude, cache).cache_write;
    assert_eq!([write(FiveMinutes), write(OneHour)], [4_125_000, 6_600_000]);
}

#[test]
fn an_unknown_model_costs_the_dearest_of_each_column() {
    let text = entry("cheap-in", 1, 90) + &entry("cheap-out", 50, 2);
    let prices = Prices::parse(&text).unwrap();
    assert!(!prices.knows_model("nobody.knows"));
    let price = prices.of("nobody.knows", PromptCache::Off);
    assert_eq!((price.input, price.output), (50, 90));

    let builtin = Prices::builtin();
    for profile in ["nobody.knows", "us.nobody.knows", "", "us."] {
        assert_eq!(
            builtin.of(profile, PromptCache::Off).output,
            75_000_000,
            "{profile:?}"
        );
    }
}

#[test]
fn a_table_may_say_what_an_unknown_model_costs() {
    let text =
        entry("a", 5, 6) + "[unknown]\ninput = 7\noutput = 8\ncache_read = 9\ncache_write = 10\n";
    assert_eq!(
        Prices::parse(&text)
            .unwrap()
            .of("b", PromptCache::Off)
            .output,
        8
    );
}

#[test]
fn the_longest_id_that_fits_decides() {
    let text = entry("m*", 1, 1) + &entry("m.large*", 2, 2) + &entry("m.large-2", 3, 3);
    let prices = Prices::parse(&text).unwrap();
    let input = |model| prices.of(model, PromptCache::Off).input;
    assert_eq!(
        [input("m.small"), input("m.large-1"), input("m.large-2")],
        [1, 2, 3]
    );
}

#[test]
fn an_override_replaces_and_adds() {
    let base = Prices::parse(&(entry("a", 1, 1) + &entry("b", 2, 2))).unwrap();
    let over = Prices::parse(&(entry("b", 20, 20) + &entry("c", 30, 30))).unwrap();
    let prices = base.overridden_by(over);
    let input = |model| prices.of(model, PromptCache::Off).input;
    assert_eq!(
        [input("a"), input("b"), input("c"), input("d")],
        [1, 20, 30, 30]
    );
}

#[test]
fn a_wrong_table_is_refused_with_its_reason() {
    assert_eq!(
        problem(&(entry("a", 1, 1) + &entry("a", 2, 2))),
        "the price table holds \"a\" twice"
    );
    assert_eq!(problem(""), "the price table is empty");
    assert_eq!(problem("[[model]]\nid = 3"), "read the price table");
    assert_eq!(
        problem(&entry("a", 1, 1).replace("input = 1", "input = -1")),
        "read the price table"
    );
    assert_eq!(
        problem(&(entry("a", 1, 1) + "colour = 1\n")),
        "read the price table"
    );
    for id in ["", "*", "a*b", "a b"] {
        assert!(
            problem(&entry(id, 1, 1)).contains("must be a model id"),
            "{id:?}"
        );
    }
    let no_source = entry("a", 1, 1).replace("a test", " ");
    assert!(problem(&no_source).contains("names no source"));
    let no_day = entry("a", 1, 1).replace("2026-01-01", "07:32:00");
    assert!(problem(&no_day).contains("no day"));
}

#[test]
fn a_part_of_a_micro_usd_is_charged_whole() {
    let nova = Prices::builtin().of("amazon.nova-micro-v1:0", PromptCache::Off);
    let usage = Usage {
        input_tokens: 1,
        ..Usage::default()
    };
    assert_eq!(nova.of(&usage), 1);
}

#[test]
fn the_built_in_table_prices_every_unit_of_its_regions() {
    let prices = Prices::builtin();
    let virginia = prices.units("us-east-1", "aarch64");
    assert_eq!(
        virginia,
        UnitPrices {
            table_read_unit: 125_000,
            table_write_unit: 625_000,
            payload_read: 400_000,
            payload_write: 5_000_000,
            queue_request: 500_000,
            invocation: 200_000,
            gb_second: 13_333_400,
        }
    );
    let ireland = prices.units("eu-west-1", "x86_64");
    assert_eq!(ireland.table_write_unit, 705_000);
    assert_eq!(ireland.gb_second, 16_666_700);
    let elsewhere = prices.units("nowhere-1", "aarch64");
    assert_eq!(elsewhere.table_write_unit, 705_000, "the dearest");
}

#[test]
fn the_built_in_table_prices_what_a_stack_has() {
    let prices = Prices::builtin();
    assert_eq!(
        prices.stack("us-east-1"),
        StackPrices {
            api_request: 3_500_000,
            empty_poll: 400_000,
            table_gb_month: 250_000_000_000,
            table_backup_gb_month: 200_000_000_000,
            payload_gb_month: 23_000_000_000,
            log_gb: 500_000_000_000,
            log_gb_month: 30_000_000_000,
            metric_month: 300_000_000_000,
            metric_request: 10_000_000,
            alarm_month: 100_000_000_000,
            dashboard_month: 3_000_000_000_000,
            secret_month: 400_000_000_000,
            key_month: 1_000_000_000_000,
            trace: 5_000_000,
        }
    );
    let elsewhere = prices.stack("nowhere-1");
    assert_eq!(elsewhere.log_gb, 570_000_000_000, "the dearest");
    assert!(prices.knows_region("eu-west-1") && !prices.knows_region("nowhere-1"));
}

#[test]
fn a_unit_is_overridden_in_one_region() {
    let text = unit("a", "invocation", 1) + &unit("b", "invocation", 2);
    let base = Prices::parse(&text).unwrap();
    let over = Prices::parse(&unit("b", "invocation", 7)).unwrap();
    let prices = base.overridden_by(over);
    let of = |region| prices.units(region, "x86_64").invocation;
    assert_eq!([of("a"), of("b"), of("c")], [1, 7, 7]);
    assert_eq!(prices.units("a", "x86_64").payload_read, 0, "nobody says");
}

#[test]
fn a_wrong_unit_is_refused_with_its_reason() {
    let twice = unit("a", "invocation", 1) + &unit("a", "invocation", 2);
    assert!(problem(&twice).contains("twice"), "{}", problem(&twice));
    let unknown = unit("a", "teapot", 1);
    assert_eq!(problem(&unknown), "read the price table");
    let no_source = unit("a", "invocation", 1).replace("a test", "");
    assert!(problem(&no_source).contains("names no source"));
}
