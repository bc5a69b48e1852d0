//! Who may lead and who may ask to (Raft §5.2).

use xorum_behaviours::wire::ReplicaId;

use super::{Facts, Violation, limits};
use crate::group::raft::{Vote, VoteRequest};

/// A candidate asks for itself, under a vote that no quorum has granted yet, and is a member as far as is known here:
/// openraft grants votes to whoever asks. A log that disagrees with what is committed here wins no vote of ours.
pub(super) fn check(request: &VoteRequest, sender: ReplicaId, facts: &Facts<'_>) -> Result<(), Violation> {
    if request.vote.committed {
        return Err(Violation::VoteCommitted);
    }
    from_sender(&request.vote, sender, facts)?;
    if let Some(last) = &request.last_log_id {
        limits::log_id_under(last, &request.vote)?;
    }
    if !facts.knows(&sender) {
        return Err(Violation::Stranger(sender));
    }
    match (&request.last_log_id, &facts.committed) {
        (Some(last), Some(ours)) if last.index <= ours.index && last.leader_id.term > ours.leader_id.term => {
            Err(Violation::LogBesideCommit { index: last.index, term: last.leader_id.term })
        }
        _ => Ok(()),
    }
}

/// A leader speaks under a vote that a quorum granted to it and to no one else in that term. A leader that is no
/// member as far as is known here is let through: what is known may be older than its membership.
pub(super) fn of_leader(vote: &Vote, sender: ReplicaId, facts: &Facts<'_>) -> Result<(), Violation> {
    if !vote.committed {
        return Err(Violation::VoteNotCommitted);
    }
    from_sender(vote, sender, facts)?;
    let other = facts.vote.is_some_and(|mine| {
        mine.committed
            && mine.leader_id.term == vote.leader_id.term
            && mine.leader_id.voted_for != vote.leader_id.voted_for
    });
    if other { Err(Violation::TwoLeaders { term: vote.leader_id.term }) } else { Ok(()) }
}

/// A vote in a message is for who sends it. One for us would make openraft lead without an election.
fn from_sender(vote: &Vote, sender: ReplicaId, facts: &Facts<'_>) -> Result<(), Violation> {
    limits::term(vote.leader_id.term)?;
    let named = vote.leader_id.voted_for;
    if named.peer == facts.me.peer {
        return Err(Violation::NamesUs);
    }
    if named != sender { Err(Violation::NotTheSender(named)) } else { Ok(()) }
}
