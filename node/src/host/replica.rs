//! One running replica: its Raft core, its queues, its descriptor.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use libp2p::PeerId;
use openraft::{Instant as _, Raft, ServerState, async_runtime::WatchReceiver};
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use xorum_behaviours::{
    space::Position,
    wire::{Descriptor, GroupClock, GroupId, ReplicaId, ReplicaNumber, ReplicaRole, Route},
};

use super::{Host, clock::LeaderClock, farewell, housekeeping, propose, read, reconcile};
use crate::{
    group::{
        network::Network,
        raft::{LogId, Membership, TypeConfig},
        seam::Facts,
        state::Head,
        transfer,
    },
    peers::PeerBook,
    storage::{self, LogStore, SnapshotData, Staging, StateMachine, View},
};

/// The Raft core of a replica.
pub type Core = Raft<TypeConfig, StateMachine>;

type Metrics = openraft::type_config::alias::WatchReceiverOf<TypeConfig, openraft::RaftMetrics<TypeConfig>>;
type ServerMetrics =
    openraft::type_config::alias::WatchReceiverOf<TypeConfig, openraft::metrics::RaftServerMetrics<TypeConfig>>;
type DataMetrics =
    openraft::type_config::alias::WatchReceiverOf<TypeConfig, openraft::metrics::RaftDataMetrics<TypeConfig>>;

/// What openraft's network noticed that may wait for the reconcile loop.
const NOTICES: usize = 64;

/// What the tasks of a replica share.
pub struct Shared {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub id: ReplicaId,
    /// The Raft core.
    pub raft: Core,
    /// The applied state.
    pub view: View,
    /// The log.
    pub log: LogStore,
    /// The longest silence before a follower campaigns.
    pub election_max: Duration,
    metrics: Metrics,
    server: ServerMetrics,
    data: DataMetrics,
    clock: LeaderClock,
    descriptor: RwLock<Arc<Descriptor>>,
    /// When the group's leader was last heard.
    led: Mutex<Instant>,
    /// When it had applied all that its leader said is committed.
    fresh: Mutex<Instant>,
    /// The highest dead number of the group on this peer.
    dead: Option<ReplicaNumber>,
    book: Arc<PeerBook>,
}

/// A running replica.
pub struct Replica {
    /// What its tasks share.
    pub shared: Arc<Shared>,
    /// Commands that wait to be proposed.
    pub proposals: mpsc::Sender<propose::Proposal>,
    /// Reads that wait for a round.
    pub reads: mpsc::Sender<oneshot::Sender<read::Round>>,
    /// The snapshot that is being received.
    pub receiver: tokio::sync::Mutex<transfer::Receiver<Staging>>,
    /// Wakes the reconcile loop.
    pub nudge: Arc<tokio::sync::Notify>,
    /// Ends its tasks.
    pub token: CancellationToken,
    /// What its leader's reconcile loop knows about leaves under way.
    pub removals: farewell::Removals,
    /// What members told of their going.
    pub farewells: farewell::Farewells,
    /// Is its leader being asked whether it is still a member?
    pub asking: AtomicBool,
}

impl Replica {
    /// Starts a replica that the storage has.
    ///
    /// # Errors
    /// When it cannot be opened, or its core does not start.
    pub(super) async fn start(
        host: &Arc<Host>,
        record: &storage::ReplicaRecord,
    ) -> Result<Arc<Self>, storage::StorageError> {
        let stored = host.storage.replica(&record.group)?;
        let id = ReplicaId { peer: host.local, number: record.number };
        let dead = host.storage.dead_number(&record.group)?;
        let (noticed, notices) = mpsc::channel(NOTICES);
        let watcher = Arc::new(reconcile::Watcher(noticed));
        let messenger = super::messenger::LinksMessenger(host.links.clone());
        let network = Network::<_, SnapshotData>::new(record.group, record.origin, id, messenger, watcher);
        let log = stored.log.clone();
        let config = host.raft_config().map_err(storage::StorageError::stopped)?;
        let raft =
            Core::new(id, config, network, stored.log, stored.machine).await.map_err(storage::StorageError::stopped)?;
        let shared = Arc::new(Shared {
            group: record.group,
            id,
            election_max: host.election_max(),
            metrics: raft.metrics(),
            server: raft.server_metrics(),
            data: raft.data_metrics(),
            clock: LeaderClock::default(),
            descriptor: RwLock::new(Arc::new(describe(&stored.view.head(), None, 0))),
            dead,
            log,
            led: Mutex::new(Instant::now()),
            fresh: Mutex::new(Instant::now()),
            book: Arc::clone(&host.book),
            view: stored.view,
            raft,
        });
        let (proposals, proposal_queue) = mpsc::channel(propose::QUEUE);
        let (reads, read_queue) = mpsc::channel(read::QUEUE);
        let replica = Arc::new(Self {
            shared: Arc::clone(&shared),
            proposals,
            reads,
            receiver: tokio::sync::Mutex::new(transfer::Receiver::default()),
            nudge: Arc::default(),
            token: host.token.child_token(),
            removals: farewell::Removals::default(),
            farewells: farewell::Farewells::default(),
            asking: AtomicBool::new(false),
        });
        replica.spawn(host, propose::run(Arc::clone(&shared), proposal_queue));
        replica.spawn(host, read::run(Arc::clone(&shared), read_queue));
        replica.spawn(host, follow(Arc::clone(host), Arc::clone(&replica)));
        replica.spawn(host, reconcile::run(Arc::clone(host), Arc::clone(&replica), notices));
        replica.spawn(host, housekeeping::run(Arc::clone(host), Arc::clone(&replica)));
        Ok(replica)
    }

    /// Shows that this replica leads, by a read index.
    pub(super) async fn confirm_leadership(&self, within: Duration) -> bool {
        let (reply, round) = oneshot::channel();
        self.shared.is_leader()
            && self.reads.try_send(reply).is_ok()
            && matches!(tokio::time::timeout(within, round).await, Ok(Ok(read::Round::Confirmed)))
    }

    fn spawn(&self, host: &Host, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        host.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Stops its tasks and its core. What is in flight is told nothing: its outcome is unknown.
    pub(super) async fn stop(&self) {
        self.token.cancel();
        if let Err(error) = self.shared.raft.shutdown().await {
            tracing::warn!(group = %self.shared.group, %error, "a Raft core did not end by itself");
        }
    }

    /// Milliseconds for which it may have missed writes: zero when it leads or hears its leader.
    pub fn stale_ms(&self) -> u64 {
        let metrics = self.shared.metrics.borrow_watched();
        match metrics.last_quorum_acked.as_ref().filter(|_| metrics.state == ServerState::Leader) {
            Some(acked) => acked.elapsed().as_millis() as u64,
            None => {
                drop(metrics);
                self.shared.fresh.lock().elapsed().as_millis() as u64
            }
        }
    }
}

impl Shared {
    /// Does it lead, as far as it knows?
    pub fn is_leader(&self) -> bool {
        self.server.borrow_watched().state == ServerState::Leader
    }

    /// Its term, and whether it leads in it.
    pub fn term(&self) -> (u64, bool) {
        let server = self.server.borrow_watched();
        (server.vote.leader_id().term, server.state == ServerState::Leader && server.vote.is_committed())
    }

    /// The group clock; none unless it leads and has applied an entry of its own.
    pub fn leader_clock(&self) -> Option<GroupClock> {
        let (term, leads) = self.term();
        let applied = || {
            let head = self.view.head();
            head.applied.map(|id| (**id.committed_leader_id(), head.clock))
        };
        leads.then(|| self.clock.now(term, applied)).flatten()
    }

    /// Does the group, as applied here, own the position? A replica that applied nothing yet owns none.
    pub fn owns(&self, position: &Position) -> bool {
        let descriptor = self.descriptor.read();
        !descriptor.voters.is_empty() && descriptor.prefix.contains(position)
    }

    /// The group's descriptor, as applied here.
    pub fn descriptor(&self) -> Arc<Descriptor> {
        Arc::clone(&self.descriptor.read())
    }

    /// The descriptor, and where the voters are.
    pub fn route(&self) -> Route {
        self.book.route(&self.descriptor())
    }

    /// The peers of all members, as effective here.
    pub fn member_peers(&self) -> BTreeSet<PeerId> {
        let server = self.server.borrow_watched();
        server.membership_config.membership().nodes().map(|(id, _)| id.peer).collect()
    }

    /// The end of the log.
    pub fn last_log(&self) -> Option<LogId> {
        self.data.borrow_watched().last_log
    }

    /// What this replica is to its group.
    pub fn role(&self) -> ReplicaRole {
        let server = self.server.borrow_watched();
        match server.state {
            ServerState::Leader => ReplicaRole::Leader,
            _ if server.membership_config.voter_ids().any(|voter| voter == self.id) => ReplicaRole::Voter,
            _ => ReplicaRole::Learner,
        }
    }

    /// May this peer's messages put this replica in doubt? It must be a member, and there must be other voters.
    pub fn may_doubt(&self, from: &PeerId) -> bool {
        !self.is_sole_voter() && self.member_peers().contains(from)
    }

    /// Is it the only voter?
    pub fn is_sole_voter(&self) -> bool {
        let server = self.server.borrow_watched();
        let mut voters = server.membership_config.voter_ids();
        voters.next() == Some(self.id) && voters.next().is_none()
    }

    /// Is a change of voters half done that this replica votes in?
    pub fn is_joining(&self) -> bool {
        let server = self.server.borrow_watched();
        let configs = server.membership_config.membership().get_joint_config();
        configs.len() > 1 && configs.iter().any(|voters| voters.contains(&self.id))
    }

    /// Everything that Raft tells, as of now.
    pub fn metrics(&self) -> openraft::RaftMetrics<TypeConfig> {
        self.metrics.borrow_watched().clone()
    }

    /// For how long no leader has been heard.
    pub fn leaderless_for(&self) -> Duration {
        if self.is_leader() { Duration::ZERO } else { self.led.lock().elapsed() }
    }

    /// Judges a message by what this replica knows now.
    pub fn with_facts<T>(&self, judge: impl FnOnce(&Facts<'_>) -> T) -> T {
        // What is committed is read first: a vote that is older than it would make a late message of an old leader look
        // like one that contradicts it.
        let committed = self.data.borrow_watched().local_committed;
        let (vote, membership) = {
            let server = self.server.borrow_watched();
            (server.vote, Arc::clone(&server.membership_config))
        };
        judge(&Facts {
            group: self.group,
            me: self.id,
            vote: Some(vote),
            committed,
            membership: Some(membership.membership()),
            dead: self.dead,
            term_at: &|index| self.log.term_in_memory(index),
        })
    }

    /// Notes that the group's leader was heard, and up to where it said the log is committed.
    pub fn note_leader(&self, committed: Option<LogId>) {
        let now = Instant::now();
        *self.led.lock() = now;
        let applied = self.data.borrow_watched().last_applied;
        if applied.map(|id| id.index) >= committed.map(|id| id.index) {
            *self.fresh.lock() = now;
        }
    }

    fn refresh(&self) {
        let (leader, term) = {
            let server = self.server.borrow_watched();
            (server.current_leader.map(|leader| leader.peer), server.vote.leader_id().term)
        };
        *self.descriptor.write() = Arc::new(describe(&self.view.head(), leader, term));
    }
}

/// A descriptor, from applied state only.
fn describe(head: &Head, leader: Option<PeerId>, term: u64) -> Descriptor {
    let membership: &Membership = head.membership.membership();
    Descriptor {
        group: head.group,
        prefix: head.prefix,
        epoch: head.epoch,
        term,
        voters: membership.voter_ids().collect(),
        leader,
        clock: head.clock,
    }
}

/// Follows what Raft tells: keeps the descriptor, and ends the replica when its core has.
async fn follow(host: Arc<Host>, replica: Arc<Replica>) {
    let shared = &replica.shared;
    let mut metrics = shared.metrics.clone();
    let (mut seen, mut discarded) = (None, false);
    loop {
        let (now, running) = {
            let metrics = metrics.borrow_and_update();
            let state = metrics.state;
            let applied_membership = metrics.committed_membership_config.log_id().map(|id| id.index);
            ((state, metrics.vote, metrics.current_leader, applied_membership), metrics.running_state.clone())
        };
        if let Err(fatal) = running {
            host.end_stopped(&replica, &fatal.to_string());
            return;
        }
        if seen != Some(now) {
            seen = Some(now);
            shared.refresh();
            replica.nudge.notify_one();
            if shared.role() != ReplicaRole::Learner && !discarded {
                // A voter has caught up: what a quarantined predecessor left is of no more use.
                discarded = true;
                if let Err(error) = host.storage.discard_aside(&shared.group).await {
                    tracing::warn!(group = %shared.group, %error, "rows of an older replica are not dropped");
                }
            }
            host.cache.learn((*shared.descriptor()).clone());
        } else if shared.descriptor().epoch != shared.view.head().epoch {
            shared.refresh();
        }
        if metrics.changed().await.is_err() {
            // A core that panicked leaves `running_state` as it was.
            host.end_stopped(&replica, "its Raft core ended without a word");
            return;
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Replica").field(&self.shared.id).finish()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.id).finish()
    }
}
