//! Prices as data: which model costs what, and what the platform's parts cost.
//!
//! A hard budget must never be undercounted. So a model that the table does not know is priced at the dearest of each column, or at
//! what a file's `[unknown]` says.

mod units;

use domain::model::PromptCache;
use domain::price::{Price, StackPrices, UnitPrices};
use serde::Deserialize;
use units::Units;

/// Why a price table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not TOML of the expected form.
    #[error("read the price table")]
    Syntax(#[from] toml::de::Error),
    /// Two entries have the same id.
    #[error("the price table holds {id:?} twice")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// An entry's id, source or day is missing or not of the expected form.
    #[error("the price table's entry {id:?} {problem}")]
    Entry {
        /// The entry's id.
        id: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No entry of a model or a unit, nor a price of unknown models.
    #[error("the price table is empty")]
    Empty,
}

/// The prices of models, and of the platform's parts.
#[derive(Clone, Debug)]
pub struct Prices {
    /// Longest id first.
    entries: Vec<(Id, Model)>,
    unknown: Option<Price>,
    dearest: Price,
    units: Units,
}

impl Prices {
    /// The table that is built in: list prices of a few Bedrock models, and made-up ones of the local models; of units of
    /// AWS in some Regions.
    #[must_use]
    pub fn builtin() -> Self {
        Self::parse(include_str!("../prices.toml")).expect("a test parses the built-in table")
    }

    /// Reads a table of the form of `prices.toml`.
    ///
    /// # Errors
    ///
    /// When the text is not of that form, names a model or a unit of a Region twice, or is empty.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let table: Table = toml::from_str(text)?;
        let mut entries = Vec::with_capacity(table.model.len());
        for entry in table.model {
            let id = entry.check()?;
            if entries.iter().any(|(other, _)| *other == id) {
                return Err(Error::Duplicate { id: entry.id });
            }
            entries.push((id, entry.model()));
        }
        let units = Units::new(table.unit)?;
        if entries.is_empty() && table.unknown.is_none() && units.is_empty() {
            return Err(Error::Empty);
        }
        Ok(Self::new(entries, table.unknown, units))
    }

    /// These prices with `over` laid upon them: entries of the same model, or of the same Region and unit, are replaced,
    /// others added.
    #[must_use]
    pub fn overridden_by(mut self, over: Self) -> Self {
        self.entries
            .retain(|(id, _)| over.entries.iter().all(|(other, _)| other != id));
        self.entries.extend(over.entries);
        let units = self.units.overridden_by(over.units);
        Self::new(self.entries, over.unknown.or(self.unknown), units)
    }

    /// What the platform's parts cost in a Region, for functions on the processor that `architecture` names as
    /// [`std::env::consts::ARCH`] does. A unit that has no price there costs the most that it does anywhere.
    #[must_use]
    pub fn units(&self, region: &str, architecture: &str) -> UnitPrices {
        self.units.of(region, architecture)
    }

    /// What else a stack is billed for in a Region. A unit that has no price there costs the most that it does anywhere.
    #[must_use]
    pub fn stack(&self, region: &str) -> StackPrices {
        self.units.of_stack(region)
    }

    /// Whether `model` has a price of its own.
    #[must_use]
    pub fn knows_model(&self, model: &str) -> bool {
        self.find(model).is_some()
    }

    /// Whether any unit has a price of this Region.
    #[must_use]
    pub fn knows_region(&self, region: &str) -> bool {
        self.units.know(region)
    }

    fn new(mut entries: Vec<(Id, Model)>, unknown: Option<Price>, units: Units) -> Self {
        entries.sort_by_key(|(id, _)| std::cmp::Reverse(id.rank()));
        let dearest = entries
            .iter()
            .fold(Price::default(), |dearest, (_, model)| Price {
                input: dearest.input.max(model.price.input),
                output: dearest.output.max(model.price.output),
                cache_read: dearest.cache_read.max(model.price.cache_read),
                cache_write: dearest.cache_write.max(model.price.cache_write),
            });
        Self {
            entries,
            unknown,
            dearest,
            units,
        }
    }

    /// The price of `model`: a model id, one with a cross-region prefix, or the ARN of a foundation model or a system's inference
    /// profile; its writes to the prompt cache at the price of what is kept as long as `cache` asks for. An unknown model has the
    /// table's price for those, by default the dearest of each column.
    #[must_use]
    pub fn of(&self, model: &str, cache: PromptCache) -> Price {
        let found = self.find(model).map(|found| found.price_with(cache));
        found.or(self.unknown).unwrap_or(self.dearest)
    }

    /// What `model` keeps of a prompt when `cache` is asked for: nothing when it is not known to keep any.
    #[must_use]
    pub fn cache(&self, model: &str, cache: PromptCache) -> PromptCache {
        self.find(model)
            .map_or(PromptCache::Off, |found| found.keeps(cache))
    }

    fn find(&self, model: &str) -> Option<Model> {
        let id = model.rsplit_once('/').map_or(model, |(_, id)| id);
        self.fitting(id)
            .or_else(|| self.fitting(without_region(id)?))
    }

    fn fitting(&self, id: &str) -> Option<Model> {
        self.entries
            .iter()
            .find(|(entry, _)| entry.fits(id))
            .map(|(_, model)| *model)
    }
}

/// What the table says of a model.
#[derive(Clone, Copy, Debug)]
struct Model {
    price: Price,
    /// Whether it takes points up to which a prompt is kept.
    keeps_prompts: bool,
    /// Per million tokens that are kept for an hour, if it can.
    cache_write_1h: Option<u64>,
}

impl Model {
    fn keeps(&self, asked: PromptCache) -> PromptCache {
        match asked {
            PromptCache::OneHour if self.keeps_prompts && self.cache_write_1h.is_some() => asked,
            PromptCache::OneHour | PromptCache::FiveMinutes if self.keeps_prompts => {
                PromptCache::FiveMinutes
            }
            PromptCache::Off | PromptCache::FiveMinutes | PromptCache::OneHour => PromptCache::Off,
        }
    }

    fn price_with(&self, asked: PromptCache) -> Price {
        let hour = (self.keeps(asked) == PromptCache::OneHour).then_some(self.cache_write_1h);
        Price {
            cache_write: hour.flatten().unwrap_or(self.price.cache_write),
            ..self.price
        }
    }
}

/// The id of a model without the prefix of a cross-region inference profile, if it has one.
fn without_region(id: &str) -> Option<&str> {
    const PREFIXES: [&str; 6] = ["us.", "eu.", "apac.", "jp.", "au.", "global."];
    PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Id {
    Whole(String),
    Beginning(String),
}

impl Id {
    fn fits(&self, id: &str) -> bool {
        match self {
            Self::Whole(whole) => whole == id,
            Self::Beginning(beginning) => id.starts_with(beginning.as_str()),
        }
    }

    /// A whole id goes before a beginning of the same length.
    fn rank(&self) -> (usize, bool) {
        match self {
            Self::Whole(whole) => (whole.len(), true),
            Self::Beginning(beginning) => (beginning.len(), false),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    model: Vec<Entry>,
    unknown: Option<Price>,
    #[serde(default)]
    unit: Vec<units::Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_1h: Option<u64>,
    #[serde(default)]
    keeps_prompts: bool,
    source: String,
    effective: toml::value::Datetime,
}

impl Entry {
    fn check(&self) -> Result<Id, Error> {
        let problem = |problem| Error::Entry {
            id: self.id.clone(),
            problem,
        };
        let (text, whole) = match self.id.strip_suffix('*') {
            Some(beginning) => (beginning, false),
            None => (self.id.as_str(), true),
        };
        if text.is_empty() || text.contains(|c: char| c == '*' || c.is_whitespace()) {
            return Err(problem(
                "must be a model id, or the beginning of one followed by `*`",
            ));
        }
        check(&self.id, &self.source, &self.effective)?;
        Ok(if whole {
            Id::Whole(text.to_owned())
        } else {
            Id::Beginning(text.to_owned())
        })
    }

    fn model(&self) -> Model {
        Model {
            price: Price {
                input: self.input,
                output: self.output,
                cache_read: self.cache_read,
                cache_write: self.cache_write,
            },
            keeps_prompts: self.keeps_prompts,
            cache_write_1h: self.cache_write_1h,
        }
    }
}

/// Every price says where it stands and since when.
fn check(id: &str, source: &str, effective: &toml::value::Datetime) -> Result<(), Error> {
    let problem = if source.trim().is_empty() {
        "names no source"
    } else if effective.date.is_none() {
        "has no day since which it holds"
    } else {
        return Ok(());
    };
    let id = id.to_owned();
    Err(Error::Entry { id, problem })
}

#[cfg(test)]
mod tests;
