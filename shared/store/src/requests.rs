//! Requests, which processes count in memory and tell the table of now and then.
//!
//! A tally is told in one transaction, with a note of its number: a process numbers its tallies upwards and goes on to the
//! next one only when it knows what became of the last. So a tally whose answer was lost is told again under its number and
//! refused, if it was done.

use std::collections::BTreeMap;

use domain::id::TenantId;
use domain::time::At;
use domain::usage::{Interval, Row, Usage};

use crate::item::number;
use crate::key::Key;
use crate::table::{BUSY_ATTEMPTS, Outcome, PRESENT, Write, pause};
use crate::usage::{add, of_usage};
use crate::{Error, Store};

/// Most rows of one tally: each is added to three of the table's, and a transaction holds a hundred items.
pub const MOST_TALLIED: usize = 32;
/// How long it is known what a process has told, in seconds. No process lives that long.
const KEPT_S: u64 = 7 * 86_400;

/// No tally of this number or a later one was told.
const IS_NEXT: &str = "attribute_not_exists(pk) OR told < :number";

/// What one process has counted of a tenant's requests since its last tally.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// The process: 1 to 64 letters and digits.
    pub process: String,
    /// Greater than that of every tally of this process before.
    pub number: u64,
    /// By minute and subject, at most [`MOST_TALLIED`].
    pub rows: Vec<Row>,
}

/// What became of a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tallied {
    /// It is counted.
    Now,
    /// It was counted before.
    Before,
    /// The tenant is gone, and nothing is counted for it any more.
    Gone,
}

impl Store {
    /// Counts a process's tally as usage, in one transaction: its rows by minute, hour and day, its number, and that the
    /// tenant is there. Told again it changes nothing.
    ///
    /// # Errors
    /// Those of the table; the same tally may be told again.
    pub async fn count_requests(
        &self,
        tenant: &TenantId,
        tally: &Tally,
        now: At,
    ) -> Result<Tallied, Error> {
        let mut sums = BTreeMap::<_, Usage>::new();
        for row in tally.rows.iter().take(MOST_TALLIED) {
            for interval in Interval::ALL {
                let sum = sums.entry((interval, interval.start(row.start), &row.subject));
                let sum = sum.or_default();
                *sum = sum.plus(row.usage);
            }
        }
        // Whoever answers counts for itself, at home or not.
        let here = self.in_own_region(tenant);
        let epoch = if self.regions().is_one() {
            0
        } else {
            self.home_of(tenant.as_str()).await?.epoch
        };
        for attempt in 0..BUSY_ATTEMPTS {
            let mut writes = vec![
                note(tenant, tally, now),
                Write::check(Key::tenant(tenant, epoch), PRESENT),
            ];
            let rows = sums.iter();
            writes.extend(rows.map(|((interval, start, subject), usage)| {
                add(tenant, *interval, *start, subject, of_usage(*usage))
            }));
            match here.transact(writes).await? {
                Outcome::Done => return Ok(Tallied::Now),
                Outcome::Conflict => pause(attempt).await,
                Outcome::Refused(refusals) => {
                    let was_told = refusals.first().is_some_and(|note| note.failed);
                    return Ok(if was_told {
                        Tallied::Before
                    } else {
                        Tallied::Gone
                    });
                }
            }
        }
        Err(Error::conflict("TransactWriteItems"))
    }
}

fn note(tenant: &TenantId, tally: &Tally, now: At) -> Write {
    let key = Key::tally(tenant, &tally.process);
    let set = "SET told = :number, #ttl = :ttl".to_owned();
    Write::update(key, set, IS_NEXT.to_owned())
        .named("#ttl", "ttl")
        .with(":number", number(tally.number))
        .with(":ttl", number(now.0 / 1_000 + KEPT_S))
}
