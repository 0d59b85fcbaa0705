//! Reading runs.

use domain::id::{DriverId, RunId, TenantId};
use domain::run::{Commit, Head, State, evolve};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Loaded;
use crate::blob::is_spilled;
use crate::item::{Item, Read};
use crate::key::{COMMIT, HEAD, Key, LEASE, SNAPSHOT, commit_sort, run_partition};
use crate::table::{Range, Sort};
use crate::{Error, Store};

/// Items read at once: a snapshot is written every hundred commits, so this takes the tail of a long run, or all of a
/// short one, with its snapshot, lease and head.
const LOAD_ITEMS: u32 = 112;

/// Payloads fetched at the same time for one run.
const PAYLOADS_AT_ONCE: usize = 8;

/// Most commits that one page of a log holds.
const MAX_COMMITS: u32 = 1_000;

impl Store {
    /// Reads a run's log, strongly consistent, from the newest snapshot on. One request for a run of up to a hundred
    /// commits and 1 MB; for a longer one as many as the commits since its snapshot need, however long it is.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the log has a gap or cannot be read; those of the table and of the payloads.
    pub async fn load(&self, tenant: &TenantId, run: &RunId) -> Result<Option<Loaded>, Error> {
        for store in self.in_epochs(tenant).await? {
            let loaded = Box::pin(store.load_there(tenant, run)).await?;
            if loaded.is_some() {
                return Ok(loaded);
            }
        }
        Ok(None)
    }

    async fn load_there(&self, tenant: &TenantId, run: &RunId) -> Result<Option<Loaded>, Error> {
        let range = Range {
            index: None,
            pk: run_partition(tenant, run),
            sort: Sort::All,
            forward: false,
            limit: Some(LOAD_ITEMS),
            consistent: true,
        };
        let mut state = None::<State>;
        let mut lease = None;
        let mut commits = Vec::new();
        let mut start = None;
        'pages: loop {
            let rows = self.query(&range, start).await?;
            for item in rows.items {
                let sort = item.sort();
                if sort.starts_with(COMMIT) {
                    let first = first_of(&item)?;
                    let reached = state.as_ref().map_or(0, |state| state.last_event);
                    if first <= reached {
                        break 'pages;
                    }
                    commits.push(item);
                    if first == reached + 1 {
                        break 'pages;
                    }
                } else if sort.starts_with(SNAPSHOT) {
                    if state.is_none() {
                        state = self.snapshot_of(tenant, run, &item).await?;
                    }
                } else if sort == LEASE {
                    lease = Some((driver_of(&item)?, item.at("at")?));
                }
            }
            match rows.next {
                Some(next) => start = Some(next),
                None => break,
            }
        }
        if state.is_none() && commits.is_empty() {
            return Ok(None);
        }
        commits.reverse();
        let commits = Box::pin(self.commits_of(tenant, run, commits)).await?;
        let mut state = state.unwrap_or_else(|| State::empty(tenant.clone(), run.clone()));
        for commit in &commits {
            if commit.first != state.next_event() {
                return Err(Error::Corrupt {
                    key: format!("{} {}", range.pk, commit_sort(state.next_event())),
                    what: "the log has a gap",
                    source: None,
                });
            }
            evolve(&mut state, commit);
        }
        Ok(Some(Loaded {
            state,
            lease,
            tail: u32::try_from(commits.len()).unwrap_or(u32::MAX),
        }))
    }

    /// Reads a run's head and its newest commit, in one request.
    ///
    /// # Errors
    /// Those of the table and of the payloads.
    pub async fn read(
        &self,
        tenant: &TenantId,
        run: &RunId,
        consistent: bool,
    ) -> Result<Option<(Head, Commit)>, Error> {
        for store in self.in_epochs(tenant).await? {
            let read = Box::pin(store.read_there(tenant, run, consistent)).await?;
            if read.is_some() {
                return Ok(read);
            }
        }
        Ok(None)
    }

    async fn read_there(
        &self,
        tenant: &TenantId,
        run: &RunId,
        consistent: bool,
    ) -> Result<Option<(Head, Commit)>, Error> {
        let range = Range {
            index: None,
            pk: run_partition(tenant, run),
            sort: Sort::AtMost(HEAD.to_owned()),
            forward: false,
            limit: Some(2),
            consistent,
        };
        let mut items = self.query(&range, None).await?.items.into_iter();
        let (Some(head), Some(commit)) = (items.next(), items.next()) else {
            return Ok(None);
        };
        // Of a run past its time some items go before others.
        if head.sort() != HEAD {
            return Ok(None);
        }
        let head = head.json("head")?;
        let commit = self.commit_of(tenant, run, &commit).await?;
        Ok(Some((head, commit)))
    }

    /// Commits from the one that starts with event `first` on, in order, at most `limit` and at most a page of 1 MB;
    /// empty when there is none yet. `first` must be where a commit starts: 1, or one after a commit's last event. One
    /// request, eventually consistent: for whoever follows a log.
    ///
    /// # Errors
    /// Those of the table and of the payloads.
    pub async fn commits(
        &self,
        tenant: &TenantId,
        run: &RunId,
        first: u64,
        limit: u32,
    ) -> Result<Vec<Commit>, Error> {
        let (_, mut items) = self.found_from(tenant, run, first, limit).await?;
        contiguous(&mut items, first)?;
        self.commits_of(tenant, run, items).await
    }

    /// Commits from `first` on, and the store in the epoch that the run stands in.
    async fn found_from(
        &self,
        tenant: &TenantId,
        run: &RunId,
        first: u64,
        limit: u32,
    ) -> Result<(Self, Vec<Item>), Error> {
        let mut stores = self.in_epochs(tenant).await?;
        let oldest = stores.pop().unwrap_or_else(|| self.clone());
        for store in stores {
            let items = store.commits_from(tenant, run, first, limit).await?;
            // What stands behind a run that moved is void.
            let is_there = !items.is_empty() || store.has_run(tenant, run).await?;
            if is_there {
                return Ok((store, items));
            }
        }
        let items = oldest.commits_from(tenant, run, first, limit).await?;
        Ok((oldest, items))
    }

    /// Whether the run has a head in the epoch that this store is bound to.
    pub(crate) async fn has_run(&self, tenant: &TenantId, run: &RunId) -> Result<bool, Error> {
        let head = self.get(Key::head(tenant, run), true).await?;
        Ok(head.is_some())
    }

    /// Commits that hold events after number `after`, in order, at most `limit` and at most a page of 1 MB. The first
    /// may begin before: a reader may have stopped within a commit. One request when a commit starts right after
    /// `after`, else a second one that looks for the commit around it.
    ///
    /// # Errors
    /// Those of the table and of the payloads.
    pub async fn events(
        &self,
        tenant: &TenantId,
        run: &RunId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Commit>, Error> {
        let next = after.saturating_add(1);
        let (store, mut items) = self.found_from(tenant, run, next, limit).await?;
        let starts = items.first().map(first_of).transpose()?;
        let mut first = next;
        if starts != Some(next) && after > 0 {
            let around = Range {
                index: None,
                pk: run_partition(tenant, run),
                sort: Sort::Between(COMMIT.to_owned(), commit_sort(after)),
                forward: false,
                limit: Some(1),
                consistent: false,
            };
            if let Some(item) = store.query(&around, None).await?.items.pop() {
                let begins = first_of(&item)?;
                if begins + item.number("n")? > next {
                    first = begins;
                    items.insert(0, item);
                }
            }
        }
        items.truncate(usize::try_from(limit.clamp(1, MAX_COMMITS)).unwrap_or(1));
        contiguous(&mut items, first)?;
        self.commits_of(tenant, run, items).await
    }

    pub(crate) async fn commits_from(
        &self,
        tenant: &TenantId,
        run: &RunId,
        first: u64,
        limit: u32,
    ) -> Result<Vec<Item>, Error> {
        let range = Range {
            index: None,
            pk: run_partition(tenant, run),
            sort: Sort::Between(commit_sort(first), "C#~".to_owned()),
            forward: true,
            limit: Some(limit.clamp(1, MAX_COMMITS)),
            consistent: false,
        };
        Ok(self.query(&range, None).await?.items)
    }

    pub(crate) async fn commits_of(
        &self,
        tenant: &TenantId,
        run: &RunId,
        items: Vec<Item>,
    ) -> Result<Vec<Commit>, Error> {
        if items.iter().any(is_spilled) {
            // Collected first: a closure within the stream would not be general enough for a future that is spawned.
            let reads: Vec<_> = items
                .iter()
                .map(|item| Box::pin(self.commit_of(tenant, run, item)))
                .collect();
            stream::iter(reads)
                .buffered(PAYLOADS_AT_ONCE)
                .try_collect()
                .await
        } else {
            items
                .iter()
                .map(|item| commit(item, item.json("events")?))
                .collect()
        }
    }

    async fn commit_of(
        &self,
        tenant: &TenantId,
        run: &RunId,
        item: &Item,
    ) -> Result<Commit, Error> {
        commit(item, self.resolve(tenant, run, item, "events").await?)
    }

    /// The snapshot in `item`; none when it was written in a shape that is no longer known: the log has it all.
    async fn snapshot_of(
        &self,
        tenant: &TenantId,
        run: &RunId,
        item: &Item,
    ) -> Result<Option<State>, Error> {
        match self.resolve(tenant, run, item, "state").await {
            Ok(state) => Ok(Some(state)),
            Err(error @ Error::Corrupt { .. }) => {
                tracing::warn!(tenant.id = %tenant, run.id = %run, %error, "a snapshot is ignored");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn commit(item: &Item, events: Vec<domain::run::Event>) -> Result<Commit, Error> {
    if events.is_empty() {
        return Err(item.corrupt("a commit without events"));
    }
    let driver = item.find_text("driver").map(|_| driver_of(item));
    let used = item.find_text("used").map(|_| item.json("used"));
    Ok(Commit {
        first: first_of(item)?,
        at: item.at("at")?,
        driver: driver.transpose()?,
        events,
        used: used.transpose()?,
    })
}

pub(crate) fn first_of(item: &Item) -> Result<u64, Error> {
    item.sort()
        .strip_prefix(COMMIT)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| item.corrupt("sk"))
}

fn driver_of(item: &Item) -> Result<DriverId, Error> {
    DriverId::parse(item.text("driver")?).map_err(|_| item.corrupt("driver"))
}

/// Cuts `items` where a commit is missing: an eventually consistent read may lack one that stands before another.
pub(crate) fn contiguous(items: &mut Vec<Item>, first: u64) -> Result<(), Error> {
    let mut next = first;
    for index in 0..items.len() {
        if first_of(&items[index])? != next {
            items.truncate(index);
            break;
        }
        next += items[index].number("n")?;
    }
    Ok(())
}
