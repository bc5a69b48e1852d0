//! The versioned message types, their CBOR codec and their limits.
//!
//! Every message is one CBOR value (RFC 8949). The protocol version is part of each protocol's name and of the
//! admission handshake; within a version, fields are only added, each with a default. Byte strings are always
//! encoded as byte strings, never as arrays. Nothing here does I/O.

mod codec;
mod command;
mod descriptor;
mod genesis;
mod ids;
mod operation;
mod raft;
mod snapshot;
#[cfg(test)]
mod tests;

pub use codec::{DecodeError, EncodeError, decode, encode, encode_into};
pub use command::{Answer, ClientCommand, CommandId, Expected, Op, Refusal};
pub use descriptor::{Descriptor, PeerAddrs, Route, VoterSeat};
pub use genesis::{Access, Bounds, Genesis, GenesisError, NetworkId, PlacementTimings, RaftTimings, Timings};
pub use ids::{CommandNumber, Epoch, GroupClock, GroupId, ReplicaId, ReplicaNumber, SessionId, Version};
pub use operation::{
    Consistency, GroupInfo, OpAnswer, OpRequest, PeerInfo, PeerRole, PeerStatus, ReadAnswer, ReadRequest, ReplicaRole,
    WatchAnswer, WatchRequest,
};
pub use raft::{
    Farewell, GroupAnswer, GroupMessage, GroupMessageKind, HeardPeer, LastLog, Origin, PeerAnswer, PeerRequest, Survey,
    SurveyAnswer,
};
pub use snapshot::{BulkAnswer, BulkRequest, SnapshotRow, TransferId};

/// The version of everything said on the wire. Peers of different versions refuse each other by name.
pub const PROTOCOL_VERSION: u16 = 1;

/// The longest encoded message of any class, in bytes. A value of the largest size fits with room to spare.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The largest key, in bytes. A network's genesis record can only lower it.
pub const MAX_KEY_BYTES: usize = 1024;

/// The largest value, in bytes. A network's genesis record can only lower it.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// The most peers that one message may name.
pub const MAX_PEERS_IN_MESSAGE: usize = 256;
