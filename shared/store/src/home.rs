//! Which table an item stands in: the stack's, or its tenant's own.
//!
//! A tenant that was onboarded as a bridge has a table of its own for all that belongs to its runs, definitions, ledgers,
//! limits, usage and audit trail. Its record and its keys stay in the stack's table, since they are read to learn whose a
//! request is. **Invariant:** no request names a table but by [`Store::table_of`], which looks at the partition key alone; so
//! nobody can forget whose table it is. Where a tenant's items stand never changes, so whoever has read its record once
//! remembers that for good, and asks for it no more.

use std::sync::Arc;

use domain::id::TenantId;
use domain::tenant::Tenant;
use domain::time::At;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::item::{Item, Read, Set, keyed};
use crate::key::{self, Key, Owner};
use crate::table::{ABSENT, Range, Sort, Write};
use crate::{Cache, Error, Store};

/// Most tenants of which a process remembers where their items stand.
const MAX_TENANTS: u32 = 10_000;

/// Where tenants' items stand: the table's name by the tenant's.
pub(crate) struct Homes(Cache<Arc<str>, String>);

impl Homes {
    pub(crate) fn new() -> Self {
        Self(Cache::of_constants(MAX_TENANTS, MAX_TENANTS.into(), |_| 1))
    }
}

impl Store {
    /// The same store, in which every tenant's items stand in this table, whatever their records say: for whoever has read
    /// that there.
    pub(crate) fn in_table(&self, table: Arc<String>) -> Self {
        Self {
            settled_in: Some(table),
            ..self.clone()
        }
    }

    /// The same store for the items of this tenant, whose record need not be stored yet.
    pub(crate) fn at_home_of(&self, tenant: &Tenant) -> Self {
        let own = tenant.isolation.own_table();
        self.in_table(self.table_named(own))
    }

    /// The name of the stack's table.
    #[must_use]
    pub fn stack_table(&self) -> &str {
        &self.inner.table
    }

    /// The table of this name; the stack's if there is none.
    pub(crate) fn table_named(&self, own: Option<&str>) -> Arc<String> {
        own.map_or_else(
            || Arc::clone(&self.inner.table),
            |own| Arc::new(own.to_owned()),
        )
    }

    /// This store for each table there is, the stack's first: what one of them is asked about all tenants, it answers for
    /// those whose items stand in its table. One request; eventually consistent, for the janitor and for operators.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn tables(&self) -> Result<Vec<Self>, Error> {
        let range = Range {
            index: None,
            pk: key::BRIDGES.to_owned(),
            sort: Sort::All,
            forward: true,
            limit: None,
            consistent: false,
        };
        let mut stores = vec![self.in_table(Arc::clone(&self.inner.table))];
        let mut start = None;
        loop {
            let rows = self.query(&range, start).await?;
            let tables = rows.items.iter().map(|item| item.sort().to_owned());
            stores.extend(tables.map(|table| self.in_table(Arc::new(table))));
            start = rows.next;
            if start.is_none() {
                return Ok(stores);
            }
        }
    }

    /// The table that holds the items of this partition, of the table itself or of an index.
    pub(crate) async fn table_of(&self, pk: &str) -> Result<Arc<String>, Error> {
        match (key::owner(pk), &self.settled_in) {
            (Owner::Stack, _) => Ok(Arc::clone(&self.inner.table)),
            (Owner::Tenant(_) | Owner::Table, Some(table)) => Ok(Arc::clone(table)),
            (Owner::Table, None) => Ok(Arc::clone(&self.inner.table)),
            // Whoever has another tenant's credentials is refused, wherever it asks.
            (Owner::Tenant(tenant), None) if !self.knows(tenant) => {
                Ok(Arc::clone(&self.inner.table))
            }
            (Owner::Tenant(tenant), None) => match self.inner.homes.0.known(tenant) {
                Some(table) => Ok(table),
                None => self.look_up(tenant).await,
            },
        }
    }

    /// The table of the item with this key.
    pub(crate) async fn table_of_item(&self, item: &Item) -> Result<Arc<String>, Error> {
        self.table_of(item.find_text("pk").unwrap_or_default())
            .await
    }

    /// Reads the tenant's record. One that there is not has nothing anywhere, and that it is not there is not remembered: it
    /// may be onboarded at any time. (Boxed as it is, since every request's future would grow by it, and by its type.)
    fn look_up<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Arc<String>, Error>> {
        async move {
            let id = TenantId::parse(tenant).map_err(|_| Error::Missing)?;
            let read = async {
                let stack = &self.inner.table;
                let record = self.get_in(stack, Key::tenant(&id), true).await?;
                let record = record.map(|item| item.json::<Tenant>("head"));
                Ok(record.transpose()?.map(|record| self.name_of(&record)))
            };
            let homes = &self.inner.homes.0;
            let found = homes.get(&Arc::from(tenant), At(0), Box::pin(read)).await?;
            Ok(found.unwrap_or_else(|| Arc::clone(&self.inner.table)))
        }
        .boxed()
    }

    /// Whether this process knows where a tenant's items stand.
    #[must_use]
    pub fn has_met(&self, tenant: &TenantId) -> bool {
        self.settled_in.is_some() || self.inner.homes.0.known(tenant.as_str()).is_some()
    }

    /// Remembers where a tenant's items stand, by its record as it is stored.
    pub(crate) fn learn(&self, record: &Tenant) {
        if self.may_remember(&record.id) && self.inner.homes.0.known(record.id.as_str()).is_none() {
            let name = Arc::new(self.name_of(record));
            let id = Arc::from(record.id.as_str());
            self.inner.homes.0.insert(id, name, At(0));
        }
    }

    fn name_of(&self, record: &Tenant) -> String {
        let own = record.isolation.own_table();
        own.unwrap_or(&self.inner.table).to_owned()
    }

    /// [`Store::may_remember`] by the tenant's name.
    fn knows(&self, tenant: &str) -> bool {
        self.bound_to
            .as_ref()
            .is_none_or(|bound| bound.as_str() == tenant)
    }
}

/// Notes that a tenant has a table of its own, unless another one has it: by this the janitor finds it.
pub(crate) fn bridge(tenant: &Tenant) -> Option<Write> {
    let table = tenant.isolation.own_table()?;
    let mut item = keyed(Key::bridge(table), 1);
    item.set_text("tenant", tenant.id.as_str());
    Some(Write::new(item, Some(ABSENT)))
}
