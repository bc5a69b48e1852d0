//! What is done in the background, on one thread: flushes from time to time, and drops in small paced batches.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use super::{
    Shared,
    engine::{Row, Space},
    error::StorageError,
    records::{Dropped, StoreId},
    writer::Write,
};

/// The most rows that one batch removes.
const DROP_ROWS: usize = 1000;
/// Between two such batches.
const DROP_PACE: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Work {
    woken: bool,
    closed: bool,
    /// What is to be dropped.
    drops: BTreeSet<Dropped>,
    /// Stores that are recorded as dropped, but in use until they are switched to or given up.
    kept: HashSet<StoreId>,
}

/// What the background thread has to do.
#[derive(Default)]
pub(super) struct Keeper {
    work: Mutex<Work>,
    changed: Condvar,
}

impl Keeper {
    /// Flush now.
    pub(super) fn wake(&self) {
        self.work.lock().woken = true;
        self.changed.notify_one();
    }

    /// End.
    pub(super) fn close(&self) {
        self.work.lock().closed = true;
        self.changed.notify_one();
    }

    /// A durable record says so: drop it.
    pub(super) fn drop_later(&self, dropped: Dropped) {
        self.work.lock().drops.insert(dropped);
        self.changed.notify_one();
    }

    /// This store is in use, whatever records say.
    pub(super) fn keep(&self, store: StoreId) {
        self.work.lock().kept.insert(store);
    }

    /// This store was switched to.
    pub(super) fn forget(&self, store: StoreId) {
        self.work.lock().kept.remove(&store);
    }

    /// This store was given up.
    pub(super) fn release(&self, store: StoreId) {
        self.forget(store);
        self.drop_later(Dropped::Store(store));
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.work.lock().drops.is_empty()
    }

    /// Waits for something to do; none at the end.
    fn next(&self, interval: Duration) -> Option<Option<Dropped>> {
        let mut work = self.work.lock();
        let pause = if work.drops.is_empty() { interval } else { interval.min(DROP_PACE) };
        if !work.woken && !work.closed {
            self.changed.wait_for(&mut work, pause);
        }
        work.woken = false;
        let due = work.drops.iter().find(|dropped| match dropped {
            Dropped::Store(store) => !work.kept.contains(store),
            Dropped::Log { .. } => true,
        });
        (!work.closed).then(|| due.cloned())
    }

    /// The thread; it ends when it is told to.
    pub(super) fn run(&self, shared: &Shared, interval: Duration) {
        let mut begun = None;
        while let Some(due) = self.next(interval) {
            for core in shared.cores() {
                // A failure is told to whoever waits for the flush, and stops the replica when it applies.
                if let Err(error) = core.begin_flush() {
                    tracing::warn!(group = %core.group, %error, "cannot flush");
                }
            }
            let Some(due) = due else { continue };
            match drop_some(shared, &due, &mut begun) {
                Ok(false) => {}
                Ok(true) => drop(self.work.lock().drops.remove(&due)),
                Err(StorageError::Closed) => return,
                Err(error) => {
                    tracing::warn!(?due, %error, "cannot drop, until the next start");
                    self.work.lock().drops.remove(&due);
                }
            }
        }
    }
}

/// Removes some rows of what is dropped; true when none is left, and the record is gone too.
fn drop_some(shared: &Shared, due: &Dropped, begun: &mut Option<(Dropped, Vec<u8>)>) -> Result<bool, StorageError> {
    if begun.as_ref().is_none_or(|(dropped, _)| dropped != due) {
        // What was queued before the record may still be on its way.
        shared.writer.write_blocking(Write::synced(Vec::new()))?;
        *begun = Some((due.clone(), Vec::new()));
    }
    let frozen = shared.engine.frozen();
    let mut rows = Vec::new();
    let mut whole = true;
    'spaces: for (space, prefix) in due.ranges() {
        for row in frozen.rows(space, &prefix, resume(begun, space)) {
            rows.push(Row::remove(space, row?.0));
            if rows.len() == DROP_ROWS {
                whole = false;
                break 'spaces;
            }
        }
    }
    if let (Some((_, after)), Some(last)) = (begun.as_mut(), rows.last()) {
        // Removed rows leave marks that are slow to pass over: begin behind them.
        *after = [&[tag(last.space)][..], &last.key].concat();
    }
    if whole {
        rows.push(Row::remove(Space::Meta, due.key()));
        *begun = None;
    }
    shared.writer.write_blocking(Write::synced(rows))?;
    Ok(whole)
}

/// Where the last batch ended, if it ended in this space.
fn resume(begun: &Option<(Dropped, Vec<u8>)>, space: Space) -> Option<&[u8]> {
    let (_, after) = begun.as_ref()?;
    let (of, key) = after.split_first()?;
    (*of == tag(space)).then_some(key)
}

const fn tag(space: Space) -> u8 {
    space as u8
}
