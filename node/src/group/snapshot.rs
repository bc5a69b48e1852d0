//! What a snapshot is to the network: rows that come out of a source here and go into a sink there.
//!
//! Storage implements both. A source reads one state of the group, whatever is applied meanwhile; a sink collects
//! rows beside the replica's live ones, and nothing of them is seen before the whole is installed.

use std::future::Future;

use xorum_behaviours::wire::SnapshotRow;

/// Why a snapshot cannot be read or staged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed or what it holds is not what was written; the replica must stop.
    #[error("{0}")]
    Storage(String),
    /// The rows cannot be part of a snapshot of this group.
    #[error("{0}")]
    BadRows(String),
}

/// The rows of a snapshot that is sent.
pub trait SnapshotSource: Send + 'static {
    /// The next rows, in order of their keys, as many as fit into `max_bytes` of keys and values but at least one;
    /// none when all were given. It may block on the disk.
    ///
    /// # Errors
    /// When they cannot be read.
    fn next_rows(&mut self, max_bytes: usize) -> Result<Vec<SnapshotRow>, SnapshotError>;
}

/// Where the rows of a snapshot that is received are staged. Dropping it forgets them.
pub trait SnapshotSink: Send + 'static {
    /// The staged whole, ready to be installed.
    type Done: Send + 'static;

    /// Stages rows, in the order in which they were sent.
    ///
    /// # Errors
    /// When they cannot be stored, or cannot be of this group's snapshot.
    fn push(&mut self, rows: Vec<SnapshotRow>) -> impl Future<Output = Result<(), SnapshotError>> + Send;

    /// Ends the staging: all rows are durable when it returns.
    ///
    /// # Errors
    /// As [`Self::push`].
    fn finish(self) -> impl Future<Output = Result<Self::Done, SnapshotError>> + Send;
}
