//! What is read from the disk.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use xorum_behaviours::wire;
use xorum_node::{
    group::{
        raft::{LogId, Vote},
        sessions::SessionRecord,
        state::Head,
    },
    storage::{ReplicaRecord, Usage, decode},
};

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(bytes: &[u8]) {
    if let Ok(row) = wire::decode::<T>(bytes)
        && let Ok(encoded) = wire::encode(&row)
    {
        assert_eq!(wire::decode::<T>(&encoded).as_ref(), Ok(&row));
    }
}

/// The first byte says which row, the rest is its value, or, of a session, its key.
pub(super) fn row(bytes: &[u8]) {
    let Some((first, row)) = bytes.split_first() else { return };
    match first % 9 {
        0 => comes_back::<Head>(row),
        1 => comes_back::<SessionRecord>(row),
        2 => comes_back::<ReplicaRecord>(row),
        3 => comes_back::<Usage>(row),
        4 => comes_back::<Vote>(row),
        5 => comes_back::<LogId>(row),
        6 => {
            if let Ok(again) = decode::drop_record(row) {
                assert_eq!(decode::drop_record(&again).as_ref(), Ok(&again));
            }
        }
        7 => drop(decode::session_key(row)),
        _ => {
            if let Ok((_, value)) = decode::data_row(row) {
                assert!(value.len() < row.len());
            }
        }
    }
}

/// The first 48 bytes are the key, the rest is a run of entries.
pub(super) fn log_entries(bytes: &[u8]) {
    let Some((key, value)) = bytes.split_at_checked(48) else { return };
    if let Ok(entries) = decode::log_entries(key, value) {
        let last = entries.last().map(|entry| entry.log_id.index.to_be_bytes());
        assert!(last.is_some_and(|last| key.ends_with(&last)));
    }
}

/// A journal that is cut where it is said to be torn is whole.
pub(super) fn journal(bytes: &[u8]) {
    if let Ok(Some(at)) = decode::journal_tail(bytes) {
        assert_eq!(decode::journal_tail(&bytes[..at]), Ok(None));
    }
}
