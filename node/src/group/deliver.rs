//! Hands to openraft what the seam let through, and encodes what it answers.
#![allow(clippy::result_large_err, reason = "openraft's own error types")]

use openraft::{
    Raft,
    errors::{Fatal, RaftError},
    storage::RaftStateMachine,
};
use serde::Serialize;
use xorum_behaviours::wire::{BulkAnswer, GroupAnswer};

use super::{
    raft::{SnapshotMeta, TypeConfig, Vote},
    seam::{self, Checked},
};

/// Lets openraft handle a message that the seam let through.
///
/// # Errors
/// When the replica has stopped.
pub async fn deliver<SM: RaftStateMachine<TypeConfig>>(
    raft: &Raft<TypeConfig, SM>,
    message: Checked,
) -> Result<GroupAnswer, Fatal<TypeConfig>> {
    Ok(match message {
        Checked::Append(request) => answer(&raft.append_entries(request).await.map_err(RaftError::unwrap_fatal)?),
        Checked::Vote(request) => answer(&raft.vote(request).await.map_err(RaftError::unwrap_fatal)?),
        Checked::PreVote(request) => answer(&raft.pre_vote(request).await.map_err(RaftError::unwrap_fatal)?),
        Checked::Transfer(request) => answer(&raft.handle_transfer_leader(request).await?),
    })
}

/// Lets openraft install a snapshot that has come in whole and that the seam let through again; the answer is for
/// [`Receiver::installed`](super::transfer::Receiver::installed) too.
///
/// # Errors
/// When the replica has stopped.
pub async fn install<SM: RaftStateMachine<TypeConfig>>(
    raft: &Raft<TypeConfig, SM>,
    vote: Vote,
    meta: SnapshotMeta,
    data: SM::SnapshotData,
) -> Result<BulkAnswer, Fatal<TypeConfig>> {
    let snapshot = openraft::Snapshot { meta, snapshot: data };
    let said = raft.install_full_snapshot(vote, snapshot).await?;
    Ok(match seam::encode(&said.vote) {
        Ok(body) => BulkAnswer::Installed(body.into()),
        Err(error) => BulkAnswer::Refused(error.to_string()),
    })
}

fn answer<T: Serialize>(said: &T) -> GroupAnswer {
    match seam::encode(said) {
        Ok(body) => GroupAnswer::Raft(body.into()),
        Err(error) => GroupAnswer::Refused(error.to_string()),
    }
}
