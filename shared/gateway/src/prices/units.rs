//! What the platform's parts cost, Region by Region.

use std::collections::BTreeMap;

use domain::price::{StackPrices, UnitPrices};
use serde::Deserialize;

use super::Error;

/// The parts whose units have a price, under the names that files give them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Part {
    TableReadUnit,
    TableWriteUnit,
    PayloadRead,
    PayloadWrite,
    QueueRequest,
    Invocation,
    #[serde(rename = "gb_second_arm64")]
    GbSecondArm64,
    #[serde(rename = "gb_second_x86_64")]
    GbSecondX86_64,
    ApiRequest,
    EmptyPoll,
    TableGbMonth,
    TableBackupGbMonth,
    PayloadGbMonth,
    LogGb,
    LogGbMonth,
    MetricMonth,
    MetricRequest,
    AlarmMonth,
    DashboardMonth,
    SecretMonth,
    KeyMonth,
    Trace,
}

/// One price of one Region.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    region: String,
    unit: Part,
    pico_usd: u64,
    source: String,
    effective: toml::value::Datetime,
}

/// The prices of units, in pico-USD.
#[derive(Clone, Debug, Default)]
pub(super) struct Units(BTreeMap<(Part, String), u64>);

impl Units {
    pub(super) fn new(entries: Vec<Entry>) -> Result<Self, Error> {
        let mut prices = BTreeMap::new();
        for entry in entries {
            let id = format!("{:?} in {}", entry.unit, entry.region);
            super::check(&id, &entry.source, &entry.effective)?;
            let key = (entry.unit, entry.region);
            if prices.insert(key, entry.pico_usd).is_some() {
                return Err(Error::Duplicate { id });
            }
        }
        Ok(Self(prices))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn overridden_by(mut self, over: Self) -> Self {
        self.0.extend(over.0);
        self
    }

    /// The prices of a Region, for functions on `architecture` as Rust calls it.
    pub(super) fn of(&self, region: &str, architecture: &str) -> UnitPrices {
        let gb_second = match architecture {
            "aarch64" => Part::GbSecondArm64,
            _ => Part::GbSecondX86_64,
        };
        UnitPrices {
            table_read_unit: self.price(Part::TableReadUnit, region),
            table_write_unit: self.price(Part::TableWriteUnit, region),
            payload_read: self.price(Part::PayloadRead, region),
            payload_write: self.price(Part::PayloadWrite, region),
            queue_request: self.price(Part::QueueRequest, region),
            invocation: self.price(Part::Invocation, region),
            gb_second: self.price(gb_second, region),
        }
    }

    /// What else a stack is billed for in a Region.
    pub(super) fn of_stack(&self, region: &str) -> StackPrices {
        StackPrices {
            api_request: self.price(Part::ApiRequest, region),
            empty_poll: self.price(Part::EmptyPoll, region),
            table_gb_month: self.price(Part::TableGbMonth, region),
            table_backup_gb_month: self.price(Part::TableBackupGbMonth, region),
            payload_gb_month: self.price(Part::PayloadGbMonth, region),
            log_gb: self.price(Part::LogGb, region),
            log_gb_month: self.price(Part::LogGbMonth, region),
            metric_month: self.price(Part::MetricMonth, region),
            metric_request: self.price(Part::MetricRequest, region),
            alarm_month: self.price(Part::AlarmMonth, region),
            dashboard_month: self.price(Part::DashboardMonth, region),
            secret_month: self.price(Part::SecretMonth, region),
            key_month: self.price(Part::KeyMonth, region),
            trace: self.price(Part::Trace, region),
        }
    }

    /// Whether any unit has a price of this Region.
    pub(super) fn know(&self, region: &str) -> bool {
        self.0.keys().any(|(_, known)| known == region)
    }

    /// The Region's price, or the dearest of any.
    fn price(&self, unit: Part, region: &str) -> u64 {
        let known = self.0.get(&(unit, region.to_owned())).copied();
        let of_unit = self.0.iter().filter(|((of, _), _)| *of == unit);
        let dearest = || of_unit.map(|(_, price)| *price).max();
        known.or_else(dearest).unwrap_or_default()
    }
}
