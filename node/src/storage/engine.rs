//! The engine's keyspaces, and rows to be written to them.

use std::path::Path;

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Slice, Snapshot,
};

use super::{error::StorageError, journal, keys};

/// The format that this program writes, and the newest that it reads.
const FORMAT: u32 = 1;

const MIB: u64 = 1024 * 1024;

/// A keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Space {
    /// Format, records.
    Meta,
    /// Votes, committed, purged.
    Raft,
    /// Log entries.
    Log,
    /// Heads, sessions.
    State,
    /// Users' keys.
    Data,
}

/// One row to be written or removed.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) space: Space,
    pub(super) key: Slice,
    /// None removes it.
    pub(super) value: Option<Slice>,
}

impl Row {
    pub(super) fn put(space: Space, key: impl Into<Slice>, value: impl Into<Slice>) -> Self {
        Self { space, key: key.into(), value: Some(value.into()) }
    }

    pub(super) fn remove(space: Space, key: impl Into<Slice>) -> Self {
        Self { space, key: key.into(), value: None }
    }

    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// The opened engine. Reads go to it from anywhere, writes only from the writer's thread.
#[derive(Clone)]
pub(super) struct Engine {
    database: Database,
    meta: Keyspace,
    raft: Keyspace,
    log: Keyspace,
    state: Keyspace,
    data: Keyspace,
}

impl Engine {
    /// Opens or makes the database in a directory, and checks its format.
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        std::fs::create_dir_all(dir)?;
        journal::cut_torn_tail(dir)?;
        let database = Database::builder(dir)
            .cache_size(cache_bytes)
            .worker_threads(2)
            .max_journaling_size(128 * MIB)
            .journal_compression(CompressionType::None)
            .open()
            .map_err(|error| match error {
                fjall::Error::Locked => StorageError::Locked(dir.to_owned()),
                error => error.into(),
            })?;
        let keyspace = |name: &str, memtable_bytes: u64| {
            database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes))
        };
        let engine = Self {
            meta: keyspace("meta", MIB)?,
            raft: keyspace("raft", MIB)?,
            log: keyspace("log", 4 * MIB)?,
            state: keyspace("state", 2 * MIB)?,
            data: keyspace("data", 4 * MIB)?,
            database,
        };
        engine.check_format()?;
        Ok(engine)
    }

    fn check_format(&self) -> Result<(), StorageError> {
        let Some(format) = self.get(Space::Meta, keys::FORMAT)? else {
            let row = Row::put(Space::Meta, keys::FORMAT, FORMAT.to_be_bytes());
            return self.commit([row]);
        };
        let format = u32::from_be_bytes(
            (*format).try_into().map_err(|_| StorageError::corrupt("the format's row", "not four bytes"))?,
        );
        match format {
            FORMAT => Ok(()),
            found if found > FORMAT => Err(StorageError::NewerFormat { found, supported: FORMAT }),
            found => Err(StorageError::corrupt("the format's row", format_args!("unknown format {found}"))),
        }
    }

    fn space(&self, space: Space) -> &Keyspace {
        match space {
            Space::Meta => &self.meta,
            Space::Raft => &self.raft,
            Space::Log => &self.log,
            Space::State => &self.state,
            Space::Data => &self.data,
        }
    }

    /// One row, as last committed.
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Slice>, StorageError> {
        Ok(self.space(space).get(key)?)
    }

    /// All rows as of now.
    pub(super) fn frozen(&self) -> Frozen {
        Frozen { engine: self.clone(), snapshot: self.database.snapshot() }
    }

    /// Moves all that is in memory into tables.
    #[cfg(test)]
    pub(super) fn write_tables(&self) -> Result<(), StorageError> {
        for space in [Space::Meta, Space::Raft, Space::Log, Space::State, Space::Data] {
            self.space(space).rotate_memtable_and_wait()?;
        }
        Ok(())
    }

    /// Writes rows as one atomic batch and syncs it. Only the writer may call this, once there is one.
    pub(super) fn commit(&self, rows: impl IntoIterator<Item = Row>) -> Result<(), StorageError> {
        let rows = rows.into_iter();
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), rows.size_hint().0)
            .durability(Some(PersistMode::SyncData));
        for row in rows {
            match row.value {
                Some(value) => batch.insert(self.space(row.space), row.key, value),
                None => batch.remove(self.space(row.space), row.key),
            }
        }
        Ok(batch.commit()?)
    }
}

/// All rows as of one moment.
#[derive(Clone)]
pub(super) struct Frozen {
    engine: Engine,
    snapshot: Snapshot,
}

impl Frozen {
    /// One row.
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Slice>, StorageError> {
        Ok(self.snapshot.get(self.engine.space(space), key)?)
    }

    /// The rows whose keys begin with `prefix`, from the first that is greater than `after`, in order.
    pub(super) fn rows(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(Slice, Slice), StorageError>> + use<> {
        self.rows_between(space, prefix, keys::end_of(prefix), after)
    }

    /// The rows from `first` to before `end`, but from the first that is greater than `after`, in order.
    pub(super) fn rows_between(
        &self,
        space: Space,
        first: &[u8],
        end: Option<Vec<u8>>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(Slice, Slice), StorageError>> + use<> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let start = match after {
            Some(after) if after >= first => Excluded(after.to_vec()),
            _ => Included(first.to_vec()),
        };
        self.range(space, (start, end.map_or(Unbounded, Excluded)))
    }

    /// The rows of a range of keys, in order.
    pub(super) fn range(
        &self,
        space: Space,
        range: (std::ops::Bound<Vec<u8>>, std::ops::Bound<Vec<u8>>),
    ) -> impl DoubleEndedIterator<Item = Result<(Slice, Slice), StorageError>> + use<> {
        self.snapshot.range(self.engine.space(space), range).map(|guard| Ok(guard.into_inner()?))
    }
}
