//! Checkpoints of audit trails: which trails wait for one, and how each is made once.
//!
//! A trail waits from the first link that no checkpoint covers; the tip then stands in the `watch` index, by the instant at
//! which the checkpoint is due. It is planned before anything is made of it, so that whoever comes again after a crash makes
//! the same object; and it is stored together with the tip that moves on. **Invariant:** checkpoints follow each other without
//! gaps and never change.

use domain::audit::{Checkpoint, due};
use domain::id::TenantId;
use domain::time::At;

use crate::item::{Item, Read, Set, keyed, number, text, to_json};
use crate::key::{self, Key};
use crate::list::Page;
use crate::table::{ABSENT, ATTEMPTS, Outcome, Range, Sort, Write, pause};
use crate::{Error, Store};

/// Most checkpoints of one page.
const MAX_CHECKPOINTS: u32 = 1_000;

/// How far a trail has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail {
    /// Number of its last entry.
    pub number: u64,
    /// Number of the last entry that a checkpoint covers; 0 when there is none.
    pub covered: u64,
}

/// A checkpoint that somebody has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Number of the last entry that it covers.
    pub to: u64,
    /// When it was begun.
    pub at: At,
}

impl Store {
    /// Tenants whose trails have waited for a checkpoint until before an instant, the longest overdue first, at most `limit`,
    /// each with the instant at which it was due. Eventually consistent; for the janitor alone.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn trails_due(&self, before: At, limit: u32) -> Result<Vec<(TenantId, At)>, Error> {
        let trails = key::trails(self.regions().first_epoch());
        self.due(trails, before, limit, key::parse_trail_sort).await
    }

    /// How far a tenant's trail has come, strongly consistent; none when it has no entry.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn trail(&self, tenant: &TenantId) -> Result<Option<Trail>, Error> {
        let Some(tip) = self.get(Key::audit_tip(tenant), true).await? else {
            return Ok(None);
        };
        Ok(Some(Trail {
            number: tip.number("tip_number")?,
            covered: tip.find_number("covered_number").unwrap_or(0),
        }))
    }

    /// The plan of the checkpoint that begins with entry `from`, if somebody has made one. Strongly consistent.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn planned_checkpoint(
        &self,
        tenant: &TenantId,
        from: u64,
    ) -> Result<Option<Plan>, Error> {
        let item = self.get(Key::checkpoint(tenant, from), true).await?;
        item.map(|item| plan(&item)).transpose()
    }

    /// Plans the checkpoint that begins with entry `from`. The plan that holds is the first one that was made.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn plan_checkpoint(
        &self,
        tenant: &TenantId,
        from: u64,
        new: Plan,
    ) -> Result<Plan, Error> {
        let mut item = keyed(Key::checkpoint(tenant, from), 2);
        item.set_number("last_entry", new.to);
        item.set_number("planned_at", new.at.0);
        match self.put(Write::new(item, Some(ABSENT))).await? {
            Outcome::Done => Ok(new),
            Outcome::Refused(refusals) => {
                let old = refusals.into_iter().find_map(|refusal| refusal.old);
                old.as_ref().map(plan).transpose()?.ok_or(Error::Raced)
            }
            Outcome::Conflict => Err(Error::conflict("PutItem")),
        }
    }

    /// Stores a checkpoint that was planned, and has its trail wait for the next one if there are entries beyond it. False
    /// when it is stored already: it never changes. Each condition and the test that is about it:
    ///
    /// * `last_entry = :to`: `a_checkpoint_is_stored_once_and_as_it_was_planned`
    /// * `covered_number < :from`: `of_many_that_store_a_checkpoint_at_once_one_does`
    /// * `tip_number = :to`: `an_entry_that_comes_while_a_checkpoint_is_stored_waits_for_the_next`
    ///
    /// # Errors
    /// [`Error::Raced`] when it is not the next one of its trail, or was not planned so; those of the table.
    pub async fn put_checkpoint(&self, checkpoint: &Checkpoint) -> Result<bool, Error> {
        let Checkpoint {
            tenant, from, to, ..
        } = checkpoint;
        for attempt in 0..ATTEMPTS {
            let trail = self.trail(tenant).await?.ok_or(Error::Raced)?;
            if trail.covered >= *to {
                return Ok(false);
            }
            if trail.covered + 1 != *from {
                return Err(Error::Raced);
            }
            let signed = Write::update(
                Key::checkpoint(tenant, *from),
                "SET checkpoint = :checkpoint".to_owned(),
                "last_entry = :to".to_owned(),
            );
            let signed = signed
                .with(":to", number(*to))
                .with(":checkpoint", text(to_json(checkpoint)));
            let tip = self.covered(checkpoint, trail).await?;
            match self.transact(vec![signed, tip]).await? {
                Outcome::Done => return Ok(true),
                Outcome::Conflict | Outcome::Refused(_) => pause(attempt).await,
            }
        }
        Err(Error::Raced)
    }

    /// The tip that knows of a checkpoint.
    async fn covered(&self, checkpoint: &Checkpoint, trail: Trail) -> Result<Write, Error> {
        let Checkpoint {
            tenant, from, to, ..
        } = checkpoint;
        let tip = Key::audit_tip(tenant);
        let next = if trail.number > *to {
            let page = self.audit(tenant, *to, 1).await?;
            page.items.first().map(|entry| due(entry.change.at))
        } else {
            None
        };
        let is_next = "(attribute_not_exists(covered_number) OR covered_number < :from)";
        let write = match next {
            // Whatever comes meanwhile, this entry is the first one that waits.
            Some(due) => {
                let set = "SET covered_number = :to, watch_pk = :trails, watch_sk = :due";
                Write::update(tip, set.to_owned(), is_next.to_owned())
                    .with(":trails", text(key::trails(self.regions().first_epoch())))
                    .with(":due", text(key::trail_sort(due, tenant)))
            }
            None => Write::update(
                tip,
                "SET covered_number = :to REMOVE watch_pk, watch_sk".to_owned(),
                format!("{is_next} AND tip_number = :to"),
            ),
        };
        Ok(write.with(":to", number(*to)).with(":from", number(*from)))
    }

    /// Has a trail wait until `to` if it has waited until `from`, so that one that cannot be read stands in nobody's way.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn postpone_trail(&self, tenant: &TenantId, from: At, to: At) -> Result<(), Error> {
        let write = Write::update(
            Key::audit_tip(tenant),
            "SET watch_sk = :to".to_owned(),
            "watch_sk = :from".to_owned(),
        );
        let write = write
            .with(":to", text(key::trail_sort(to, tenant)))
            .with(":from", text(key::trail_sort(from, tenant)));
        self.put(write).await.map(drop)
    }

    /// A trail's checkpoints of entries after number `after`, in order, at most `limit` (1 to 1,000) and at most a page of
    /// 1 MB; `next` is the number after which it goes on. Strongly consistent.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn checkpoints(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Page<Checkpoint>, Error> {
        let first = key::checkpoint_sort(after.saturating_add(1));
        let range = Range {
            index: None,
            pk: key::audit_partition(tenant),
            sort: Sort::Between(first, "CHECK#~".to_owned()),
            forward: true,
            limit: Some(limit.clamp(1, MAX_CHECKPOINTS)),
            consistent: true,
        };
        let rows = self.query(&range, None).await?;
        // One that is planned and not signed yet is the last.
        let signed = rows
            .items
            .iter()
            .filter(|item| item.find_text("checkpoint").is_some());
        let items = signed.map(|item| item.json("checkpoint"));
        let items = items.collect::<Result<Vec<Checkpoint>, _>>()?;
        let last = items.last().filter(|_| rows.next.is_some());
        let next = last.map(|checkpoint| checkpoint.to.to_string());
        Ok(Page { items, next })
    }
}

fn plan(item: &Item) -> Result<Plan, Error> {
    Ok(Plan {
        to: item.number("last_entry")?,
        at: item.at("planned_at")?,
    })
}
