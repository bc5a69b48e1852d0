//! The durable storage of all groups of one peer: one engine, one writer, openraft's traits on it.
//!
//! - [`Storage`]: the replicas of a peer: made, opened, buried, quarantined.
//! - [`LogStore`]: a replica's log and vote; readable at once, durable when the writer says so.
//! - [`StateMachine`] applies to memory over the engine; [`View`] is what the rest of the peer reads of that.
//! - [`OutgoingSnapshot`], [`Staging`]: snapshots as they leave and arrive, in rows, with bounded memory.
//!
//! What holds, after every crash:
//! - Nothing is acknowledged before it is synced; durable applied never passes the durable log.
//! - A replica number that is dead stays dead (invariant 4); a store id is never used twice, and a store's range once
//!   dropped is never written again.
//! - A torn tail is cut; corruption elsewhere is a typed error (invariant 8).
//!
//! Blocking work is done on two threads, the writer's and the keeper's; both end with [`Storage::close`].

mod catalog;
mod changes;
#[doc(hidden)]
pub mod decode;
mod engine;
mod error;
mod journal;
mod keeper;
mod keys;
mod log;
mod machine;
mod records;
mod replica;
mod run;
mod snapshot;
mod staging;
mod stream;
mod tail;
mod usage;
mod view;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Weak, atomic::AtomicU64},
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use xorum_behaviours::wire::{Bounds, GroupId};

pub use error::StorageError;
pub use log::LogStore;
pub use machine::{Builder, Snapshot, StateMachine};
pub use records::{Condition, ReplicaRecord, StoreId};
pub use snapshot::{OutgoingSnapshot, SnapshotData};
pub use staging::{StagedSnapshot, Staging};
pub use usage::Usage;
pub use view::{Reading, View};
pub use watch::KeyWatch;

use self::{
    catalog::Catalog,
    engine::{Engine, Row, Space},
    keeper::Keeper,
    replica::Core,
    writer::{Fence, Write, Writer},
};

/// How storage is set up.
#[derive(Clone)]
pub struct StorageConfig {
    /// The engine's block cache, in bytes. Too small reads the disk more often; too large takes memory.
    pub cache_bytes: u64,
    /// The network's bounds, which applying consults.
    pub bounds: Bounds,
    /// Between flushes of what was applied. Too short costs syncs; too long makes a restart apply more again.
    pub flush_interval: Duration,
    /// Bytes of changes of one replica past which it is flushed early; past twice this, applying waits.
    pub dirty_limit_bytes: usize,
    /// Bytes of durable entries of one replica that stay in memory. Too small reads the disk for followers that lag
    /// a little; too large takes memory.
    pub log_cache_bytes: usize,
    /// Where tests make a commit fail.
    #[cfg(test)]
    pub(super) faults: Option<writer::Faults>,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            cache_bytes: 16 * 1024 * 1024,
            bounds: Bounds::default(),
            flush_interval: Duration::from_millis(500),
            dirty_limit_bytes: 2 * 1024 * 1024,
            log_cache_bytes: 512 * 1024,
            #[cfg(test)]
            faults: None,
        }
    }
}

/// What all parts of storage share.
pub(crate) struct Shared {
    config: StorageConfig,
    engine: Engine,
    writer: Writer,
    keeper: Keeper,
    catalog: tokio::sync::Mutex<Catalog>,
    /// What each group's replica was last opened as; and the counter that fences earlier openings.
    openings: Mutex<HashMap<GroupId, Opening>>,
}

#[derive(Default)]
struct Opening {
    generation: Arc<AtomicU64>,
    core: Weak<Core>,
}

impl Shared {
    /// The replicas that are open.
    fn cores(&self) -> Vec<Arc<Core>> {
        self.openings.lock().values().filter_map(|opening| opening.core.upgrade()).collect()
    }

    /// Refuses what is, and will be, written through earlier openings of a group's replica.
    fn fence(&self, group: &GroupId) -> Fence {
        Fence::raise(&self.openings.lock().entry(*group).or_default().generation)
    }
}

/// Runs a change of the records to its end, also when whoever asked for it does not wait for it.
async fn unbroken<T: Send + 'static>(
    change: impl Future<Output = Result<T, StorageError>> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::spawn(change).await.unwrap_or(Err(StorageError::Closed))
}

/// The threads, and what ends them.
struct Threads {
    shared: Arc<Shared>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Ends the threads, and waits for that; what is queued is written before.
    fn end(&self) {
        self.shared.keeper.close();
        self.shared.writer.close();
        let own = std::thread::current().id();
        for handle in std::mem::take(&mut *self.handles.lock()) {
            // A thread may be what drops the last handle; and one that panicked has ended too.
            if handle.thread().id() != own {
                drop(handle.join());
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}

/// The replicas of one peer. A cheap handle; when the last is dropped, the threads end.
#[derive(Clone)]
pub struct Storage {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// A replica, opened.
pub struct Replica {
    /// Its log.
    pub log: LogStore,
    /// Its state machine.
    pub machine: StateMachine,
    /// What the rest of the peer reads of its state.
    pub view: View,
}

impl Storage {
    /// Opens the storage in a directory, or makes one there.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::NewerFormat`], [`StorageError::Locked`], [`StorageError::Io`].
    pub fn open(dir: &Path, config: StorageConfig) -> Result<Self, StorageError> {
        let engine = Engine::open(dir, config.cache_bytes)?;
        let (catalog, drops) = Catalog::load(&engine)?;
        let interval = config.flush_interval;
        let writer = Writer::new(
            #[cfg(test)]
            config.faults.clone(),
        );
        let shared = Arc::new(Shared {
            config,
            engine,
            writer,
            keeper: Keeper::default(),
            catalog: tokio::sync::Mutex::new(catalog),
            openings: Mutex::default(),
        });
        for dropped in drops {
            shared.keeper.drop_later(dropped);
        }
        let threads = Threads { shared: shared.clone(), handles: Mutex::default() };
        let writing = shared.clone();
        let keeping = shared.clone();
        for (name, run) in [
            ("xorum-writer", Box::new(move || writing.writer.run(&writing.engine)) as Box<dyn FnOnce() + Send>),
            ("xorum-keeper", Box::new(move || keeping.keeper.run(&keeping, interval))),
        ] {
            let handle = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
            threads.handles.lock().push(handle);
        }
        Ok(Self { shared, threads: Arc::new(threads) })
    }

    /// The writer's failure, once there is one: from then on everything is refused with it.
    pub fn failed(&self) -> tokio::sync::watch::Receiver<Option<StorageError>> {
        self.shared.writer.failed()
    }

    /// Opens a replica for openraft. Handles from earlier openings can write no more.
    ///
    /// # Errors
    /// [`StorageError::NoReplica`], [`StorageError::Quarantined`]; [`StorageError::Corrupt`] where this replica's rows
    /// are: others are not touched by that.
    pub fn replica(&self, group: &GroupId) -> Result<Replica, StorageError> {
        let fence = self.shared.fence(group);
        // What earlier openings queued is written, or refused, before anything is read.
        self.shared.writer.write_blocking(Write::synced(Vec::new()))?;
        let record = catalog::read_live(&self.shared.engine, group)?;
        let (group, number) = (record.group, record.number);
        let log = LogStore::open(self.shared.clone(), group, number, fence.clone())?;
        let core = Arc::new(Core::open(self.shared.clone(), group, number, record.store, fence)?);
        self.shared.openings.lock().entry(group).or_default().core = Arc::downgrade(&core);
        Ok(Replica { log, machine: StateMachine::new(core.clone()), view: View::new(core) })
    }

    /// Flushes and syncs everything, and ends the threads. What is asked of any handle afterwards is refused; the
    /// directory is in use until the last of them, replicas and snapshots too, is dropped.
    ///
    /// # Errors
    /// The first failure; the threads have ended all the same.
    pub async fn close(&self) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for core in self.shared.cores() {
            match core.flush().await {
                // Its replica was retired, quarantined or opened anew: it has nothing to keep.
                Err(StorageError::Fenced) => {}
                flushed => outcome = outcome.and(flushed),
            }
        }
        // A last write that nobody needs: recovery takes a broken last write for one that a crash cut short.
        let last = Row::put(Space::Meta, keys::CLOSED, []);
        outcome = outcome.and(self.shared.writer.write(Write::synced(vec![last])).await);
        let threads = self.threads.clone();
        let ended = tokio::task::spawn_blocking(move || threads.end()).await;
        outcome.and(ended.map_err(|_| StorageError::Closed))
    }
}
