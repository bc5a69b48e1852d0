//! Commands that change a group's data, and their answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{CommandNumber, GroupClock, SessionId, Version};

/// What a client wants done to one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Sets a key if it is as expected.
    CompareAndSwap {
        /// The key.
        key: Bytes,
        /// What it must be now.
        expected: Expected,
        /// Its new value.
        value: Bytes,
    },
}

impl Op {
    /// The key it is about.
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key } | Self::CompareAndSwap { key, .. } => key,
        }
    }

    /// The value it carries, if it does.
    pub const fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put { value, .. } | Self::CompareAndSwap { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }
}

/// What a compare-and-swap expects of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// There is no such key.
    Absent,
    /// The key's last write was this one.
    Version(Version),
}

/// Names one command of one session for ever; every copy carries the same (after RIFL, Lee et al., SOSP 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandId {
    /// Whose command it is.
    pub session: SessionId,
    /// Which of that session's.
    pub number: CommandNumber,
    /// The lowest number that the session may still send; answers below are forgotten.
    pub watermark: CommandNumber,
    /// The group clock past which it is refused.
    pub expires: GroupClock,
}

/// A command as a session sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCommand {
    /// Its name.
    pub id: CommandId,
    /// What it does.
    pub op: Op,
}

/// The result of a command that was applied; kept until the session's watermark passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The key was written or removed; its version then.
    Done(Version),
    /// There was nothing to remove.
    NotFound,
    /// The key was not as expected; its version, 0 when absent.
    Conflict(Version),
}

/// Why a command had no effect. Each is final for this copy of it, and says nothing of other copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The group does not own the key (any more).
    WrongGroup,
    /// The group is sealed by a merge.
    Sealed,
    /// The number is below the session's watermark.
    BelowWatermark,
    /// The group clock is past the command's `expires`.
    Expired,
    /// `expires` lies further ahead than any deadline may.
    ExpiresTooFarAhead,
    /// The group keeps as many sessions, or the session as many answers, as it may.
    TableFull,
    /// The key or the value is larger than the network's bounds.
    TooLarge,
    /// The group holds more than it may and cannot split.
    GroupTooLarge,
}
