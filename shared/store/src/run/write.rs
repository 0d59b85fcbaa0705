//! Writing runs.

use domain::id::{DriverId, RunId, TenantId};
use domain::run::{Commit, Head, State};
use domain::time::At;

use super::Creation;
use crate::item::{Item, Read, Set, keyed, number, text, to_json};
use crate::key::{self, Key, SNAPSHOT};
use crate::table::{ABSENT, ATTEMPTS, Outcome, PRESENT, Range, Refusal, Sort, Write, pause};
use crate::{Error, Store, blob};

/// How long a lease item is kept after its last renewal, in seconds.
const LEASE_TTL_S: u64 = 24 * 3_600;

/// Most old snapshots removed when a new one is written.
const SWEPT_SNAPSHOTS: u32 = 8;

impl Store {
    /// Writes the head and the first commit of a run, in one transaction. A repetition of this very creation is
    /// [`Creation::New`] again.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is written; transient ones, after which the same call may be repeated.
    pub async fn create(
        &self,
        tenant: &TenantId,
        head: &Head,
        commit: &Commit,
    ) -> Result<Creation, Error> {
        for attempt in 0..ATTEMPTS {
            let writes = vec![
                Write::new(self.head_item(tenant, head), Some(ABSENT)),
                Write::new(
                    self.commit_item(tenant, &head.run, commit).await?,
                    Some(ABSENT),
                ),
            ];
            match self.transact(writes).await? {
                Outcome::Done => return Ok(Creation::New),
                Outcome::Conflict => pause(attempt).await,
                Outcome::Refused(refusals) => {
                    let [at_head, at_commit] = pair(refusals);
                    if is_ours(at_commit.old.as_ref(), commit) {
                        return Ok(Creation::New);
                    }
                    let old = at_head.old.ok_or(Error::Raced)?;
                    let old: Head = old.json("head")?;
                    return Ok(if old == *head {
                        Creation::New
                    } else {
                        Creation::Exists(Box::new(old))
                    });
                }
            }
        }
        Err(Error::conflict("TransactWriteItems"))
    }

    /// Writes the next commit, with a new head in the same transaction when one is given. One request; a repetition of
    /// this very commit is `Ok` again.
    ///
    /// # Errors
    /// [`Error::Raced`] when another commit stands there, [`Error::Missing`] when a head is given and the run has none,
    /// [`Error::TooLarge`] before anything is written; transient ones, after which the same call may be repeated.
    pub async fn append(
        &self,
        tenant: &TenantId,
        run: &RunId,
        commit: &Commit,
        head: Option<&Head>,
    ) -> Result<(), Error> {
        for attempt in 0..ATTEMPTS {
            let item = self.commit_item(tenant, run, commit).await?;
            let write = Write::new(item, Some(ABSENT));
            let outcome = match head {
                None => self.put(write).await?,
                Some(head) => {
                    let head = Write::new(self.head_item(tenant, head), Some(PRESENT));
                    self.transact(vec![write, head]).await?
                }
            };
            match outcome {
                Outcome::Done => return Ok(()),
                Outcome::Conflict => pause(attempt).await,
                Outcome::Refused(refusals) => {
                    let [at_commit, at_head] = pair(refusals);
                    return if is_ours(at_commit.old.as_ref(), commit) {
                        Ok(())
                    } else if at_head.failed {
                        Err(Error::Missing)
                    } else {
                        Err(Error::Raced)
                    };
                }
            }
        }
        Err(Error::conflict("PutItem"))
    }

    /// Writes the folded state, so that loading need not begin at the start, and removes older snapshots. `state` must
    /// come from commits that are stored.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and those of the table. A run without its snapshot loads as well, only slower.
    pub async fn snapshot(&self, state: &State) -> Result<(), Error> {
        let (tenant, run) = (&state.tenant, &state.run);
        let key = Key::snapshot(tenant, run, state.last_event);
        let older = Range {
            index: None,
            pk: key.pk().to_owned(),
            sort: Sort::Between(
                SNAPSHOT.to_owned(),
                key::snapshot_sort(state.last_event.saturating_sub(1)),
            ),
            forward: true,
            limit: Some(SWEPT_SNAPSHOTS),
            consistent: false,
        };
        let mut item = keyed(key, 1);
        self.spill(tenant, run, &mut item, "state", to_json(state))
            .await?;
        self.put(Write::new(item, None)).await?;
        for old in self.query(&older, None).await?.items {
            let answer = self
                .inner
                .table
                .delete_item()
                .table_name(&self.inner.config.table)
                .key("pk", text(old.text("pk")?))
                .key("sk", text(old.text("sk")?))
                .set_return_consumed_capacity(self.capacity());
            let answer = Box::pin(answer.send()).await;
            self.meter.add(|consumed| consumed.writes += 1);
            let answer = answer.map_err(|error| Error::of_sdk("DeleteItem", error))?;
            self.count_write(answer.consumed_capacity.as_ref());
        }
        Ok(())
    }

    /// Renews the lease of a driver that has read the log up to `last_event`. False when a driver that has read further
    /// holds it: then this one was replaced and should stop.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn renew(
        &self,
        tenant: &TenantId,
        run: &RunId,
        driver: &DriverId,
        last_event: u64,
        now: At,
    ) -> Result<bool, Error> {
        let mut item = keyed(Key::lease(tenant, run), 4);
        item.set_text("driver", driver.as_str());
        item.set_number("at", now.0);
        item.set_number("fence", last_event);
        item.set_number("ttl", now.0 / 1_000 + LEASE_TTL_S);
        let free = "attribute_not_exists(fence) OR fence < :fence \
             OR (driver = :driver AND fence = :fence)";
        let write = Write::new(item, Some(free))
            .with(":fence", number(last_event))
            .with(":driver", text(driver.as_str()));
        match self.put(write).await? {
            Outcome::Done => Ok(true),
            Outcome::Refused(_) => Ok(false),
            Outcome::Conflict => Err(Error::conflict("PutItem")),
        }
    }

    async fn commit_item(
        &self,
        tenant: &TenantId,
        run: &RunId,
        commit: &Commit,
    ) -> Result<Item, Error> {
        let mut item = keyed(Key::commit(tenant, run, commit.first), 4);
        item.set_number("at", commit.at.0);
        item.set_number("n", commit.events.len() as u64);
        if let Some(driver) = &commit.driver {
            item.set_text("driver", driver.as_str());
        }
        self.spill(tenant, run, &mut item, "events", to_json(&commit.events))
            .await?;
        Ok(item)
    }

    fn head_item(&self, tenant: &TenantId, head: &Head) -> Item {
        let mut item = keyed(Key::head(tenant, &head.run), 5);
        let shard = key::shard(&head.run, self.inner.config.list_shards);
        item.set_text("list_pk", key::run_list(tenant, head.status, shard));
        item.set_text("list_sk", key::run_list_sort(head.created_at, &head.run));
        if let Some(at) = head.watch_at {
            item.set_text("watch_pk", key::watch(&head.run));
            item.set_text("watch_sk", key::watch_sort(at, tenant, &head.run));
        }
        item.set_text("head", to_json(head));
        item
    }
}

/// Whether what stands in place of `commit` is that very commit: then its answer was lost, not the race.
fn is_ours(old: Option<&Item>, commit: &Commit) -> bool {
    old.is_some_and(|old| {
        old.find_text("driver") == commit.driver.as_ref().map(DriverId::as_str)
            && old.find_number("at") == Some(commit.at.0)
            && blob::holds(old, "events", &to_json(&commit.events))
    })
}

fn pair(refusals: Vec<Refusal>) -> [Refusal; 2] {
    let mut refusals = refusals.into_iter();
    std::array::from_fn(|_| refusals.next().unwrap_or_default())
}
