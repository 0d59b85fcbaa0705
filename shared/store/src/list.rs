//! Lists of runs: one list over many partitions, newest first.
//!
//! A tenant's runs stand in one partition for each status and shard, in the order of creation. A page is a k-way merge of
//! those that the filter admits. The cursor is the place of the last run looked at, since that order is the same in all
//! partitions; so a cursor needs no more than one place, however many partitions there are.

use std::collections::VecDeque;

use domain::agent::AgentRef;
use domain::id::{AgentId, TenantId};
use domain::run::{Head, Status};
use domain::time::At;
use futures_util::future::try_join_all;

use crate::item::{Item, Read};
use crate::key::{NEWEST, before, run_list};
use crate::table::{Index, Range, Sort};
use crate::{Error, Store, cursor};

/// Most entries of one page.
pub(crate) const MAX_PAGE: u32 = 200;

/// Queries for one page, beyond the first one to each partition. A page that would need more ends early, with a cursor.
const REFILLS: usize = 16;

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries. There may be fewer than asked for, or none, and yet a next page.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next: Option<String>,
}

/// Which runs a list holds. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those of this agent, whatever its version.
    pub agent: Option<AgentId>,
    /// Only those created at or after this.
    pub created_from: Option<At>,
    /// Only those created before this.
    pub created_to: Option<At>,
}

impl RunFilter {
    fn admits(&self, agent: &AgentRef) -> bool {
        self.agent.as_ref().is_none_or(|only| *only == agent.id)
    }

    /// The filter as text, which cursors are bound to.
    fn query(&self) -> String {
        format!(
            "runs {} {} {:?} {:?}",
            self.status.map_or("*", Status::as_str),
            self.agent.as_ref().map_or("*", AgentId::as_str),
            self.created_from.map(|at| at.0),
            self.created_to.map(|at| at.0),
        )
    }
}

/// One partition of a list, as far as it was read.
struct Lane {
    /// In the epoch that it is of.
    store: Store,
    range: Range,
    read: VecDeque<Item>,
    next: Option<Item>,
    begun: bool,
}

impl Lane {
    fn is_dry(&self) -> bool {
        self.read.is_empty() && (!self.begun || self.next.is_some())
    }

    async fn refill(&mut self) -> Result<(), Error> {
        let rows = self.store.query(&self.range, self.next.take()).await?;
        self.read = rows.items.into();
        self.next = rows.next;
        self.begun = true;
        Ok(())
    }

    fn place(&self) -> Option<&str> {
        self.read.front().and_then(|item| item.find_text("list_sk"))
    }

    fn pop(&mut self, place: &str) -> Option<Item> {
        if self.place() == Some(place) {
            self.read.pop_front()
        } else {
            None
        }
    }
}

impl Store {
    /// A tenant's runs, newest first, at most `limit` (1 to 200) of them. Eventually consistent: a run that was created or
    /// changed within the last second may be missing or stand as it was. Those that are kept no longer at `now` are left out.
    /// A page takes at most one query for each status
    /// and shard, and sixteen more.
    ///
    /// # Errors
    /// [`Error::BadCursor`], [`Error::ExpiredCursor`], and those of the table.
    pub async fn runs(
        &self,
        tenant: &TenantId,
        filter: &RunFilter,
        limit: u32,
        cursor: Option<&str>,
        now: At,
    ) -> Result<Page<Head>, Error> {
        let secret = &self.inner.config.cursor_secret;
        let query = filter.query();
        let after = cursor
            .map(|cursor| cursor::open(secret, tenant, &query, cursor, now))
            .transpose()?;
        let limit = limit.clamp(1, MAX_PAGE);
        let wanted = usize::try_from(limit).unwrap_or(1);
        let mut lanes = Vec::new();
        for store in self.in_epochs(tenant).await? {
            lanes.extend(store.lanes(tenant, filter, after.as_deref(), limit));
        }
        let mut refills = lanes.len() + REFILLS;
        let mut items = Vec::new();
        let mut last = after;
        let more = loop {
            if items.len() == wanted {
                break true;
            }
            let dry: Vec<&mut Lane> = lanes.iter_mut().filter(|lane| lane.is_dry()).collect();
            if !dry.is_empty() {
                if dry.len() > refills {
                    break true;
                }
                refills -= dry.len();
                try_join_all(dry.into_iter().map(|lane| Box::pin(lane.refill()))).await?;
                continue;
            }
            let Some(place) = lanes.iter().filter_map(Lane::place).max() else {
                break false;
            };
            let place = place.to_owned();
            // A run that just changed its status may stand in two partitions, and so may one that moved: the later head counts.
            let mut newest = None::<Head>;
            for item in lanes.iter_mut().filter_map(|lane| lane.pop(&place)) {
                let head: Head = item.json("head")?;
                let place = |head: &Head| (head.epoch, head.last_event);
                if newest.as_ref().is_none_or(|new| place(new) < place(&head)) {
                    newest = Some(head);
                }
            }
            items.extend(newest.filter(|head| filter.admits(&head.agent) && head.is_kept(now)));
            last = Some(place);
        };
        let more = more
            && lanes
                .iter()
                .any(|lane| !lane.read.is_empty() || lane.is_dry());
        let next = last
            .filter(|_| more)
            .map(|place| cursor::seal(secret, tenant, &query, &place, now));
        Ok(Page { items, next })
    }

    fn lanes(
        &self,
        tenant: &TenantId,
        filter: &RunFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Vec<Lane> {
        let from = format!("{:013}", filter.created_from.map_or(0, |at| at.0));
        // A place is longer than an instant, so the instant itself stands below all runs of that millisecond.
        let to = filter
            .created_to
            .map_or_else(|| NEWEST.to_owned(), |at| format!("{:013}", at.0));
        let to = after.map_or(to.clone(), |after| before(after).min(to));
        if to < from {
            return Vec::new();
        }
        let shards = self.inner.config.list_shards;
        let chunk = limit.div_ceil(u32::from(shards)) + 4;
        Status::ALL
            .into_iter()
            .filter(|status| filter.status.is_none_or(|only| only == *status))
            .flat_map(|status| (0..shards).map(move |shard| (status, shard)))
            .map(|(status, shard)| Lane {
                store: self.clone(),
                range: Range {
                    index: Some(Index::List),
                    pk: run_list(tenant, status, shard),
                    sort: Sort::Between(from.clone(), to.clone()),
                    forward: false,
                    limit: Some(chunk),
                    consistent: false,
                },
                read: VecDeque::new(),
                next: None,
                begun: false,
            })
            .collect()
    }
}
