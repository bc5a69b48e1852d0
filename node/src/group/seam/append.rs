//! A leader's entries (Raft §5.3).

use openraft::EntryPayload;

use super::{Facts, MAX_ENTRIES, Violation, limits, membership, vote};
use crate::group::raft::AppendRequest;
use xorum_behaviours::wire::ReplicaId;

/// Entries follow their predecessor and each other without gaps, in terms that never fall and never pass the
/// leader's; and what is at or below this replica's commit is what is there already. openraft takes a predecessor
/// at or below its commit for equal unseen, so that it is looked up here.
///
/// A message that openraft will turn away for its vote is not compared with the log: an old leader may say
/// what was never committed.
pub(super) fn check(request: &AppendRequest, sender: ReplicaId, facts: &Facts<'_>) -> Result<(), Violation> {
    vote::of_leader(&request.vote, sender, facts)?;
    if request.entries.len() > MAX_ENTRIES {
        return Err(Violation::TooManyEntries(request.entries.len()));
    }
    for id in request.prev_log_id.iter().chain(&request.leader_commit) {
        limits::log_id_under(id, &request.vote)?;
    }
    let mut last = request.prev_log_id;
    for entry in &request.entries {
        let id = entry.log_id;
        limits::log_id_under(&id, &request.vote)?;
        let expected = last.map_or(0, |last| last.index + 1);
        if id.index != expected {
            return Err(Violation::NotConsecutive { expected, found: id.index });
        }
        if last.is_some_and(|last| id.leader_id.term < last.leader_id.term) {
            return Err(Violation::TermsFall { index: id.index });
        }
        if let EntryPayload::Membership(members) = &entry.payload {
            membership::check(members)?;
        }
        last = Some(id);
    }
    if facts.outvotes(&request.vote) {
        return Ok(());
    }
    let entries = request.entries.iter().map(|entry| &entry.log_id);
    request.prev_log_id.iter().chain(entries).chain(&request.leader_commit).try_for_each(|id| facts.agrees(id))
}
