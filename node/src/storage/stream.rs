//! A snapshot's rows, as the network sends and receives them.

use xorum_behaviours::wire::SnapshotRow;

use super::{SnapshotData, StagedSnapshot, Staging, StorageError};
use crate::group::snapshot::{SnapshotError, SnapshotSink, SnapshotSource};

impl From<StorageError> for SnapshotError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::BadSnapshot(why) => Self::BadRows(why),
            other => Self::Storage(other.to_string()),
        }
    }
}

impl SnapshotSource for SnapshotData {
    fn next_rows(&mut self, max_bytes: usize) -> Result<Vec<SnapshotRow>, SnapshotError> {
        match self {
            Self::Outgoing(outgoing) => Ok(outgoing.next_rows(max_bytes)?),
            Self::Staged(_) => Err(SnapshotError::Storage("a staged snapshot is not one to send".into())),
        }
    }
}

impl SnapshotSink for Staging {
    type Done = StagedSnapshot;

    async fn push(&mut self, rows: Vec<SnapshotRow>) -> Result<(), SnapshotError> {
        Ok(Self::push(self, rows).await?)
    }

    async fn finish(self) -> Result<StagedSnapshot, SnapshotError> {
        Ok(Self::finish(self).await?)
    }
}
