//! What the local replica knows that a message must not contradict.

use std::cmp::Ordering;

use xorum_behaviours::wire::{GroupId, ReplicaId, ReplicaNumber};

use super::Violation;
use crate::group::raft::{LogId, Membership, Vote};

/// What the local replica knows. Each fact may be older than what openraft knows now, never newer; but the vote must be
/// read no earlier than what is committed, or what a new leader committed is held against an old one whose messages
/// are only late.
pub struct Facts<'a> {
    /// The group.
    pub group: GroupId,
    /// The local replica.
    pub me: ReplicaId,
    /// Its vote, if it has given one.
    pub vote: Option<Vote>,
    /// The last entry that it knows to be committed.
    pub committed: Option<LogId>,
    /// The newest membership in its log or state; none while it is empty.
    pub membership: Option<&'a Membership>,
    /// The highest dead number of this group on this peer.
    pub dead: Option<ReplicaNumber>,
    /// The term of the entry at an index at or below [`Self::committed`]; none where it is purged.
    pub term_at: &'a (dyn Fn(u64) -> Option<u64> + Send + Sync),
}

impl Facts<'_> {
    /// Will openraft turn a message with this vote away before it looks at anything else? So it does unless the vote
    /// is at least its own.
    pub(super) fn outvotes(&self, vote: &Vote) -> bool {
        // What is committed may be known sooner than the vote under which it was: an older leader is outvoted by it too.
        let outdated = self.committed.is_some_and(|committed| committed.leader_id.term > vote.leader_id.term);
        let mine = self.vote;
        outdated
            || mine.is_some_and(|mine| !matches!(vote.partial_cmp(&mine), Some(Ordering::Greater | Ordering::Equal)))
    }

    /// Does a log with this entry agree with what is committed here?
    ///
    /// Two logs with a committed entry in common agree up to it (the log matching property, Raft §5.3), and one whose
    /// leader was elected later holds it (leader completeness, §5.4.3).
    pub(super) fn agrees(&self, entry: &LogId) -> Result<(), Violation> {
        let Some(committed) = self.committed else { return Ok(()) };
        let (term, ours) = (entry.leader_id.term, committed.leader_id.term);
        let agrees = match entry.index.cmp(&committed.index) {
            Ordering::Greater => term >= ours,
            Ordering::Equal => term == ours,
            Ordering::Less => (self.term_at)(entry.index).map_or(term <= ours, |known| known == term),
        };
        if agrees { Ok(()) } else { Err(Violation::ContradictsCommit { index: entry.index, term }) }
    }

    /// Is this replica a member, as far as is known here? An empty replica knows no members and takes any.
    pub(super) fn knows(&self, replica: &ReplicaId) -> bool {
        self.membership
            .is_none_or(|membership| membership.nodes().next().is_none() || membership.get_node(replica).is_some())
    }
}
