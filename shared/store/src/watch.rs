//! The watch index: runs that have not ended, by the instant at which somebody should look whether they are stuck.
//!
//! It is the one query over all tenants, for the janitor alone. A run leaves the index with the head that ends it.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use domain::id::{RunId, TenantId};
use domain::run::Status;
use domain::time::At;

use crate::item::{Read, text};
use crate::key::{self, Key, WATCH_SHARDS};
use crate::table::{Index, Range, Sort};
use crate::{Error, Store};

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
        let range = Range {
            index: Some(Index::Watch),
            pk: key::watch_partition(shard % WATCH_SHARDS),
            sort: Sort::Below(format!("{:013}", before.0)),
            forward: true,
            limit: Some(limit.max(1)),
            consistent: false,
        };
        let rows = self.query(&range, None).await?;
        rows.items
            .iter()
            .map(|item| {
                key::parse_watch_sort(item.text("watch_sk")?)
                    .ok_or_else(|| item.corrupt("watch_sk"))
            })
            .collect()
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
        let request = self
            .inner
            .table
            .update_item()
            .table_name(&self.inner.config.table)
            .key("pk", text(pk))
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
