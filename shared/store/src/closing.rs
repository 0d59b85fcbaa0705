//! Closings: everything of a tenant is found, exported and deleted. What is done when stands in [`domain::closing`].
//!
//! No index knows of all that a tenant has, and one would cost a write for each item. So a pass reads the whole table, and
//! the tenant's own one, strongly consistent: a read unit for each 4 KiB of it, whosever they are, twice at least for each
//! closing.
//! **Invariant:** an item is deleted only as it was exported. The condition of each deletion is what the export holds, which is
//! read back and must have the hash that was noted; an item that changed since stays, and the next pass finds it.

mod lines;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure as OnFailure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::closing::{Closing, Counts, Manifest, Part, Place};
use domain::id::TenantId;
use domain::tenant::Tenant;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::blob::hex;
use crate::item::{Item, Read, Set, keyed, number, text, to_json};
use crate::key::{self, HEAD, Key};
use crate::table::{ABSENT, ATTEMPTS, Index, Outcome, Range, Sort, Write, pause};
use crate::{Error, Store};
use lines::Line;

/// Bytes of an export's part after which the next one begins.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// Pages of the table, 1 MB each, that are read before it is noted how far that went.
const PAGES: u32 = 32;
/// Names of objects in one list.
const NAMES: u32 = 1_000;
/// Deletions at the same time.
const AT_ONCE: usize = 16;
/// Attributes that items get after they were written, without a change of any other. One that had none of them when it was
/// exported and has one now has changed.
const LATER: [&str; 12] = [
    "definitions",
    "gate_plan",
    "gate_ready",
    "last_used_at",
    "revoked_at",
    "touched",
    "warned_day_micro_usd",
    "warned_day_tokens",
    "warned_month_micro_usd",
    "warned_month_tokens",
    "warned_total_micro_usd",
    "warned_total_tokens",
];

/// What a pass found of a tenant on a stretch of its way.
#[derive(Debug)]
pub struct Holdings {
    /// As lines of JSON.
    lines: String,
    /// How much it is.
    pub counts: Counts,
    /// The tenant's own table, if these items stand there.
    table: Option<String>,
    /// Where the pass goes on.
    pub next: Place,
    /// Whether the head of a run was among it that has not ended.
    pub unfinished: bool,
}

impl Holdings {
    /// What was found, as lines of JSON: an item whole in DynamoDB's JSON, an object with its content.
    #[must_use]
    pub fn lines(&self) -> &str {
        &self.lines
    }

    fn none(next: Place) -> Self {
        Self {
            lines: String::new(),
            counts: Counts::default(),
            table: None,
            next,
            unfinished: false,
        }
    }
}

impl Store {
    /// Stores a tenant that is to be closed in place of exactly `old`, together with its closing.
    ///
    /// # Errors
    /// [`Error::Raced`] when it was changed since `old` was read, or is being closed already; those of the table.
    pub async fn close_tenant(
        &self,
        new: &Tenant,
        old: &Tenant,
        closing: &Closing,
    ) -> Result<(), Error> {
        let begun = Write::new(record(closing), Some(ABSENT));
        self.put_tenant_with(new, Some(old), Some(begun)).await
    }

    /// Takes a closing back: stores the tenant in place of exactly `old`, and forgets the closing if it is as it was read.
    ///
    /// # Errors
    /// [`Error::Raced`] when either was changed meanwhile; those of the table.
    pub async fn take_closing_back(
        &self,
        new: &Tenant,
        old: &Tenant,
        closing: &Closing,
    ) -> Result<(), Error> {
        let forgotten = Write::delete_if(Key::closing(&new.id), "revision = :read");
        let forgotten = forgotten.with(":read", number(closing.revision));
        self.put_tenant_with(new, Some(old), Some(forgotten)).await
    }

    /// The closing of a tenant, strongly consistent; none when it was never asked for, or taken back.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn closing(&self, tenant: &TenantId) -> Result<Option<Closing>, Error> {
        let item = self.get(Key::closing(tenant), true).await?;
        item.map(|item| item.json("closing")).transpose()
    }

    /// Tenants whose closings are under way, at most `limit`. Eventually consistent; for the janitor alone.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn closings(&self, limit: u32) -> Result<Vec<TenantId>, Error> {
        let range = Range {
            index: Some(Index::List),
            pk: key::CLOSINGS.to_owned(),
            sort: Sort::All,
            forward: true,
            limit: Some(limit.max(1)),
            consistent: false,
        };
        let rows = self.query(&range, None).await?;
        let tenants = rows.items.iter().map(|item| {
            TenantId::parse(item.text("list_sk")?).map_err(|_| item.corrupt("list_sk"))
        });
        tenants.collect()
    }

    /// Stores where a closing stands, in place of the revision before, with the part of the export that was made meanwhile.
    ///
    /// # Errors
    /// [`Error::Raced`] when somebody else has moved it on, or taken it back; those of the table.
    pub async fn put_closing(&self, new: &Closing, part: Option<&Part>) -> Result<(), Error> {
        let moved = Write::new(record(new), Some("revision = :before"))
            .with(":before", number(new.revision.saturating_sub(1)));
        let part = part.map(|part| {
            let mut item = keyed(Key::export_part(&new.tenant, &new.id, part.number), 1);
            item.set_text("part", to_json(part));
            Write::new(item, None)
        });
        for attempt in 0..ATTEMPTS {
            let writes = [Some(moved.clone()), part.clone()];
            let outcome = match &part {
                Some(_) => self.transact(writes.into_iter().flatten().collect()).await,
                None => self.put(moved.clone()).await,
            };
            match outcome? {
                Outcome::Done => return Ok(()),
                Outcome::Conflict => pause(attempt).await,
                Outcome::Refused(refusals) => {
                    // What stands there may be this very change, whose answer was lost.
                    let old = refusals.into_iter().next().and_then(|refusal| refusal.old);
                    let stored = old.map(|item| item.json::<Closing>("closing"));
                    return match stored.transpose()? {
                        Some(stored) if stored == *new => Ok(()),
                        Some(_) | None => Err(Error::Raced),
                    };
                }
            }
        }
        Err(Error::conflict("PutItem"))
    }

    /// What a tenant has from `place` on, as far as it is found in some pages of a table or makes a part of an export.
    ///
    /// # Errors
    /// Those of the table and the bucket; [`Error::Corrupt`] when something has a shape that none of ours has.
    pub async fn holdings(&self, tenant: &TenantId, place: &Place) -> Result<Holdings, Error> {
        match place {
            Place::Own(table, after) => self.items_of(tenant, Some(table), after.as_ref()).await,
            Place::Table(after) => self.items_of(tenant, None, after.as_ref()).await,
            Place::Bucket(after) => self.objects_of(tenant, after.as_deref()).await,
            Place::End => Ok(Holdings::none(Place::End)),
        }
    }

    /// Those in the tenant's own table, if one is named, else in the stack's.
    async fn items_of(
        &self,
        tenant: &TenantId,
        own_table: Option<&str>,
        after: Option<&(String, String)>,
    ) -> Result<Holdings, Error> {
        let behind = own_table.map_or(Place::Bucket(None), |_| Place::Table(None));
        let mut found = Holdings::none(behind.clone());
        found.table = own_table.map(str::to_owned);
        let table = self.table_named(own_table);
        let mut start = after.map(|(pk, sk)| {
            let key = [("pk", pk), ("sk", sk)];
            Item::from(key.map(|(name, value)| (name.to_owned(), text(value))))
        });
        for _ in 0..PAGES {
            let own = format!("T#{tenant}");
            let request = self
                .table()
                .scan()
                .table_name(&*table)
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .filter_expression("pk = :own OR begins_with(pk, :below) OR tenant = :tenant")
                .expression_attribute_values(":below", text(format!("{own}#")))
                .expression_attribute_values(":own", text(own))
                .expression_attribute_values(":tenant", text(tenant.as_str()))
                .set_return_consumed_capacity(self.capacity());
            let answer = Box::pin(request.send()).await;
            self.meter.add(|consumed| consumed.reads += 1);
            let page = answer.map_err(|error| Error::of_sdk("Scan", error))?;
            self.count_read(page.consumed_capacity.as_ref());
            let items = page.items.unwrap_or_default();
            for item in items.iter().filter(|item| is_of(tenant, item)) {
                found.unfinished |= item.sort() == HEAD && item.contains_key("watch_pk");
                found.lines.push_str(&lines::of_item(item)?);
                found.counts.items += 1;
            }
            start = page.last_evaluated_key;
            let Some(next) = &start else {
                found.next = behind;
                return Ok(found);
            };
            let key = (next.text("pk")?.to_owned(), next.text("sk")?.to_owned());
            found.next = match own_table {
                Some(own) => Place::Own(own.to_owned(), Some(key)),
                None => Place::Table(Some(key)),
            };
            if found.lines.len() >= PART_BYTES {
                break;
            }
        }
        Ok(found)
    }

    async fn objects_of(&self, tenant: &TenantId, after: Option<&str>) -> Result<Holdings, Error> {
        let prefix = key::blobs(tenant);
        let names = self.bucket().keys(&prefix, after, NAMES);
        let (names, more) = Box::pin(names).await?;
        let mut found = Holdings::none(Place::End);
        let last = names.len().saturating_sub(1);
        for (index, name) in names.into_iter().enumerate() {
            let bytes = self.fetch(&name).await?;
            found.lines.push_str(&lines::of_object(&name, bytes));
            found.counts.objects += 1;
            let is_last = index == last && !more;
            if !is_last && (found.lines.len() >= PART_BYTES || index == last) {
                found.next = Place::Bucket(Some(name));
                break;
            }
        }
        Ok(found)
    }

    /// Stores what was found as the next part of the closing's export; none when nothing was. Its name holds its hash, so
    /// that two who make the same part of different findings do not disturb each other.
    ///
    /// # Errors
    /// Those of the bucket.
    pub async fn export(
        &self,
        closing: &Closing,
        holdings: Holdings,
    ) -> Result<Option<Part>, Error> {
        if holdings.lines.is_empty() {
            return Ok(None);
        }
        let part = Part {
            number: closing.parts + 1,
            counts: holdings.counts,
            bytes: holdings.lines.len() as u64,
            sha256: hex(&Sha256::digest(&holdings.lines)),
            table: holdings.table,
        };
        let name = key::export(&closing.tenant, &closing.id, &name_of(&part));
        self.put_whole(&name, holdings.lines).await?;
        Ok(Some(part))
    }

    /// Stores the list of all parts of the closing's export.
    ///
    /// # Errors
    /// Those of the table and the bucket.
    pub async fn put_manifest(&self, closing: &Closing) -> Result<Manifest, Error> {
        let parts = self.parts_of(closing).await?;
        let parts: Vec<_> = parts
            .iter()
            .map(|part| json!({"name": name_of(part), "part": part}))
            .collect();
        let manifest = to_json(&json!({
            "tenant": closing.tenant,
            "closing": closing.id,
            "requested_by": closing.by,
            "requested_at": closing.requested_at.to_string(),
            "items": closing.exported.items,
            "objects": closing.exported.objects,
            "bytes": closing.exported_bytes,
            "parts": parts,
        }));
        let sha256 = hex(&Sha256::digest(&manifest));
        let name = format!("manifest-{}.json", &sha256[..16]);
        let name = key::export(&closing.tenant, &closing.id, &name);
        self.put_whole(&name, manifest).await?;
        Ok(Manifest { name, sha256 })
    }

    /// The parts that a closing counts, in order.
    async fn parts_of(&self, closing: &Closing) -> Result<Vec<Part>, Error> {
        let prefix = key::export_part_prefix(&closing.id);
        let range = Range {
            index: None,
            pk: key::closing_partition(&closing.tenant),
            sort: Sort::Between(prefix.clone(), format!("{prefix}~")),
            forward: true,
            limit: None,
            consistent: true,
        };
        let mut parts = Vec::new();
        let mut start = None;
        loop {
            let rows = self.query(&range, start).await?;
            for item in &rows.items {
                parts.push(item.json::<Part>("part")?);
            }
            start = rows.next;
            if start.is_none() {
                break;
            }
        }
        // An export that was begun anew may have had more.
        parts.retain(|part| part.number <= closing.parts);
        Ok(parts)
    }

    /// Deletes what a part of the closing's export holds, as far as it is still as exported, and says how much that was: what
    /// is gone already counts, what has changed since does not.
    ///
    /// # Errors
    /// [`Error::Tampered`] when the part is not what was noted, before anything is deleted; those of the table and the bucket,
    /// after which the same call may be repeated.
    pub async fn empty_part(&self, closing: &Closing, number: u64) -> Result<Counts, Error> {
        let key = Key::export_part(&closing.tenant, &closing.id, number);
        let part = self.get(key, true).await?.ok_or(Error::Missing)?;
        let part: Part = part.json("part")?;
        let name = key::export(&closing.tenant, &closing.id, &name_of(&part));
        let bytes = self.fetch(&name).await?;
        if hex(&Sha256::digest(&bytes)) != part.sha256 {
            return Err(Error::Tampered { key: name });
        }
        let mut deleted = Counts::default();
        let (mut items, mut objects) = (Vec::new(), Vec::new());
        for line in bytes
            .split(|byte| *byte == b'\n')
            .filter(|it| !it.is_empty())
        {
            match lines::read(line, &name)? {
                Line::Item(item) if is_of(&closing.tenant, &item) => items.push(item),
                Line::Object(key) if key.starts_with(&key::blobs(&closing.tenant)) => {
                    objects.push(key);
                }
                Line::Item(_) | Line::Object(_) => return Err(Error::Tampered { key: name }),
            }
        }
        drop(bytes);
        // Where they were found, not where they should stand: a proof counts what is there.
        let table = self.table_named(part.table.as_deref());
        // Collected first: a closure within the stream would not be general enough for a future that is spawned.
        let gone: Vec<_> = items
            .into_iter()
            .map(|item| Box::pin(self.delete_as_exported(&table, item)))
            .collect();
        let gone = stream::iter(gone).buffer_unordered(AT_ONCE);
        let gone: Vec<bool> = gone.try_collect().await?;
        deleted.items = gone.iter().filter(|is_gone| **is_gone).count() as u64;
        let gone: Vec<_> = objects
            .iter()
            .map(|key| Box::pin(self.bucket().remove(key)))
            .collect();
        let gone = stream::iter(gone).buffer_unordered(AT_ONCE);
        deleted.objects = gone.try_collect::<Vec<()>>().await?.len() as u64;
        Ok(deleted)
    }

    /// Deletes an item if it is exactly this one. False when it has changed.
    async fn delete_as_exported(&self, table: &str, mut item: Item) -> Result<bool, Error> {
        let mut request = self
            .table()
            .delete_item()
            .table_name(table)
            .set_return_consumed_capacity(self.capacity())
            .return_values_on_condition_check_failure(OnFailure::None);
        for name in ["pk", "sk"] {
            let value = item.remove(name).ok_or(Error::Missing)?;
            request = request.key(name, value);
        }
        let mut same = vec!["attribute_exists(pk)".to_owned()];
        let absent: Vec<_> = LATER
            .into_iter()
            .filter(|name| !item.contains_key(*name))
            .collect();
        same.extend(
            absent
                .iter()
                .map(|name| format!("attribute_not_exists({name})")),
        );
        for (index, (name, value)) in item.into_iter().enumerate() {
            same.push(format!("#a{index} = :a{index}"));
            request = request
                .expression_attribute_names(format!("#a{index}"), name)
                .expression_attribute_values(format!(":a{index}"), value);
        }
        let same = same.join(" AND ");
        let request = request.condition_expression(format!("attribute_not_exists(pk) OR ({same})"));
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
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(Error::of_sdk("DeleteItem", error)),
        }
    }

    async fn put_whole(&self, name: &str, content: String) -> Result<(), Error> {
        let sha256 = STANDARD.encode(Sha256::digest(&content));
        let bytes = content.len() as u64;
        let put = Box::pin(self.bucket().put(name, content, &sha256)).await;
        self.meter.add(|consumed| {
            consumed.payload_writes += 1;
            consumed.payload_bytes += bytes;
        });
        put
    }

    async fn fetch(&self, name: &str) -> Result<Vec<u8>, Error> {
        let bytes = Box::pin(self.bucket().object(name)).await;
        self.meter.add(|consumed| consumed.payload_reads += 1);
        bytes
    }

    fn table(&self) -> &aws_sdk_dynamodb::Client {
        &self.access.table
    }

    fn bucket(&self) -> &crate::bucket::Bucket {
        &self.access.bucket
    }
}

/// The item of a closing. It has no attribute `tenant`, by which a tenant's own items are found.
fn record(closing: &Closing) -> Item {
    let mut item = keyed(Key::closing(&closing.tenant), 4);
    item.set_text("closing", to_json(closing));
    item.set_number("revision", closing.revision);
    if !closing.is_closed() {
        item.set_text("list_pk", key::CLOSINGS);
        item.set_text("list_sk", closing.tenant.as_str());
    }
    item
}

fn is_of(tenant: &TenantId, item: &Item) -> bool {
    let pk = item.find_text("pk").unwrap_or_default();
    key::is_of(tenant, pk, item.find_text("tenant"))
}

fn name_of(part: &Part) -> String {
    let hash = part.sha256.get(..16).unwrap_or_default();
    format!("{:06}-{hash}.jsonl", part.number)
}
