//! Regions: where a tenant is at home, and what keeps two of them apart.
//!
//! The table has a copy in each Region. Copies follow some time later, item by item, in any order, and of two writes to one
//! item the last one wins, whatever its condition was: conditions hold within a Region. So an item that two Regions write is
//! no lock and no ledger. **Invariant:** no item of a tenant is ever written in two Regions. An **epoch** is the time from
//! one move of a tenant's home to the next; its number says which Region it belongs to, and stands in the key of every item
//! that is written in it. Who was cut off and does not know of a move goes on writing items of its own epoch, which nobody
//! reads any more, and overwrites nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most Regions that a table can be in. Epoch `n` belongs to the Region at place `n mod MOST` of the list, so two Regions can
/// never begin the same one. This number never changes.
pub const MOST: u64 = 8;

/// A Region of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name, as AWS has it.
    pub name: String,
    /// Where the API answers there, if that is known.
    pub url: Option<String>,
}

/// The Regions that share a table, in an order that only ever grows, and which of them this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    all: Vec<Region>,
    own: usize,
}

/// Why a list of Regions cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It names none, one twice, or more than there can be.
    #[error("must name 2 to {MOST} Regions, each once")]
    Number,
    /// It does not name the Region that this is.
    #[error("does not name {0}, where this runs")]
    Stranger(String),
    /// An entry is no `name` or `name=url`.
    #[error("`{0}` is neither `region` nor `region=https://...`")]
    Entry(String),
}

impl Regions {
    /// Reads `us-east-1=https://api.example,eu-west-1`, of which `own` is where this runs. An empty text means that there is
    /// but one Region, whatever its name.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(text: &str, own: &str) -> Result<Self, Error> {
        let entries = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let mut all = Vec::<Region>::new();
        for entry in entries {
            let (name, url) = match entry.split_once('=') {
                Some((name, url)) => (name.trim(), Some(url.trim().trim_end_matches('/'))),
                None => (entry, None),
            };
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let is_url = |url: &str| url.starts_with("https://") || url.starts_with("http://");
            if name.is_empty() || !name.chars().all(is_name) || !url.is_none_or(is_url) {
                return Err(Error::Entry(entry.to_owned()));
            }
            if all.iter().any(|known| known.name == name) {
                return Err(Error::Number);
            }
            all.push(Region {
                name: name.to_owned(),
                url: url.map(str::to_owned),
            });
        }
        if all.is_empty() {
            return Ok(Self::default());
        }
        if all.len() < 2 || all.len() as u64 > MOST {
            return Err(Error::Number);
        }
        match all.iter().position(|region| region.name == own) {
            Some(own) => Ok(Self { all, own }),
            None => Err(Error::Stranger(own.to_owned())),
        }
    }

    /// Whether there is but one Region: then every tenant is at home here.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.all.is_empty()
    }

    /// The Region that this is; none where there is but one.
    #[must_use]
    pub fn own(&self) -> Option<&Region> {
        self.all.get(self.own)
    }

    /// The first epoch of this Region: of tenants that are onboarded here, and the place of what every Region keeps of a
    /// tenant for itself.
    #[must_use]
    pub fn first_epoch(&self) -> u64 {
        self.own as u64
    }

    /// The first epochs of the other Regions.
    pub fn first_epochs_elsewhere(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.all.len() as u64).filter(|epoch| !self.is_own(*epoch))
    }

    /// The Region that an epoch belongs to; none where there is but one, or when the list has lost it.
    #[must_use]
    pub fn of(&self, epoch: u64) -> Option<&Region> {
        self.all.get(usize::try_from(epoch % MOST).ok()?)
    }

    /// Whether an epoch belongs to this Region, so that this Region, and no other, writes what is of it.
    #[must_use]
    pub fn is_own(&self, epoch: u64) -> bool {
        self.is_one() || epoch % MOST == self.own as u64
    }

    /// The Region of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Region> {
        self.all.iter().find(|region| region.name == name)
    }

    /// The first epoch after `epoch` that belongs to this Region.
    #[must_use]
    pub fn next_epoch(&self, epoch: u64) -> u64 {
        next_epoch(epoch, self.own as u64)
    }
}

impl fmt::Display for Regions {
    /// As [`Regions::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Region { name, url }) in self.all.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{name}")?;
            if let Some(url) = url {
                write!(f, "={url}")?;
            }
        }
        Ok(())
    }
}

/// The first epoch after `epoch` that belongs to the Region at this place.
fn next_epoch(epoch: u64, place: u64) -> u64 {
    let next = epoch - epoch % MOST + place;
    if next > epoch { next } else { next + MOST }
}

/// Where a tenant is at home, and where it was. Of two of one tenant the one with the higher epoch holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Says which Region: [`Regions::of`].
    pub epoch: u64,
    /// The epochs before, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Former>,
}

/// An epoch that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The epoch.
    pub epoch: u64,
    /// Entries of the tenant's audit trail up to its end, those of the epochs before it included. What was written under it
    /// beyond that was not here yet when it ended, and is void.
    pub entries: u64,
}

impl Home {
    /// A home that is where tenants without one are: in the first Region.
    #[must_use]
    pub fn is_first(&self) -> bool {
        *self == Self::default()
    }

    /// A home in this epoch, since ever.
    #[must_use]
    pub fn since_ever(epoch: u64) -> Self {
        Self {
            epoch,
            former: Vec::new(),
        }
    }

    /// The home after a move into `epoch`, given how many entries the trail has.
    #[must_use]
    pub fn moved(&self, epoch: u64, entries: u64) -> Self {
        let over = Former {
            epoch: self.epoch,
            entries,
        };
        let former = std::iter::once(over).chain(self.former.iter().cloned());
        Self {
            epoch,
            former: former.collect(),
        }
    }

    /// Every epoch, the latest first.
    pub fn epochs(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.epoch).chain(self.former.iter().map(|former| former.epoch))
    }
}

#[cfg(test)]
mod tests;
