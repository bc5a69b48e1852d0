//! A replica's applied state: what is durable in the engine, and what was applied since, in memory over it.
//!
//! Applying goes to the *dirty* rows. A flush takes them, as *flushing* rows, into one atomic write with head and
//! sessions, behind every append and vote queued before: durable applied never passes the durable log. Who reads looks
//! at dirty, then flushing, then the engine, under one lock: so every read is of one applied state (invariant 9).
//! One flush is under way at most.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;
use xorum_behaviours::{
    space::Position,
    wire::{self, Bounds, GroupId, ReplicaNumber, Version},
};

use super::{
    Shared,
    changes::{Change, Changes, Overlay, data_row, read_data_row},
    engine::{Engine, Frozen, Row, Space},
    error::StorageError,
    keys,
    records::StoreId,
    usage::Usage,
    watch::Watchers,
    writer::{Fence, Write},
};
use crate::group::{
    raft::{Entry, LogId},
    sessions::{SessionRecord, Sessions},
    state::{GroupState, Head},
};

/// A flush under way.
struct Flushing {
    changes: Arc<Changes>,
    /// What it makes of the usage; none until that is known, and then nothing is queued yet.
    usage: Option<Usage>,
}

/// The applied state.
pub(super) struct Applied {
    pub(super) store: StoreId,
    pub(super) group: GroupState,
    dirty: Changes,
    /// Something was applied since the last flush began.
    unflushed: bool,
    flushing: Option<Flushing>,
    /// Usage as of the last flush.
    usage: Usage,
    durable: Option<LogId>,
    /// An installation is switching the store: no flush may begin.
    switching: bool,
}

/// How far flushes have come: counts those that ended, and keeps the failure of one that failed.
#[derive(Clone, Debug, Default)]
pub(super) struct FlushState {
    pub(super) ended: u64,
    pub(super) failed: Option<StorageError>,
}

/// One opening of a replica.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) group: GroupId,
    pub(super) number: ReplicaNumber,
    pub(super) fence: Fence,
    pub(super) watchers: Watchers,
    pub(super) applied: RwLock<Applied>,
    pub(super) flushes: watch::Sender<FlushState>,
}

impl Core {
    /// Reads a replica's state from the engine. Nothing of it may be waiting in the writer.
    pub(super) fn open(
        shared: Arc<Shared>,
        group: GroupId,
        number: ReplicaNumber,
        store: StoreId,
        fence: Fence,
    ) -> Result<Self, StorageError> {
        let applied = Applied::load(&shared.engine.frozen(), &group, store)?;
        Ok(Self {
            shared,
            group,
            number,
            fence,
            watchers: Watchers::default(),
            applied: RwLock::new(applied),
            flushes: watch::Sender::default(),
        })
    }

    /// The network's bounds.
    pub(super) fn bounds(&self) -> &Bounds {
        &self.shared.config.bounds
    }

    /// Applies one entry; the lock is the caller's.
    pub(super) fn apply(
        &self,
        applied: &mut Applied,
        entry: Entry,
    ) -> Result<crate::group::command::Applied, StorageError> {
        let Applied { store, group, dirty, flushing, unflushed, .. } = applied;
        if group.head.applied.is_some_and(|last| entry.log_id.index <= last.index) {
            let reason = format_args!("entry {} comes after {:?} was applied", entry.log_id, group.head.applied);
            return Err(StorageError::corrupt("the order of what is applied", reason));
        }
        let mut rows = Overlay {
            engine: &self.shared.engine,
            store: *store,
            dirty,
            flushing: flushing.as_ref().map(|flushing| &*flushing.changes),
            watchers: (!self.watchers.is_empty()).then_some(&self.watchers),
        };
        let answer = group.apply(self.bounds(), entry, &mut rows)?;
        *unflushed = true;
        Ok(answer)
    }

    /// Begins a flush of what was applied, unless there is nothing, or none may begin. True if one will end, then.
    pub(super) fn begin_flush(self: &Arc<Self>) -> Result<bool, StorageError> {
        let (changes, store, head, sessions, before) = {
            let mut applied = self.applied.write();
            if applied.flushing.is_some() || applied.switching {
                return Ok(true);
            }
            if !applied.unflushed {
                return Ok(false);
            }
            applied.unflushed = false;
            let changes = Arc::new(std::mem::take(&mut applied.dirty));
            applied.flushing = Some(Flushing { changes: changes.clone(), usage: None });
            let sessions = applied.group.sessions.take_dirty();
            (changes, applied.store, applied.group.head.clone(), sessions, applied.usage)
        };
        let prepared = self.flush_rows(&changes, store, &head, sessions, before);
        let (rows, usage) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // What was taken is still read from the flushing rows; this replica will flush no more.
                self.end_flush(Err(error.clone()), None);
                return Err(error);
            }
        };
        if let Some(flushing) = &mut self.applied.write().flushing {
            flushing.usage = Some(usage);
        }
        let core = self.clone();
        let done = move |result| core.end_flush(result, head.applied);
        self.shared.writer.submit(Write::synced(rows).fenced(&self.fence).then(done));
        Ok(true)
    }

    fn flush_rows(
        &self,
        changes: &Changes,
        store: StoreId,
        head: &Head,
        sessions: Vec<(wire::SessionId, Option<SessionRecord>)>,
        mut usage: Usage,
    ) -> Result<(Vec<Row>, Usage), StorageError> {
        let mut rows = Vec::with_capacity(changes.len() + sessions.len() + 2);
        for (key, change) in changes.iter() {
            let row_key = keys::data(store, &change.position, key);
            let old = self.shared.engine.get(Space::Data, &row_key)?;
            usage.replace(key.len(), old.map(|row| row.len()), change.value.as_ref().map(|value| value.len() + 8));
            rows.push(match &change.value {
                Some(value) => Row::put(Space::Data, row_key, data_row(change.version, value)),
                None => Row::remove(Space::Data, row_key),
            });
        }
        for (id, record) in sessions {
            let key = keys::session(store, &self.group, &id);
            rows.push(match record {
                Some(record) => Row::put(Space::State, key, wire::encode(&record)?),
                None => Row::remove(Space::State, key),
            });
        }
        rows.push(Row::put(Space::State, keys::usage(store, &self.group), wire::encode(&usage)?));
        rows.push(Row::put(Space::State, keys::head(store, &self.group), wire::encode(head)?));
        Ok((rows, usage))
    }

    fn end_flush(&self, result: Result<(), StorageError>, durable: Option<LogId>) {
        if result.is_ok() {
            let mut applied = self.applied.write();
            if let Some(flushing) = applied.flushing.take() {
                applied.usage = flushing.usage.unwrap_or(applied.usage);
                applied.durable = durable;
            }
        }
        self.flushes.send_modify(|state| {
            state.ended += 1;
            state.failed = state.failed.take().or(result.err());
        });
    }

    /// Waits until `reached` is true of the applied state, which is asked again whenever a flush has ended; begins a
    /// flush whenever none is under way.
    pub(super) async fn flush_until(self: &Arc<Self>, reached: impl Fn(&Applied) -> bool) -> Result<(), StorageError> {
        let mut flushes = self.flushes.subscribe();
        loop {
            if let Some(error) = flushes.borrow_and_update().failed.clone() {
                return Err(error);
            }
            if reached(&self.applied.read()) {
                return Ok(());
            }
            let core = self.clone();
            let begun = tokio::task::spawn_blocking(move || core.begin_flush()).await;
            let under_way = begun.map_err(|_| StorageError::Closed)??;
            if under_way {
                flushes.changed().await.map_err(|_| StorageError::Closed)?;
            } else if !reached(&self.applied.read()) {
                return Err(StorageError::Fenced);
            }
        }
    }

    /// Waits until all that has been applied by now is durable.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), StorageError> {
        let target = self.applied.read().group.head.applied;
        self.flush_until(|applied| applied.durable >= target).await
    }

    /// Replaces the state by the one in another store, once the switch of the replica's record is durable.
    pub(super) async fn switch(self: &Arc<Self>, store: StoreId, write: Write) -> Result<(), StorageError> {
        self.applied.write().switching = true;
        let switched = self.switch_alone(store, write).await;
        self.applied.write().switching = false;
        // A switch counts as a flush for who waits for one.
        self.flushes.send_modify(|state| state.ended += 1);
        switched
    }

    async fn switch_alone(self: &Arc<Self>, store: StoreId, write: Write) -> Result<(), StorageError> {
        let mut flushes = self.flushes.subscribe();
        loop {
            if let Some(error) = flushes.borrow_and_update().failed.clone() {
                return Err(error);
            }
            if self.applied.read().flushing.is_none() {
                break;
            }
            flushes.changed().await.map_err(|_| StorageError::Closed)?;
        }
        let engine = self.shared.engine.clone();
        let group = self.group;
        let load = move || Applied::load(&engine.frozen(), &group, store);
        let mut loaded = tokio::task::spawn_blocking(load).await.map_err(|_| StorageError::Closed)??;
        self.shared.writer.write(write.fenced(&self.fence)).await?;
        let mut applied = self.applied.write();
        loaded.switching = true;
        *applied = loaded;
        for key in self.watchers.keys() {
            // The switch is durable: a row that cannot be read may not undo it, and is met again by who reads it.
            if let Ok(found) = applied.read(&self.shared.engine, &key) {
                let version = found.as_ref().map_or(applied.group.head.revision, |(version, _)| *version);
                self.watchers.tell(&key, version, found.as_ref().map(|(_, value)| value));
            }
        }
        Ok(())
    }
}

impl Applied {
    /// The state as the engine has it.
    fn load(frozen: &Frozen, group: &GroupId, store: StoreId) -> Result<Self, StorageError> {
        let head = read_head(frozen, group, store)?;
        let usage = frozen
            .get(Space::State, &keys::usage(store, group))?
            .ok_or_else(|| StorageError::corrupt("the usage row", "it is missing"))?;
        let usage = wire::decode(&usage).map_err(StorageError::undecodable("the usage row"))?;
        let mut sessions = Vec::new();
        for row in frozen.rows(Space::State, &keys::sessions(store, group), None) {
            let (key, value) = row?;
            let id = keys::session_of(&key).ok_or_else(|| StorageError::corrupt("a session row", "its key"))?;
            sessions.push((id, wire::decode(&value).map_err(StorageError::undecodable("a session row"))?));
        }
        Ok(Self {
            store,
            durable: head.applied,
            group: GroupState { head, sessions: Sessions::from_records(sessions) },
            dirty: Changes::default(),
            unflushed: false,
            flushing: None,
            usage,
            switching: false,
        })
    }

    /// A key's version and value.
    pub(super) fn read(&self, engine: &Engine, key: &[u8]) -> Result<Option<(Version, Bytes)>, StorageError> {
        if let Some(change) = self.change(key) {
            return Ok(change.found());
        }
        let row = engine.get(Space::Data, &keys::data(self.store, &Position::of_key(key), key))?;
        let Some(row) = row else { return Ok(None) };
        let (version, value) = read_data_row(&row)?;
        Ok(Some((version, Bytes::copy_from_slice(value))))
    }

    /// The newest change of a key that is not in the engine for certain.
    fn change(&self, key: &[u8]) -> Option<&Change> {
        self.dirty.get(key).or_else(|| self.flushing.as_ref().and_then(|flushing| flushing.changes.get(key)))
    }

    /// Bytes of changes in memory.
    pub(super) fn unflushed_bytes(&self) -> usize {
        self.dirty.bytes() + self.flushing.as_ref().map_or(0, |flushing| flushing.changes.bytes())
    }

    /// Bytes of changes that no flush has taken.
    pub(super) fn dirty_bytes(&self) -> usize {
        self.dirty.bytes()
    }

    /// The last entry whose effect is durable.
    pub(super) fn durable(&self) -> Option<LogId> {
        self.durable
    }

    /// Keys and bytes, of just this state.
    pub(super) fn usage(&self, engine: &Engine) -> Result<Usage, StorageError> {
        let mut usage = self.usage;
        let stored = |key: &Bytes, change: &Change| -> Result<Option<usize>, StorageError> {
            let row = engine.get(Space::Data, &keys::data(self.store, &change.position, key))?;
            Ok(row.map(|row| row.len()))
        };
        let row_bytes = |change: &Change| change.value.as_ref().map(|value| value.len() + 8);
        let flushing = self.flushing.as_ref();
        match flushing.and_then(|flushing| flushing.usage) {
            Some(after) => usage = after,
            None => {
                // Nothing of the flush is queued, so the engine has the rows as they were before it.
                for (key, change) in flushing.iter().flat_map(|flushing| flushing.changes.iter()) {
                    usage.replace(key.len(), stored(key, change)?, row_bytes(change));
                }
            }
        }
        for (key, change) in self.dirty.iter() {
            let before = match flushing.and_then(|flushing| flushing.changes.get(key)) {
                Some(change) => row_bytes(change),
                None => stored(key, change)?,
            };
            usage.replace(key.len(), before, row_bytes(change));
        }
        Ok(usage)
    }
}

/// Reads a head row.
pub(super) fn read_head(frozen: &Frozen, group: &GroupId, store: StoreId) -> Result<Head, StorageError> {
    let row = frozen
        .get(Space::State, &keys::head(store, group))?
        .ok_or_else(|| StorageError::corrupt("the head row", "it is missing"))?;
    let head: Head = wire::decode(&row).map_err(StorageError::undecodable("the head row"))?;
    if head.group != *group {
        return Err(StorageError::corrupt("the head row", "it is another group's"));
    }
    Ok(head)
}
