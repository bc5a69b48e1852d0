//! How a node is set up: one structure, defaults in one place.

use std::{path::PathBuf, time::Duration};

use libp2p::Multiaddr;
use xorum_behaviours::wire::{Genesis, Timings};

/// Peer or client, and where its state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves and may hold replicas; its identity and data are in this directory.
    Peer {
        /// The data directory; made if it is absent.
        data_dir: PathBuf,
    },
    /// Only asks; keeps nothing.
    Client,
}

/// Timings that are set together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Peers within a few milliseconds of each other.
    Lan,
    /// Peers up to some hundred milliseconds apart.
    Wan,
}

impl Profile {
    /// The timings it sets.
    pub const fn timings(self) -> Timings {
        match self {
            Self::Lan => Timings::LAN,
            Self::Wan => Timings::WAN,
        }
    }
}

/// How a node is set up. Fields of `Option` are settings of the network: `None` takes what the network has, or, at
/// founding, the default; a value that differs from the network's is refused at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Peer or client.
    pub role: Role,
    /// Where to listen; empty means the default (TCP and QUIC, on loopback or, with `open`, everywhere).
    pub listen: Vec<Multiaddr>,
    /// Whom to ask first; empty, and with a fresh data directory, founds a network.
    pub bootstrap: Vec<Multiaddr>,
    /// May an open network listen beyond loopback?
    pub open: bool,
    /// The network's label.
    pub network: Option<String>,
    /// R: 3, 5 or 7.
    pub replicas: Option<u8>,
    /// Timings.
    pub profile: Option<Profile>,
    /// A group with more data than this splits, in bytes.
    pub split_bytes: Option<u64>,
    /// A voter silent for this long is dead.
    pub replace_after: Option<Duration>,
    /// A closer newcomer must have been heard for this long.
    pub settle_after: Option<Duration>,
    /// The storage engine's cache, in bytes. Too small reads the disk more often; too large takes memory.
    pub cache_bytes: u64,
    /// How long a client tries to reach the network before it gives up.
    pub connect_timeout: Duration,
}

impl Config {
    /// Defaults for a role.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            open: false,
            network: None,
            replicas: None,
            profile: None,
            split_bytes: None,
            replace_after: None,
            settle_after: None,
            cache_bytes: 4 * 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// The default replication factor.
pub const DEFAULT_REPLICAS: u8 = 5;

/// The default for [`Config::split_bytes`].
pub const DEFAULT_SPLIT_BYTES: u64 = Genesis::DEFAULT_SPLIT_BYTES;
