//! What a follower is known to have had.

use crate::group::raft::{LogId, Vote};

/// What one (peer, number) answered that it had, as long as it cannot have lost it lawfully.
///
/// Under one leader a follower only loses entries to a later leader, whose vote it then answers with. What was
/// committed it never loses. A conflict at or below either means that its log went back.
#[derive(Debug, Default)]
pub(super) struct Matched {
    /// The newest of our votes under which anything matched.
    vote: Option<Vote>,
    /// The last entry that matched under that vote.
    under_vote: Option<LogId>,
    /// The last entry that matched and was committed, under any vote.
    committed: Option<LogId>,
}

impl Matched {
    /// Takes note of an entry that matched under `vote`, when `commit` was known to be committed.
    pub(super) fn record(&mut self, vote: Vote, entry: Option<LogId>, commit: Option<LogId>) {
        self.committed = self.committed.max(entry.min(commit));
        if self.vote == Some(vote) {
            self.under_vote = self.under_vote.max(entry);
        } else if self.vote.is_none_or(|newest| vote > newest) {
            self.vote = Some(vote);
            self.under_vote = entry;
        }
    }

    /// The last entry that the follower cannot have lost lawfully, as a leader with this vote sees it.
    pub(super) fn floor(&self, vote: &Vote) -> Option<LogId> {
        if self.vote.as_ref() == Some(vote) { self.under_vote.max(self.committed) } else { self.committed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::seam::testing::{log_id, replica};

    #[test]
    fn what_was_committed_stays_matched_under_a_later_leader_and_nothing_else_does() {
        let (first, second) = (Vote::new_committed(1, replica(1)), Vote::new_committed(3, replica(1)));
        let mut matched = Matched::default();
        matched.record(first, Some(log_id(1, 9)), Some(log_id(1, 5)));
        assert_eq!(matched.floor(&first), Some(log_id(1, 9)));
        assert_eq!(matched.floor(&second), Some(log_id(1, 5)));
        matched.record(second, Some(log_id(1, 6)), None);
        assert_eq!(matched.floor(&second), Some(log_id(1, 6)));
        matched.record(first, Some(log_id(1, 9)), None);
        assert_eq!(matched.floor(&second), Some(log_id(1, 6)), "a late answer to an earlier leadership counts no more");
    }
}
