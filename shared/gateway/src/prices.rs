//! Prices as data: which model costs what.
//!
//! A hard budget must never be undercounted. So a model that the table does not know is priced at the dearest of each column, or at
//! what a file's `[unknown]` says.

use domain::price::Price;
use serde::Deserialize;

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
    /// Neither an entry nor a price of unknown models.
    #[error("the price table is empty")]
    Empty,
}

/// The prices of models.
#[derive(Clone, Debug)]
pub struct Prices {
    /// Longest id first.
    entries: Vec<(Id, Price)>,
    unknown: Option<Price>,
    dearest: Price,
}

impl Prices {
    /// The table that is built in: list prices of a few Bedrock models, and made-up ones of the local models.
    #[must_use]
    pub fn builtin() -> Self {
        Self::parse(include_str!("../prices.toml")).expect("a test parses the built-in table")
    }

    /// Reads a table of the form of `prices.toml`.
    ///
    /// # Errors
    ///
    /// When the text is not of that form, names a model twice, or is empty.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let table: Table = toml::from_str(text)?;
        let mut entries = Vec::with_capacity(table.model.len());
        for entry in table.model {
            let id = entry.check()?;
            if entries.iter().any(|(other, _)| *other == id) {
                return Err(Error::Duplicate { id: entry.id });
            }
            entries.push((id, entry.price()));
        }
        if entries.is_empty() && table.unknown.is_none() {
            return Err(Error::Empty);
        }
        Ok(Self::new(entries, table.unknown))
    }

    /// These prices with `over` laid upon them: entries of the same id are replaced, others added.
    #[must_use]
    pub fn overridden_by(mut self, over: Self) -> Self {
        self.entries
            .retain(|(id, _)| over.entries.iter().all(|(other, _)| other != id));
        self.entries.extend(over.entries);
        Self::new(self.entries, over.unknown.or(self.unknown))
    }

    fn new(mut entries: Vec<(Id, Price)>, unknown: Option<Price>) -> Self {
        entries.sort_by_key(|(id, _)| std::cmp::Reverse(id.rank()));
        let dearest = entries
            .iter()
            .fold(Price::default(), |dearest, (_, price)| Price {
                input: dearest.input.max(price.input),
                output: dearest.output.max(price.output),
                cache_read: dearest.cache_read.max(price.cache_read),
                cache_write: dearest.cache_write.max(price.cache_write),
            });
        Self {
            entries,
            unknown,
            dearest,
        }
    }

    /// The price of `model`: a model id, one with a cross-region prefix, or the ARN of a foundation model or a system's inference
    /// profile. An unknown model has the table's price for those, by default the dearest of each column.
    #[must_use]
    pub fn of(&self, model: &str) -> Price {
        self.find(model).or(self.unknown).unwrap_or(self.dearest)
    }

    /// The price of `model` if an entry fits it.
    #[must_use]
    pub fn find(&self, model: &str) -> Option<Price> {
        let id = model.rsplit_once('/').map_or(model, |(_, id)| id);
        self.fitting(id)
            .or_else(|| self.fitting(without_region(id)?))
    }

    fn fitting(&self, id: &str) -> Option<Price> {
        self.entries
            .iter()
            .find(|(entry, _)| entry.fits(id))
            .map(|(_, price)| *price)
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
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
        if self.source.trim().is_empty() {
            return Err(problem("names no source"));
        }
        if self.effective.date.is_none() {
            return Err(problem("has no day since which it holds"));
        }
        Ok(if whole {
            Id::Whole(text.to_owned())
        } else {
            Id::Beginning(text.to_owned())
        })
    }

    fn price(&self) -> Price {
        Price {
            input: self.input,
            output: self.output,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
        }
    }
}

#[cfg(test)]
mod tests;
