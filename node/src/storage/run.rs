//! A row of the log: a run of consecutive entries, under the index of its last.
//!
//! What is appended at once is written as few rows, not as one row an entry: the engine's work is by the row. A run is
//! bounded, so that reading one entry reads little more. Runs may overlap where a log was truncated within one: the
//! entries that they share are the same.
//!
//! ```text
//! [length u32 BE][entry, CBOR] [length u32 BE][entry, CBOR] …
//! ```

use xorum_behaviours::wire;

use super::{error::StorageError, keys};
use crate::group::raft::Entry;

/// The most entries of a run.
pub(super) const MAX_ENTRIES: usize = 128;
/// The most bytes of a run, but for a single larger entry.
const MAX_BYTES: usize = 256 * 1024;

/// A run that is being put together.
#[derive(Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    entries: usize,
}

impl Run {
    /// Is there room for an entry of this length?
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.entries == 0 || (self.entries < MAX_ENTRIES && self.bytes.len() + length <= MAX_BYTES)
    }

    /// Adds an encoded entry.
    pub(super) fn push(&mut self, entry: &[u8]) {
        // An entry is bounded by the longest message.
        self.bytes.extend((entry.len() as u32).to_be_bytes());
        self.bytes.extend(entry);
        self.entries += 1;
    }

    /// The row's value; none of an empty run.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let Self { bytes, entries } = std::mem::take(self);
        (entries > 0).then_some(bytes)
    }
}

/// The entries of a run, each with its length, oldest first.
///
/// # Errors
/// When it is no run, or another's than its key says.
pub(super) fn decode(key: &[u8], mut value: &[u8]) -> Result<Vec<(Entry, usize)>, StorageError> {
    let corrupt = |reason: &str| StorageError::corrupt("a run of log entries", reason);
    let mut entries: Vec<(Entry, usize)> = Vec::new();
    while let Some((length, rest)) = value.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (bytes, rest) = rest.split_at_checked(length).ok_or_else(|| corrupt("it is cut short"))?;
        let entry: Entry = wire::decode(bytes).map_err(StorageError::undecodable("a log entry"))?;
        if entries.last().is_some_and(|(last, _)| last.log_id.index.checked_add(1) != Some(entry.log_id.index)) {
            return Err(corrupt("its entries are not consecutive"));
        }
        entries.push((entry, length));
        value = rest;
    }
    if !value.is_empty() {
        return Err(corrupt("it is cut short"));
    }
    if keys::index_of_entry(key) != entries.last().map(|(entry, _)| entry.log_id.index) {
        return Err(corrupt("its key is another's"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use openraft::{EntryPayload, entry::RaftEntry};
    use xorum_behaviours::wire::{GroupId, ReplicaNumber};

    use super::*;
    use crate::group::raft::LogId;

    fn key(index: u64) -> Vec<u8> {
        keys::entry(&GroupId([1; 32]), ReplicaNumber(1), index)
    }

    fn run(indexes: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut run = Run::default();
        for index in indexes {
            let entry = Entry::new(LogId::new_term_index(1, index), EntryPayload::Blank);
            run.push(&wire::encode(&entry).expect("encodable"));
        }
        run.take().expect("not empty")
    }

    #[test]
    fn a_run_is_read_back() {
        let entries = decode(&key(7), &run(5..=7)).expect("it is one");
        assert_eq!(entries.iter().map(|(entry, _)| entry.log_id.index).collect::<Vec<_>>(), [5, 6, 7]);
    }

    #[test]
    fn what_is_no_run_is_corrupt() {
        let whole = run(5..=7);
        assert!(decode(&key(8), &whole).is_err(), "another's key");
        assert!(decode(&key(7), &run([5, 7])).is_err(), "a hole");
        assert!(decode(&key(7), &[]).is_err(), "nothing");
        for cut in 1..whole.len() {
            assert!(decode(&key(7), &whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_run_is_bounded() {
        let mut run = Run::default();
        assert!(run.has_room(MAX_BYTES * 2), "one entry always fits");
        run.push(&vec![0; MAX_BYTES / 2]);
        assert!(!run.has_room(MAX_BYTES));
        for _ in 1..MAX_ENTRIES {
            run.push(&[]);
        }
        assert!(!run.has_room(0));
    }
}
