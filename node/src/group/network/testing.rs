//! Doubles for tests: a messenger whose other end is the test, and a watch that keeps what it was told.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt, channel::mpsc as pull};
use libp2p::PeerId;
use openraft::{network::RPCOption, type_config::alias::SnapshotOf};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use xorum_behaviours::wire::{
    BulkAnswer, BulkRequest, GroupAnswer, GroupMessageKind, PeerAnswer, PeerRequest, ReplicaId, ReplicaNumber,
    SnapshotRow,
};

use super::{Client, GroupWatch, Network, timeouts::Purpose};
use crate::group::{
    messenger::{AskError, Messenger},
    raft::{AppendRequest, AppendResponse, SnapshotMeta, StoredMembership, TypeConfig, Vote},
    seam::{
        self, Violation,
        testing::{GROUP, ORIGIN, log_id, members, replica},
    },
    snapshot::{SnapshotError, SnapshotSource},
};

/// A request that the test answers.
pub(super) struct Asked<Q, A> {
    pub(super) request: Q,
    pub(super) answer: oneshot::Sender<Result<A, AskError>>,
}

/// What the client speaks into.
#[derive(Clone)]
pub(super) struct Line {
    raft: mpsc::UnboundedSender<Asked<PeerRequest, PeerAnswer>>,
    bulk: mpsc::UnboundedSender<Asked<BulkRequest, BulkAnswer>>,
}

/// Where the test hears it.
pub(super) struct Far {
    pub(super) raft: mpsc::UnboundedReceiver<Asked<PeerRequest, PeerAnswer>>,
    pub(super) bulk: mpsc::UnboundedReceiver<Asked<BulkRequest, BulkAnswer>>,
    pub(super) told: Arc<Told>,
}

#[derive(Default)]
pub(super) struct Told {
    pub(super) gone: Mutex<Vec<(ReplicaId, ReplicaNumber)>>,
    pub(super) misbehaved: Mutex<Vec<(ReplicaId, Violation)>>,
}

impl GroupWatch for Told {
    fn gone(&self, replica: ReplicaId, dead: ReplicaNumber) {
        self.gone.lock().push((replica, dead));
    }

    fn misbehaved(&self, replica: ReplicaId, why: &Violation) {
        self.misbehaved.lock().push((replica, why.clone()));
    }
}

async fn asked<Q, A>(line: &mpsc::UnboundedSender<Asked<Q, A>>, request: Q) -> Result<A, AskError> {
    let (answer, answered) = oneshot::channel();
    if line.send(Asked { request, answer }).is_err() {
        return Err(AskError::NotSent("nobody there".into()));
    }
    answered.await.unwrap_or_else(|_| Err(AskError::MaybeSent("hung up".into())))
}

impl Messenger for Line {
    async fn ask(&self, _: PeerId, request: PeerRequest, _: Duration) -> Result<PeerAnswer, AskError> {
        asked(&self.raft, request).await
    }

    async fn bulk(&self, _: PeerId, request: BulkRequest, _: Duration) -> Result<BulkAnswer, AskError> {
        asked(&self.bulk, request).await
    }
}

/// Replica 1 speaks to replica 2.
pub(super) fn line() -> (Network<Line, Source>, Far) {
    let (raft, far_raft) = mpsc::unbounded_channel();
    let (bulk, far_bulk) = mpsc::unbounded_channel();
    let told = Arc::new(Told::default());
    let network = Network::new(GROUP, ORIGIN, replica(1), Line { raft, bulk }, told.clone());
    (network, Far { raft: far_raft, bulk: far_bulk, told })
}

pub(super) fn client(purpose: Purpose) -> (Client<Line, Source>, Far) {
    let (mut network, far) = line();
    (network.client(replica(2), purpose), far)
}

impl Far {
    /// Waits for the next append.
    pub(super) async fn append(&mut self) -> (AppendRequest, oneshot::Sender<Result<PeerAnswer, AskError>>) {
        let asked = self.raft.recv().await.expect("the client is there");
        opened(asked)
    }

    /// The append that has arrived, if one has.
    pub(super) fn arrived(&mut self) -> Option<(AppendRequest, oneshot::Sender<Result<PeerAnswer, AskError>>)> {
        self.raft.try_recv().ok().map(opened)
    }
}

fn opened(asked: Asked<PeerRequest, PeerAnswer>) -> (AppendRequest, oneshot::Sender<Result<PeerAnswer, AskError>>) {
    let PeerRequest::Group(message) = asked.request else { panic!("a message of the group") };
    assert_eq!(message.kind, GroupMessageKind::Append);
    (seam::decode(&message.body).expect("what we encode can be decoded"), asked.answer)
}

pub(super) fn raft_answer<T: serde::Serialize>(answer: &T) -> Result<PeerAnswer, AskError> {
    Ok(PeerAnswer::Group(GroupAnswer::Raft(seam::encode(answer).expect("it is small").into())))
}

pub(super) fn success() -> Result<PeerAnswer, AskError> {
    raft_answer(&AppendResponse::Success)
}

pub(super) fn leader() -> Vote {
    Vote::new_committed(1, replica(1))
}

/// openraft's input, which counts how often it is polled and what was pulled.
pub(super) struct Input {
    queue: pull::UnboundedReceiver<AppendRequest>,
    pub(super) counts: Arc<Counts>,
}

#[derive(Default)]
pub(super) struct Counts {
    polled: AtomicUsize,
    pulled: AtomicUsize,
}

impl Counts {
    pub(super) fn polled(&self) -> usize {
        self.polled.load(Ordering::SeqCst)
    }

    pub(super) fn pulled(&self) -> usize {
        self.pulled.load(Ordering::SeqCst)
    }
}

pub(super) fn input() -> (pull::UnboundedSender<AppendRequest>, Input, Arc<Counts>) {
    let (give, queue) = pull::unbounded();
    let counts = Arc::new(Counts::default());
    (give, Input { queue, counts: counts.clone() }, counts)
}

impl Stream for Input {
    type Item = AppendRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AppendRequest>> {
        self.counts.polled.fetch_add(1, Ordering::SeqCst);
        let polled = self.queue.poll_next_unpin(cx);
        if matches!(polled, Poll::Ready(Some(_))) {
            self.counts.pulled.fetch_add(1, Ordering::SeqCst);
        }
        polled
    }
}

pub(super) fn wish(ms: u64) -> RPCOption {
    RPCOption::new(Duration::from_millis(ms))
}

/// Rows that come in chunks of one, then an error if there is one.
pub(super) struct Source {
    pub(super) rows: std::vec::IntoIter<SnapshotRow>,
    pub(super) error: Option<SnapshotError>,
}

impl SnapshotSource for Source {
    fn next_rows(&mut self, _: usize) -> Result<Vec<SnapshotRow>, SnapshotError> {
        match (self.rows.next(), self.error.take()) {
            (Some(row), error) => {
                self.error = error;
                Ok(vec![row])
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Vec::new()),
        }
    }
}

pub(super) fn rows(count: u8) -> Vec<SnapshotRow> {
    (0..count).map(|n| SnapshotRow { key: vec![n].into(), value: vec![n; 3].into() }).collect()
}

pub(super) fn snapshot(rows: Vec<SnapshotRow>, error: Option<SnapshotError>) -> SnapshotOf<TypeConfig, Source> {
    let last = Some(log_id(1, 5));
    let meta = SnapshotMeta { last_log_id: last, last_membership: StoredMembership::new(last, members(&[1, 2, 3])) };
    SnapshotOf::<TypeConfig, Source> { meta, snapshot: Source { rows: rows.into_iter(), error } }
}
