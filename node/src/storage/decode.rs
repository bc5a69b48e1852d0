//! What is read from the disk, as functions of bytes: the way in for tests that feed them anything.

use xorum_behaviours::wire::{self, SessionId, Version};

use super::{changes, error::StorageError, journal, keys, records::Dropped, run};
use crate::group::raft::Entry;

/// The row of a run of log entries, oldest first.
///
/// # Errors
/// When it is none, or another's than its key says.
pub fn log_entries(key: &[u8], value: &[u8]) -> Result<Vec<Entry>, StorageError> {
    Ok(run::decode(key, value)?.into_iter().map(|(entry, _)| entry).collect())
}

/// The row of what is to be dropped; encoded again.
///
/// # Errors
/// When it is none.
pub fn drop_record(value: &[u8]) -> Result<Vec<u8>, StorageError> {
    let dropped: Dropped = wire::decode(value).map_err(StorageError::undecodable("a drop record"))?;
    Ok(wire::encode(&dropped)?)
}

/// The row of a user's key.
///
/// # Errors
/// When it is cut short.
pub fn data_row(value: &[u8]) -> Result<(Version, &[u8]), StorageError> {
    changes::read_data_row(value)
}

/// The session in the key of its row, if it is one.
pub fn session_key(key: &[u8]) -> Option<SessionId> {
    keys::session_of(key)
}

/// Where a journal that a crash tore is to be cut; none when it is whole.
///
/// # Errors
/// With the place where it is corrupt, when it is broken elsewhere than in its last batch.
pub fn journal_tail(bytes: &[u8]) -> Result<Option<usize>, usize> {
    journal::tail(bytes)
}
