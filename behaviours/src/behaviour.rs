//! All behaviours of a peer, composed.

use std::{convert::Infallible, num::NonZeroUsize, time::Duration};

use libp2p::{
    PeerId, StreamProtocol, Swarm,
    core::{muxing::StreamMuxerBox, transport::Boxed},
    identify,
    identity::Keypair,
    kad::{self, store::MemoryStore, store::MemoryStoreConfig},
    ping,
    swarm::{self, NetworkBehaviour},
};

use crate::{
    admission::Gate,
    limits,
    links::{self, Service},
};

/// The name of our Kademlia.
pub const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/xorum/kad/1");
/// The name that identify gives to what we speak.
pub const IDENTIFY_PROTOCOL: &str = "/xorum/identify/1";
/// The name that identify gives to this program.
pub const AGENT: &str = concat!("xorum/", env!("CARGO_PKG_VERSION"));

/// How long a connection to a client may be idle.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// All behaviours of a peer. The fields are public for the event loop, which alone touches them.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude", to_swarm = "Event")]
pub struct Behaviour {
    /// Refuses connections beyond its bounds.
    pub limits: limits::Behaviour,
    /// Tells addresses.
    pub identify: identify::Behaviour,
    /// Measures round trips. It closes nothing: whoever is silent is noticed by what links hear.
    pub ping: ping::Behaviour,
    /// Finds peers. Starts in client mode: see [`kad_mode`](crate::reachability::kad_mode).
    pub kad: kad::Behaviour<MemoryStore>,
    /// Carries requests.
    pub links: links::Behaviour,
}

/// What a behaviour tells.
#[derive(Debug)]
pub enum Event {
    /// Of identify; its addresses are for Kademlia.
    Identify(Box<identify::Event>),
    /// Of ping.
    Ping(ping::Event),
    /// Of Kademlia.
    Kad(Box<kad::Event>),
    /// Of links.
    Links(links::Event),
}

impl From<identify::Event> for Event {
    fn from(event: identify::Event) -> Self {
        Self::Identify(Box::new(event))
    }
}

impl From<ping::Event> for Event {
    fn from(event: ping::Event) -> Self {
        Self::Ping(event)
    }
}

impl From<kad::Event> for Event {
    fn from(event: kad::Event) -> Self {
        Self::Kad(Box::new(event))
    }
}

impl From<links::Event> for Event {
    fn from(event: links::Event) -> Self {
        Self::Links(event)
    }
}

impl From<Infallible> for Event {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Settings of the composed behaviours.
#[derive(Debug, Clone)]
pub struct Config {
    links: links::Config,
    limits: limits::Config,
    ping_interval: Duration,
    kad_query_timeout: Duration,
    kad_bootstrap_interval: Duration,
}

impl Config {
    /// The defaults. `gate` is the one of the swarm's transport.
    pub fn new(gate: Gate) -> Self {
        Self {
            links: links::Config::new(gate),
            limits: limits::Config::default(),
            ping_interval: Duration::from_secs(15),
            kad_query_timeout: Duration::from_secs(10),
            kad_bootstrap_interval: Duration::from_secs(60),
        }
    }

    /// Bounds of links.
    #[must_use]
    pub fn with_links(mut self, change: impl FnOnce(links::Config) -> links::Config) -> Self {
        self.links = change(self.links);
        self
    }

    /// Bounds on connections.
    #[must_use]
    pub const fn with_limits(mut self, limits: limits::Config) -> Self {
        self.limits = limits;
        self
    }

    /// Between pings to a peer; 15 s.
    #[must_use]
    pub const fn with_ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// After which a Kademlia query ends with what it found; 10 s. Too short finds too few; too long holds up who asks
    /// while peers are dead.
    #[must_use]
    pub const fn with_kad_query_timeout(mut self, timeout: Duration) -> Self {
        self.kad_query_timeout = timeout;
        self
    }

    /// Between refreshes of the routing table; 60 s. Too long learns late of peers that came.
    #[must_use]
    pub const fn with_kad_bootstrap_interval(mut self, interval: Duration) -> Self {
        self.kad_bootstrap_interval = interval;
        self
    }
}

impl Behaviour {
    /// All behaviours, and the handle that asks through their links.
    pub fn new<S: Service>(config: Config, keypair: &Keypair, service: S) -> (Self, links::Client) {
        let local = keypair.public().to_peer_id();
        let (links, client) = links::new(config.links, service, local);
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
            .with_agent_version(AGENT.to_owned())
            .with_push_listen_addr_updates(true)
            // Which of a peer's addresses are dialed is the event loop's to say.
            .with_cache_size(0);
        let behaviour = Self {
            limits: limits::Behaviour::new(&config.limits),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(config.ping_interval)),
            kad: kad(local, config.kad_query_timeout, config.kad_bootstrap_interval),
            links,
        };
        (behaviour, client)
    }
}

/// Kademlia for finding peers only: it keeps no records.
fn kad(local: PeerId, query_timeout: Duration, bootstrap_interval: Duration) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_query_timeout(query_timeout)
        .set_periodic_bootstrap_interval(Some(bootstrap_interval))
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None);
    if let Some(parallelism) = NonZeroUsize::new(3) {
        config.set_parallelism(parallelism);
    }
    let store =
        MemoryStoreConfig { max_records: 16, max_value_bytes: 1024, max_providers_per_key: 4, max_provided_keys: 16 };
    let mut kad = kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), config);
    kad.set_mode(Some(kad::Mode::Client));
    kad
}

/// The swarm of a peer, to be called within a tokio runtime.
pub fn swarm(transport: Boxed<(PeerId, StreamMuxerBox)>, behaviour: Behaviour, local: PeerId) -> Swarm<Behaviour> {
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_CONNECTION_TIMEOUT);
    Swarm::new(transport, behaviour, local, config)
}
