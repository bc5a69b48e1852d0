//! What the rest of the peer reads of a replica's applied state.

use std::sync::Arc;

use bytes::Bytes;
use xorum_behaviours::{
    space::Position,
    wire::{ClientCommand, GroupClock, Version},
};

use super::{error::StorageError, replica::Core, usage::Usage, watch::KeyWatch};
use crate::group::{raft::LogId, sessions::Verdict, state::Head};

/// What a replica's applied state says of a key. All of it is of one state (invariant 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Is the key one of the group's?
    pub owned: bool,
    /// The key's version and value; none where it is absent, or not the group's.
    pub found: Option<(Version, Bytes)>,
    /// The group's revision.
    pub revision: Version,
}

/// Reads one replica's applied state. It is of the opening that it came with.
#[derive(Clone)]
pub struct View {
    core: Arc<Core>,
}

impl View {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    #[cfg(test)]
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// All of the state but sessions and data.
    pub fn head(&self) -> Head {
        self.core.applied.read().group.head.clone()
    }

    /// What the state says of a command at a group clock: what applying it next would, short of its effect.
    pub fn judge(&self, clock: GroupClock, command: &ClientCommand) -> Verdict {
        self.core.applied.read().group.judge(self.core.bounds(), clock, command)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When its row cannot be read.
    pub fn read(&self, key: &[u8]) -> Result<Reading, StorageError> {
        let applied = self.core.applied.read();
        let owned = applied.group.head.prefix.contains(&Position::of_key(key));
        let found = if owned { applied.read(&self.core.shared.engine, key)? } else { None };
        Ok(Reading { owned, found, revision: applied.group.head.revision })
    }

    /// How much the group holds, exactly.
    ///
    /// # Errors
    /// When a row that changed since the last flush cannot be read.
    pub fn usage(&self) -> Result<Usage, StorageError> {
        self.core.applied.read().usage(&self.core.shared.engine)
    }

    /// Watches a key, from now on; it need not be the group's.
    pub fn watch(&self, key: Bytes) -> KeyWatch {
        self.core.watchers.watch(key)
    }

    /// The last entry whose effect is durable: the log may be purged up to it.
    pub fn durable_applied(&self) -> Option<LogId> {
        self.core.applied.read().durable()
    }
}
