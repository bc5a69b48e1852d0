//! All groups of this peer: their replicas' lives, what they serve, and who holds their seats.
//!
//! - [`replica`]: one running replica: its Raft core, its queues, its descriptor.
//! - [`propose`], [`read`]: batches of commands and of reads.
//! - [`clock`]: the leader's group clock.
//! - [`lifecycle`]: how replicas come to be and end (invariant 4).
//! - [`operations`]: client operations, served from what is here.
//! - [`service`]: what other peers ask, by class.
//! - [`presence`]: whom this peer hears.
//! - [`reconcile`], [`survey`]: the leader's loop that brings a group's seats to where they are wanted.
//! - [`farewell`]: leaving, and stopping.
//! - [`housekeeping`]: snapshots and purges.
//!
//! The host never decides who owns a key: that is decided where a command is applied.

pub mod clock;
pub mod farewell;
pub mod housekeeping;
pub mod lifecycle;
pub mod messenger;
pub mod operations;
pub mod presence;
pub mod propose;
pub mod read;
pub mod reconcile;
pub mod replica;
pub mod service;
pub mod survey;
mod transfers;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use libp2p::{Multiaddr, PeerId};
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use xorum_behaviours::{
    links,
    space::Position,
    wire::{Descriptor, Genesis, GroupId, NetworkId, Route},
};

use self::{farewell::Going, presence::Presence, replica::Replica, transfers::Transfers};
use crate::{
    peers::PeerBook,
    router::DescriptorCache,
    storage::{Storage, StorageError},
    swarm,
};

/// Bytes of commands that may be in work on this peer; beyond it the answer is `busy`.
const ROOM_BYTES: usize = 64 * 1024 * 1024;

/// All groups of this peer.
pub struct Host {
    local: PeerId,
    network: NetworkId,
    genesis: Genesis,
    storage: Storage,
    links: links::Client,
    swarm: swarm::Handle,
    book: Arc<PeerBook>,
    cache: Arc<DescriptorCache>,
    presence: Presence,
    going: Going,
    replicas: RwLock<BTreeMap<GroupId, Arc<Replica>>>,
    transfers: Transfers,
    /// Room for commands that are in work, in bytes.
    room: Semaphore,
    /// Held while a replica comes to be or ends.
    lifecycle: tokio::sync::Mutex<()>,
    token: CancellationToken,
    tracker: TaskTracker,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("local", &self.local).finish_non_exhaustive()
    }
}

/// What a host is made from.
pub struct HostParts {
    /// This peer.
    pub local: PeerId,
    /// Its network.
    pub network: NetworkId,
    /// What the network is.
    pub genesis: Genesis,
    /// Where replicas are kept.
    pub storage: Storage,
    /// Asks other peers.
    pub links: links::Client,
    /// The event loop.
    pub swarm: swarm::Handle,
    /// Whom this peer knows.
    pub book: Arc<PeerBook>,
    /// The newest descriptors known.
    pub cache: Arc<DescriptorCache>,
    /// Ends everything that the host runs.
    pub token: CancellationToken,
    /// Counts everything that the host runs.
    pub tracker: TaskTracker,
}

impl Host {
    /// A host without replicas; [`Host::open`] starts those that the storage has.
    pub fn new(parts: HostParts) -> Arc<Self> {
        let HostParts { local, network, genesis, storage, links, swarm, book, cache, token, tracker } = parts;
        let presence = Presence::new(genesis.timings);
        let host = Arc::new(Self {
            local,
            network,
            genesis,
            storage,
            links,
            swarm,
            book,
            cache,
            presence,
            going: Going::default(),
            replicas: RwLock::default(),
            transfers: Transfers::default(),
            room: Semaphore::new(ROOM_BYTES),
            lifecycle: tokio::sync::Mutex::default(),
            token,
            tracker,
        });
        host.spawn(presence::run(Arc::clone(&host)));
        host
    }

    /// Turns to some when the storage has failed.
    pub(crate) fn storage_failed(&self) -> tokio::sync::watch::Receiver<Option<StorageError>> {
        self.storage.failed()
    }

    /// Runs a task until the host stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// The replica of a group.
    fn replica(&self, group: &GroupId) -> Option<Arc<Replica>> {
        self.replicas.read().get(group).cloned()
    }

    /// Every replica.
    pub(crate) fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// The replica whose group owns a position, as far as it has applied.
    fn owner(&self, position: &Position) -> Option<Arc<Replica>> {
        let replicas = self.replicas.read();
        replicas.values().find(|replica| replica.shared.owns(position)).cloned()
    }

    /// The descriptor of the group that owns a position, by an own replica that has applied anything.
    pub fn descriptor(&self, position: &Position) -> Option<Arc<Descriptor>> {
        self.owner(position).map(|replica| replica.shared.descriptor())
    }

    /// The newest route known to the group that owns a position.
    fn route(&self, position: &Position) -> Option<Route> {
        let descriptor = self.cache.newest(position, self.descriptor(position))?;
        Some(self.book.route(&descriptor))
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.swarm.listen_addrs()
    }

    /// Raft's settings for this network's groups.
    fn raft_config(&self) -> Result<Arc<openraft::Config>, openraft::ConfigError> {
        let raft = self.genesis.timings.raft;
        let config = openraft::Config {
            cluster_name: "xorum".into(),
            heartbeat_interval: raft.heartbeat_ms,
            election_timeout_min: raft.election_min_ms,
            election_timeout_max: raft.election_max_ms,
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            max_payload_entries: 1_024,
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            ..openraft::Config::default()
        };
        config.validate().map(Arc::new)
    }

    /// The longest silence before a follower campaigns.
    const fn election_max(&self) -> Duration {
        Duration::from_millis(self.genesis.timings.raft.election_max_ms)
    }
}
