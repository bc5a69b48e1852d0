//! Storage in a directory of its own, and short ways to write to it as openraft does.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    EntryPayload,
    storage::{IOFlushed, RaftLogStorage, RaftStateMachine},
    testing::{log_id, membership_ent},
};
use xorum_behaviours::wire::{
    ClientCommand, CommandId, CommandNumber, GroupClock, GroupId, NetworkId, Op, ReplicaId, ReplicaNumber, SessionId,
    Version,
};

use crate::{
    group::{
        command::{Body, Command},
        raft::{Entry, LogId, TypeConfig},
        state::Head,
    },
    storage::{
        Replica, Storage, StorageConfig, StorageError,
        writer::{Fault, Faults},
    },
};

/// How long a condition may take to come true.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// A directory of its own, in memory where the system has such: what is tested is not the disk.
pub(super) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// The number that replicas of tests have.
pub(super) const NUMBER: ReplicaNumber = ReplicaNumber(1);

/// A flush only when one is asked for.
pub(super) fn config() -> StorageConfig {
    StorageConfig { flush_interval: Duration::from_secs(3600), cache_bytes: 1 << 20, ..StorageConfig::default() }
}

/// Fails the commits that `at` says.
pub(super) fn faulty(at: impl Fn(u64) -> Option<Fault> + Send + Sync + 'static) -> StorageConfig {
    let faults: Faults = Arc::new(at);
    StorageConfig { faults: Some(faults), ..config() }
}

pub(super) fn open(dir: &Path) -> Storage {
    Storage::open(dir, config()).expect("storage opens")
}

/// The first head of the nth of a test's groups.
pub(super) fn head(n: u8) -> Head {
    Head::founding(&NetworkId([n; 32]))
}

pub(super) fn group(n: u8) -> GroupId {
    head(n).group
}

/// Storage with one empty replica, of the first group.
pub(super) async fn one_replica(dir: &Path) -> (Storage, Replica) {
    let storage = open(dir);
    storage.create(head(1), NUMBER).await.expect("is made");
    let replica = storage.replica(&group(1)).expect("opens");
    (storage, replica)
}

pub(super) fn id(term: u64, index: u64) -> LogId {
    log_id::<TypeConfig>(term, ReplicaId::from(0), index)
}

pub(super) fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: id(term, index), payload: EntryPayload::Blank }
}

pub(super) fn membership(term: u64, index: u64, members: &[u64]) -> Entry {
    let members = members.iter().map(|n| ReplicaId::from(*n)).collect();
    membership_ent::<TypeConfig>(term, ReplicaId::from(0), index, vec![members])
}

/// An entry in which a session of its own does something.
pub(super) fn entry(term: u64, index: u64, op: Op) -> Entry {
    let id = CommandId {
        session: SessionId([7; 16]),
        number: CommandNumber(index),
        watermark: CommandNumber(index.saturating_sub(3)),
        expires: GroupClock(60_000),
    };
    let body = Body::Client(ClientCommand { id, op });
    let payload = EntryPayload::Normal(Command { clock: GroupClock(index), body });
    Entry { log_id: self::id(term, index), payload }
}

pub(super) fn put(index: u64, key: &str, value: &str) -> Entry {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    entry(1, index, Op::Put { key, value })
}

pub(super) fn delete(index: u64, key: &str) -> Entry {
    entry(1, index, Op::Delete { key: Bytes::copy_from_slice(key.as_bytes()) })
}

impl Replica {
    /// Appends, and waits until that is durable.
    pub(super) async fn append(&mut self, entries: Vec<Entry>) -> Result<(), std::io::Error> {
        self.append_unsynced(entries).await?.await.expect("is answered")
    }

    /// Appends; what is returned tells when that is durable.
    pub(super) async fn append_unsynced(
        &mut self,
        entries: Vec<Entry>,
    ) -> Result<tokio::sync::oneshot::Receiver<Result<(), std::io::Error>>, std::io::Error> {
        let (flushed, durable) = <TypeConfig as openraft::type_config::TypeConfigExt>::oneshot();
        self.log.append(entries, IOFlushed::signal(flushed)).await?;
        Ok(durable)
    }

    /// Applies what was appended before.
    pub(super) async fn apply(&mut self, entries: Vec<Entry>) -> Result<(), std::io::Error> {
        self.machine.apply(futures::stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await
    }

    /// Appends and applies.
    pub(super) async fn take(&mut self, entries: Vec<Entry>) {
        self.append(entries.clone()).await.expect("is appended");
        self.apply(entries).await.expect("is applied");
    }

    /// Flushes what was applied.
    pub(super) async fn flush(&self) -> Result<(), StorageError> {
        self.view.core().flush().await
    }

    pub(super) fn value(&self, key: &str) -> Option<(Version, Bytes)> {
        self.view.read(key.as_bytes()).expect("reads").found
    }

    /// Every entry of the log.
    pub(super) async fn entries(&mut self) -> Vec<Entry> {
        openraft::RaftLogReader::try_get_log_entries(&mut self.log, ..).await.expect("reads")
    }
}
