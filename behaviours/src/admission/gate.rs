//! What this side is and knows, and whom it has admitted.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::AdmissionError;
use crate::wire::{Access, Genesis, NetworkId, PeerRole};

/// The most admitted peers that are remembered; past it those that never came to be connected are forgotten.
const REMEMBERED_PEERS: usize = 16 * 1024;

/// Keeps a network's record for ever, before the connection that it was learned on counts.
pub trait Learn: Send + Sync + 'static {
    /// Writes the record to disk and syncs it. Called by one handshake at a time, and again with the same or another
    /// record if it failed or the handshake's time ran out meanwhile.
    fn learn(&self, genesis: Genesis) -> BoxFuture<'static, Result<(), String>>;
}

/// What this side is when it starts.
#[derive(Clone)]
pub struct GateConfig {
    /// This peer.
    pub local: PeerId,
    /// What it is for others.
    pub role: PeerRole,
    /// The record of its network, if it has one.
    pub network: Option<Genesis>,
    /// Keeps the record that it learns, if it has none.
    pub learn: Arc<dyn Learn>,
    /// How long a handshake may take. Too short refuses the far and the busy; too long keeps silent strangers.
    pub timeout: Duration,
}

impl fmt::Debug for GateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateConfig").field("local", &self.local).field("role", &self.role).finish_non_exhaustive()
    }
}

/// An admitted peer. Connections are counted because one may be admitted while another is closing.
#[derive(Debug)]
struct Admitted {
    role: PeerRole,
    /// Admitted by the transport and not yet known to the swarm.
    pending: usize,
}

struct State {
    network: Option<Genesis>,
    bootstrap: HashSet<Multiaddr>,
    admitted: HashMap<PeerId, Admitted>,
}

struct Inner {
    config: GateConfig,
    state: Mutex<State>,
    learning: tokio::sync::Mutex<()>,
}

/// Decides who is admitted, and remembers as what. A cheap clone of a handle.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.0.config).finish()
    }
}

impl Gate {
    /// A gate that has admitted nobody.
    pub fn new(config: GateConfig) -> Self {
        let state = State { network: config.network.clone(), bootstrap: HashSet::new(), admitted: HashMap::new() };
        Self(Arc::new(Inner { config, state: Mutex::new(state), learning: tokio::sync::Mutex::new(()) }))
    }

    /// Marks an address as one that the network may be learned from, when this side dials it. A `/p2p/…` at its end
    /// makes no difference.
    pub fn expect_bootstrap(&self, address: &Multiaddr) {
        self.state().bootstrap.insert(without_peer(address));
    }

    /// The record of the own network, once there is one.
    pub fn genesis(&self) -> Option<Genesis> {
        self.state().network.clone()
    }

    /// What an admitted peer is.
    pub fn role_of(&self, peer: &PeerId) -> Option<PeerRole> {
        self.state().admitted.get(peer).map(|admitted| admitted.role)
    }

    /// This peer.
    pub fn local(&self) -> PeerId {
        self.0.config.local
    }

    /// What this side is for others.
    pub fn role(&self) -> PeerRole {
        self.0.config.role
    }

    /// How long a handshake may take.
    pub fn timeout(&self) -> Duration {
        self.0.config.timeout
    }

    /// The swarm knows of a connection that was admitted. Who was never admitted may do the least.
    pub(crate) fn established(&self, peer: &PeerId) -> PeerRole {
        match self.state().admitted.get_mut(peer) {
            Some(admitted) => {
                admitted.pending = admitted.pending.saturating_sub(1);
                admitted.role
            }
            None => PeerRole::Client,
        }
    }

    /// The last connection to a peer ended.
    pub(crate) fn forget(&self, peer: &PeerId) {
        let mut state = self.state();
        if state.admitted.get(peer).is_some_and(|admitted| admitted.pending == 0) {
            state.admitted.remove(peer);
        }
    }

    /// A handshake succeeded.
    pub(super) fn admit(&self, peer: PeerId, role: PeerRole) {
        let mut state = self.state();
        if state.admitted.len() >= REMEMBERED_PEERS {
            state.admitted.retain(|_, admitted| admitted.pending == 0);
        }
        let admitted = state.admitted.entry(peer).or_insert(Admitted { role, pending: 0 });
        admitted.role = role;
        admitted.pending += 1;
    }

    /// May the network be learned from who answers at `address`?
    pub(super) fn is_bootstrap(&self, address: &Multiaddr) -> bool {
        self.state().bootstrap.contains(&without_peer(address))
    }

    /// The own network with its id, and whether its record may be told to whoever connects.
    pub(super) fn network(&self) -> Result<Option<Network>, AdmissionError> {
        let Some(genesis) = self.genesis() else { return Ok(None) };
        let id = id_of(&genesis)?;
        let tell = genesis.access == Access::Open;
        Ok(Some(Network { id, genesis, tell }))
    }

    /// Makes `genesis` the own network, unless another was learned meanwhile.
    pub(super) async fn learn(&self, genesis: Genesis) -> Result<(), AdmissionError> {
        let _one_at_a_time = self.0.learning.lock().await;
        if let Some(ours) = self.genesis() {
            if ours == genesis {
                return Ok(());
            }
            return Err(AdmissionError::WrongNetwork { theirs: id_of(&genesis)? });
        }
        self.0.config.learn.learn(genesis.clone()).await.map_err(AdmissionError::Learn)?;
        self.state().network = Some(genesis);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The own network, as a handshake needs it.
pub(super) struct Network {
    pub(super) id: NetworkId,
    pub(super) genesis: Genesis,
    pub(super) tell: bool,
}

/// The name of a network.
pub(super) fn id_of(genesis: &Genesis) -> Result<NetworkId, AdmissionError> {
    genesis.network_id().map_err(|e| AdmissionError::Malformed(e.to_string()))
}

fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}
