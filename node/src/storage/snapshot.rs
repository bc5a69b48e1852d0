//! Snapshots as they leave: the rows of the last flush, streamed in order.
//!
//! A stream is the head row, then the sessions, then the data, each in the order of its key. A row's key begins with
//! a byte that says which it is; nothing in it is this peer's own, such as store ids.

use bytes::Bytes;
use xorum_behaviours::wire::{self, GroupId, SnapshotRow};

use super::{
    engine::{Frozen, Space},
    error::StorageError,
    keys,
    records::StoreId,
    replica::{Core, read_head},
    staging::StagedSnapshot,
};
use crate::group::{raft::SnapshotMeta, state::Head};

/// The byte that a head row's key begins with, and all of it.
pub(super) const HEAD: u8 = 0;
/// The byte that a session row's key begins with; the session follows.
pub(super) const SESSION: u8 = 1;
/// The byte that a data row's key begins with; position and key follow.
pub(super) const DATA: u8 = 2;

/// A snapshot as openraft passes it around.
pub enum SnapshotData {
    /// Of this peer's replica, to be read.
    Outgoing(OutgoingSnapshot),
    /// Received whole, to be installed.
    Staged(StagedSnapshot),
}

/// Which rows come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    Sessions,
    Data,
    End,
}

/// A snapshot of this peer's replica, as of a flush. While it is there the engine keeps what it is of.
pub struct OutgoingSnapshot {
    frozen: Frozen,
    group: GroupId,
    store: StoreId,
    head: Head,
    part: Part,
    /// The last row given of this part.
    after: Option<Vec<u8>>,
}

impl OutgoingSnapshot {
    /// The snapshot of the last flush.
    pub(super) fn new(core: &Core) -> Result<Self, StorageError> {
        let (store, frozen) = {
            let applied = core.applied.read();
            (applied.store, core.shared.engine.frozen())
        };
        let head = read_head(&frozen, &core.group, store)?;
        Ok(Self { frozen, group: core.group, store, head, part: Part::Head, after: None })
    }

    /// What it is of.
    pub fn meta(&self) -> SnapshotMeta {
        meta_of(&self.head)
    }

    /// The next rows, in order, of about `max_bytes` at most, but one at least; none at the end. It reads the disk:
    /// call it where blocking is allowed.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn next_rows(&mut self, max_bytes: usize) -> Result<Vec<SnapshotRow>, StorageError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while bytes < max_bytes && self.part != Part::End {
            match self.part {
                Part::Head => {
                    let value = wire::encode(&self.head)?;
                    bytes += value.len();
                    rows.push(SnapshotRow { key: Bytes::from_static(&[HEAD]), value: value.into() });
                    self.part = Part::Sessions;
                }
                Part::Sessions => {
                    let first = keys::sessions(self.store, &self.group);
                    let end = keys::end_of(&first);
                    if self.fill(
                        Space::State,
                        (&first, end),
                        (SESSION, first.len()),
                        max_bytes,
                        &mut bytes,
                        &mut rows,
                    )? {
                        self.part = Part::Data;
                    }
                }
                Part::Data => {
                    // Others may share the store, each over its own range.
                    let (first, end) = keys::data_range(self.store, self.head.prefix);
                    let cut = keys::of_store(self.store).len();
                    if self.fill(Space::Data, (&first, end), (DATA, cut), max_bytes, &mut bytes, &mut rows)? {
                        self.part = Part::End;
                    }
                }
                Part::End => {}
            }
        }
        Ok(rows)
    }

    /// Adds rows of a range until there are enough; true at the end of them. Their keys get a tag for what they
    /// begin with, of so many bytes.
    fn fill(
        &mut self,
        space: Space,
        (first, end): (&[u8], Option<Vec<u8>>),
        (tag, cut): (u8, usize),
        max_bytes: usize,
        bytes: &mut usize,
        rows: &mut Vec<SnapshotRow>,
    ) -> Result<bool, StorageError> {
        for row in self.frozen.rows_between(space, first, end, self.after.as_deref()) {
            let (key, value) = row?;
            *bytes += key.len() + value.len();
            let key_in_stream = [&[tag][..], &key[cut..]].concat();
            rows.push(SnapshotRow { key: key_in_stream.into(), value: Bytes::copy_from_slice(&value) });
            if *bytes >= max_bytes {
                self.after = Some(key.to_vec());
                return Ok(false);
            }
        }
        self.after = None;
        Ok(true)
    }
}

/// What a snapshot with this head is of.
pub(super) fn meta_of(head: &Head) -> SnapshotMeta {
    SnapshotMeta { last_log_id: head.applied, last_membership: head.membership.clone() }
}
