//! `skein plan`: what a load takes and costs a month on AWS.

mod seeds;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use domain::model::PromptCache;
use domain::plan::{self, Error, Load, Measured, Plan, Service};
use gateway::Prices;
use serde_json::json;

use crate::args;
use crate::output::{self, Failure};

/// Processes of one account that may run at once until AWS is asked for more
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const ACCOUNT: u64 = 1_000;

/// Everything that a plan rests on beside the load.
struct Basis {
    prices: plan::Prices,
    measured: Measured,
}

impl Basis {
    fn plan(&self, load: &Load) -> Result<Plan, Error> {
        plan::plan(load, &self.prices, &self.measured)
    }
}

pub(crate) fn plan(asked: &args::Plan) -> Result<ExitCode, Failure> {
    let prices = prices(asked.prices.as_deref())?;
    let basis = Basis {
        prices: plan::Prices {
            units: prices.units(&asked.region, asked.architecture.name()),
            stack: prices.stack(&asked.region),
            model: prices.of(&asked.model, PromptCache::Off),
        },
        measured: measured(),
    };
    if !prices.knows_model(&asked.model) {
        output::note(&format!(
            "no price of the model `{}` is known: it counts as the dearest one that is",
            asked.model
        ));
    }
    if !prices.knows_region(&asked.region) {
        output::note(&format!(
            "no prices of the Region `{}` are known: each counts as the dearest of any Region",
            asked.region
        ));
    }
    let load = asked.load();
    let plan = basis.plan(&load).map_err(|error| anyhow!(error))?;
    if asked.json {
        let Measured { units, timed, .. } = &basis.measured;
        let document = json!({
            "region": asked.region,
            "architecture": asked.architecture.name(),
            "model": asked.model,
            "plan": plan,
            "measured": {"units": units, "timed": timed},
        });
        output::line(&document.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    if asked.seeds {
        seeds::show(&basis, &load)?;
    } else {
        show(&plan, asked);
    }
    Ok(ExitCode::SUCCESS)
}

/// What was measured and counted: the commands that make these files stand in `docs/planner.md`.
fn measured() -> Measured {
    const MADE: &str = "a test reads the files that are built in";
    Measured {
        units: serde_json::from_str(include_str!("plan/units.json")).expect(MADE),
        timed: serde_json::from_str(include_str!("plan/timed.json")).expect(MADE),
        idle: serde_json::from_str(include_str!("plan/idle.json")).expect(MADE),
    }
}

/// The built-in prices, with those of a file laid upon them.
fn prices(file: Option<&Path>) -> Result<Prices, Failure> {
    let builtin = Prices::builtin();
    let Some(file) = file else {
        return Ok(builtin);
    };
    let read = || {
        let text = std::fs::read_to_string(file)?;
        anyhow::Ok(Prices::parse(&text)?)
    };
    let over = read().with_context(|| format!("reading prices from {}", file.display()))?;
    Ok(builtin.overridden_by(over))
}

fn show(plan: &Plan, asked: &args::Plan) {
    capacity(plan);
    output::line("");
    bill(plan);
    output::line("");
    money(plan, &asked.model);
}

fn capacity(plan: &Plan) {
    let Plan { load, .. } = plan;
    let rows = [
        (
            "runs a minute, on average and at the peak",
            format!(
                "{}, {}",
                decimal(plan.milli_runs_a_minute, 2),
                decimal(plan.milli_runs_a_minute_at_peak, 2)
            ),
        ),
        ("seconds that a run is driven", decimal(plan.drive_ms, 1)),
        ("runs under way at the peak", grouped(plan.runs_at_once)),
        (
            "processes that drive them",
            format!(
                "{}, {} run{} each",
                grouped(plan.drivers_at_once),
                load.together,
                if load.together == 1 { "" } else { "s" }
            ),
        ),
        (
            "processes that answer requests",
            grouped(plan.answering_at_once),
        ),
        (
            "write and read units a second at the peak",
            format!(
                "{}, {}",
                grouped(plan.write_units_a_second),
                grouped(plan.read_units_a_second)
            ),
        ),
        (
            "GB-seconds of a run",
            decimal(plan.mb_ms_a_run.div_ceil(1_024), 2),
        ),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(what, how_much)| vec![what.to_owned(), how_much])
        .collect();
    output::table(&["CAPACITY", ""], &rows);
    let processes = plan.drivers_at_once.saturating_add(plan.answering_at_once);
    if processes > ACCOUNT {
        output::line(&format!(
            "{} processes are more than the {} that an account may have at once until AWS is asked for more",
            grouped(processes),
            grouped(ACCOUNT)
        ));
    }
}

fn bill(plan: &Plan) {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for is_idle in [true, false] {
        let lines = plan.lines.iter().filter(|line| line.is_idle == is_idle);
        for line in lines {
            rows.push(vec![
                line.service.as_str().to_owned(),
                line.what.to_owned(),
                right(decimal(line.milli_amount, 1), 15),
                right(format!("${}", price(line.pico_usd)), 13),
                right(dollars(line.micro_usd), 12),
            ]);
        }
        let (what, sum) = if is_idle {
            ("while nothing runs", plan.idle_micro_usd)
        } else {
            (
                "for these runs",
                plan.platform_micro_usd - plan.idle_micro_usd,
            )
        };
        rows.push(vec![
            String::new(),
            what.to_owned(),
            String::new(),
            String::new(),
            right(dollars(sum), 12),
        ]);
    }
    output::table(
        &[
            "SERVICE",
            "WHAT",
            "         AMOUNT",
            "        PRICE",
            "     A MONTH",
        ],
        &rows,
    );
}

fn money(plan: &Plan, model: &str) {
    let a_run = |micro_usd: u64| match plan.load.runs {
        0 => String::new(),
        // A hundredth of a micro-dollar is enough for anybody.
        runs => {
            let hundredths = (u128::from(micro_usd) * 100).div_ceil(runs.into());
            let hundredths = u64::try_from(hundredths).unwrap_or(u64::MAX);
            right(format!("${}", fraction(hundredths, 8)), 14)
        }
    };
    let row = |what: &str, micro_usd: u64| {
        vec![
            what.to_owned(),
            right(dollars(micro_usd), 15),
            a_run(micro_usd),
        ]
    };
    let mut services: Vec<Service> = plan.lines.iter().map(|line| line.service).collect();
    services.sort_unstable();
    services.dedup();
    let mut rows: Vec<_> = services
        .into_iter()
        .map(|service| row(service.as_str(), plan.of(service)))
        .collect();
    rows.push(row("the platform", plan.platform_micro_usd));
    rows.push(row(&format!("the model, {model}"), plan.model_micro_usd));
    output::table(&["MONEY", "        A MONTH", "         A RUN"], &rows);
}

fn right(text: String, width: usize) -> String {
    format!("{text:>width$}")
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Thousandths as a number with so many places, rounded up.
fn decimal(milli: u64, places: u32) -> String {
    let step = 10_u64.pow(3_u32.saturating_sub(places));
    let scaled = milli.div_ceil(step);
    let one = 10_u64.pow(places.min(3));
    let rest = scaled % one;
    format!(
        "{}.{rest:0width$}",
        grouped(scaled / one),
        width = places as usize
    )
}

/// A number that has so many digits after its point.
fn fraction(number: u64, places: u32) -> String {
    let one = 10_u64.pow(places);
    format!(
        "{}.{:0width$}",
        number / one,
        number % one,
        width = places as usize
    )
}

/// Micro-USD as dollars and cents, rounded up.
fn dollars(micro_usd: u64) -> String {
    let cents = micro_usd.div_ceil(10_000);
    format!("${}.{:02}", grouped(cents / 100), cents % 100)
}

/// Pico-USD as dollars, without zeros at the end beyond the cents.
fn price(pico_usd: u64) -> String {
    let text = fraction(pico_usd, 12);
    let cents = text.find('.').map_or(text.len(), |point| point + 3);
    let bare = text.trim_end_matches('0').len();
    text[..bare.max(cents)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_groups_and_never_too_low() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(decimal(231, 2), "0.24");
        assert_eq!(decimal(1_999, 1), "2.0");
        assert_eq!(decimal(u64::MAX, 1), "18,446,744,073,709,551.7");
        assert_eq!(
            [1, 9_999, 12_700_000].map(dollars),
            ["$0.01", "$0.01", "$12.70"]
        );
    }

    #[test]
    fn a_price_is_told_in_full() {
        assert_eq!(
            [625_000, 13_333_400].map(price),
            ["0.000000625", "0.0000133334"]
        );
        assert_eq!(price(3_000_000_000_000), "3.00");
        assert_eq!(price(250_000_000_000), "0.25");
    }

    #[test]
    fn a_file_of_prices_that_is_none_is_named() {
        let failed = prices(Some(Path::new("/no/such/file"))).unwrap_err();
        let Failure::Other(error) = failed else {
            panic!("{failed:?}");
        };
        assert!(error.to_string().contains("/no/such/file"), "{error:#}");
    }
}
