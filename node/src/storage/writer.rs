//! The one writer: all groups' writes, in the order of one queue, one sync for all that wait.
//!
//! A thread takes everything in the queue, commits it as one atomic, synced batch of the engine, then answers every
//! caller. Writes that need no sync of their own (`committed`, purges) wait in the queue for the next that does: so
//! every batch begins after the one before it is durable, which lets recovery tell a torn tail from corruption.
//!
//! A failed sync is never retried: what it wrote may or may not be on the disk (Rebello et al., ATC 2020). The writer
//! then refuses everything, for ever, with that failure; only reopening the directory tells what was kept.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::{
    engine::{Engine, Row},
    error::StorageError,
};

/// Bytes of writes that may wait or be in work; who wants to add more waits.
const ROOM_BYTES: usize = 32 * 1024 * 1024;

/// A write that takes longer is logged: everyone waits for it.
const SLOW: Duration = Duration::from_millis(50);

/// Writes that may wait for one that needs a sync.
const MAX_UNSYNCED: usize = 1024;

/// Called once, on the writer's thread, with what became of a write: it must be short and must not block.
pub(super) type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// Which opening of a replica a write belongs to. Once there is a newer one, it is refused.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    current: Arc<AtomicU64>,
    own: u64,
}

impl Fence {
    /// Makes all earlier fences of the counter stale, and one that is not.
    pub(super) fn raise(current: &Arc<AtomicU64>) -> Self {
        let own = current.fetch_add(1, Ordering::SeqCst) + 1;
        Self { current: current.clone(), own }
    }

    /// Is it the newest?
    pub(super) fn holds(&self) -> bool {
        self.current.load(Ordering::SeqCst) == self.own
    }
}

/// Rows that are written together.
pub(super) struct Write {
    rows: Vec<Row>,
    sync: bool,
    fence: Option<Fence>,
    done: Option<Done>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Write {
    /// A write that must be synced.
    pub(super) fn synced(rows: Vec<Row>) -> Self {
        Self { rows, sync: true, fence: None, done: None, _room: None }
    }

    /// A write that may wait for the sync of another.
    pub(super) fn lazy(rows: Vec<Row>) -> Self {
        Self { sync: false, ..Self::synced(rows) }
    }

    /// Refuses it once the fence is stale.
    pub(super) fn fenced(self, fence: &Fence) -> Self {
        Self { fence: Some(fence.clone()), ..self }
    }

    /// Says whom to tell.
    pub(super) fn then(self, done: impl FnOnce(Result<(), StorageError>) + Send + 'static) -> Self {
        Self { done: Some(Box::new(done)), ..self }
    }

    fn answer(self, result: Result<(), StorageError>) {
        if let Some(done) = self.done {
            done(result);
        }
    }

    fn bytes(&self) -> usize {
        self.rows.iter().map(Row::bytes).sum()
    }
}

/// Where tests make a commit fail.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is written.
    BeforeWrite,
    /// All is written, and the sync is said to have failed.
    AfterWrite,
}

/// Says of the nth commit whether it fails.
#[cfg(test)]
pub(crate) type Faults = Arc<dyn Fn(u64) -> Option<Fault> + Send + Sync>;

#[derive(Default)]
struct Queue {
    writes: Vec<Write>,
    needs_sync: bool,
    closed: bool,
}

/// The queue before the writer's thread.
pub(super) struct Writer {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Arc<Semaphore>,
    failed: watch::Sender<Option<StorageError>>,
    #[cfg(test)]
    faults: Option<Faults>,
}

impl Writer {
    pub(super) fn new(#[cfg(test)] faults: Option<Faults>) -> Self {
        Self {
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Arc::new(Semaphore::new(ROOM_BYTES)),
            failed: watch::Sender::new(None),
            #[cfg(test)]
            faults,
        }
    }

    /// The writer's failure, once there is one.
    pub(super) fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.failed.subscribe()
    }

    /// Queues a write, at once. Bounded only by the caller: for what is small, or bounded elsewhere.
    pub(super) fn submit(&self, write: Write) {
        let refused = {
            let mut queue = self.queue.lock();
            match self.refusal(&queue) {
                Some(error) => Some((write, error)),
                None => {
                    queue.needs_sync |= write.sync;
                    queue.writes.push(write);
                    if queue.needs_sync || queue.writes.len() >= MAX_UNSYNCED {
                        self.work.notify_one();
                    }
                    None
                }
            }
        };
        if let Some((write, error)) = refused {
            write.answer(Err(error));
        }
    }

    fn refusal(&self, queue: &Queue) -> Option<StorageError> {
        self.failed.borrow().clone().or(queue.closed.then_some(StorageError::Closed))
    }

    /// Waits until there is room for a write, which keeps it until it is written.
    pub(super) async fn room_for(&self, mut write: Write) -> Write {
        let bytes = write.bytes().clamp(1, ROOM_BYTES) as u32;
        // The semaphore is never closed.
        write._room = self.room.clone().acquire_many_owned(bytes).await.ok();
        write
    }

    /// Queues a write once there is room for it, and waits until it is durable.
    pub(super) async fn write(&self, write: Write) -> Result<(), StorageError> {
        let (answer, written) = oneshot::channel();
        let write = self.room_for(write).await;
        self.submit(write.then(|result| drop(answer.send(result))));
        written.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Queues a write, and blocks until it is durable. Without rows, waits for all that was queued before.
    pub(super) fn write_blocking(&self, write: Write) -> Result<(), StorageError> {
        let (answer, written) = std::sync::mpsc::sync_channel(1);
        self.submit(write.then(move |result| drop(answer.send(result))));
        written.recv().unwrap_or(Err(StorageError::Closed))
    }

    /// Lets the thread end once it has written what is queued; what is queued later is refused.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_one();
    }

    /// The writer's thread.
    pub(super) fn run(&self, engine: &Engine) {
        let _ending = Ending(self);
        let mut commits = 0;
        loop {
            let (writes, closed) = {
                let mut queue = self.queue.lock();
                while !queue.needs_sync && !queue.closed && queue.writes.len() < MAX_UNSYNCED {
                    self.work.wait(&mut queue);
                }
                queue.needs_sync = false;
                (std::mem::take(&mut queue.writes), queue.closed)
            };
            if closed && writes.is_empty() {
                return;
            }
            self.commit(engine, writes, &mut commits);
        }
    }

    fn commit(&self, engine: &Engine, writes: Vec<Write>, commits: &mut u64) {
        let (mut current, stale): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| write.fence.as_ref().is_none_or(Fence::holds));
        for write in stale {
            write.answer(Err(StorageError::Fenced));
        }
        let rows = last_of_each(current.iter_mut().flat_map(|write| std::mem::take(&mut write.rows)));
        // A failure can come between the last look and now only from this thread.
        let result = match self.failed.borrow().clone() {
            Some(error) => Err(error),
            None if rows.is_empty() => Ok(()),
            None => {
                *commits += 1;
                let (count, began) = (rows.len(), Instant::now());
                let result = self.commit_rows(engine, rows, *commits);
                if began.elapsed() > SLOW {
                    tracing::debug!(rows = count, took = ?began.elapsed(), "a slow write");
                }
                result
            }
        };
        if let Err(error) = &result {
            self.failed.send_if_modified(|failed| failed.is_none() && failed.insert(error.clone()) == error);
        }
        for write in current {
            write.answer(result.clone());
        }
    }

    #[cfg(not(test))]
    fn commit_rows(&self, engine: &Engine, rows: Vec<Row>, _commit: u64) -> Result<(), StorageError> {
        engine.commit(rows)
    }

    #[cfg(test)]
    fn commit_rows(&self, engine: &Engine, rows: Vec<Row>, commit: u64) -> Result<(), StorageError> {
        let fault = self.faults.as_ref().and_then(|faults| faults(commit));
        if fault != Some(Fault::BeforeWrite) {
            engine.commit(rows)?;
        }
        match fault {
            None => Ok(()),
            Some(_) => Err(StorageError::Io {
                kind: std::io::ErrorKind::StorageFull,
                message: format!("injected into commit {commit}"),
            }),
        }
    }
}

/// Leaves nobody waiting when the thread ends, however it ends.
struct Ending<'a>(&'a Writer);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = self.0.queue.lock();
            let unasked = !std::mem::replace(&mut queue.closed, true);
            let error = StorageError::Engine("the writer's thread ended".to_owned());
            self.0
                .failed
                .send_if_modified(|failed| unasked && failed.is_none() && failed.insert(error.clone()) == &error);
            std::mem::take(&mut queue.writes)
        };
        for write in waiting {
            write.answer(Err(StorageError::Closed));
        }
    }
}

/// Of several rows for one key only the last: the engine gives all rows of a batch one sequence number.
fn last_of_each(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut kept: Vec<Row> = Vec::with_capacity(rows.size_hint().0);
    // Keys are the program's own: nobody can choose ones that collide.
    let mut at = HashMap::with_hasher(Xxh3DefaultBuilder);
    for row in rows {
        match at.entry((row.space, row.key.clone())) {
            std::collections::hash_map::Entry::Occupied(place) => kept[*place.get()] = row,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push(row);
            }
        }
    }
    kept
}
