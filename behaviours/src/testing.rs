//! Peers for tests: whole swarms, each driven by a task, and what they saw.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt,
    future::{BoxFuture, FutureExt},
};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol, swarm::SwarmEvent};
use tokio::sync::{mpsc, oneshot};

use crate::{
    admission::{self, AdmissionError, Gate, GateConfig, Learn},
    behaviour::{self, Behaviour, Event},
    links::{self, Class, Client, Service, StreamError},
    transport,
    wire::{Access, Bounds, Genesis, PeerRole, Timings},
};

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails the test instead of hanging.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("happens within the patience of a test")
}

/// A network of this name.
pub(crate) fn genesis(label: &str) -> Genesis {
    Genesis {
        nonce: [1; 32],
        label: label.to_owned(),
        access: Access::Open,
        replication_factor: 3,
        split_bytes: 1024,
        timings: Timings::LAN,
        bounds: Bounds::default(),
    }
}

/// An address that nobody else in this process has.
pub(crate) fn memory() -> Multiaddr {
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
    Multiaddr::empty().with(Protocol::Memory(NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// A service made of a function.
pub(crate) struct Answers<F>(pub(crate) F);

impl<F, O> Service for Answers<F>
where
    F: Fn(PeerId, Class, Bytes) -> O + Send + Sync + 'static,
    O: Future<Output = Bytes> + Send,
{
    fn call(&self, from: PeerId, class: Class, body: Bytes) -> impl Future<Output = Bytes> + Send {
        (self.0)(from, class, body)
    }
}

/// Answers each request with itself.
pub(crate) fn echo() -> impl Service {
    Answers(|_, _, body| async move { body })
}

/// Keeps records in memory, or refuses to.
#[derive(Clone, Default)]
pub(crate) struct Keeper {
    pub(crate) kept: Arc<Mutex<Vec<Genesis>>>,
    pub(crate) fails: bool,
}

impl Learn for Keeper {
    fn learn(&self, genesis: Genesis) -> BoxFuture<'static, Result<(), String>> {
        let (kept, fails) = (self.kept.clone(), self.fails);
        async move {
            if fails {
                return Err("disk full".to_owned());
            }
            kept.lock().expect("no test panics with it").push(genesis);
            Ok(())
        }
        .boxed()
    }
}

/// What a swarm saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Listens(Multiaddr),
    Connected(PeerId),
    Disconnected(PeerId),
    /// A dial of its own was not admitted.
    NotAdmitted(AdmissionError),
    /// A dial of its own failed otherwise.
    DialFailed,
    /// Somebody else's was not.
    NotAdmittedInbound(AdmissionError),
    Violation(PeerId, Class, StreamError),
}

enum Order {
    Dial(Multiaddr),
    Know(PeerId, Multiaddr, oneshot::Sender<()>),
    CloseOldest,
}

/// How a test's peer is made.
pub(crate) struct Builder {
    keypair: Keypair,
    role: PeerRole,
    network: Option<Genesis>,
    keeper: Keeper,
    listen: Option<Multiaddr>,
    handshake: Duration,
    links: Box<dyn FnOnce(links::Config) -> links::Config>,
}

impl Builder {
    /// A peer of the network "a" that listens in memory.
    pub(crate) fn new() -> Self {
        Self {
            keypair: Keypair::generate_ed25519(),
            role: PeerRole::Peer,
            network: Some(genesis("a")),
            keeper: Keeper::default(),
            listen: Some(memory()),
            handshake: Duration::from_secs(10),
            links: Box::new(|config| config),
        }
    }

    pub(crate) fn network(mut self, network: Option<Genesis>) -> Self {
        self.network = network;
        self
    }

    pub(crate) fn keypair(mut self, keypair: Keypair) -> Self {
        self.keypair = keypair;
        self
    }

    pub(crate) fn keeper(mut self, keeper: Keeper) -> Self {
        self.keeper = keeper;
        self
    }

    pub(crate) fn client(mut self) -> Self {
        self.role = PeerRole::Client;
        self.listen = None;
        self
    }

    pub(crate) fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.parse().expect("is a multiaddr"));
        self
    }

    pub(crate) fn handshake(mut self, limit: Duration) -> Self {
        self.handshake = limit;
        self
    }

    pub(crate) fn links(mut self, change: impl FnOnce(links::Config) -> links::Config + 'static) -> Self {
        self.links = Box::new(change);
        self
    }

    /// Starts it; waits until it listens.
    pub(crate) async fn start(self, service: impl Service) -> TestPeer {
        let local = self.keypair.public().to_peer_id();
        let gate = Gate::new(GateConfig {
            local,
            role: self.role,
            network: self.network,
            learn: Arc::new(self.keeper),
            timeout: self.handshake,
        });
        let transport = transport::build(&self.keypair, gate.clone(), &transport::Config::default())
            .expect("the transport can be built");
        let config = behaviour::Config::new(gate.clone()).with_links(self.links);
        let (behaviour, client) = Behaviour::new(config, &self.keypair, service);
        let swarm = behaviour::swarm(transport, behaviour, local);
        let (orders, order_queue) = mpsc::unbounded_channel();
        let (tell, seen) = mpsc::unbounded_channel();
        let listen = self.listen;
        let task = tokio::spawn(drive(swarm, listen.clone(), order_queue, tell));
        let mut peer = TestPeer { id: local, client, gate, address: Multiaddr::empty(), orders, seen, task };
        if listen.is_some() {
            peer.address = match peer.sees(|seen| matches!(seen, Seen::Listens(_))).await {
                Seen::Listens(address) => address,
                other => panic!("{other:?}"),
            };
        }
        peer
    }
}

async fn drive(
    mut swarm: libp2p::Swarm<Behaviour>,
    listen: Option<Multiaddr>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    tell: mpsc::UnboundedSender<Seen>,
) {
    let mut connections = VecDeque::new();
    if let Some(listen) = listen {
        swarm.listen_on(listen).expect("can listen");
    }
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Dial(address)) => {
                    let _ = swarm.dial(address);
                }
                Some(Order::Know(peer, address, done)) => {
                    swarm.add_peer_address(peer, address);
                    let _ = done.send(());
                }
                Some(Order::CloseOldest) => {
                    if let Some(oldest) = connections.pop_front() {
                        swarm.close_connection(oldest);
                    }
                }
                None => return,
            },
            event = swarm.select_next_some() => {
                let seen = match event {
                    SwarmEvent::NewListenAddr { address, .. } => Seen::Listens(address),
                    SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                        connections.push_back(connection_id);
                        Seen::Connected(peer_id)
                    }
                    SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => Seen::Disconnected(peer_id),
                    SwarmEvent::OutgoingConnectionError { error, .. } => {
                        admission::cause(&error).map_or(Seen::DialFailed, Seen::NotAdmitted)
                    }
                    SwarmEvent::IncomingConnectionError { error, .. } => match admission::inbound_cause(&error) {
                        Some(cause) => Seen::NotAdmittedInbound(cause),
                        None => continue,
                    },
                    SwarmEvent::Behaviour(Event::Links(links::Event::Violation { peer, class, error })) => {
                        Seen::Violation(peer, class, error)
                    }
                    _ => continue,
                };
                let _ = tell.send(seen);
            }
        }
    }
}

/// A running peer; dropped, it is gone at once.
pub(crate) struct TestPeer {
    pub(crate) id: PeerId,
    pub(crate) client: Client,
    pub(crate) gate: Gate,
    /// Where it listens.
    pub(crate) address: Multiaddr,
    orders: mpsc::UnboundedSender<Order>,
    seen: mpsc::UnboundedReceiver<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl TestPeer {
    /// Waits until it saw this; skips what it saw before.
    pub(crate) async fn sees(&mut self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        soon(async {
            loop {
                let seen = self.seen.recv().await.expect("the swarm runs");
                if wanted(&seen) {
                    return seen;
                }
            }
        })
        .await
    }

    /// Dials an address.
    pub(crate) fn dial(&self, address: &Multiaddr) {
        let _ = self.orders.send(Order::Dial(address.clone()));
    }

    /// Learns where another listens.
    pub(crate) async fn know(&self, other: &TestPeer) {
        self.know_at(other.id, &other.address).await;
    }

    /// Learns where another listens.
    pub(crate) async fn know_at(&self, peer: PeerId, address: &Multiaddr) {
        let (done, known) = oneshot::channel();
        let _ = self.orders.send(Order::Know(peer, address.clone(), done));
        soon(known).await.expect("the swarm runs");
    }

    /// Closes the connection that was established first.
    pub(crate) fn close_oldest(&self) {
        let _ = self.orders.send(Order::CloseOldest);
    }

    /// What it saw and the test did not wait for.
    pub(crate) fn saw(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    /// Connects to another.
    pub(crate) async fn connect(&mut self, other: &TestPeer) {
        self.dial(&other.address);
        let id = other.id;
        self.sees(|seen| *seen == Seen::Connected(id)).await;
    }

    /// Asks another, patiently.
    pub(crate) async fn ask(&self, other: PeerId, body: &'static [u8]) -> Result<Bytes, links::RequestError> {
        self.client.request(other, Class::Operation, Bytes::from_static(body), PATIENCE).await
    }

    /// Stops it; its swarm is gone when this returns.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for TestPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
