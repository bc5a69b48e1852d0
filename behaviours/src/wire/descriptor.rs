//! What others need to reach a group.

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use super::{Epoch, GroupClock, GroupId, MAX_PEERS_IN_MESSAGE, ReplicaId};
use crate::space::Prefix;

/// A voter as a descriptor names it.
pub type VoterSeat = ReplicaId;

/// What others need to reach a group, made by one of its replicas from applied state only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The group.
    pub group: GroupId,
    /// The part of the key space that it owns.
    pub prefix: Prefix,
    /// Compares descriptors whose prefixes overlap: the higher wins.
    pub epoch: Epoch,
    /// The Raft term in which it was made; between equal epochs the higher wins.
    pub term: u64,
    /// Its voters.
    pub voters: Vec<VoterSeat>,
    /// Who led when it was made, if its maker knew.
    pub leader: Option<PeerId>,
    /// The group clock when it was made.
    pub clock: GroupClock,
}

impl Descriptor {
    /// Is it newer than `other` of an overlapping prefix?
    pub fn supersedes(&self, other: &Descriptor) -> bool {
        (self.epoch, self.term) > (other.epoch, other.term)
    }

    /// Is it within the bounds of what a peer keeps? Counters that no group reaches in its life would stay the newest
    /// for ever.
    pub fn is_within_bounds(&self) -> bool {
        const MAX_COUNTER: u64 = 1 << 48;
        let counters = [self.epoch.0, self.term, self.clock.0];
        (1..=MAX_PEERS_IN_MESSAGE).contains(&self.voters.len()) && counters.iter().all(|count| *count < MAX_COUNTER)
    }
}

/// Where a peer was last reached. A hint: nobody has to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddrs {
    /// Whom.
    pub peer: PeerId,
    /// Where; may be empty.
    pub addrs: Vec<Multiaddr>,
}

/// A descriptor, and where its voters can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The group.
    pub descriptor: Descriptor,
    /// Addresses of its voters, as far as they are known.
    pub addrs: Vec<PeerAddrs>,
}
