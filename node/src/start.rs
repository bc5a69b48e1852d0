//! Starting: from a configuration to a running peer or client.
//!
//! The order is the invariant (5): the directory is locked, the identity with its intent is durable, the storage is
//! open and the addresses are bound before the first dial; a joiner learns its network, durably, within its first
//! admitted connection, and never founds.

use std::{
    io::{self, ErrorKind},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use xorum_behaviours::{
    Behaviour,
    admission::{Gate, GateConfig, Learn},
    behaviour, reachability, transport,
    wire::{Access, Genesis, NetworkId, PeerRole},
};

use crate::{
    bootstrap,
    config::{Config, Role},
    data_dir::{DataDir, Identity, Intent, Ports},
    error::StartError,
    founding,
    host::{Host, HostParts, service::HostService},
    node::Inner,
    peers::PeerBook,
    router::{DescriptorCache, Router},
    storage::{Storage, StorageConfig, StorageError},
    swarm::{self, EventLoop},
};

/// How long the admission handshake may take.
const ADMISSION_WITHIN: Duration = Duration::from_secs(5);
/// Addresses learned that may wait for the event loop.
const NEWS_QUEUE: usize = 1_024;
/// Reports of dials that may wait.
const REPORT_QUEUE: usize = 256;

/// Starts a peer or a client.
pub(crate) async fn start(config: Config) -> Result<Inner, StartError> {
    check_bootstrap(&config)?;
    match config.role.clone() {
        Role::Peer { data_dir } => {
            check_listen(&config)?;
            let dir = Arc::new(DataDir::open(&data_dir)?);
            let identity = identity(&dir, &config)?;
            start_peer(config, dir, identity).await
        }
        Role::Client => start_client(config).await,
    }
}

/// Who this peer is: as the directory says, or, of a fresh directory, as the configuration does.
fn identity(dir: &DataDir, config: &Config) -> Result<Identity, StartError> {
    if let Some(identity) = dir.identity()? {
        if let Some(genesis) = &identity.genesis {
            founding::check_settings(config, genesis)?;
        }
        return Ok(identity);
    }
    let key = Keypair::generate_ed25519();
    let identity = match config.bootstrap.is_empty() {
        true => Identity { key, intent: Intent::Found, genesis: Some(founding::genesis(config)?), has_store: false },
        false => Identity { key, intent: Intent::Join, genesis: None, has_store: false },
    };
    dir.set_identity(&identity)?;
    Ok(identity)
}

/// Keeps a network learned in the handshake before the connection counts.
struct Learner {
    dir: Option<Arc<DataDir>>,
    identity: Identity,
    config: Config,
    learned: watch::Sender<bool>,
    refused: Arc<Mutex<Option<StartError>>>,
}

impl Learn for Learner {
    fn learn(&self, genesis: Genesis) -> BoxFuture<'static, Result<(), String>> {
        let kept = self.keep(genesis);
        async move { kept }.boxed()
    }
}

impl Learner {
    fn keep(&self, genesis: Genesis) -> Result<(), String> {
        if let Err(error) = founding::check_settings(&self.config, &genesis) {
            let text = error.to_string();
            *self.refused.lock() = Some(error);
            self.learned.send_replace(true);
            return Err(text);
        }
        if let Some(dir) = &self.dir {
            let identity = Identity { genesis: Some(genesis), ..self.identity.clone() };
            dir.set_identity(&identity).map_err(|error| error.to_string())?;
        }
        self.learned.send_replace(true);
        Ok(())
    }
}

async fn start_peer(config: Config, dir: Arc<DataDir>, identity: Identity) -> Result<Inner, StartError> {
    let local = identity.peer_id();
    let storage_of = |genesis: &Genesis| open_storage(&dir, &config, genesis);
    // The storage of a peer that knows its network opens before anything is listened on or dialed.
    let early = identity.genesis.as_ref().map(storage_of).transpose()?;
    let service = HostService::default();
    let mut parts = Parts::new(&config, &identity, PeerRole::Peer, Some(Arc::clone(&dir)), service.clone())?;
    let listening = listen(&mut parts.swarm, &config, &dir, identity.genesis.as_ref()).await?;
    let (event_loop, handle) = EventLoop::new(
        parts.swarm,
        parts.gate.clone(),
        listening,
        Arc::clone(&parts.book),
        parts.news,
        parts.reports_in,
    );
    let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
    let guard = token.clone().drop_guard();
    tracker.spawn(event_loop.run(token.clone()));
    parts.book.learn(&dir.peers());
    let known: Vec<Multiaddr> = dir.peers().into_iter().flat_map(with_peer).collect();
    let joined = bootstrap::Bootstrap {
        gate: parts.gate.clone(),
        handle: handle.clone(),
        book: Arc::clone(&parts.book),
        given: config.bootstrap.clone(),
        known,
        reports: parts.reports,
        learned: parts.learned,
        refused: parts.refused,
    };
    let joined = joined.first_contact(identity.genesis.is_none()).await?;
    let genesis = parts.gate.genesis().ok_or_else(|| StartError::Config("the network is not known".into()))?;
    let network = network_id(&genesis)?;
    let storage = match early {
        Some(storage) => storage,
        None => open_storage(&dir, &config, &genesis)?,
    };
    if !identity.has_store {
        dir.set_identity(&Identity { genesis: Some(genesis.clone()), has_store: true, ..identity.clone() })?;
    }
    let cache = Arc::new(DescriptorCache::default());
    let host = Host::new(HostParts {
        local,
        network,
        genesis: genesis.clone(),
        storage: storage.clone(),
        links: parts.links.clone(),
        swarm: handle.clone(),
        book: Arc::clone(&parts.book),
        cache: Arc::clone(&cache),
        token: token.clone(),
        tracker: tracker.clone(),
    });
    let storage_failed = |error: StorageError| storage_error(&dir, &error);
    host.open().await.map_err(storage_failed)?;
    if identity.intent == Intent::Found {
        host.found().await.map_err(storage_failed)?;
    }
    service.serve(Arc::clone(&host));
    tracker.spawn(until(token.clone(), joined.stay_connected()));
    tracker.spawn(until(token.clone(), keep_peers(Arc::clone(&dir), Arc::clone(&parts.book))));
    let router = Router::new(
        local,
        parts.links.clone(),
        handle.clone(),
        Some(Arc::clone(&host)),
        cache,
        Arc::clone(&parts.book),
        genesis.bounds,
        genesis.timings.raft,
    );
    guard.disarm();
    Ok(Inner {
        local,
        host: Some(host),
        router,
        links: parts.links,
        swarm: handle,
        book: parts.book,
        data_dir: Some(dir),
        token,
        tracker,
    })
}

async fn start_client(config: Config) -> Result<Inner, StartError> {
    if config.bootstrap.is_empty() {
        return Err(StartError::Config(
            "a client needs --bootstrap: the multiaddr that a peer prints as `addr=`".into(),
        ));
    }
    let identity = Identity { key: Keypair::generate_ed25519(), intent: Intent::Join, genesis: None, has_store: false };
    let local = identity.peer_id();
    let service = HostService::default();
    let parts = Parts::new(&config, &identity, PeerRole::Client, None, service)?;
    let (event_loop, handle) = EventLoop::new(
        parts.swarm,
        parts.gate.clone(),
        Vec::new(),
        Arc::clone(&parts.book),
        parts.news,
        parts.reports_in,
    );
    let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
    let guard = token.clone().drop_guard();
    tracker.spawn(event_loop.run(token.clone()));
    let bootstrap = bootstrap::Bootstrap {
        gate: parts.gate.clone(),
        handle: handle.clone(),
        book: Arc::clone(&parts.book),
        given: config.bootstrap.clone(),
        known: Vec::new(),
        reports: parts.reports,
        learned: parts.learned,
        refused: parts.refused,
    };
    let joined = bootstrap.contact_within(config.connect_timeout).await?;
    let genesis = parts.gate.genesis().ok_or_else(|| StartError::Config("the network is not known".into()))?;
    tracker.spawn(until(token.clone(), joined.stay_connected()));
    let router = Router::new(
        local,
        parts.links.clone(),
        handle.clone(),
        None,
        Arc::new(DescriptorCache::default()),
        Arc::clone(&parts.book),
        genesis.bounds,
        genesis.timings.raft,
    );
    guard.disarm();
    Ok(Inner {
        local,
        host: None,
        router,
        links: parts.links,
        swarm: handle,
        book: parts.book,
        data_dir: None,
        token,
        tracker,
    })
}

/// What peers and clients have in common before they run.
struct Parts {
    swarm: libp2p::Swarm<Behaviour>,
    gate: Gate,
    links: xorum_behaviours::links::Client,
    book: Arc<PeerBook>,
    news: mpsc::Receiver<(PeerId, Multiaddr)>,
    reports: mpsc::Receiver<swarm::DialReport>,
    reports_in: mpsc::Sender<swarm::DialReport>,
    learned: watch::Receiver<bool>,
    refused: Arc<Mutex<Option<StartError>>>,
}

impl Parts {
    fn new(
        config: &Config,
        identity: &Identity,
        role: PeerRole,
        dir: Option<Arc<DataDir>>,
        service: HostService,
    ) -> Result<Self, StartError> {
        let local = identity.peer_id();
        let (learned_in, learned) = watch::channel(false);
        let refused = Arc::new(Mutex::new(None));
        let learner = Learner {
            dir,
            identity: identity.clone(),
            config: config.clone(),
            learned: learned_in,
            refused: Arc::clone(&refused),
        };
        let gate = Gate::new(GateConfig {
            local,
            role,
            network: identity.genesis.clone(),
            learn: Arc::new(learner),
            timeout: ADMISSION_WITHIN,
        });
        let transport = transport::build(&identity.key, gate.clone(), &transport::Config::default())
            .map_err(|error| StartError::Config(format!("the transport cannot be built: {error}")))?;
        let behaviours = xorum_behaviours::Config::new(gate.clone());
        let (behaviours, links) = Behaviour::new(behaviours, &identity.key, service);
        let swarm = behaviour::swarm(transport, behaviours, local);
        let (news_in, news) = mpsc::channel(NEWS_QUEUE);
        let (reports_in, reports) = mpsc::channel(REPORT_QUEUE);
        let book = Arc::new(PeerBook::new(local, news_in));
        Ok(Self { swarm, gate, links, book, news, reports, reports_in, learned, refused })
    }
}

fn network_id(genesis: &Genesis) -> Result<NetworkId, StartError> {
    genesis.network_id().map_err(|error| StartError::Config(error.to_string()))
}

fn open_storage(dir: &DataDir, config: &Config, genesis: &Genesis) -> Result<Storage, StartError> {
    let settings =
        StorageConfig { cache_bytes: config.cache_bytes, bounds: genesis.bounds, ..StorageConfig::default() };
    Storage::open(&dir.store(), settings).map_err(|error| storage_error(dir, &error))
}

fn storage_error(dir: &DataDir, error: &StorageError) -> StartError {
    let path = dir.store();
    match error {
        StorageError::Locked(_) => StartError::Locked(dir.path().to_owned()),
        StorageError::NewerFormat { found, supported } => {
            StartError::NewerFormat { path: dir.path().to_owned(), found: *found, supported: *supported }
        }
        StorageError::Corrupt { what, reason } => StartError::Corrupt { path, reason: format!("{what}: {reason}") },
        // Of files that the engine made itself.
        StorageError::Io { kind: ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData, message } => {
            StartError::Corrupt { path, reason: message.clone() }
        }
        StorageError::Io { kind, message } => {
            StartError::DataDir { path, source: io::Error::new(*kind, message.clone()) }
        }
        error => StartError::Storage { path, reason: error.to_string() },
    }
}

/// Refuses to listen where strangers may reach an open network that was not said to be open to them.
fn check_listen(config: &Config) -> Result<(), StartError> {
    if config.open {
        return Ok(());
    }
    for addr in &config.listen {
        if !reachability::is_loopback(addr) {
            let ip = reachability::ip_of(addr).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            return Err(StartError::ListenBeyondLoopback { addr: addr.clone(), ip });
        }
    }
    // Only loopback is listened on from here on.
    match config.bootstrap.iter().find(|addr| !reachability::is_loopback(addr)) {
        Some(addr) => Err(StartError::BootstrapBeyondLoopback { addr: addr.clone() }),
        None => Ok(()),
    }
}

/// Refuses addresses that nothing can be reached at.
fn check_bootstrap(config: &Config) -> Result<(), StartError> {
    for addr in &config.bootstrap {
        if !reachability::is_dialable(addr) {
            let reason = "it names no host and port to dial".into();
            return Err(StartError::BadBootstrap { addr: addr.clone(), reason });
        }
    }
    Ok(())
}

/// Binds what was asked for, or the default on the ports chosen at the first start.
async fn listen(
    swarm: &mut libp2p::Swarm<Behaviour>,
    config: &Config,
    dir: &DataDir,
    genesis: Option<&Genesis>,
) -> Result<Vec<Multiaddr>, StartError> {
    let failed = |failure: swarm::ListenFailure| StartError::Listen { addr: failure.addr, reason: failure.reason };
    if !config.listen.is_empty() {
        return swarm::listen(swarm, &config.listen).await.map_err(failed);
    }
    let everywhere = config.open || genesis.is_some_and(|genesis| genesis.access == Access::Keyed);
    let ip = if everywhere { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let ports = dir.ports()?;
    let tcp = Multiaddr::empty().with(Protocol::Ip4(ip)).with(Protocol::Tcp(ports.tcp));
    let quic = Multiaddr::empty().with(Protocol::Ip4(ip)).with(Protocol::Udp(ports.udp)).with(Protocol::QuicV1);
    let listening = swarm::listen(swarm, &[tcp, quic]).await.map_err(failed)?;
    let chosen = listening.iter().flat_map(Multiaddr::iter).fold(Ports::default(), |ports, part| match part {
        Protocol::Tcp(tcp) => Ports { tcp, ..ports },
        Protocol::Udp(udp) => Ports { udp, ..ports },
        _ => ports,
    });
    if chosen != ports {
        dir.set_ports(chosen)?;
    }
    Ok(listening)
}

fn with_peer(told: xorum_behaviours::wire::PeerAddrs) -> impl Iterator<Item = Multiaddr> {
    let peer = told.peer;
    told.addrs.into_iter().filter_map(move |addr| addr.with_p2p(peer).ok())
}

/// Keeps the addresses of known peers from time to time: a crash loses only the newest.
async fn keep_peers(dir: Arc<DataDir>, book: Arc<PeerBook>) {
    let mut kept = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        let now = book.to_keep();
        if now == kept {
            continue;
        }
        kept.clone_from(&now);
        let dir = Arc::clone(&dir);
        let written = tokio::task::spawn_blocking(move || dir.set_peers(&now)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "addresses of known peers are not kept");
        }
    }
}

async fn until(token: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = token.cancelled() => {}
    }
}
