//! Proposes what waits, in batches.
//!
//! The leader judges each command against its applied table before it proposes it, in the order in which applying
//! judges again; a refusal here leaves no trace anywhere.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use openraft::errors::ClientWriteError;
use tokio::sync::{mpsc, oneshot};
use xorum_behaviours::wire::{ClientCommand, GroupClock, OpAnswer, Refusal};

use super::replica::Shared;
use crate::group::{
    command::{Applied, Body, Command},
    sessions::Verdict,
};

/// Commands that may wait to be proposed; beyond it the answer is `busy`.
pub const QUEUE: usize = 4_096;
/// The most commands of one batch.
const MAX_BATCH: usize = 1_024;
/// The most batches whose answers are awaited at once.
const MAX_BATCHES_IN_FLIGHT: usize = 64;

/// A command that waits to be proposed.
#[derive(Debug)]
pub struct Proposal {
    /// The command.
    pub command: ClientCommand,
    /// Takes the answer.
    pub reply: oneshot::Sender<OpAnswer>,
}

/// Proposes until the queue is closed.
pub async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Proposal>) {
    let mut waiting = Vec::with_capacity(MAX_BATCH);
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            received = queue.recv_many(&mut waiting, MAX_BATCH), if in_flight.len() < MAX_BATCHES_IN_FLIGHT || !shared.is_leader() => {
                if received == 0 {
                    return;
                }
                let (commands, replies) = admit(&shared, waiting.drain(..));
                if !commands.is_empty() {
                    in_flight.push(propose(Arc::clone(&shared), commands, replies));
                }
            }
            Some(()) = in_flight.next() => {}
        }
    }
}

/// Answers at once what needs no entry; returns what does, and who waits for it.
fn admit(shared: &Shared, waiting: impl Iterator<Item = Proposal>) -> (Vec<Command>, Vec<oneshot::Sender<OpAnswer>>) {
    let clock = shared.leader_clock();
    let (mut commands, mut replies) = (Vec::new(), Vec::new());
    for Proposal { command, reply } in waiting {
        // Nobody waits any more: then nothing needs to be proposed.
        if reply.is_closed() {
            continue;
        }
        let Some(clock) = clock else {
            let _ = reply.send(OpAnswer::NotLeader { route: Some(shared.route()) });
            continue;
        };
        match shared.view.judge(clock, &command) {
            Verdict::Fresh => {
                commands.push(Command { clock, body: Body::Client(command) });
                replies.push(reply);
            }
            Verdict::Kept(answer) => {
                let _ = reply.send(OpAnswer::Applied { answer, group: shared.group, clock });
            }
            Verdict::Refused(refusal) => {
                let _ = reply.send(refused(shared, refusal, clock, false));
            }
        }
    }
    (commands, replies)
}

async fn propose(shared: Arc<Shared>, commands: Vec<Command>, replies: Vec<oneshot::Sender<OpAnswer>>) {
    let clocks: Vec<GroupClock> = commands.iter().map(|command| command.clock).collect();
    let mut results = match shared.raft.client_write_many(commands).await {
        Ok(results) => results,
        // Whoever waits is told that the outcome is unknown by the drop of its channel.
        Err(_) => return,
    };
    for (reply, clock) in replies.into_iter().zip(clocks) {
        let answer = match results.next().await {
            Some(Ok(Ok(written))) => match written.response {
                Applied::Answered(answer) => OpAnswer::Applied { answer, group: shared.group, clock },
                Applied::Refused(refusal) => refused(&shared, refusal, clock, true),
                Applied::Nothing | Applied::Minted(_) => OpAnswer::Unknown,
            },
            Some(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => OpAnswer::NotLeader { route: Some(shared.route()) },
            Some(Ok(Err(_)) | Err(_)) | None => OpAnswer::Unknown,
        };
        let _ = reply.send(answer);
    }
}

fn refused(shared: &Shared, refusal: Refusal, clock: GroupClock, proposed: bool) -> OpAnswer {
    let route = (refusal == Refusal::WrongGroup).then(|| shared.route());
    OpAnswer::Refused { refusal, proposed, group: shared.group, clock, route }
}
