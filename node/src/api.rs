//! What a program asks of a [`Node`](crate::Node) and what it gets.

use std::time::Duration;

use bytes::Bytes;
pub use xorum_behaviours::wire::{
    Descriptor, Expected, GroupInfo, PeerInfo, PeerRole, PeerStatus, ReplicaRole, Version,
};

/// The deadline of an operation unless another is set.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest deadline of an operation.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// A value, and the version of its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The version of the key's last write.
    pub version: Version,
    /// The value.
    pub value: Bytes,
}

/// What a stale read saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleRead {
    /// The value; none when absent.
    pub found: Option<Versioned>,
    /// For how long, at most, the answering replica may have missed writes.
    pub stale: Duration,
}

/// What became of a compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It was as expected, and is now written at this version.
    Done(Version),
    /// It was not: its version is this one, 0 when absent.
    Conflict(Version),
}

/// A change of a watched key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The version of the write; it only grows from one change to the next.
    pub version: Version,
    /// The value; none when the key was removed.
    pub value: Option<Bytes>,
}

/// Where a key lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The key's position.
    pub position: xorum_behaviours::space::Position,
    /// Its group.
    pub descriptor: Descriptor,
}
