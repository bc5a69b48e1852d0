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
    /// that are refused, and being dropped before the answer.
    ///
    /// # Errors
    /// When they cannot be stored; the replica must stop.
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
        if sequence.checked_add(1) == Some(staging.chunks) {
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::group::{
        raft::{SnapshotMeta, StoredMembership, Vote},
        seam::testing::{log_id, members, replica},
    };

    /// Keeps rows in memory; counts the sinks that are alive.
    #[derive(Debug)]
    struct Memory {
        rows: Vec<SnapshotRow>,
        error: Option<SnapshotError>,
        alive: Arc<AtomicUsize>,
    }

    impl Memory {
        fn new(alive: &Arc<AtomicUsize>) -> Self {
            alive.fetch_add(1, Ordering::SeqCst);
            Self { rows: Vec::new(), error: None, alive: alive.clone() }
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl SnapshotSink for Memory {
        type Done = Vec<SnapshotRow>;

        async fn push(&mut self, rows: Vec<SnapshotRow>) -> Result<(), SnapshotError> {
            self.rows.extend(rows);
            self.error.take().map_or(Ok(()), Err)
        }

        async fn finish(mut self) -> Result<Self::Done, SnapshotError> {
            Ok(std::mem::take(&mut self.rows))
        }
    }

    const ONE: TransferId = TransferId(1);
    const TWO: TransferId = TransferId(2);

    fn head() -> SnapshotHead {
        let last = Some(log_id(1, 5));
        let meta = SnapshotMeta { last_log_id: last, last_membership: StoredMembership::new(last, members(&[1, 2])) };
        SnapshotHead { vote: Vote::new_committed(1, replica(2)), meta }
    }

    fn rows(sequence: u64) -> Vec<SnapshotRow> {
        vec![SnapshotRow { key: vec![sequence as u8].into(), value: (&b"value"[..]).into() }]
    }

    struct Rig {
        receiver: Receiver<Memory>,
        alive: Arc<AtomicUsize>,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self { receiver: Receiver::default(), alive: Arc::default(), now: Instant::now() }
        }

        fn begin(&mut self, transfer: TransferId) -> BulkAnswer {
            self.receiver.begin(transfer, replica(2), head(), Memory::new(&self.alive), self.now)
        }

        async fn rows(&mut self, transfer: TransferId, sequence: u64) -> BulkAnswer {
            let told = self.receiver.rows(transfer, replica(2), sequence, rows(sequence), self.now).await;
            told.expect("the memory is sound")
        }

        async fn end(&mut self, transfer: TransferId, chunks: u64, rows: u64) -> Ended<Vec<SnapshotRow>> {
            let told = self.receiver.end(transfer, replica(2), chunks, rows, self.now).await;
            told.expect("the memory is sound")
        }
    }

    fn is_refused(answer: &BulkAnswer) -> bool {
        matches!(answer, BulkAnswer::Refused(_))
    }

    #[tokio::test]
    async fn rows_arrive_once_and_in_order_whatever_is_repeated() {
        let mut rig = Rig::new();
        assert_eq!(rig.begin(ONE), BulkAnswer::Continue);
        for sequence in [0, 0, 1, 1, 1, 2] {
            assert_eq!(rig.rows(ONE, sequence).await, BulkAnswer::Continue);
        }
        let Ended::Install(arrived) = rig.end(ONE, 3, 3).await else { panic!("all came") };
        assert_eq!(arrived.data, [rows(0), rows(1), rows(2)].concat());
        assert_eq!((arrived.head, arrived.sender, arrived.transfer), (head(), replica(2), ONE));
    }

    #[tokio::test]
    async fn a_copy_of_the_end_is_answered_busy_until_raft_has_said_and_then_the_same() {
        let mut rig = Rig::new();
        rig.begin(ONE);
        assert!(matches!(rig.end(ONE, 0, 0).await, Ended::Install(_)));
        assert!(matches!(rig.end(ONE, 0, 0).await, Ended::Answer(BulkAnswer::Busy)));
        assert_eq!(rig.begin(TWO), BulkAnswer::Busy, "none begins while one is being installed");
        rig.receiver.installed(ONE, Some((&b"vote"[..]).into()), rig.now);
        let said = BulkAnswer::Installed((&b"vote"[..]).into());
        assert!(matches!(rig.end(ONE, 0, 0).await, Ended::Answer(answer) if answer == said));
        assert_eq!(rig.begin(ONE), said);
        assert_eq!(rig.begin(TWO), BulkAnswer::Continue);
    }

    #[tokio::test]
    async fn a_gap_ends_the_transfer() {
        let mut rig = Rig::new();
        for gap in [2, 3, u64::MAX] {
            rig.begin(ONE);
            rig.rows(ONE, 0).await;
            assert!(is_refused(&rig.rows(ONE, gap).await));
            assert!(is_refused(&rig.rows(ONE, 1).await));
            assert_eq!((rig.receiver.transfer(), rig.alive.load(Ordering::SeqCst)), (None, 0));
        }
    }

    #[tokio::test]
    async fn a_later_transfer_ends_the_earlier_and_takes_nothing_from_it() {
        let mut rig = Rig::new();
        rig.begin(ONE);
        rig.rows(ONE, 0).await;
        assert_eq!(rig.begin(TWO), BulkAnswer::Continue);
        assert_eq!(rig.alive.load(Ordering::SeqCst), 1, "one transfer a replica");
        assert!(is_refused(&rig.rows(ONE, 1).await));
        assert_eq!(rig.rows(TWO, 0).await, BulkAnswer::Continue);
        let Ended::Install(arrived) = rig.end(TWO, 1, 1).await else { panic!("all came") };
        assert_eq!(arrived.data, rows(0));
    }

    #[tokio::test]
    async fn who_did_not_begin_a_transfer_cannot_add_to_it_nor_end_it() {
        let mut rig = Rig::new();
        rig.begin(ONE);
        let (other, now) = (replica(3), rig.now);
        let added = rig.receiver.rows(ONE, other, 0, rows(0), now).await.expect("the memory is sound");
        assert!(is_refused(&added));
        let ended = rig.receiver.end(ONE, other, 0, 0, now).await.expect("the memory is sound");
        assert!(matches!(ended, Ended::Answer(answer) if is_refused(&answer)));
        assert_eq!(rig.rows(ONE, 0).await, BulkAnswer::Continue);
    }

    #[tokio::test]
    async fn an_end_that_counts_otherwise_ends_the_transfer_without_an_installation() {
        for (chunks, count) in [(1, 2), (2, 1), (0, 0)] {
            let mut rig = Rig::new();
            rig.begin(ONE);
            rig.rows(ONE, 0).await;
            assert!(matches!(rig.end(ONE, chunks, count).await, Ended::Answer(answer) if is_refused(&answer)));
            assert_eq!(rig.receiver.transfer(), None);
        }
    }

    #[tokio::test]
    async fn bad_rows_are_refused_and_a_broken_disk_is_an_error() {
        for (error, stops) in
            [(SnapshotError::BadRows("order".into()), false), (SnapshotError::Storage("disk".into()), true)]
        {
            let mut rig = Rig::new();
            let mut sink = Memory::new(&rig.alive);
            sink.error = Some(error);
            rig.receiver.begin(ONE, replica(2), head(), sink, rig.now);
            let told = rig.receiver.rows(ONE, replica(2), 0, rows(0), rig.now).await;
            assert_eq!(told.is_err(), stops);
            assert_eq!(rig.receiver.transfer(), None);
        }
    }

    #[tokio::test]
    async fn an_idle_transfer_is_forgotten_and_one_that_is_installed_is_not() {
        let mut rig = Rig::new();
        rig.begin(ONE);
        assert!(!rig.receiver.expire(rig.now + IDLE_AFTER / 2));
        rig.now += IDLE_AFTER / 2;
        rig.rows(ONE, 0).await;
        assert!(!rig.receiver.expire(rig.now + IDLE_AFTER / 2), "it was heard since");
        assert!(rig.receiver.expire(rig.now + IDLE_AFTER));
        assert_eq!(rig.alive.load(Ordering::SeqCst), 0);
        rig.begin(TWO);
        assert!(matches!(rig.end(TWO, 0, 0).await, Ended::Install(_)));
        assert!(!rig.receiver.expire(rig.now + 2 * IDLE_AFTER));
        assert_eq!(rig.receiver.transfer(), Some(TWO));
    }
}
