//! What rate limits and budgets cost: the same requests with both, with one of them and with neither.

use std::path::Path;

use domain::budget::{Budget, MAX_LIMIT, Node, Period, Unit};
use domain::tenant::Tenant;

use crate::machine::ms;
use crate::report::{Report, Target};
use crate::stage::Stage;
use crate::w2;

const WARM_UP: u64 = 200;
/// What holds: rate limits, budgets.
const SETTINGS: [(&str, bool, bool); 4] = [
    ("neither", false, false),
    ("rate limits", true, false),
    ("budgets", false, true),
    ("both", true, true),
];

/// The requests of W2, of which every fifth creates a run that is driven as well. Each setting on a platform of its own,
/// since processes believe settings for a minute. Nothing is ever refused.
pub(crate) async fn measure(
    binaries: &Path,
    requests: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    const PART: &str = "limits";
    report.tell(PART);
    for (name, limited, budgeted) in SETTINGS {
        let stage = Stage::start_with(binaries, false, |tenant| {
            set(tenant, limited, budgeted);
        });
        let stage = stage.await?;
        w2::mixed(&stage, WARM_UP).await?;
        let counters = stage.counters()?;
        w2::mixed(&stage, requests).await?;
        let spent = stage.spent(&counters)?;
        let table = spent.requests.total();
        let each = |sum: f64| sum / requests as f64;
        for (figure, value, unit) in [
            (
                "requests admitted, 16 clients",
                requests as f64 / spent.wall.as_secs_f64(),
                "requests/s",
            ),
            (
                "CPU of our functions per request",
                each(ms(spent.ours())),
                "ms",
            ),
            ("write units per request", each(table.write_units), ""),
            ("read units per request", each(table.read_units), ""),
        ] {
            report.put(PART, format!("{name}: {figure}"), value, unit, Target::None);
        }
        stage.platform.stop().await;
    }
    Ok(())
}

fn set(tenant: &mut Tenant, limited: bool, budgeted: bool) {
    if !limited {
        tenant.overrides.windows = Some(Vec::new());
    }
    if budgeted {
        let budgets = [
            (Period::Day, Unit::MicroUsd),
            (Period::Month, Unit::MicroUsd),
            (Period::Month, Unit::Tokens),
        ];
        let budgets = budgets.map(|(period, unit)| Budget {
            period,
            unit,
            limit: MAX_LIMIT,
        });
        tenant.budgets.insert(Node::Tenant, budgets.into());
    }
}
