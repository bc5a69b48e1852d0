//! The checked seam before openraft (invariant 8).
//!
//! openraft checks most of what it is told with `debug_assert` only: a message that breaks its rules corrupts a
//! release build silently, or lets a stranger lead. So every message is judged here first, and every answer too. The
//! checks are pure: the message, who sent it by the word of the connection, and the [`Facts`] that the local replica
//! knows go in; what may be handed to openraft, or a [`Violation`], comes out. Each check is a file:
//!
//! | message | rule | file |
//! |---|---|---|
//! | any | terms and indexes bounded; the sender is who the vote names; group, number, tombstone | `limits`, `facts` |
//! | append | Raft §5.3: a leader's, consecutive, terms in order, true to what is committed here | `append` |
//! | vote, pre-vote | Raft §5.2, §9.6 of the dissertation: a candidate's own, who is a member as far as known | `vote` |
//! | snapshot | Raft §7: a leader's, of its term at the latest, true to what is committed here | `snapshot` |
//! | transfer | §3.10 of the dissertation: from the leader itself | `transfer` |
//! | answers | only what the request can be answered with | `answers` |
//!
//! It never waits, logs or reads a clock. What it knows of the replica may be older than what openraft knows, and only
//! grows: a sound message that passes by older facts passes by newer ones too, or openraft turns it away for its vote.

mod answers;
mod append;
mod codec;
mod facts;
mod limits;
mod membership;
mod snapshot;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod transfer;
mod violation;
mod vote;

use libp2p::PeerId;
use xorum_behaviours::wire::{GroupId, GroupMessage, GroupMessageKind, ReplicaId, ReplicaNumber};

pub use answers::{
    SentAppend, TransferAnswer, answer_append, answer_pre_vote, answer_snapshot, answer_transfer, answer_vote,
};
pub use codec::{MAX_BODY_BYTES, MAX_ENTRIES, SnapshotHead, decode, encode};
pub use facts::Facts;
pub use limits::{MAX_INDEX, MAX_TERM};
pub use membership::MAX_MEMBERS;
pub use violation::Violation;

use super::raft::{AppendRequest, TransferRequest, VoteRequest};

/// A message that openraft may see.
#[derive(Debug, Clone)]
pub enum Checked {
    /// Entries or a heartbeat.
    Append(AppendRequest),
    /// A candidate asks for a vote.
    Vote(VoteRequest),
    /// A would-be candidate asks whether it would get one.
    PreVote(VoteRequest),
    /// The leader asks us to take over.
    Transfer(TransferRequest),
}

/// Judges a message for the replica of which `facts` tells; `from` is the peer at the connection's other end.
///
/// # Errors
/// The first rule that the message breaks; it must have no effect then.
pub fn receive(message: &GroupMessage, from: PeerId, facts: &Facts<'_>) -> Result<Checked, Violation> {
    let sender = addressed(message.group, message.from, message.to, from, facts)?;
    match message.kind {
        GroupMessageKind::Append => {
            let request: AppendRequest = decode(&message.body)?;
            append::check(&request, sender, facts)?;
            Ok(Checked::Append(request))
        }
        GroupMessageKind::Vote => {
            let request: VoteRequest = decode(&message.body)?;
            vote::check(&request, sender, facts)?;
            Ok(Checked::Vote(request))
        }
        GroupMessageKind::PreVote => {
            let request: VoteRequest = decode(&message.body)?;
            vote::check(&request, sender, facts)?;
            Ok(Checked::PreVote(request))
        }
        GroupMessageKind::TransferLeader => {
            let request: TransferRequest = decode(&message.body)?;
            transfer::check(&request, sender, facts)?;
            Ok(Checked::Transfer(request))
        }
    }
}

/// Judges the head of a snapshot: of `BulkRequest::Begin`'s fields, `from` and `to` are the replica numbers.
///
/// It must be judged again, by [`check_snapshot`], when the rows have come and it is installed.
///
/// # Errors
/// The first rule that it breaks; the transfer must not begin then.
pub fn receive_snapshot(
    group: GroupId,
    from: ReplicaNumber,
    to: ReplicaNumber,
    head: &[u8],
    peer: PeerId,
    facts: &Facts<'_>,
) -> Result<SnapshotHead, Violation> {
    let sender = addressed(group, from, to, peer, facts)?;
    let head: SnapshotHead = decode(head)?;
    snapshot::check(&head, sender, facts)?;
    Ok(head)
}

/// Judges the head of a snapshot whose sender was judged before: what is committed here may have grown since.
///
/// # Errors
/// The first rule that it breaks; the snapshot must not be installed then.
pub fn check_snapshot(head: &SnapshotHead, sender: ReplicaId, facts: &Facts<'_>) -> Result<(), Violation> {
    snapshot::check(head, sender, facts)
}

/// Is it for this replica, and from another? Then who sent it.
fn addressed(
    group: GroupId,
    from: ReplicaNumber,
    to: ReplicaNumber,
    peer: PeerId,
    facts: &Facts<'_>,
) -> Result<ReplicaId, Violation> {
    if group != facts.group {
        return Err(Violation::OtherGroup);
    }
    if let Some(dead) = facts.dead
        && to <= dead
    {
        return Err(Violation::Gone(dead));
    }
    if to != facts.me.number {
        return Err(Violation::OtherReplica { named: to, here: facts.me.number });
    }
    if peer == facts.me.peer {
        return Err(Violation::NamesUs);
    }
    Ok(ReplicaId { peer, number: from })
}
