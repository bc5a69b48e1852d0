//! Client operations: the `operation` class of links.

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use super::{Answer, ClientCommand, Descriptor, GroupClock, GroupId, NetworkId, Refusal, Route, Version};
use crate::space::{Position, Prefix};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// It sees every write acknowledged before it began.
    Linearizable,
    /// Whatever the asked replica has applied.
    Stale,
}

/// A read of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// The key.
    pub key: Bytes,
    /// How fresh.
    pub consistency: Consistency,
}

/// What a read saw, all of it in one state of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// The value and the version of its last write; none when absent.
    pub found: Option<(Version, Bytes)>,
    /// The group's revision then: no write up to it is missing.
    pub revision: Version,
    /// Milliseconds since the replica last knew itself up to date; 0 of a linearizable read.
    pub stale_ms: u64,
}

/// Asks for the next change of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRequest {
    /// The key.
    pub key: Bytes,
    /// The version that the watcher knows; 0 when it knows the key as absent.
    pub seen: Version,
    /// The revision up to which it knows the key.
    pub seen_revision: Version,
    /// How long the answer may be held back when nothing changes, in milliseconds.
    pub wait_ms: u64,
}

/// The newest state of a watched key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchAnswer {
    /// Is it other than the watcher knew?
    pub changed: bool,
    /// Value and version; none when absent.
    pub found: Option<(Version, Bytes)>,
    /// The revision that this is true of; of a removed key, at most the revision of its removal or of this answer.
    pub revision: Version,
}

/// What a client, or a peer on a client's behalf, asks of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpRequest {
    /// Apply a command once.
    Command(ClientCommand),
    /// Read a key.
    Read(ReadRequest),
    /// Tell the next change of a key.
    Watch(WatchRequest),
    /// Which group owns this position?
    Locate(Position),
    /// What are you?
    Status,
    /// Whom do you know?
    Peers,
    /// Which groups do you know?
    Groups,
}

/// What a peer answers to an [`OpRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpAnswer {
    /// The command was applied, by this copy or an earlier one.
    Applied {
        /// Its result.
        answer: Answer,
        /// The group that applied it.
        group: GroupId,
        /// That group's clock, at the earliest.
        clock: GroupClock,
    },
    /// This copy was applied without effect, or refused before it was proposed.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Was it refused before it was proposed? Then this copy leaves no trace anywhere.
        proposed: bool,
        /// The group that refused.
        group: GroupId,
        /// That group's clock.
        clock: GroupClock,
        /// The newest descriptor known for the key.
        route: Option<Route>,
    },
    /// This copy was proposed, and what became of it is not known here.
    Unknown,
    /// Not proposed: the group is led by another, or its leader is not known now.
    NotLeader {
        /// The newest descriptor known for the key.
        route: Option<Route>,
    },
    /// Not proposed: as many operations as may be are in work already.
    Busy,
    /// Not proposed: the request breaks a rule of the protocol.
    Invalid(String),
    /// What a read saw.
    Read(ReadAnswer),
    /// What a watch saw.
    Watch(WatchAnswer),
    /// Who owns the position, as far as this peer knows.
    Located {
        /// The newest descriptor known.
        route: Option<Route>,
    },
    /// Answer to [`OpRequest::Status`].
    Status(PeerStatus),
    /// Answer to [`OpRequest::Peers`].
    Peers(Vec<PeerInfo>),
    /// Answer to [`OpRequest::Groups`].
    Groups(Vec<GroupInfo>),
}

/// What a connection is for its other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerRole {
    /// Serves, and may hold replicas.
    Peer,
    /// Only asks.
    Client,
}

/// A peer's view of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its id.
    pub peer: PeerId,
    /// Its network.
    pub network: NetworkId,
    /// The network's replication factor.
    pub replication_factor: u8,
    /// Replicas it holds.
    pub groups: u64,
    /// Groups it leads.
    pub leads: u64,
}

/// A peer's view of another (or of itself).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Whom.
    pub peer: PeerId,
    /// Where it was last reached; none when not known.
    pub addr: Option<Multiaddr>,
    /// Peer or client.
    pub role: PeerRole,
    /// Is it the peer that answers?
    pub is_self: bool,
    /// Milliseconds since it was last heard; none when not heard since this peer started.
    pub heard_ms: Option<u64>,
}

/// What a peer is to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaRole {
    /// It leads it.
    Leader,
    /// It votes.
    Voter,
    /// It follows without a vote.
    Learner,
    /// It has no replica, and knows it by its descriptor.
    None,
}

/// A peer's view of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// How others reach it.
    pub descriptor: Descriptor,
    /// What this peer is to it.
    pub role: ReplicaRole,
    /// Keys it holds; none without a replica here.
    pub keys: Option<u64>,
    /// Bytes of its keys and values; none without a replica here.
    pub bytes: Option<u64>,
}

impl GroupInfo {
    /// The part of the key space that the group owns.
    pub const fn prefix(&self) -> &Prefix {
        &self.descriptor.prefix
    }
}
