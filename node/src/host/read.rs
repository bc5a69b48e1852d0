//! Confirms leadership once for all reads that wait (ReadIndex, Raft §6.4 of Ongaro's thesis).
//!
//! A round that starts after a read arrived confirms it; reads that arrive while a round is under way wait for the
//! next one. When a round succeeds, the state holds every write acknowledged before the round began.

use std::sync::Arc;

use openraft::{ReadPolicy, errors::LinearizableReadError};
use tokio::sync::{mpsc, oneshot};

use super::replica::Shared;

/// Reads that may wait for a round; beyond it the answer is `busy`.
pub const QUEUE: usize = 8_192;
/// The most reads that one round confirms.
const MAX_ROUND: usize = 4_096;

/// What a round says to the reads that waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// What is applied here now is fresh enough.
    Confirmed,
    /// This replica does not lead, or cannot show that it does.
    NotLeader,
}

/// Runs rounds until the queue is closed.
pub async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<oneshot::Sender<Round>>) {
    let mut waiting = Vec::with_capacity(MAX_ROUND);
    while queue.recv_many(&mut waiting, MAX_ROUND).await > 0 {
        waiting.retain(|reply| !reply.is_closed());
        if waiting.is_empty() {
            continue;
        }
        let round = round(&shared).await;
        for reply in waiting.drain(..) {
            let _ = reply.send(round);
        }
    }
}

async fn round(shared: &Shared) -> Round {
    // A fresh leader has no quorum's acknowledgement yet, and refuses until it has one.
    let linearizer = match shared.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => linearizer,
        Err(error) => {
            if let Some(LinearizableReadError::QuorumNotEnough(missing)) = error.api_error() {
                tracing::debug!(group = %shared.group, %missing, "a leader that no quorum answers");
            }
            return Round::NotLeader;
        }
    };
    match linearizer.try_await_ready(&shared.raft, Some(shared.election_max)).await {
        Ok(Ok(_)) => Round::Confirmed,
        Ok(Err(_)) | Err(_) => Round::NotLeader,
    }
}
