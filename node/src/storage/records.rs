//! What storage records of replicas: rows of the `meta` keyspace.

use serde::{Deserialize, Serialize};
use xorum_behaviours::wire::{GroupId, Origin, ReplicaNumber};

use super::{
    engine::{Row, Space},
    error::StorageError,
    keys,
};
use xorum_behaviours::wire;

/// Names a store: the rows of one replica's state, or of one installation. Never used twice on a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(pub u64);

/// Does a replica work?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It does.
    Live,
    /// It is kept, but neither opened nor written.
    Quarantined {
        /// Why.
        reason: String,
    },
}

/// What is known of a replica without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// The group.
    pub group: GroupId,
    /// The replica's number.
    pub number: ReplicaNumber,
    /// Where the group came from.
    pub origin: Origin,
    /// Where its state is.
    pub store: StoreId,
    /// Does it work?
    pub condition: Condition,
}

impl ReplicaRecord {
    /// The row that records it.
    pub(super) fn row(&self) -> Result<Row, StorageError> {
        Ok(Row::put(Space::Meta, keys::replica(&self.group), wire::encode(self)?))
    }
}

/// Rows that are to be dropped, and will never be written again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Dropped {
    /// A store.
    Store(StoreId),
    /// A replica's log and Raft state.
    Log {
        /// The group.
        group: GroupId,
        /// The replica's number.
        number: ReplicaNumber,
    },
}

impl Dropped {
    /// The key of the row that records it.
    pub(super) fn key(&self) -> Vec<u8> {
        match self {
            Self::Store(store) => keys::drop_store(*store),
            Self::Log { group, number } => keys::drop_log(group, *number),
        }
    }

    /// The row that records it.
    pub(super) fn row(&self) -> Result<Row, StorageError> {
        Ok(Row::put(Space::Meta, self.key(), wire::encode(self)?))
    }

    /// The ranges that are to go: every key in the space that begins so.
    pub(super) fn ranges(&self) -> [(Space, Vec<u8>); 2] {
        match self {
            Self::Store(store) => {
                let prefix = keys::of_store(*store).to_vec();
                [(Space::Data, prefix.clone()), (Space::State, prefix)]
            }
            Self::Log { group, number } => {
                let prefix = keys::of_replica(group, *number);
                [(Space::Log, prefix.clone()), (Space::Raft, prefix)]
            }
        }
    }
}
