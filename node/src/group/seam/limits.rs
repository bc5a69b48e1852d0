//! Bounds of the numbers in a message.

use super::Violation;
use crate::group::raft::{LogId, Vote};

/// The largest term: no cluster gets there by elections, and openraft can still add to it.
pub const MAX_TERM: u64 = 1 << 48;

/// The largest log index: openraft can still add to it.
pub const MAX_INDEX: u64 = (1 << 63) - 1;

pub(super) fn term(term: u64) -> Result<(), Violation> {
    if term > MAX_TERM { Err(Violation::TermTooLarge(term)) } else { Ok(()) }
}

pub(super) fn log_id(id: &LogId) -> Result<(), Violation> {
    term(id.leader_id.term)?;
    if id.index > MAX_INDEX { Err(Violation::IndexTooLarge(id.index)) } else { Ok(()) }
}

/// A log entry that whoever holds this vote can hold: none is of a later term.
pub(super) fn log_id_under(id: &LogId, vote: &Vote) -> Result<(), Violation> {
    log_id(id)?;
    let (term, limit) = (id.leader_id.term, vote.leader_id.term);
    if term > limit { Err(Violation::TermAboveVote { term, vote: limit }) } else { Ok(()) }
}
