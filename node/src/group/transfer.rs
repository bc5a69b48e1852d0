//! A snapshot as it comes in: at most one transfer a replica, in order, each chunk stored once.
//!
//! [`Receiver`] is the state of it. It is told of each message in turn with the time, and says what to answer. Rows
//! go to a [`SnapshotSink`]; when all have come and are durable, the whole is handed out once, to be installed, and
//! the answer to the end is what Raft said of it, for every copy of that message.
//!
//! The seam judges a transfer's head before it is told here, and again before what is handed out is installed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use xorum_behaviours::wire::{BulkAnswer, ReplicaId, SnapshotRow, TransferId};

use super::{
    seam::SnapshotHead,
    snapshot::{SnapshotError, SnapshotSink},
};

/// A transfer of which nothing is heard for this long is forgotten.
pub const IDLE_AFTER: Duration = Duration::from_secs(60);

/// The incoming snapshot of one replica.
#[derive(Debug)]
pub struct Receiver<S> {
    state: State<S>,
    heard: Option<Instant>,
}

#[derive(Debug)]
enum State<S> {
    /// None is under way.
    Idle,
    /// Rows come in.
    Staging(Staging<S>),
    /// All came; it is being installed.
    Installing(Transfer),
    /// It was installed; what Raft said.
    Installed(Transfer, Bytes),
}

#[derive(Debug)]
struct Staging<S> {
    of: Transfer,
    head: SnapshotHead,
    sink: S,
    chunks: u64,
    rows: u64,
}

/// Which transfer, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transfer {
    id: TransferId,
    sender: ReplicaId,
}

/// A snapshot that has come in whole.
#[derive(Debug)]
pub struct Arrived<D> {
    /// Which transfer brought it: what [`Receiver::installed`] wants to know.
    pub transfer: TransferId,
    /// Who sent it.
    pub sender: ReplicaId,
    /// The leader's vote, and what it is of.
    pub head: SnapshotHead,
    /// Its rows, staged and durable.
    pub data: D,
}

/// What comes of the end of a transfer.
#[derive(Debug)]
pub enum Ended<D> {
    /// Check it again, install it, tell [`Receiver::installed`], and answer the end with what Raft says.
    Install(Box<Arrived<D>>),
    /// Answer this.
    Answer(BulkAnswer),
}

impl<S> Default for Receiver<S> {
    fn default() -> Self {
        Self { state: State::Idle, heard: None }
    }
}

impl<S: SnapshotSink> Receiver<S> {
    /// A transfer begins whose head the seam let through; `sink` is fresh. An earlier transfer ends, unless it is being
    /// installed.
    pub fn begin(
        &mut self,
        transfer: TransferId,
        sender: ReplicaId,
        head: SnapshotHead,
        sink: S,
        now: Instant,
    ) -> BulkAnswer {
        let of = Transfer { id: transfer, sender };
        match &self.state {
            State::Installing(_) => return BulkAnswer::Busy,
            State::Installed(done, answer) if *done == of => return BulkAnswer::Installed(answer.clone()),
            _ => {}
        }
        self.heard = Some(now);
        self.state = State::Staging(Staging { of, head, sink, chunks: 0, rows: 0 });
        BulkAnswer::Continue
    }

    /// The next rows of a transfer. A copy of the last chunk is answered again; a gap ends the transfer, and so do rows
    /// that cannot be stored, and being dropped before the answer.
    pub async fn rows(
        &mut self,
        transfer: TransferId,
        sender: ReplicaId,
        sequence: u64,
        rows: Vec<SnapshotRow>,
        now: Instant,
    ) -> Result<BulkAnswer, SnapshotError> {
        let Some(mut staging) = self.take_staging(Transfer { id: transfer, sender }) else {
            return Ok(self.answer_to_late(transfer, sender));
        };
        self.heard = Some(now);
        if sequence + 1 == staging.chunks {
            self.state = State::Staging(staging);
            return Ok(BulkAnswer::Continue);
        }
        if sequence != staging.chunks {
            return Ok(refused("a chunk is missing"));
        }
        let count = rows.len() as u64;
        match staging.sink.push(rows).await {
            Ok(()) => {}
            Err(SnapshotError::BadRows(why)) => return Ok(BulkAnswer::Refused(why)),
            Err(error @ SnapshotError::Storage(_)) => return Err(error),
        }
        staging.chunks += 1;
        staging.rows += count;
        self.state = State::Staging(staging);
        Ok(BulkAnswer::Continue)
    }

    /// All rows of a transfer were sent: so many chunks and rows.
    ///
    /// # Errors
    /// When what came cannot be made durable; the replica must stop.
    pub async fn end(
        &mut self,
        transfer: TransferId,
        sender: ReplicaId,
        chunks: u64,
        rows: u64,
        now: Instant,
    ) -> Result<Ended<S::Done>, SnapshotError> {
        let of = Transfer { id: transfer, sender };
        let Some(staging) = self.take_staging(of) else {
            return Ok(Ended::Answer(self.answer_to_late(transfer, sender)));
        };
        self.heard = Some(now);
        if (staging.chunks, staging.rows) != (chunks, rows) {
            return Ok(Ended::Answer(refused("not as many rows came as were sent")));
        }
        let data = match staging.sink.finish().await {
            Ok(data) => data,
            Err(SnapshotError::BadRows(why)) => return Ok(Ended::Answer(BulkAnswer::Refused(why))),
            Err(error @ SnapshotError::Storage(_)) => return Err(error),
        };
        self.state = State::Installing(of);
        Ok(Ended::Install(Box::new(Arrived { transfer, sender, head: staging.head, data })))
    }

    /// What Raft said of the snapshot that [`Self::end`] handed out, encoded; none when it was not installed. Copies of
    /// the end are answered alike from now on.
    pub fn installed(&mut self, transfer: TransferId, answer: Option<Bytes>, now: Instant) {
        let State::Installing(of) = self.state else { return };
        if of.id != transfer {
            return;
        }
        self.heard = Some(now);
        self.state = answer.map_or(State::Idle, |answer| State::Installed(of, answer));
    }

    /// Forgets a transfer of which nothing was heard for [`IDLE_AFTER`]; was there one? One that is being installed is
    /// kept.
    pub fn expire(&mut self, now: Instant) -> bool {
        let idle = self.heard.is_some_and(|heard| now.saturating_duration_since(heard) >= IDLE_AFTER);
        if !idle || matches!(self.state, State::Installing(_)) {
            return false;
        }
        self.heard = None;
        !matches!(std::mem::replace(&mut self.state, State::Idle), State::Idle)
    }

    /// The transfer under way, if there is one.
    pub const fn transfer(&self) -> Option<TransferId> {
        match &self.state {
            State::Idle => None,
            State::Staging(staging) => Some(staging.of.id),
            State::Installing(of) | State::Installed(of, _) => Some(of.id),
        }
    }

    /// Who sends a transfer, if it is the one under way.
    pub fn sender(&self, transfer: TransferId) -> Option<ReplicaId> {
        let of = match &self.state {
            State::Idle => return None,
            State::Staging(staging) => &staging.of,
            State::Installing(of) | State::Installed(of, _) => of,
        };
        (of.id == transfer).then_some(of.sender)
    }

    /// Takes the rows out if they are of this transfer; what was there stays if not.
    fn take_staging(&mut self, of: Transfer) -> Option<Staging<S>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Staging(staging) if staging.of == of => Some(staging),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The answer to a message of a transfer to which no rows may be added.
    fn answer_to_late(&self, id: TransferId, sender: ReplicaId) -> BulkAnswer {
        let of = Transfer { id, sender };
        match &self.state {
            State::Installing(this) if *this == of => BulkAnswer::Busy,
            State::Installed(this, answer) if *this == of => BulkAnswer::Installed(answer.clone()),
            _ => refused("no such transfer"),
        }
    }
}

fn refused(why: &str) -> BulkAnswer {
    BulkAnswer::Refused(why.to_owned())
}
