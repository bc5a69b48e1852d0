//! The genesis record: what a network is, fixed at its founding; its hash is the network's name.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{EncodeError, MAX_KEY_BYTES, MAX_VALUE_BYTES, encode};

/// The hash of a network's [`Genesis`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkId(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::space::write_hex(f, &self.0)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkId({self})")
    }
}

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Whoever reaches a peer can read and write.
    Open,
    /// Only who proves to know the network's key.
    Keyed,
}

/// Raft's timings, in milliseconds. All members of a group must agree on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftTimings {
    /// Between a leader's heartbeats.
    pub heartbeat_ms: u64,
    /// The shortest silence after which a follower campaigns.
    pub election_min_ms: u64,
    /// The longest; also the leader's lease.
    pub election_max_ms: u64,
}

/// Placement's timings, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementTimings {
    /// A voter silent for this long is dead and its seat is given away.
    pub replace_after_ms: u64,
    /// A closer newcomer must have been heard for this long before it displaces a live voter.
    pub settle_after_ms: u64,
}

/// Every timing that a profile sets together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Elections and heartbeats.
    pub raft: RaftTimings,
    /// Replacement of voters.
    pub placement: PlacementTimings,
}

impl Timings {
    /// Peers within a few milliseconds of each other.
    pub const LAN: Self = Self {
        raft: RaftTimings { heartbeat_ms: 50, election_min_ms: 200, election_max_ms: 350 },
        placement: PlacementTimings { replace_after_ms: 10_000, settle_after_ms: 30_000 },
    };

    /// Peers up to some hundred milliseconds apart.
    pub const WAN: Self = Self {
        raft: RaftTimings { heartbeat_ms: 300, election_min_ms: 1_500, election_max_ms: 3_000 },
        placement: PlacementTimings { replace_after_ms: 30_000, settle_after_ms: 60_000 },
    };
}

impl PlacementTimings {
    /// [`Self::replace_after_ms`] as a duration.
    pub const fn replace_after(&self) -> Duration {
        Duration::from_millis(self.replace_after_ms)
    }

    /// [`Self::settle_after_ms`] as a duration.
    pub const fn settle_after(&self) -> Duration {
        Duration::from_millis(self.settle_after_ms)
    }
}

/// The bounds that applying a command consults: the same on every replica, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The largest key, in bytes.
    pub max_key_bytes: u32,
    /// The largest value, in bytes.
    pub max_value_bytes: u32,
    /// The most sessions a group keeps.
    pub max_sessions: u32,
    /// The most answers a session keeps: the most commands it can have in flight.
    pub max_answers: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_key_bytes: MAX_KEY_BYTES as u32,
            max_value_bytes: MAX_VALUE_BYTES as u32,
            max_sessions: 10_000,
            max_answers: 4_096,
        }
    }
}

/// What a network is. Every peer and client gets it in the handshake, checks its hash, and keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// Makes two networks with the same settings two networks.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 32],
    /// The name a person gave it; may be empty.
    pub label: String,
    /// Who may connect.
    pub access: Access,
    /// R, the voters wanted in each group: 3, 5 or 7.
    pub replication_factor: u8,
    /// A group with more data than this splits.
    pub split_bytes: u64,
    /// Elections, heartbeats, replacement.
    pub timings: Timings,
    /// What applying a command consults.
    pub bounds: Bounds,
}

/// A genesis record that this program will not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// R is not 3, 5 or 7.
    #[error("the replication factor must be 3, 5 or 7, not {0}")]
    ReplicationFactor(u8),
    /// A label longer than [`Genesis::MAX_LABEL_BYTES`], or with control characters.
    #[error("the network's label must be at most {} bytes without control characters", Genesis::MAX_LABEL_BYTES)]
    Label,
    /// Timings that cannot work together.
    #[error("timings out of order: heartbeat < election min < election max <= replace after, none over a day")]
    Timings,
    /// A bound of zero, or above what the wire carries.
    #[error("a bound is zero or larger than the protocol carries")]
    Bounds,
}

impl Genesis {
    /// The longest label, in bytes.
    pub const MAX_LABEL_BYTES: usize = 64;

    /// The default for [`Self::split_bytes`]: 64 MiB.
    pub const DEFAULT_SPLIT_BYTES: u64 = 64 * 1024 * 1024;

    /// The network's name: the BLAKE3 hash of the encoded record.
    ///
    /// # Errors
    /// Only where the record cannot be encoded.
    pub fn network_id(&self) -> Result<NetworkId, EncodeError> {
        Ok(NetworkId(blake3::derive_key("xorum 1 network id", &encode(self)?)))
    }

    /// Checks that every field is one that this program can serve.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), GenesisError> {
        const DAY_MS: u64 = 24 * 3600 * 1000;
        if !matches!(self.replication_factor, 3 | 5 | 7) {
            return Err(GenesisError::ReplicationFactor(self.replication_factor));
        }
        if self.label.len() > Self::MAX_LABEL_BYTES || self.label.chars().any(char::is_control) {
            return Err(GenesisError::Label);
        }
        let Timings { raft, placement } = self.timings;
        let rising = 0 < raft.heartbeat_ms
            && raft.heartbeat_ms < raft.election_min_ms
            && raft.election_min_ms < raft.election_max_ms
            && raft.election_max_ms <= placement.replace_after_ms
            && placement.replace_after_ms <= DAY_MS
            && placement.settle_after_ms <= DAY_MS;
        if !rising {
            return Err(GenesisError::Timings);
        }
        let b = self.bounds;
        let within = (1..=MAX_KEY_BYTES as u32).contains(&b.max_key_bytes)
            && (1..=MAX_VALUE_BYTES as u32).contains(&b.max_value_bytes)
            && (1..=1_000_000).contains(&b.max_sessions)
            && (1..=65_536).contains(&b.max_answers)
            && self.split_bytes > 0;
        if within { Ok(()) } else { Err(GenesisError::Bounds) }
    }
}
