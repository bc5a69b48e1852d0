//! Which replicas there are: made, buried, quarantined, each by one durable write.

use std::collections::BTreeMap;

use xorum_behaviours::wire::{self, GroupId, ReplicaNumber};

use super::{
    Storage,
    engine::{Engine, Row, Space},
    error::StorageError,
    keys,
    records::{Condition, Dropped, ReplicaRecord, StoreId},
    staging::Staging,
    unbroken,
    usage::Usage,
    writer::Write,
};
use crate::group::state::Head;

/// The records of this peer's replicas. Who holds the lock may change them, in the engine first.
pub(super) struct Catalog {
    pub(super) replicas: BTreeMap<GroupId, ReplicaRecord>,
    pub(super) next_store: StoreId,
}

impl Catalog {
    /// Reads all records, and what is still to be dropped.
    pub(super) fn load(engine: &Engine) -> Result<(Self, Vec<Dropped>), StorageError> {
        let frozen = engine.frozen();
        let mut replicas = BTreeMap::new();
        for row in frozen.rows(Space::Meta, keys::REPLICAS, None) {
            let record: ReplicaRecord =
                wire::decode(&row?.1).map_err(StorageError::undecodable("a replica's record"))?;
            replicas.insert(record.group, record);
        }
        let mut drops = Vec::new();
        for row in frozen.rows(Space::Meta, keys::DROPS, None) {
            drops.push(wire::decode(&row?.1).map_err(StorageError::undecodable("a drop record"))?);
        }
        let next_store = match frozen.get(Space::Meta, keys::NEXT_STORE)? {
            Some(row) => StoreId(read_u64(&row, "the next store's row")?),
            None => StoreId(1),
        };
        Ok((Self { replicas, next_store }, drops))
    }

    /// The row that keeps store ids from being used twice.
    pub(super) fn next_store_row(&self) -> Row {
        Row::put(Space::Meta, keys::NEXT_STORE, self.next_store.0.to_be_bytes())
    }

    /// The record of a replica that works.
    pub(super) fn live(&self, group: &GroupId) -> Result<&ReplicaRecord, StorageError> {
        live(self.replicas.get(group), group)
    }
}

fn live<'a>(record: Option<&'a ReplicaRecord>, group: &GroupId) -> Result<&'a ReplicaRecord, StorageError> {
    let record = record.ok_or(StorageError::NoReplica(*group))?;
    match &record.condition {
        Condition::Live => Ok(record),
        Condition::Quarantined { reason } => Err(StorageError::Quarantined { group: *group, reason: reason.clone() }),
    }
}

/// The record of a replica that works, as the engine has it.
pub(super) fn read_live(engine: &Engine, group: &GroupId) -> Result<ReplicaRecord, StorageError> {
    let row = engine.get(Space::Meta, &keys::replica(group))?;
    let record =
        row.map(|row| wire::decode(&row).map_err(StorageError::undecodable("a replica's record"))).transpose()?;
    live(record.as_ref(), group).cloned()
}

fn read_u64(row: &[u8], what: &str) -> Result<u64, StorageError> {
    Ok(u64::from_be_bytes(row.try_into().map_err(|_| StorageError::corrupt(what, "not eight bytes"))?))
}

/// The rows that retire a replica: its record goes, and what it had is recorded as dropped, or, when it is quarantined,
/// as kept aside.
fn retire(record: &ReplicaRecord) -> Result<(Vec<Row>, Vec<Dropped>), StorageError> {
    let had = [Dropped::Store(record.store), Dropped::Log { group: record.group, number: record.number }];
    let mut rows = vec![Row::remove(Space::Meta, keys::replica(&record.group))];
    if record.condition == Condition::Live {
        for dropped in &had {
            rows.push(dropped.row()?);
        }
        return Ok((rows, had.into()));
    }
    for dropped in &had {
        let key = [keys::asides(&record.group), dropped.key()].concat();
        rows.push(Row::put(Space::Meta, key, wire::encode(dropped)?));
    }
    Ok((rows, Vec::new()))
}

/// The rows that record as dropped what is kept aside of a group's quarantined replicas.
pub(super) fn drop_asides(engine: &Engine, group: &GroupId) -> Result<(Vec<Row>, Vec<Dropped>), StorageError> {
    let (mut rows, mut drops) = (Vec::new(), Vec::new());
    for row in engine.frozen().rows(Space::Meta, &keys::asides(group), None) {
        let (key, value) = row?;
        let dropped: Dropped = wire::decode(&value).map_err(StorageError::undecodable("a record of what is aside"))?;
        rows.push(Row::remove(Space::Meta, key));
        rows.push(dropped.row()?);
        drops.push(dropped);
    }
    Ok((rows, drops))
}

fn tombstone(group: &GroupId, dead: ReplicaNumber) -> Row {
    Row::put(Space::Meta, keys::tombstone(group), dead.0.to_be_bytes())
}

impl Storage {
    /// Every replica, working or quarantined.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn replicas(&self) -> Result<Vec<ReplicaRecord>, StorageError> {
        Ok(Catalog::load(&self.shared.engine)?.0.replicas.into_values().collect())
    }

    /// The group's tombstone: the highest replica number that is dead here; all up to it are (invariant 4).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn dead_number(&self, group: &GroupId) -> Result<Option<ReplicaNumber>, StorageError> {
        let row = self.shared.engine.get(Space::Meta, &keys::tombstone(group))?;
        row.map(|row| Ok(ReplicaNumber(read_u64(&row, "a tombstone")?))).transpose()
    }

    /// Makes a replica with an initial head and no log, durably. A quarantined one of a lower number gives way; its
    /// rows stay aside until a snapshot is installed in the new one, or [`Self::discard_aside`].
    ///
    /// # Errors
    /// [`StorageError::Dead`] when the number is; [`StorageError::Exists`] when a replica is in the way.
    pub async fn create(&self, head: Head, number: ReplicaNumber) -> Result<(), StorageError> {
        unbroken(self.clone().create_alone(head, number)).await
    }

    async fn create_alone(self, head: Head, number: ReplicaNumber) -> Result<(), StorageError> {
        let group = head.group;
        let mut catalog = self.shared.catalog.lock().await;
        if let Some(dead) = self.dead_number(&group)?.filter(|dead| number <= *dead) {
            return Err(StorageError::Dead { group, number, dead });
        }
        let mut rows = Vec::new();
        let mut dropped = Vec::new();
        if let Some(former) = catalog.replicas.get(&group) {
            if former.condition == Condition::Live || former.number >= number {
                return Err(StorageError::Exists { group, number: former.number });
            }
            self.shared.fence(&group);
            rows.push(tombstone(&group, former.number));
            let (retired, drops) = retire(former)?;
            rows.extend(retired);
            dropped.extend(drops);
        }
        let store = catalog.next_store;
        catalog.next_store = StoreId(store.0 + 1);
        let record = ReplicaRecord { group, number, origin: head.origin, store, condition: Condition::Live };
        rows.push(catalog.next_store_row());
        rows.push(record.row()?);
        rows.push(Row::put(Space::State, keys::usage(store, &group), wire::encode(&Usage::default())?));
        rows.push(Row::put(Space::State, keys::head(store, &group), wire::encode(&head)?));
        if let Some(applied) = &head.applied {
            // A head with an applied entry is a seed: its log begins behind that entry.
            rows.push(Row::put(Space::Raft, keys::purged(&group, number), wire::encode(applied)?));
            rows.push(Row::put(Space::Raft, keys::committed(&group, number), wire::encode(applied)?));
        }
        self.shared.writer.write(Write::synced(rows)).await?;
        catalog.replicas.insert(group, record);
        dropped.into_iter().for_each(|dropped| self.shared.keeper.drop_later(dropped));
        Ok(())
    }

    /// Buries a replica number for ever: the tombstone, and with it the replica of that number or a lower one, if there
    /// is one. Its rows go later; those of a quarantined one stay aside, as with [`Self::create`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn bury(&self, group: &GroupId, number: ReplicaNumber) -> Result<(), StorageError> {
        unbroken(self.clone().bury_alone(*group, number)).await
    }

    async fn bury_alone(self, group: GroupId, number: ReplicaNumber) -> Result<(), StorageError> {
        let mut catalog = self.shared.catalog.lock().await;
        let dead = self.dead_number(&group)?.max(Some(number)).unwrap_or(number);
        let mut rows = vec![tombstone(&group, dead)];
        let buried = catalog.replicas.get(&group).filter(|record| record.number <= dead);
        let mut dropped = Vec::new();
        if let Some(record) = buried {
            self.shared.fence(&group);
            let (retired, drops) = retire(record)?;
            rows.extend(retired);
            dropped = drops;
        }
        let retired = buried.is_some();
        self.shared.writer.write(Write::synced(rows)).await?;
        if retired {
            catalog.replicas.remove(&group);
        }
        dropped.into_iter().for_each(|dropped| self.shared.keeper.drop_later(dropped));
        Ok(())
    }

    /// Keeps a replica's rows as they are, but neither opens nor writes them any more.
    ///
    /// # Errors
    /// [`StorageError::NoReplica`]; or when it cannot be written.
    pub async fn quarantine(&self, group: &GroupId, reason: &str) -> Result<(), StorageError> {
        unbroken(self.clone().quarantine_alone(*group, reason.to_owned())).await
    }

    async fn quarantine_alone(self, group: GroupId, reason: String) -> Result<(), StorageError> {
        let mut catalog = self.shared.catalog.lock().await;
        let record = catalog.replicas.get(&group).ok_or(StorageError::NoReplica(group))?;
        let condition = Condition::Quarantined { reason };
        let record = ReplicaRecord { condition, ..record.clone() };
        self.shared.fence(&group);
        self.shared.writer.write(Write::synced(vec![record.row()?])).await?;
        catalog.replicas.insert(group, record);
        Ok(())
    }

    /// Lets go of what is kept aside of the group's quarantined replicas: the present one has caught up.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub async fn discard_aside(&self, group: &GroupId) -> Result<(), StorageError> {
        unbroken(self.clone().discard_aside_alone(*group)).await
    }

    async fn discard_aside_alone(self, group: GroupId) -> Result<(), StorageError> {
        let _catalog = self.shared.catalog.lock().await;
        let (rows, drops) = drop_asides(&self.shared.engine, &group)?;
        self.shared.writer.write(Write::synced(rows)).await?;
        drops.into_iter().for_each(|dropped| self.shared.keeper.drop_later(dropped));
        Ok(())
    }

    /// Begins to take in a snapshot of a group, in a store of its own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn stage(&self, group: &GroupId) -> Result<Staging, StorageError> {
        Staging::begin(&self.shared, *group).await
    }
}
