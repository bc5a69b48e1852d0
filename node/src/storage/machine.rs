//! A replica's state machine, as openraft wants it.

use std::{io, sync::Arc};

use futures::{FutureExt, Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};

use super::{
    error::StorageError,
    replica::Core,
    snapshot::{OutgoingSnapshot, SnapshotData},
};
use crate::group::raft::{LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// The most entries that are applied under one hold of the lock: readers wait for no more.
const MAX_CHUNK: usize = 256;

/// A built snapshot.
pub type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// A replica's state machine.
pub struct StateMachine {
    core: Arc<Core>,
}

impl StateMachine {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Waits while more than twice the dirty limit waits to be flushed.
    async fn wait_for_room(&self) -> Result<(), StorageError> {
        let limit = self.core.shared.config.dirty_limit_bytes;
        if self.core.applied.read().unflushed_bytes() <= 2 * limit {
            return Ok(());
        }
        self.core.flush_until(|applied| applied.unflushed_bytes() <= 2 * limit).await
    }

    fn apply_chunk(&self, chunk: Vec<EntryResponder<TypeConfig>>) -> Result<(), StorageError> {
        let mut answers = Vec::with_capacity(chunk.len());
        let mut outcome = Ok(());
        let dirty_bytes = {
            let mut applied = self.core.applied.write();
            for (entry, responder) in chunk {
                match self.core.apply(&mut applied, entry) {
                    Ok(answer) => answers.extend(responder.map(|responder| (responder, answer))),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            applied.dirty_bytes()
        };
        for (responder, answer) in answers {
            responder.send(answer);
        }
        if dirty_bytes > self.core.shared.config.dirty_limit_bytes {
            self.core.shared.keeper.wake();
        }
        outcome
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.core.applied.read();
        Ok((applied.group.head.applied, applied.group.head.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(first) = entries.next().await {
            let mut chunk = vec![first?];
            while chunk.len() < MAX_CHUNK
                && let Some(Some(next)) = entries.next().now_or_never()
            {
                chunk.push(next?);
            }
            self.wait_for_room().await?;
            self.apply_chunk(chunk)?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { core: self.core.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        Ok(super::staging::install(&self.core, meta, snapshot).await?)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let (applied, durable) = {
            let applied = self.core.applied.read();
            (applied.group.head.applied, applied.durable())
        };
        if applied.is_none() {
            return Ok(None);
        }
        if durable.is_none() {
            self.core.flush().await?;
        }
        Ok(Some(durable_snapshot(&self.core)?))
    }
}

/// The snapshot of the last flush.
fn durable_snapshot(core: &Core) -> Result<Snapshot, StorageError> {
    let snapshot = OutgoingSnapshot::new(core)?;
    Ok(Snapshot { meta: snapshot.meta(), snapshot: SnapshotData::Outgoing(snapshot) })
}

/// Builds snapshots: flushes, and takes the engine's view of that.
pub struct Builder {
    core: Arc<Core>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.core.flush().await?;
        Ok(durable_snapshot(&self.core)?)
    }
}
