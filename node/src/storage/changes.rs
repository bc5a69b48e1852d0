//! Changes that are applied and not yet in the engine, and the rows that applying reads and writes through them.

use std::collections::HashMap;

use bytes::Bytes;
use xorum_behaviours::{space::Position, wire::Version};

use super::{
    engine::{Engine, Space},
    error::StorageError,
    keys,
    records::StoreId,
    watch::Watchers,
};
use crate::group::state::Rows;

/// What a dirty row takes in memory beside its key and value.
const ROW_OVERHEAD_BYTES: usize = 128;

/// A key's newest change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) position: Position,
    pub(super) version: Version,
    /// None removes the key.
    pub(super) value: Option<Bytes>,
}

impl Change {
    fn bytes(&self, key: &Bytes) -> usize {
        key.len() + self.value.as_ref().map_or(0, Bytes::len) + ROW_OVERHEAD_BYTES
    }

    /// Version and value, where it does not remove the key.
    pub(super) fn found(&self) -> Option<(Version, Bytes)> {
        self.value.clone().map(|value| (self.version, value))
    }
}

/// Changes not yet in the engine.
#[derive(Debug, Default)]
pub(super) struct Changes {
    rows: HashMap<Bytes, Change>,
    bytes: usize,
}

impl Changes {
    fn insert(&mut self, key: Bytes, change: Change) {
        self.bytes += change.bytes(&key);
        if let Some(replaced) = self.rows.insert(key.clone(), change) {
            self.bytes -= replaced.bytes(&key);
        }
    }

    /// How many keys changed.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Change> {
        self.rows.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Change)> {
        self.rows.iter()
    }
}

/// The row of a user's key.
pub(super) fn data_row(version: Version, value: &[u8]) -> Vec<u8> {
    [&version.0.to_be_bytes()[..], value].concat()
}

/// Version and value in the row of a user's key.
pub(super) fn read_data_row(row: &[u8]) -> Result<(Version, &[u8]), StorageError> {
    let (version, value) =
        row.split_first_chunk::<8>().ok_or_else(|| StorageError::corrupt("a data row", "it is cut short"))?;
    Ok((Version(u64::from_be_bytes(*version)), value))
}

/// The rows that applying reads and writes.
pub(super) struct Overlay<'a> {
    pub(super) engine: &'a Engine,
    pub(super) store: StoreId,
    /// Where changes go.
    pub(super) dirty: &'a mut Changes,
    /// Changes that a flush has taken.
    pub(super) flushing: Option<&'a Changes>,
    /// Whom to tell of changes.
    pub(super) watchers: Option<&'a Watchers>,
}

impl Overlay<'_> {
    fn change(&mut self, position: Position, key: Bytes, version: Version, value: Option<Bytes>) {
        if let Some(watchers) = self.watchers {
            watchers.tell(&key, version, value.as_ref());
        }
        self.dirty.insert(key, Change { position, version, value });
    }
}

impl Rows for Overlay<'_> {
    type Error = StorageError;

    fn version(&self, position: &Position, key: &[u8]) -> Result<Option<Version>, StorageError> {
        let change = self.dirty.get(key).or_else(|| self.flushing.and_then(|flushing| flushing.get(key)));
        if let Some(change) = change {
            return Ok(change.value.as_ref().map(|_| change.version));
        }
        let row = self.engine.get(Space::Data, &keys::data(self.store, position, key))?;
        row.map(|row| Ok(read_data_row(&row)?.0)).transpose()
    }

    fn put(&mut self, position: Position, key: Bytes, version: Version, value: Bytes) {
        self.change(position, key, version, Some(value));
    }

    fn delete(&mut self, position: Position, key: Bytes, version: Version) {
        self.change(position, key, version, None);
    }
}
