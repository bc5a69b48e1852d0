//! Answers, before openraft sees them.
//!
//! An answer that breaks a rule counts as none: the follower is taken for unreachable, and whoever owns the group is
//! told that it misbehaves. Of a vote told as higher only the term and the candidate are taken over: that it was
//! granted is for its holder to say, by a message of its own.

use std::cmp::Ordering;

use openraft::raft::{SnapshotResponse, TransferLeaderResponse};
use xorum_behaviours::wire::ReplicaId;

use super::{Violation, decode, limits};
use crate::group::raft::{AppendResponse, LogId, TypeConfig, Vote, VoteRequest, VoteResponse};

/// What a target answers to a transfer of leadership.
pub type TransferAnswer = TransferLeaderResponse<TypeConfig>;

/// What is remembered of an append while its answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentAppend {
    /// The leader's vote.
    pub vote: Vote,
    /// The predecessor named.
    pub prev: Option<LogId>,
    /// The last entry sent, or the predecessor where none was.
    pub last: Option<LogId>,
}

/// Judges the answer to an append; `matched` is the last entry that this (peer, number) is known to have had and
/// cannot have lost lawfully.
///
/// A conflict at or below it tells of a voter whose log went back: openraft would never repair it.
///
/// # Errors
/// The rule that it breaks.
pub fn answer_append(
    body: &[u8],
    sent: &SentAppend,
    matched: Option<LogId>,
    me: ReplicaId,
) -> Result<AppendResponse, Violation> {
    match decode(body)? {
        AppendResponse::Success => Ok(AppendResponse::Success),
        AppendResponse::PartialSuccess(part) => {
            if let Some(id) = &part {
                limits::log_id(id)?;
            }
            let within = sent.prev <= part
                && part <= sent.last
                && index(sent.prev) <= index(part)
                && index(part) <= index(sent.last);
            if within { Ok(AppendResponse::PartialSuccess(part)) } else { Err(Violation::PartNotSent) }
        }
        AppendResponse::Conflict => match (sent.prev, matched) {
            (None, _) => Err(Violation::ConflictWithoutPrev),
            (Some(prev), Some(matched)) if prev <= matched => Err(Violation::LogWentBack { prev, matched }),
            (Some(_), _) => Ok(AppendResponse::Conflict),
        },
        AppendResponse::HigherVote(vote) => Ok(AppendResponse::HigherVote(higher(vote, &sent.vote, me)?)),
    }
}

/// Judges the answer to a request for a vote: a grant is of the vote asked for.
///
/// # Errors
/// The rule that it breaks.
pub fn answer_vote(body: &[u8], request: &VoteRequest, me: ReplicaId) -> Result<VoteResponse, Violation> {
    let response = vote_response(body, request, me)?;
    if response.vote_granted && response.vote != request.vote {
        return Err(Violation::OtherVoteGranted);
    }
    Ok(response)
}

/// Judges the answer to a request for a pre-vote: a grant is by one whose own vote is no higher.
///
/// # Errors
/// The rule that it breaks.
pub fn answer_pre_vote(body: &[u8], request: &VoteRequest, me: ReplicaId) -> Result<VoteResponse, Violation> {
    let response = vote_response(body, request, me)?;
    let no_higher = matches!(response.vote.partial_cmp(&request.vote), Some(Ordering::Less | Ordering::Equal));
    if response.vote_granted && !no_higher {
        return Err(Violation::OtherVoteGranted);
    }
    Ok(response)
}

fn vote_response(body: &[u8], request: &VoteRequest, me: ReplicaId) -> Result<VoteResponse, Violation> {
    let mut response: VoteResponse = decode(body)?;
    let leader_id = response.vote.leader_id;
    limits::term(leader_id.term)?;
    if let Some(last) = &response.last_log_id {
        limits::log_id(last)?;
    }
    if leader_id.voted_for == me && leader_id.term > request.vote.leader_id.term {
        return Err(Violation::Overtaken);
    }
    if !response.vote_granted {
        response.vote.committed = false;
    }
    Ok(response)
}

/// Judges the answer to a snapshot: the follower's vote after it, which is the leader's or a higher one.
///
/// # Errors
/// The rule that it breaks.
pub fn answer_snapshot(body: &[u8], vote: &Vote, me: ReplicaId) -> Result<SnapshotResponse<TypeConfig>, Violation> {
    let told: Vote = decode(body)?;
    limits::term(told.leader_id.term)?;
    if told == *vote {
        return Ok(SnapshotResponse::new(told));
    }
    higher(told, vote, me).map(SnapshotResponse::new)
}

/// Judges the answer to a transfer of leadership; openraft only logs it.
///
/// # Errors
/// When it is no such answer.
pub fn answer_transfer(body: &[u8]) -> Result<TransferAnswer, Violation> {
    decode(body)
}

/// A vote above ours, not ours, and for its holder alone to call granted. That ours was granted to us is left out of
/// the comparison: a quorum granted our term, so a lawful refusal tells of a later one.
fn higher(told: Vote, ours: &Vote, me: ReplicaId) -> Result<Vote, Violation> {
    limits::term(told.leader_id.term)?;
    if told.leader_id.term <= ours.leader_id.term {
        return Err(Violation::VoteNotHigher);
    }
    if told.leader_id.voted_for == me {
        return Err(Violation::Overtaken);
    }
    Ok(Vote { committed: false, ..told })
}

fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}
