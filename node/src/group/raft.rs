//! openraft's types, made concrete once for the whole crate.

use openraft::{EmptyNode, impls::leader_id_std};
use xorum_behaviours::wire::ReplicaId;

use super::command::{Applied, Command};

openraft::declare_raft_types!(
    /// The types of Xorum's groups.
    pub TypeConfig:
        D = Command,
        R = Applied,
        NodeId = ReplicaId,
        Node = EmptyNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, ReplicaId>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

/// A log entry.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// Names an entry: term and index.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A replica's vote in a term.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// Voters and learners, as of some entry.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<ReplicaId, EmptyNode>;
/// What a snapshot is of.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// A request to append entries, or a heartbeat.
pub type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
/// Its answer.
pub type AppendResponse = openraft::raft::AppendEntriesResponse<TypeConfig>;
/// A request for a vote, or a pre-vote.
pub type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
/// Its answer.
pub type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
/// A request to take over as leader.
pub type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
