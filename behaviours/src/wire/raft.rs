//! What peers say to each other about groups: the `raft` class of links.

use bytes::Bytes;
use libp2p::PeerId;
use serde::{Deserialize, Serialize};

use super::{GroupId, PeerAddrs, ReplicaNumber, Route};

/// Where a group came from: told with every message of it, so that a peer can tell a child that it is yet to seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The network's first group.
    Founding,
    /// A half of `parent`, split off at this log index.
    Split {
        /// The group that split.
        parent: GroupId,
        /// The log index of the split.
        index: u64,
    },
}

/// Which of Raft's messages a [`GroupMessage`] carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupMessageKind {
    /// Entries, or a heartbeat.
    Append,
    /// A candidate asks for a vote.
    Vote,
    /// A would-be candidate asks whether it would get one.
    PreVote,
    /// A leader asks a voter to take over.
    TransferLeader,
}

/// One Raft message from one replica of a group to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMessage {
    /// The group.
    pub group: GroupId,
    /// Where the group came from.
    pub origin: Origin,
    /// The sender's replica; its peer is who the connection says.
    pub from: ReplicaNumber,
    /// The receiver's replica.
    pub to: ReplicaNumber,
    /// Which message.
    pub kind: GroupMessageKind,
    /// The message, encoded.
    pub body: Bytes,
}

/// What became of a [`GroupMessage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupAnswer {
    /// Raft's answer, encoded.
    Raft(Bytes),
    /// The replica is to be seeded by this peer's replica of its parent, which has not come to it yet.
    NotYet,
    /// The number told is dead here for ever: the highest dead one.
    Gone(ReplicaNumber),
    /// The message breaks a rule, or its sender is not known here; it had no effect.
    Refused(String),
    /// As much as may be is in work already; it had no effect.
    Busy,
}

/// The last entry of a replica's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LastLog {
    /// Its term.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// A leader asks a member of its group whom it hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The group.
    pub group: GroupId,
    /// The asked replica.
    pub to: ReplicaNumber,
    /// The leader's term.
    pub term: u64,
    /// Whom the leader wants to know of, and where it reaches them.
    pub peers: Vec<PeerAddrs>,
}

/// Whether a peer is about to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Farewell {
    /// It stays.
    Stays,
    /// Its process is stopping; it means to come back.
    Stopping,
    /// It wants to be out of every group.
    Leaving,
}

/// How long ago a peer was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardPeer {
    /// Whom.
    pub peer: PeerId,
    /// Milliseconds since it was last heard; none when never.
    pub heard_ms: Option<u64>,
}

/// A member's answer to a [`Survey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyAnswer {
    /// The end of its log, as durable.
    pub last_log: Option<LastLog>,
    /// Is it going?
    pub farewell: Farewell,
    /// One for each peer asked about.
    pub heard: Vec<HeardPeer>,
    /// Groups that the peer leads, for the leader that would hand over to it.
    pub leads: u64,
}

/// What a peer asks of another, beside client operations and bulk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRequest {
    /// A Raft message.
    Group(GroupMessage),
    /// Are you there?
    Presence,
    /// Whom do you hear?
    Survey(Survey),
    /// I am going: hand over what I hold of this group.
    Farewell {
        /// The group.
        group: GroupId,
        /// The replica that goes.
        number: ReplicaNumber,
        /// How it goes.
        farewell: Farewell,
    },
    /// A newer descriptor.
    Tell(Route),
    /// Is this replica still a member? Only the group's leader says, after a linearizable read of its membership.
    Membership {
        /// The group.
        group: GroupId,
        /// The asker's replica.
        number: ReplicaNumber,
    },
}

/// What a peer answers to a [`PeerRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerAnswer {
    /// To a Raft message.
    Group(GroupAnswer),
    /// To [`PeerRequest::Presence`]: is it going?
    Present(Farewell),
    /// To a survey.
    Survey(SurveyAnswer),
    /// Done, or heard.
    Ok,
    /// To [`PeerRequest::Membership`], from the leader: a member or not.
    Member(bool),
    /// Only the leader can say; the newest descriptor known.
    NotLeader(Option<Route>),
    /// The number named is dead here: the highest dead one.
    Gone(ReplicaNumber),
    /// The request breaks a rule; it had no effect.
    Refused(String),
    /// As much as may be is in work already; it had no effect.
    Busy,
}
