//! Tenants: one record each, changed under a revision that their ledger carries too.

use domain::id::TenantId;
use domain::tenant::Tenant;
use domain::time::At;

use crate::audit::{Act, state_of};
use crate::item::{Item, Read, Set, keyed, number, to_json};
use crate::key::{Key, TENANTS};
use crate::list::{MAX_PAGE, Page};
use crate::table::{ABSENT, Index, Range, Sort, Write};
use crate::{Error, Store, cursor, home, ledger};

impl Store {
    /// Stores a tenant, new when `old` is none, else in place of exactly `old`; its ledgers follow in the same transaction,
    /// so that whatever was decided under the old settings is refused from here on.
    ///
    /// # Errors
    /// [`Error::Raced`] when it exists already or did before it was closed, or was changed since `old` was read;
    /// [`Error::Unfit`] when it cannot have the table that it is to have for itself, since that is not like the stack's, is
    /// another tenant's, or is not where its items are; those of the table.
    pub async fn put_tenant(&self, new: &Tenant, old: Option<&Tenant>) -> Result<(), Error> {
        if old.is_some_and(|old| old.isolation != new.isolation) {
            return Err(Error::Unfit("stays as it was onboarded".to_owned()));
        }
        if old.is_none() {
            // Read before, not in the transaction: a closing takes longer than whoever is about to onboard a tenant lives.
            if self.closing(&new.id).await?.is_some() {
                return Err(Error::Raced);
            }
            // In another Region it has a record of another key.
            if !self.regions().is_one() && self.tenant(&new.id).await?.is_some() {
                return Err(Error::Raced);
            }
            let named = new.isolation.check(self.stack_table());
            named.map_err(|error| Error::Unfit(error.detail))?;
            if let Some(table) = new.isolation.own_table() {
                self.examine(table).await?;
            }
        }
        self.put_tenant_with(new, old, None).await
    }

    /// [`Store::put_tenant`] together with what else becomes of the tenant then.
    pub(crate) async fn put_tenant_with(
        &self,
        new: &Tenant,
        old: Option<&Tenant>,
        more: Option<Write>,
    ) -> Result<(), Error> {
        if let Some(elsewhere) = self.elsewhere(new.home.epoch) {
            return Err(elsewhere);
        }
        let item = record_item(new);
        let (action, record) = match old {
            None => ("tenant.created", Write::new(item, Some(ABSENT))),
            Some(old) => {
                let unchanged = Write::new(item, Some("revision = :revision"));
                let unchanged = unchanged.with(":revision", number(old.revision));
                ("tenant.changed", unchanged)
            }
        };
        let mut writes = vec![record];
        writes.extend(ledger::settings(old, new));
        writes.extend(more);
        if old.is_none() {
            writes.extend(home::bridge(new));
        }
        let act = Act {
            tenant: &new.id,
            action,
            subject: "tenant".to_owned(),
            state: state_of(new),
            at: new.updated_at,
        };
        let store = self.at_home_of(new);
        let Err(refusals) = store.transact_audited(&act, &writes).await? else {
            self.learn(new);
            return Ok(());
        };
        let is_taken = new.isolation.own_table().is_some()
            && old.is_none()
            && refusals.last().is_some_and(|refusal| refusal.failed);
        // What stands there may be this very change, whose answer was lost.
        let stored = refusals.into_iter().next().and_then(|refusal| refusal.old);
        let stored = stored.map(|item| item.json::<Tenant>("head"));
        match stored.transpose()? {
            Some(stored) if stored == *new => Ok(()),
            None if is_taken => Err(Error::Unfit("is another tenant's".to_owned())),
            Some(_) | None => Err(Error::Raced),
        }
    }

    /// A tenant's record, that of the latest epoch of its home, strongly consistent.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Error> {
        let record = self.record(id).await?;
        if let Some(record) = &record {
            self.learn(record);
        }
        Ok(record)
    }

    /// Reads [`Store::tenant`] and remembers nothing of it.
    pub(crate) async fn record(&self, id: &TenantId) -> Result<Option<Tenant>, Error> {
        let first = Key::tenant(id, 0);
        let item = if self.regions().is_one() {
            self.get(first, true).await?
        } else {
            let range = Range {
                index: None,
                pk: first.pk().to_owned(),
                sort: Sort::Between(first.sk().to_owned(), format!("{}~", first.sk())),
                forward: false,
                limit: Some(1),
                consistent: true,
            };
            self.query(&range, None).await?.items.pop()
        };
        item.map(|item| item.json("head")).transpose()
    }

    /// Every tenant by id, at most `limit` (1 to 200). Eventually consistent; for the operator alone.
    ///
    /// # Errors
    /// [`Error::BadCursor`], [`Error::ExpiredCursor`], and those of the table.
    pub async fn tenants(
        &self,
        operator: &TenantId,
        limit: u32,
        cursor: Option<&str>,
        now: At,
    ) -> Result<Page<Tenant>, Error> {
        let page = self.by_id(TENANTS, operator, limit, cursor, now);
        let mut page: Page<Tenant> = page.await?;
        // One whose home has just moved may stand there twice.
        page.items
            .sort_by(|a, b| (&a.id, b.home.epoch).cmp(&(&b.id, a.home.epoch)));
        page.items.dedup_by(|later, first| later.id == first.id);
        // Old or new, a record says where the tenant's items stand; so nobody reads it again to learn that.
        for record in &page.items {
            self.learn(record);
        }
        Ok(page)
    }

    /// A page of a list by id, whose items hold their entries as `head`.
    pub(crate) async fn by_id<T: serde::de::DeserializeOwned>(
        &self,
        list: &str,
        owner: &TenantId,
        limit: u32,
        cursor: Option<&str>,
        now: At,
    ) -> Result<Page<T>, Error> {
        let secret = &self.inner.config.cursor_secret;
        let after = cursor
            .map(|cursor| cursor::open(secret, owner, list, cursor, now))
            .transpose()?;
        let limit = limit.clamp(1, MAX_PAGE);
        let range = Range {
            index: Some(Index::List),
            pk: list.to_owned(),
            sort: after.map_or(Sort::All, Sort::Above),
            forward: true,
            limit: Some(limit),
            consistent: false,
        };
        let rows = self.query(&range, None).await?;
        let last = rows.items.last().and_then(|item| item.find_text("list_sk"));
        let next = last
            .filter(|_| rows.next.is_some())
            .map(|place| cursor::seal(secret, owner, list, place, now));
        let items = rows.items.iter().map(|item| item.json("head"));
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            next,
        })
    }
}

/// A tenant's record as an item.
pub(crate) fn record_item(tenant: &Tenant) -> Item {
    let mut item = keyed(Key::tenant(&tenant.id, tenant.home.epoch), 4);
    item.set_text("head", to_json(tenant));
    item.set_number("revision", tenant.revision);
    item.set_text("list_pk", TENANTS);
    item.set_text("list_sk", tenant.id.as_str());
    item
}
