//! Snapshots, streamed in bounded chunks: the `bulk` class of links.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{GroupId, Origin, ReplicaNumber};

/// Names one transfer of a snapshot; chosen by the sender at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransferId(pub u64);

/// One row of a group's state, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRow {
    /// Its key within the store.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// What a leader sends to a replica that lags behind its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkRequest {
    /// A snapshot begins; an earlier transfer to the same replica ends.
    Begin {
        /// Names the transfer.
        transfer: TransferId,
        /// The group.
        group: GroupId,
        /// Where the group came from.
        origin: Origin,
        /// The sender's replica.
        from: ReplicaNumber,
        /// The receiver's replica.
        to: ReplicaNumber,
        /// The leader's vote and the snapshot's meta, encoded.
        head: Bytes,
    },
    /// The next rows, in order of their keys.
    Rows {
        /// The transfer.
        transfer: TransferId,
        /// Counts chunks from 0.
        sequence: u64,
        /// The rows.
        rows: Vec<SnapshotRow>,
    },
    /// All rows were sent: install it.
    End {
        /// The transfer.
        transfer: TransferId,
        /// How many chunks there were.
        chunks: u64,
        /// How many rows there were.
        rows: u64,
    },
}

/// What became of a [`BulkRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkAnswer {
    /// The chunk is stored: send the next.
    Continue,
    /// The snapshot is installed, or was not needed: Raft's answer, encoded.
    Installed(Bytes),
    /// The replica is to be seeded by this peer's replica of its parent.
    NotYet,
    /// The number told is dead here for ever: the highest dead one.
    Gone(ReplicaNumber),
    /// The transfer broke off here: begin again.
    Refused(String),
    /// As much as may be is in work already: begin again later.
    Busy,
}
