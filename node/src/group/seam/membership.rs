//! Memberships that define a quorum and are within bounds.

use xorum_behaviours::wire::MAX_PEERS_IN_MESSAGE;

use super::Violation;
use crate::group::raft::Membership;

/// The most voters and learners of one group.
pub const MAX_MEMBERS: usize = MAX_PEERS_IN_MESSAGE;

/// A joint membership is of two sets of voters: openraft makes none of more by single steps.
const MAX_SETS: usize = 2;

pub(super) fn check(membership: &Membership) -> Result<(), Violation> {
    let sets = membership.get_joint_config();
    if sets.is_empty() || sets.iter().any(|voters| voters.is_empty()) {
        return Err(Violation::BadMembership("it names no voters"));
    }
    if sets.len() > MAX_SETS {
        return Err(Violation::BadMembership("it joins more than two sets of voters"));
    }
    if membership.nodes().count() > MAX_MEMBERS {
        return Err(Violation::BadMembership("it names too many members"));
    }
    if sets.iter().flatten().any(|voter| membership.get_node(voter).is_none()) {
        return Err(Violation::BadMembership("a voter is not among its members"));
    }
    Ok(())
}
