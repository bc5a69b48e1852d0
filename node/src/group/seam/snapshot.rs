//! A leader's snapshot (Raft §7).

use xorum_behaviours::wire::ReplicaId;

use super::{Facts, SnapshotHead, Violation, limits, membership, vote};

/// A snapshot ends at an entry that its leader can hold, with a membership from no later than there, and, unless
/// openraft will turn it away for its vote, in agreement with what is committed here: openraft stops with a panic on
/// some that do not.
pub(super) fn check(head: &SnapshotHead, sender: ReplicaId, facts: &Facts<'_>) -> Result<(), Violation> {
    vote::of_leader(&head.vote, sender, facts)?;
    let Some(last) = head.meta.last_log_id else { return Err(Violation::EmptySnapshot) };
    limits::log_id_under(&last, &head.vote)?;
    membership::check(head.meta.last_membership.membership())?;
    if let Some(id) = head.meta.last_membership.log_id() {
        limits::log_id(id)?;
        if *id > last || id.index > last.index {
            return Err(Violation::BadMembership("it is from after the snapshot"));
        }
    }
    if facts.outvotes(&head.vote) { Ok(()) } else { facts.agrees(&last) }
}
