//! What the systems that Skein replaces said that they cost, beside what such loads cost here.

use anyhow::anyhow;
use domain::plan::{Load, MONTH_S, Plan, SEEDS_NODES, SEEDS_RUNS, SEEDS_TASKS};

use super::{Basis, decimal, dollars, grouped, right};
use crate::output::{self, Failure};

const MICRO: u64 = 1_000_000;

impl Basis {
    fn of(&self, load: &Load, runs: u64) -> Result<Plan, Failure> {
        let load = Load {
            runs,
            // A number of runs a minute is one of the load that was asked for.
            peak: Load::default().peak,
            ..*load
        };
        self.plan(&load).map_err(|error| anyhow!(error).into())
    }
}

pub(super) fn show(basis: &Basis, load: &Load) -> Result<(), Failure> {
    containers(basis, load)?;
    output::line("");
    squads(basis, load)?;
    output::line("");
    nodes(basis, load)
}

/// S1-16: containers that run whether anything comes or not.
fn containers(basis: &Basis, load: &Load) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for seed in SEEDS_RUNS {
        let ours = basis.of(load, seed.runs)?;
        let models = 100 * seed.model_usd / (seed.model_usd + seed.platform_usd);
        rows.push(vec![
            right(grouped(seed.runs), 12),
            right(decimal(ours.milli_runs_a_minute, 2), 12),
            right(dollars(seed.platform_usd * MICRO), 12),
            right(format!("{models} %"), 12),
            right(dollars(ours.platform_micro_usd), 12),
            right(dollars(ours.model_micro_usd), 12),
        ]);
    }
    output::table(
        &[
            "RUNS A MONTH",
            "    A MINUTE",
            "    S1 ASKED",
            " MODELS THEN",
            "        OURS",
            "   OUR MODEL",
        ],
        &rows,
    );
    // What S1 had wrong, counted as it should have been.
    let processes = 500_u64.div_ceil(load.together);
    output::line(&format!(
        "S1: 100 runs a minute of 5 minutes each are 500 runs at once by Little's law, so {processes} processes that hold {} each;",
        load.together
    ));
    output::line("    its 10 workers would have to hold 50.");
    output::line("S1: 10,000 runs of 2 MB, and a fifth more, are 24 GB (not 20).");
    Ok(())
}

/// S4-19: everything, models included.
fn squads(basis: &Basis, load: &Load) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for seed in SEEDS_TASKS {
        let ours = basis.of(load, seed.tasks_a_day * MONTH_S / 86_400)?;
        rows.push(vec![
            right(grouped(seed.users), 9),
            right(grouped(seed.squads), 9),
            right(grouped(seed.tasks_a_day), 11),
            right(dollars(seed.usd * MICRO), 12),
            right(dollars(ours.platform_micro_usd), 12),
            right(
                dollars(ours.platform_micro_usd.saturating_add(ours.model_micro_usd)),
                12,
            ),
        ]);
    }
    output::table(
        &[
            "    USERS",
            "   SQUADS",
            "TASKS A DAY",
            "    S4 ASKED",
            "        OURS",
            "WITH MODELS",
        ],
        &rows,
    );
    Ok(())
}

/// S2-15: nodes. What they cost is asked of a load here: how many runs a month it buys.
fn nodes(basis: &Basis, load: &Load) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for seed in SEEDS_NODES {
        let asked = seed.usd * MICRO;
        let runs = most(|runs| Ok(basis.of(load, runs)?.platform_micro_usd <= asked))?;
        rows.push(vec![
            right(seed.nodes.to_string(), 5),
            right(dollars(asked), 12),
            right(grouped(runs), 20),
            right(decimal(runs.saturating_mul(1_000) / MONTH_S, 2), 9),
        ]);
    }
    output::table(
        &["NODES", "    S2 ASKED", "OURS: RUNS FOR THAT", " A SECOND"],
        &rows,
    );
    Ok(())
}

/// The most for which this holds; it holds for all that is less.
fn most(holds: impl Fn(u64) -> Result<bool, Failure>) -> Result<u64, Failure> {
    let (mut least, mut over) = (0, 1_000_000_000);
    while over - least > 1 {
        let middle = least + (over - least) / 2;
        if holds(middle)? {
            least = middle;
        } else {
            over = middle;
        }
    }
    Ok(least)
}
