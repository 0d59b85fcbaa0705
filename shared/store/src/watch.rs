//! The watch index: runs that have not ended, by the instant at which somebody should look whether they are stuck.
//!
//! Beside that of audit trails that wait it is the one query over all tenants, for the janitor, and for operators who ask what is stuck. Each table has its own
//! index: see [`Store::tables`]. A run leaves the index
//! with the head that ends it.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use domain::id::{RunId, TenantId};
use domain::run::{Head, LEASE_MS, Status};
use domain::time::At;

use crate::item::{Read, Set, keyed, number, text};
use crate::key::{self, CALL, HEAD, Key, LEASE, WATCH_SHARDS, run_partition};
use crate::table::{Index, Outcome, Range, Sort, Write};
use crate::{Error, Store};

/// A run as the watch sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// Its head.
    pub head: Head,
    /// The last sign of life: of whoever wrote the head, of the driver, or of a worker that performs one of its calls.
    pub seen_at: At,
}

impl Store {
    /// Runs of one shard (0 to [`WATCH_SHARDS`] - 1) that should be looked at before an instant, the longest overdue
    /// first, at most `limit`. Eventually consistent.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn watched(
        &self,
        shard: u8,
        before: At,
        limit: u32,
    ) -> Result<Vec<(TenantId, RunId, At)>, Error> {
        let region = self.regions().first_epoch();
        self.watched_in(region, shard, before, limit).await
    }

    /// The same of the Region whose first epoch this is.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn watched_in(
        &self,
        region: u64,
        shard: u8,
        before: At,
        limit: u32,
    ) -> Result<Vec<(TenantId, RunId, At)>, Error> {
        let partition = key::watch_partition(shard % WATCH_SHARDS, region);
        self.due(partition, before, limit, key::parse_watch_sort)
            .await
    }

    /// What stands in a partition of the watch index for an instant before `before`, the longest overdue first, at most
    /// `limit`. Eventually consistent.
    pub(crate) async fn due<T>(
        &self,
        partition: String,
        before: At,
        limit: u32,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let range = Range {
            index: Some(Index::Watch),
            pk: partition,
            sort: Sort::Below(format!("{:013}", before.0)),
            forward: true,
            limit: Some(limit.max(1)),
            consistent: false,
        };
        let rows = self.query(&range, None).await?;
        rows.items
            .iter()
            .map(|item| parse(item.text("watch_sk")?).ok_or_else(|| item.corrupt("watch_sk")))
            .collect()
    }

    /// Reads a run's head and the claims of those who are at work on it, strongly consistent, in one small request: no
    /// commit is read.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn sight(&self, tenant: &TenantId, run: &RunId) -> Result<Option<Sight>, Error> {
        let range = Range {
            index: None,
            pk: run_partition(tenant, run),
            sort: Sort::Between(HEAD.to_owned(), LEASE.to_owned()),
            forward: true,
            limit: None,
            consistent: true,
        };
        let (mut head, mut seen_at) = (None::<Head>, At(0));
        for item in self.query(&range, None).await?.items {
            let seen = match item.sort() {
                HEAD => {
                    let watched = head.insert(item.json("head")?).watch_at;
                    At(watched.map_or(0, |at| at.0.saturating_sub(LEASE_MS)))
                }
                LEASE => item.at("at")?,
                sort if sort.starts_with(CALL) => item.at("seen_at")?,
                _ => continue,
            };
            seen_at = seen_at.max(seen);
        }
        Ok(head.map(|head| Sight { head, seen_at }))
    }

    /// Notes that the watch is about to be swept up to an instant. False when it was up to there or further: then somebody
    /// else is at it or was.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn begin_sweep(&self, up_to: At) -> Result<bool, Error> {
        let mut item = keyed(Key::sweep(self.regions().first_epoch()), 1);
        item.set_number("up_to", up_to.0);
        let write = Write::new(item, Some("attribute_not_exists(up_to) OR up_to < :up_to"));
        match self.put(write.with(":up_to", number(up_to.0))).await? {
            Outcome::Done => Ok(true),
            Outcome::Refused(_) => Ok(false),
            Outcome::Conflict => Err(Error::conflict("PutItem")),
        }
    }

    /// Moves the instant at which a run is looked at, if it is still of this status and watched at `from`. False when it
    /// is not: somebody else was first, or the run went on. Whoever gets true may act for the run.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn postpone(
        &self,
        tenant: &TenantId,
        run: &RunId,
        status: Status,
        from: At,
        to: At,
    ) -> Result<bool, Error> {
        let (pk, sk) = Key::head(tenant, run).into_parts();
        let place = self.place_to_write(&pk).await?;
        let request = self
            .access
            .table
            .update_item()
            .table_name(&*place.table)
            .key("pk", text(place.pk))
            .key("sk", text(sk))
            .update_expression("SET watch_sk = :to")
            .condition_expression("watch_sk = :from AND begins_with(list_pk, :status)")
            .expression_attribute_values(":to", text(key::watch_sort(to, tenant, run)))
            .expression_attribute_values(":from", text(key::watch_sort(from, tenant, run)))
            .expression_attribute_values(":status", text(key::run_list_prefix(tenant, status)))
            .set_return_consumed_capacity(self.capacity());
        let answer = Box::pin(request.send()).await;
        self.meter.add(|consumed| consumed.writes += 1);
        match answer {
            Ok(answer) => {
                self.count_write(answer.consumed_capacity.as_ref());
                Ok(true)
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(Error::of_sdk("UpdateItem", error)),
        }
    }
}
