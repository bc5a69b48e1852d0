//! Snapshots as they arrive: checked row by row into a store of their own, then switched to.
//!
//! The rows come from the network: each is checked for its place in the order, its size, its form and that it is of
//! the group, before it is stored (invariant 8). The store is recorded as dropped when it is made, so that one that is
//! given up, by a crash too, goes; the switch takes that record back and drops the former store instead.

use std::sync::Arc;

use xorum_behaviours::{
    space::Position,
    wire::{self, GroupId, SnapshotRow},
};

use super::{
    Shared,
    catalog::drop_asides,
    changes::read_data_row,
    engine::{Row, Space},
    error::StorageError,
    keys,
    records::{Dropped, ReplicaRecord, StoreId},
    replica::Core,
    snapshot::{self, OutgoingSnapshot, SnapshotData, meta_of},
    unbroken,
    usage::Usage,
    writer::Write,
};
use crate::group::{raft::SnapshotMeta, sessions::SessionRecord, state::Head};

/// How many bytes of rows go from one replica of this process to another at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// A store that nobody else writes, and that goes unless it is switched to.
pub(super) struct FreshStore {
    shared: Arc<Shared>,
    store: StoreId,
    kept: bool,
}

impl FreshStore {
    /// Takes a store id never used before; durable, as is the record that drops it.
    async fn take(shared: &Arc<Shared>) -> Result<Self, StorageError> {
        let mut catalog = shared.catalog.lock().await;
        let store = catalog.next_store;
        // In use before it is recorded as dropped, or the record could be carried out at once.
        shared.keeper.keep(store);
        let fresh = Self { shared: shared.clone(), store, kept: false };
        catalog.next_store = StoreId(store.0 + 1);
        let rows = vec![catalog.next_store_row(), Dropped::Store(store).row()?];
        shared.writer.write(Write::synced(rows)).await?;
        Ok(fresh)
    }
}

impl Drop for FreshStore {
    fn drop(&mut self) {
        if self.kept {
            self.shared.keeper.forget(self.store);
        } else {
            self.shared.keeper.release(self.store);
        }
    }
}

/// Takes the rows of a snapshot that arrives. Dropping it gives the store up.
pub struct Staging {
    fresh: FreshStore,
    group: GroupId,
    head: Option<Head>,
    last_key: Vec<u8>,
    sessions: u32,
    usage: Usage,
}

impl Staging {
    pub(super) async fn begin(shared: &Arc<Shared>, group: GroupId) -> Result<Self, StorageError> {
        let fresh = FreshStore::take(shared).await?;
        Ok(Self { fresh, group, head: None, last_key: Vec::new(), sessions: 0, usage: Usage::default() })
    }

    /// Stores the next rows; returns once they are on the disk, so that what is in memory is what was last pushed.
    ///
    /// # Errors
    /// [`StorageError::BadSnapshot`] when a row may not be stored: then none of these is, and the transfer must end.
    pub async fn push(&mut self, rows: Vec<SnapshotRow>) -> Result<(), StorageError> {
        let mut checked = Vec::with_capacity(rows.len());
        for row in rows {
            checked.push(self.check(&row)?);
            self.last_key = row.key.to_vec();
        }
        self.fresh.shared.writer.write(Write::synced(checked)).await
    }

    /// All rows were pushed: makes the store whole.
    ///
    /// # Errors
    /// [`StorageError::BadSnapshot`] when there was no head.
    pub async fn finish(self) -> Result<StagedSnapshot, StorageError> {
        let Self { fresh, group, head, usage, .. } = self;
        let head = head.ok_or_else(|| refused("it has no head"))?;
        let row = Row::put(Space::State, keys::usage(fresh.store, &group), wire::encode(&usage)?);
        fresh.shared.writer.write(Write::synced(vec![row])).await?;
        Ok(StagedSnapshot { fresh, head })
    }

    /// The row as stored, if it may be.
    fn check(&mut self, row: &SnapshotRow) -> Result<Row, StorageError> {
        if row.key <= self.last_key {
            return Err(refused("its rows are out of order"));
        }
        let (store, group) = (self.fresh.store, self.group);
        let value = &row.value[..];
        match (row.key.split_first(), &self.head) {
            (Some((&snapshot::HEAD, [])), None) => {
                let head: Head = wire::decode(value).map_err(|error| refused(format_args!("its head: {error}")))?;
                if head.group != group {
                    return Err(refused("it is of another group"));
                }
                self.head = Some(head);
                Ok(Row::put(Space::State, keys::head(store, &group), value))
            }
            (Some((&snapshot::SESSION, id)), Some(_)) => {
                let id = id.try_into().map_err(|_| refused("a session's key is malformed"))?;
                self.check_session(value)?;
                Ok(Row::put(Space::State, keys::session(store, &group, &wire::SessionId(id)), value))
            }
            (Some((&snapshot::DATA, at)), Some(head)) => {
                let (position, key) =
                    at.split_first_chunk::<32>().ok_or_else(|| refused("a data row's key is malformed"))?;
                let position = Position::from_bytes(*position);
                let bounds = &self.fresh.shared.config.bounds;
                let (version, data) = read_data_row(value).map_err(|_| refused("a data row's value is malformed"))?;
                if position != Position::of_key(key) || !head.prefix.contains(&position) {
                    return Err(refused("a data row is not the group's"));
                }
                if key.len() > bounds.max_key_bytes as usize || data.len() > bounds.max_value_bytes as usize {
                    return Err(refused("a data row is too large"));
                }
                if version > head.revision || version.0 == 0 {
                    return Err(refused("a data row's version is none of the group's"));
                }
                self.usage.replace(key.len(), None, Some(value.len()));
                Ok(Row::put(Space::Data, keys::data(store, &position, key), value))
            }
            _ => Err(refused("a row is of no known kind, or out of place")),
        }
    }

    fn check_session(&mut self, value: &[u8]) -> Result<(), StorageError> {
        let bounds = &self.fresh.shared.config.bounds;
        let record: SessionRecord = wire::decode(value).map_err(|error| refused(format_args!("a session: {error}")))?;
        self.sessions += 1;
        if self.sessions > bounds.max_sessions || record.answers.len() > bounds.max_answers as usize {
            return Err(refused("it has more sessions or answers than may be"));
        }
        Ok(())
    }
}

fn refused(reason: impl std::fmt::Display) -> StorageError {
    StorageError::BadSnapshot(reason.to_string())
}

/// A snapshot that arrived whole, in a store of its own. Dropping it gives the store up.
pub struct StagedSnapshot {
    fresh: FreshStore,
    head: Head,
}

impl StagedSnapshot {
    /// What it is of, as its head says: whoever passes it on compares this with what the sender said.
    pub fn meta(&self) -> SnapshotMeta {
        meta_of(&self.head)
    }
}

/// Installs a snapshot as a replica's state.
pub(super) async fn install(core: &Arc<Core>, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), StorageError> {
    let staged = match snapshot {
        SnapshotData::Staged(staged) => staged,
        SnapshotData::Outgoing(outgoing) => copy(core, outgoing).await?,
    };
    if staged.head.group != core.group || staged.meta() != *meta {
        return Err(refused("its head is not what was announced"));
    }
    unbroken(switch(core.clone(), staged)).await
}

/// Makes a staged store a replica's own.
async fn switch(core: Arc<Core>, mut staged: StagedSnapshot) -> Result<(), StorageError> {
    let mut catalog = core.shared.catalog.lock().await;
    let record = catalog.live(&core.group)?.clone();
    if record.number != core.number || !core.fence.holds() {
        return Err(StorageError::Fenced);
    }
    let switched = ReplicaRecord { store: staged.fresh.store, ..record.clone() };
    let former = Dropped::Store(record.store);
    // Who has a snapshot has caught up: what is kept aside of quarantined replicas may go.
    let (mut rows, mut drops) = drop_asides(&core.shared.engine, &core.group)?;
    let kept = Row::remove(Space::Meta, Dropped::Store(staged.fresh.store).key());
    rows.extend([switched.row()?, former.row()?, kept]);
    drops.push(former);
    core.switch(staged.fresh.store, Write::synced(rows)).await?;
    catalog.replicas.insert(core.group, switched);
    staged.fresh.kept = true;
    drops.into_iter().for_each(|dropped| core.shared.keeper.drop_later(dropped));
    Ok(())
}

/// Copies a snapshot of a replica of this process into a store of its own.
async fn copy(core: &Arc<Core>, mut outgoing: OutgoingSnapshot) -> Result<StagedSnapshot, StorageError> {
    let mut staging = Staging::begin(&core.shared, core.group).await?;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let rows = outgoing.next_rows(COPY_BYTES);
            (outgoing, rows)
        });
        let rows;
        (outgoing, rows) = read.await.map_err(|_| StorageError::Closed)?;
        let rows = rows?;
        if rows.is_empty() {
            return staging.finish().await;
        }
        staging.push(rows).await?;
    }
}
