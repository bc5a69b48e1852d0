//! Who waits for changes of a key.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use xorum_behaviours::wire::Version;

/// A change as it was applied: its version, and the value, none where the key was removed.
type Change = (Version, Option<Bytes>);

/// The watched keys of one replica. Each keeps only its newest change: so memory is bounded by the watchers.
#[derive(Clone, Default)]
pub(super) struct Watchers {
    keys: Arc<Mutex<HashMap<Bytes, watch::Sender<Option<Change>>>>>,
}

impl Watchers {
    /// Watches a key, from now on.
    pub(super) fn watch(&self, key: Bytes) -> KeyWatch {
        let changes = self.keys.lock().entry(key.clone()).or_default().subscribe();
        KeyWatch { key, changes, watchers: self.clone() }
    }

    /// Is nothing watched?
    pub(super) fn is_empty(&self) -> bool {
        self.keys.lock().is_empty()
    }

    /// Tells who watches it that a key changed.
    pub(super) fn tell(&self, key: &Bytes, version: Version, value: Option<&Bytes>) {
        if let Some(sender) = self.keys.lock().get(key) {
            sender.send_replace(Some((version, value.cloned())));
        }
    }

    /// The watched keys.
    pub(super) fn keys(&self) -> Vec<Bytes> {
        self.keys.lock().keys().cloned().collect()
    }
}

/// Waits for changes of a key. Of changes that come while nobody waits only the newest is told.
pub struct KeyWatch {
    key: Bytes,
    changes: watch::Receiver<Option<Change>>,
    watchers: Watchers,
}

impl KeyWatch {
    /// The newest change applied since the watch began or this was last called; waits for one.
    pub async fn changed(&mut self) -> (Version, Option<Bytes>) {
        loop {
            if self.changes.changed().await.is_err() {
                // The sender stays while a watch is there; without it nothing can change.
                std::future::pending::<()>().await;
            }
            if let Some(change) = self.changes.borrow_and_update().clone() {
                return change;
            }
        }
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        let mut keys = self.watchers.keys.lock();
        if keys.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            keys.remove(&self.key);
        }
    }
}
