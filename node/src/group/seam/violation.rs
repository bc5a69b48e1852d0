//! Rules that a message or an answer can break.

use xorum_behaviours::wire::{GroupAnswer, ReplicaId, ReplicaNumber};

use crate::group::raft::LogId;

/// A rule that a message or an answer breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It is not one encoded message of its kind.
    #[error("{0}")]
    Malformed(String),
    /// It carries more entries than a message may.
    #[error("{0} entries in one message")]
    TooManyEntries(usize),
    /// A term that no cluster reaches.
    #[error("term {0} is out of bounds")]
    TermTooLarge(u64),
    /// A log index that no cluster reaches.
    #[error("log index {0} is out of bounds")]
    IndexTooLarge(u64),
    /// It is of another group.
    #[error("of another group")]
    OtherGroup,
    /// It is for a replica that is not the one here.
    #[error("for replica number {named}, and here is {here}")]
    OtherReplica {
        /// The number named.
        named: ReplicaNumber,
        /// The number here.
        here: ReplicaNumber,
    },
    /// It is for a replica that is dead here for ever; the highest dead number.
    #[error("replica numbers up to {0} are dead here")]
    Gone(ReplicaNumber),
    /// Its vote is for another than who sends it.
    #[error("a vote for {0}, who did not send it")]
    NotTheSender(ReplicaId),
    /// It speaks in this replica's own name.
    #[error("it speaks in the receiver's name")]
    NamesUs,
    /// A leader's message under a vote that no quorum granted.
    #[error("a leader's message without a granted vote")]
    VoteNotCommitted,
    /// A candidate's message under a vote that is granted already.
    #[error("a candidate's message with a granted vote")]
    VoteCommitted,
    /// Two leaders in one term.
    #[error("a second leader in term {term}")]
    TwoLeaders {
        /// The term.
        term: u64,
    },
    /// A candidate that is no member, as far as is known here.
    #[error("{0} is no member as far as is known here")]
    Stranger(ReplicaId),
    /// An entry does not follow its predecessor.
    #[error("log index {found} where {expected} follows")]
    NotConsecutive {
        /// The index that follows.
        expected: u64,
        /// The index found.
        found: u64,
    },
    /// An entry is of an earlier term than its predecessor.
    #[error("the term at log index {index} is below the one before")]
    TermsFall {
        /// The index of the entry.
        index: u64,
    },
    /// An entry is of a later term than its sender's vote.
    #[error("an entry of term {term} under a vote of term {vote}")]
    TermAboveVote {
        /// The entry's.
        term: u64,
        /// The vote's.
        vote: u64,
    },
    /// An entry differs from what is committed here: this replica's log, or the leader's, is not what it was.
    #[error("an entry of term {term} at log index {index} contradicts what is committed here")]
    ContradictsCommit {
        /// The index of the entry.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// A candidate's log went another way than what is committed here.
    #[error("a candidate's log that ends at {index} in term {term} lacks what is committed here")]
    LogBesideCommit {
        /// The last index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// A membership that defines no quorum, or is out of bounds.
    #[error("bad membership: {0}")]
    BadMembership(&'static str),
    /// A snapshot of nothing.
    #[error("a snapshot without a last entry")]
    EmptySnapshot,
    /// An answer that the request cannot have.
    #[error("an answer of another kind than asked for")]
    UnexpectedAnswer,
    /// A conflict about entries that were sent without a predecessor.
    #[error("a conflict where no predecessor was named")]
    ConflictWithoutPrev,
    /// A conflict at or below what the follower had: its log went back.
    #[error("the log went back: a conflict at {prev}, after {matched} had matched")]
    LogWentBack {
        /// The predecessor that it does not have.
        prev: LogId,
        /// What it had.
        matched: LogId,
    },
    /// A part was accepted that was not sent.
    #[error("accepted up to an entry that was not sent")]
    PartNotSent,
    /// A vote told as higher is not.
    #[error("refused for a vote that is not higher")]
    VoteNotHigher,
    /// A vote granted under another than was asked for.
    #[error("a grant of another vote than asked for")]
    OtherVoteGranted,
    /// A vote in our own name that we did not send with this request: an answer overtaken by our later candidacy.
    #[error("an answer overtaken by a later vote of our own")]
    Overtaken,
}

impl Violation {
    /// Must the receiving replica stop, its files kept? So it must where its own log may be what is wrong.
    pub const fn is_quarantine(&self) -> bool {
        matches!(self, Self::ContradictsCommit { .. })
    }

    /// Of an answer: does it say that the answering replica is not sound, and not merely late?
    pub const fn is_misbehaviour(&self) -> bool {
        !matches!(self, Self::Overtaken | Self::Gone(_))
    }

    /// What a message that breaks the rule is answered with.
    pub fn to_answer(&self) -> GroupAnswer {
        match self {
            Self::Gone(dead) => GroupAnswer::Gone(*dead),
            other => GroupAnswer::Refused(other.to_string()),
        }
    }
}
