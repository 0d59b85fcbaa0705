//! Where an item stands: in which table, the stack's or its tenant's own, and in which epoch of its tenant's home.
//!
//! A tenant that was onboarded as a bridge has a table of its own for all that belongs to its runs, definitions, ledgers,
//! limits, usage and audit trail. Its record and its keys stay in the stack's table, since they are read to learn whose a
//! request is. **Invariant:** no request names a table but by [`Store::table_of`], which looks at the partition key alone; so
//! nobody can forget whose table it is. Where a tenant's items stand never changes, so whoever has read its record once
//! remembers that for good, and asks for it no more.
//!
//! Where several Regions share the tables, whatever begins with `T#<tenant>#` stands in the newest epoch of the tenant's home
//! that this process has read of, unless it is bound to another: see [`domain::region`]. **Invariant:** nothing is written in an
//! epoch that is another Region's.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::id::TenantId;
use domain::region::{Home, Region, Regions};
use domain::tenant::Tenant;
use domain::time::At;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::item::{Read as _, Set, keyed};
use crate::key::{self, Key, Owner};
use crate::table::{ABSENT, Range, Sort, Write};
use crate::{Cache, Error, Store};

/// Most tenants of which a process remembers where their items stand.
const MAX_TENANTS: u32 = 10_000;

/// Where tenants' items stand.
pub(crate) struct Homes {
    /// The table's name by the tenant's.
    tables: Cache<Arc<str>, String>,
    /// The homes that are or were in another Region than the first: as far as is known, since they may move.
    moved: Mutex<HashMap<Arc<str>, Arc<Home>>>,
}

/// Which epoch's items a store means.
#[derive(Clone, Debug)]
pub(crate) enum Epoch {
    /// The newest one of each tenant, as far as this process knows.
    Newest,
    /// This one of this tenant.
    Of(TenantId, u64),
    /// Whichever the key names.
    AsNamed,
}

/// Where the items of a partition stand.
pub(crate) struct Place<'a> {
    pub(crate) table: Arc<String>,
    pub(crate) pk: Cow<'a, str>,
}

impl Homes {
    pub(crate) fn new() -> Self {
        Self {
            tables: Cache::of_constants(MAX_TENANTS, MAX_TENANTS.into(), |_| 1),
            moved: Mutex::default(),
        }
    }

    fn home(&self, tenant: &str) -> Option<Arc<Home>> {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.get(tenant).map(Arc::clone)
    }

    /// Remembers a home, unless a later one of the tenant is known.
    fn settle(&self, record: &Tenant) {
        if record.home.is_first() {
            return;
        }
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let known = moved.get(record.id.as_str());
        if known.is_none_or(|known| known.epoch < record.home.epoch) {
            let id = Arc::from(record.id.as_str());
            moved.insert(id, Arc::new(record.home.clone()));
        }
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
        let there = self.in_table(self.table_named(own));
        there.in_epoch(&tenant.id, tenant.home.epoch)
    }

    /// The same store for this tenant's items of one epoch, whatever becomes known of its home. Who has read them there and
    /// writes what follows is not to write it in another.
    #[must_use]
    pub fn in_epoch(&self, tenant: &TenantId, epoch: u64) -> Self {
        Self {
            epoch: Epoch::Of(tenant.clone(), epoch),
            ..self.clone()
        }
    }

    /// Whether this store is bound to this epoch, or to none.
    #[must_use]
    pub fn is_bound_to(&self, epoch: u64) -> bool {
        match &self.epoch {
            Epoch::Of(_, bound) => *bound == epoch,
            Epoch::Newest | Epoch::AsNamed => true,
        }
    }

    /// This store in each epoch that something of a tenant can stand in, the latest first.
    pub(crate) async fn in_epochs(&self, tenant: &TenantId) -> Result<Vec<Self>, Error> {
        if self.inner.config.regions.is_one() || matches!(self.epoch, Epoch::Of(..)) {
            return Ok(vec![self.clone()]);
        }
        let home = self.home_of(tenant.as_str()).await?;
        Ok(home
            .epochs()
            .map(|epoch| self.in_epoch(tenant, epoch))
            .collect())
    }

    /// The same, and in the place of what each Region keeps of a tenant for itself.
    pub(crate) async fn in_epochs_and_regions(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<Self>, Error> {
        if self.regions().is_one() {
            return Ok(vec![self.clone()]);
        }
        let home = self.home_of(tenant.as_str()).await?;
        let regions = self.regions();
        let mut epochs: Vec<u64> = home.epochs().collect();
        epochs.push(regions.first_epoch());
        epochs.extend(regions.first_epochs_elsewhere());
        epochs.sort_unstable();
        epochs.dedup();
        let stores = epochs.into_iter();
        Ok(stores.map(|epoch| self.in_epoch(tenant, epoch)).collect())
    }

    /// The place for what this Region keeps of a tenant wherever that is at home.
    pub(crate) fn in_own_region(&self, tenant: &TenantId) -> Self {
        self.in_epoch(tenant, self.inner.config.regions.first_epoch())
    }

    /// Where a tenant is at home, as far as this process knows. One that was never onboarded is where it is asked for.
    pub(crate) async fn home_of(&self, tenant: &str) -> Result<Arc<Home>, Error> {
        let homes = &self.inner.homes;
        if let Some(home) = homes.home(tenant) {
            return Ok(home);
        }
        let is_there =
            homes.tables.known(tenant).is_some() || self.look_up(tenant).await?.is_some();
        let elsewhere = homes.home(tenant);
        let regions = &self.inner.config.regions;
        Ok(elsewhere.unwrap_or_else(|| {
            let epoch = if is_there { 0 } else { regions.first_epoch() };
            Arc::new(Home::since_ever(epoch))
        }))
    }

    /// The epoch of its tenant's home that the items of this partition are meant to be of.
    async fn epoch_of(&self, pk: &str) -> Result<u64, Error> {
        let regions = &self.inner.config.regions;
        let Owner::Tenant(tenant) = key::owner(pk) else {
            return Ok(regions.first_epoch());
        };
        match &self.epoch {
            Epoch::Of(of, epoch) if of.as_str() == tenant => Ok(*epoch),
            Epoch::Newest | Epoch::Of(..) if !regions.is_one() && self.knows(tenant) => {
                Ok(self.home_of(tenant).await?.epoch)
            }
            Epoch::Newest | Epoch::Of(..) | Epoch::AsNamed => Ok(regions.first_epoch()),
        }
    }

    /// Where the items of this partition stand, of the table itself or of an index.
    pub(crate) async fn place_of<'a>(&self, pk: &'a str) -> Result<Place<'a>, Error> {
        let table = self.table_of(pk).await?;
        let pk = match self.epoch {
            Epoch::AsNamed => Cow::Borrowed(pk),
            _ => key::in_epoch(pk, self.epoch_of(pk).await?),
        };
        Ok(Place { table, pk })
    }

    /// The same for whoever is to write there.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] when it is another Region that writes there.
    pub(crate) async fn place_to_write<'a>(&self, pk: &'a str) -> Result<Place<'a>, Error> {
        let regions = &self.inner.config.regions;
        if !regions.is_one()
            && let Some(elsewhere) = self.elsewhere(self.epoch_of(pk).await?)
        {
            return Err(elsewhere);
        }
        self.place_of(pk).await
    }

    /// Whether this Region writes for a tenant, in the epoch that this store is bound to, if it is bound to one.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] when another one does, or the home has moved on since.
    pub fn check_home(&self, tenant: &Tenant) -> Result<(), Error> {
        let epoch = tenant.home.epoch;
        let is_over = match &self.epoch {
            Epoch::Of(of, bound) => *of == tenant.id && *bound != epoch,
            Epoch::Newest | Epoch::AsNamed => false,
        };
        match self.elsewhere(epoch) {
            Some(elsewhere) => Err(elsewhere),
            None if is_over => Err(self.at_home_in(epoch)),
            None => Ok(()),
        }
    }

    /// Who writes what is of an epoch, if that is another Region.
    pub(crate) fn elsewhere(&self, epoch: u64) -> Option<Error> {
        (!self.regions().is_own(epoch)).then(|| self.at_home_in(epoch))
    }

    fn at_home_in(&self, epoch: u64) -> Error {
        let unknown = || Region {
            name: format!("the Region of epoch {epoch}"),
            url: None,
        };
        Error::Elsewhere(self.regions().of(epoch).cloned().unwrap_or_else(unknown))
    }

    /// The Regions that share the tables.
    #[must_use]
    pub fn regions(&self) -> &Regions {
        &self.inner.config.regions
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
            (Owner::Tenant(tenant), None) => match self.inner.homes.tables.known(tenant) {
                Some(table) => Ok(table),
                None => {
                    let found = self.look_up(tenant).await?;
                    Ok(found.unwrap_or_else(|| Arc::clone(&self.inner.table)))
                }
            },
        }
    }

    /// Reads the tenant's record. One that there is not has nothing anywhere, and that it is not there is not remembered: it
    /// may be onboarded at any time. (Boxed as it is, since every request's future would grow by it, and by its type.)
    fn look_up<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Option<Arc<String>>, Error>> {
        async move {
            let id = TenantId::parse(tenant).map_err(|_| Error::Missing)?;
            let read = async {
                let record = self.record(&id).await?;
                Ok(record.map(|record| {
                    self.inner.homes.settle(&record);
                    self.name_of(&record)
                }))
            };
            let tables = &self.inner.homes.tables;
            tables.get(&Arc::from(tenant), At(0), Box::pin(read)).await
        }
        .boxed()
    }

    /// Whether this process knows where a tenant's items stand.
    #[must_use]
    pub fn has_met(&self, tenant: &TenantId) -> bool {
        self.settled_in.is_some() || self.inner.homes.tables.known(tenant.as_str()).is_some()
    }

    /// Remembers where a tenant's items stand, by its record as it is stored.
    pub(crate) fn learn(&self, record: &Tenant) {
        if !self.may_remember(&record.id) {
            return;
        }
        let homes = &self.inner.homes;
        homes.settle(record);
        if homes.tables.known(record.id.as_str()).is_none() {
            let name = Arc::new(self.name_of(record));
            let id = Arc::from(record.id.as_str());
            homes.tables.insert(id, name, At(0));
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
