//! Names and counters, each its own type.

use std::{fmt, str::FromStr};

use libp2p::PeerId;
use serde::{Deserialize, Serialize};

use crate::space::ParseHexError;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// Names a replica within its group; never used twice.
    ReplicaNumber
}
counter! {
    /// Rises with each change of a group's membership or prefix.
    Epoch
}
counter! {
    /// A group's revision at a key's last write: it only grows, and is not consecutive for a key. 0 means absent.
    Version
}
counter! {
    /// Milliseconds that a group has been led.
    GroupClock
}
counter! {
    /// Numbers a session's commands.
    CommandNumber
}

impl ReplicaNumber {
    /// The number of a founder's replica.
    pub const FIRST: Self = Self(1);
}

/// Names a group; random-looking, fixed for its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::space::write_hex(f, &self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupId({self})")
    }
}

impl FromStr for GroupId {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::space::parse_hex(text).map(Self)
    }
}

/// Names a session: whoever issues commands that must be applied once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl SessionId {
    /// A fresh one, not guessable.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::space::write_hex(f, &self.0)
    }
}

/// The Raft node id: a peer's replica of one group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// Whose it is.
    pub peer: PeerId,
    /// Which of that peer's replicas, over time.
    pub number: ReplicaNumber,
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.peer, self.number)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "testing")]
impl From<u64> for ReplicaId {
    /// A name made from a small number: the same for the same number, and in the same order.
    fn from(number: u64) -> Self {
        // An identity multihash of eight bytes.
        let bytes = [&[0, 8][..], &number.to_be_bytes()].concat();
        Self { peer: PeerId::from_bytes(&bytes).expect("eight bytes are a peer id"), number: ReplicaNumber(number) }
    }
}
