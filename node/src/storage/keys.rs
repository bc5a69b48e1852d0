//! How rows are keyed, in each of the engine's keyspaces.
//!
//! All numbers are big-endian, so that rows lie in the order of what they name. Everything of one replica, or one
//! store, is one range:
//!
//! | keyspace | key |
//! |---|---|
//! | `meta` | `f`, `n`, `c`, or `r`, `t` with a group, or `d` with what is to be dropped, or `a` with a group and what is kept aside |
//! | `raft` | group, number, `v` or `c` or `p` |
//! | `log` | group, number, index |
//! | `state` | store, group, `h` or `u`, or `s` with a session |
//! | `data` | store, position, key |

use xorum_behaviours::{
    space::{Position, Prefix},
    wire::{GroupId, ReplicaNumber, SessionId},
};

use super::records::StoreId;

/// The row of the format version.
pub(super) const FORMAT: &[u8] = b"f";
/// The row of the next store id.
pub(super) const NEXT_STORE: &[u8] = b"n";
/// The row that is written last.
pub(super) const CLOSED: &[u8] = b"c";
/// What every replica record's key begins with.
pub(super) const REPLICAS: &[u8] = b"r";
/// What every drop record's key begins with.
pub(super) const DROPS: &[u8] = b"d";

/// The row of a group's replica record.
pub(super) fn replica(group: &GroupId) -> Vec<u8> {
    [REPLICAS, &group.0].concat()
}

/// The row of a group's tombstone.
pub(super) fn tombstone(group: &GroupId) -> Vec<u8> {
    [b"t", &group.0[..]].concat()
}

/// The drop record of a store.
pub(super) fn drop_store(store: StoreId) -> Vec<u8> {
    [DROPS, b"s", &store.0.to_be_bytes()].concat()
}

/// The drop record of a replica's log.
pub(super) fn drop_log(group: &GroupId, number: ReplicaNumber) -> Vec<u8> {
    [DROPS, b"l", &of_replica(group, number)].concat()
}

/// What the record of each thing begins with that is kept aside of a group's quarantined replicas.
pub(super) fn asides(group: &GroupId) -> Vec<u8> {
    [b"a", &group.0[..]].concat()
}

/// What every row of a replica's log and Raft state begins with.
pub(super) fn of_replica(group: &GroupId, number: ReplicaNumber) -> Vec<u8> {
    [&group.0[..], &number.0.to_be_bytes()].concat()
}

/// The row of a replica's vote.
pub(super) fn vote(group: &GroupId, number: ReplicaNumber) -> Vec<u8> {
    [&of_replica(group, number)[..], b"v"].concat()
}

/// The row of the last entry that a replica knows to be committed.
pub(super) fn committed(group: &GroupId, number: ReplicaNumber) -> Vec<u8> {
    [&of_replica(group, number)[..], b"c"].concat()
}

/// The row of the last entry that a replica has purged.
pub(super) fn purged(group: &GroupId, number: ReplicaNumber) -> Vec<u8> {
    [&of_replica(group, number)[..], b"p"].concat()
}

/// The row of a log entry.
pub(super) fn entry(group: &GroupId, number: ReplicaNumber, index: u64) -> Vec<u8> {
    [&group.0[..], &number.0.to_be_bytes(), &index.to_be_bytes()].concat()
}

/// The index in the key of a log entry.
pub(super) fn index_of_entry(key: &[u8]) -> Option<u64> {
    let (of_replica, index) = key.split_last_chunk::<8>()?;
    (of_replica.len() == 40).then(|| u64::from_be_bytes(*index))
}

/// What every row of a store begins with.
pub(super) fn of_store(store: StoreId) -> [u8; 8] {
    store.0.to_be_bytes()
}

/// The row of a group's head.
pub(super) fn head(store: StoreId, group: &GroupId) -> Vec<u8> {
    [&of_store(store)[..], &group.0, b"h"].concat()
}

/// The row of a group's usage, which is this peer's own and part of no snapshot.
pub(super) fn usage(store: StoreId, group: &GroupId) -> Vec<u8> {
    [&of_store(store)[..], &group.0, b"u"].concat()
}

/// What the row of each of a group's sessions begins with.
pub(super) fn sessions(store: StoreId, group: &GroupId) -> Vec<u8> {
    [&of_store(store)[..], &group.0, b"s"].concat()
}

/// The row of a session.
pub(super) fn session(store: StoreId, group: &GroupId, session: &SessionId) -> Vec<u8> {
    [&of_store(store)[..], &group.0, b"s", &session.0].concat()
}

/// The session in the key of its row.
pub(super) fn session_of(key: &[u8]) -> Option<SessionId> {
    let (prefix, id) = key.split_last_chunk::<16>()?;
    (prefix.len() == 41).then_some(SessionId(*id))
}

/// The row of a user's key.
pub(super) fn data(store: StoreId, position: &Position, key: &[u8]) -> Vec<u8> {
    [&of_store(store)[..], position.as_bytes(), key].concat()
}

/// The rows of the users' keys in a part of the key space: the first key, and the end, if there is one.
pub(super) fn data_range(store: StoreId, prefix: Prefix) -> (Vec<u8>, Option<Vec<u8>>) {
    let (bits, len) = prefix.into();
    let last = bits | u64::MAX.checked_shr(len.into()).unwrap_or(0);
    let first = [&of_store(store)[..], &bits.to_be_bytes()].concat();
    (first, end_of(&[&of_store(store)[..], &last.to_be_bytes()].concat()))
}

/// The least key behind all that begin with `prefix`; none where there is no end.
pub(super) fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_lie_in_the_order_of_group_number_and_index(a: ([u8; 32], u64, u64), b: ([u8; 32], u64, u64)) {
            let key = |(group, number, index)| entry(&GroupId(group), ReplicaNumber(number), index);
            prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
            prop_assert_eq!(index_of_entry(&key(a)), Some(a.2));
        }

        #[test]
        fn data_lies_in_the_order_of_store_position_and_key(
            a: (u64, [u8; 32], Vec<u8>),
            b: (u64, [u8; 32], Vec<u8>),
        ) {
            let key = |(store, at, key): &(u64, [u8; 32], Vec<u8>)| {
                data(StoreId(*store), &Position::from_bytes(*at), key)
            };
            prop_assert_eq!(a.cmp(&b), key(&a).cmp(&key(&b)));
        }

        #[test]
        fn the_rows_of_a_prefix_are_those_of_its_positions(
            store in 0..3u64, bits: u64, len in 0..=64u8, other in 0..3u64, at: [u8; 32], near: bool, key: Vec<u8>,
        ) {
            let bits = if len == 0 { 0 } else { bits & u64::MAX << (64 - len) };
            let prefix = Prefix::try_from((bits, len)).expect("a prefix");
            let mut at = at;
            if near {
                at[..8].copy_from_slice(&bits.to_be_bytes());
            }
            let at = Position::from_bytes(at);
            let (first, end) = data_range(StoreId(store), prefix);
            let row = data(StoreId(other), &at, &key);
            let within = first <= row && end.is_none_or(|end| row < end);
            prop_assert_eq!(within, store == other && prefix.contains(&at));
        }

        #[test]
        fn a_session_is_read_back_from_its_key(store: u64, group: [u8; 32], id: [u8; 16]) {
            let key = session(StoreId(store), &GroupId(group), &SessionId(id));
            prop_assert_eq!(session_of(&key), Some(SessionId(id)));
            prop_assert!(key.starts_with(&sessions(StoreId(store), &GroupId(group))));
        }

        #[test]
        fn what_begins_with_a_prefix_lies_before_its_end(prefix: Vec<u8>, rest: Vec<u8>, other: Vec<u8>) {
            let whole = [&prefix[..], &rest].concat();
            let Some(end) = end_of(&prefix) else { return Ok(()) };
            prop_assert!(whole < end);
            prop_assert_eq!(other.starts_with(&prefix), prefix <= other && other < end);
        }
    }
}
