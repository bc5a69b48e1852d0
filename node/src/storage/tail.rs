//! What is known of a log without reading it: its ends, and its newest entries.

use std::collections::VecDeque;

use super::error::StorageError;
use crate::group::raft::{Entry, LogId, Vote};

/// An entry in the tail.
pub(super) struct Kept {
    pub(super) entry: Entry,
    /// Its encoded length.
    pub(super) bytes: usize,
}

/// What is known of the log without reading it.
pub(super) struct Tail {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    /// The index of the first entry; without entries, the end.
    pub(super) first: u64,
    /// The last entry, or, without entries, the last purged.
    pub(super) last: Option<LogId>,
    /// The newest entries, up to the last.
    pub(super) kept: VecDeque<Kept>,
    pub(super) kept_bytes: usize,
    /// Bytes of all entries appended since the log was opened.
    pub(super) appended_bytes: u64,
    /// The last index of each run written since the log was opened: the keys of their rows.
    pub(super) runs: VecDeque<u64>,
    /// Runs under an index below this were there when the log was opened: their keys are not known.
    pub(super) unknown_below: u64,
    /// The index up to which entries are durable, exclusive.
    pub(super) durable_end: u64,
    /// Counts truncations: an append of before one says nothing of what is appended after it.
    pub(super) truncations: u64,
}

impl Tail {
    pub(super) fn end(&self) -> u64 {
        next_index(self.last)
    }

    pub(super) fn first_kept(&self) -> u64 {
        self.end() - self.kept.len() as u64
    }

    pub(super) fn push(&mut self, kept: Kept) -> Result<(), StorageError> {
        let index = kept.entry.log_id.index;
        if self.first == self.end() {
            self.first = index;
        } else if index != self.end() {
            let reason = format_args!("entry {index} appended behind {}", self.end() - 1);
            return Err(StorageError::corrupt("the log", reason));
        }
        self.last = Some(kept.entry.log_id);
        self.kept_bytes += kept.bytes;
        self.appended_bytes += kept.bytes as u64;
        self.kept.push_back(kept);
        Ok(())
    }

    /// The term of an entry that is kept.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        let at = index.checked_sub(self.first_kept())?;
        let kept = self.kept.get(usize::try_from(at).ok()?)?;
        Some(**kept.entry.log_id.committed_leader_id())
    }

    /// Forgets durable entries, oldest first, until what is kept is within bounds.
    pub(super) fn shrink(&mut self, max_bytes: usize) {
        while self.kept_bytes > max_bytes && self.first_kept() < self.durable_end {
            self.pop_front();
        }
    }

    pub(super) fn pop_front(&mut self) {
        if let Some(kept) = self.kept.pop_front() {
            self.kept_bytes -= kept.bytes;
        }
    }

    pub(super) fn pop_back(&mut self) {
        if let Some(kept) = self.kept.pop_back() {
            self.kept_bytes -= kept.bytes;
        }
    }
}

/// The index behind an entry.
pub(super) fn next_index(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

/// The first of the entries, and those behind it that are within the limit with it; each with its bytes.
pub(super) fn limited<'a>(kept: impl Iterator<Item = &'a Kept>, max_bytes: usize) -> Vec<(Entry, usize)> {
    let mut bytes: usize = 0;
    kept.enumerate()
        .take_while(|(i, kept)| {
            bytes = bytes.saturating_add(kept.bytes);
            *i == 0 || bytes <= max_bytes
        })
        .map(|(_, kept)| (kept.entry.clone(), kept.bytes))
        .collect()
}
