//! What can go wrong, as a caller can tell it apart.

use std::{io, net::IpAddr, path::PathBuf, time::Duration};

use libp2p::Multiaddr;
use xorum_behaviours::wire::{GenesisError, GroupId, NetworkId};

/// Why an operation has no result.
///
/// Every variant but [`OpError::OutcomeUnknown`] and [`OpError::Internal`] promises that nothing was applied, nor
/// ever will be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// No replica that could serve it was found or would take it.
    #[error("{message}")]
    Unavailable {
        /// What happened, to what, and what to do next.
        message: String,
        /// The key's group, where it is known.
        group: Option<GroupId>,
    },
    /// As many operations as may be are in work already; try again later.
    #[error("{0}")]
    Busy(String),
    /// The request breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// A key, a value or a group is larger than it may be.
    #[error("{what} of {bytes} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// `key`, `value` or `message`.
        what: &'static str,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The request is one that this peer, or this network, does not allow.
    #[error("{0}")]
    Denied(String),
    /// The other side speaks another version of the protocol.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// The deadline passed before any copy could have been proposed.
    #[error("{message}")]
    TimeoutNotApplied {
        /// What was waited for, and what to do next.
        message: String,
        /// The key's group, where it is known.
        group: Option<GroupId>,
    },
    /// A copy may have been proposed: it may or may not have been applied, now or later.
    #[error("{message}")]
    OutcomeUnknown {
        /// What was waited for, and what to do next.
        message: String,
        /// The key's group, where it is known.
        group: Option<GroupId>,
    },
    /// A defect; it promises nothing.
    #[error("{0}")]
    Internal(String),
}

impl OpError {
    /// Its code, as the command line prints it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Busy(_) => "busy",
            Self::Invalid(_) => "invalid",
            Self::TooLarge { .. } => "too-large",
            Self::Denied(_) => "denied",
            Self::UnsupportedVersion(_) => "unsupported-version",
            Self::TimeoutNotApplied { .. } => "timeout-not-applied",
            Self::OutcomeUnknown { .. } => "outcome-unknown",
            Self::Internal(_) => "internal",
        }
    }

    /// The group it is about, where that is known.
    pub const fn group(&self) -> Option<GroupId> {
        match self {
            Self::Unavailable { group, .. }
            | Self::TimeoutNotApplied { group, .. }
            | Self::OutcomeUnknown { group, .. } => *group,
            _ => None,
        }
    }
}

/// Why a peer or a client does not start. Each is one line that says what happened, to what, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process has the data directory.
    #[error("data directory {} is in use by another process: stop it, or give another with --data-dir", .0.display())]
    Locked(PathBuf),
    /// The data directory cannot be made, read or written.
    #[error("data directory {}: {source}; it must be a directory that you may write, on a disk that is not full; give another with --data-dir", path.display())]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the file that holds the peer's key.
    #[error("{} can be read by others: chmod 600 it, and consider `xorum reset-identity` if it may have been copied", .0.display())]
    KeyReadable(PathBuf),
    /// A file in the data directory is not what this program wrote.
    #[error("{} is corrupt ({reason}): move the data directory aside with `xorum reset-identity`, then join anew", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The data directory was written by a newer version.
    #[error("data directory {} has format {found}, newer than this program's {supported}: use a newer xorum", path.display())]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this program reads.
        supported: u32,
    },
    /// The storage engine does not open.
    #[error("storage in {}: {reason}; see that the disk is sound and not full, then start again", path.display())]
    Storage {
        /// The directory.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
    /// A setting was given that differs from the network's genesis record.
    #[error(
        "{setting} {given} differs from this network's {network}: it is fixed at founding; drop the setting, or found another network in another --data-dir"
    )]
    DiffersFromGenesis {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        given: String,
        /// What the network has.
        network: String,
    },
    /// The network to be founded could not be served.
    #[error("{0}")]
    Genesis(#[from] GenesisError),
    /// The bootstrap addresses are of another network than the data directory.
    #[error(
        "{addr} is of network {theirs}, and this data directory of {ours}: give another --bootstrap or another --data-dir"
    )]
    WrongNetwork {
        /// The address that answered.
        addr: Multiaddr,
        /// Its network.
        theirs: NetworkId,
        /// Ours.
        ours: NetworkId,
    },
    /// The bootstrap address speaks another version of the protocol.
    #[error("{addr} speaks another protocol version: {reason}")]
    UnsupportedVersion {
        /// The address that answered.
        addr: Multiaddr,
        /// What it said.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {addr}: {reason}; give another with --listen, or stop who uses it")]
    Listen {
        /// The address.
        addr: Multiaddr,
        /// What the system said.
        reason: String,
    },
    /// An open network would listen where strangers may reach it.
    #[error(
        "--listen {addr} ({ip}) is beyond loopback and this network is open: whoever reaches it could read and write; say --open if that is meant"
    )]
    ListenBeyondLoopback {
        /// The address.
        addr: Multiaddr,
        /// Its IP address.
        ip: IpAddr,
    },
    /// A peer would be told to others with an address that they cannot reach.
    #[error(
        "--bootstrap {addr} is beyond loopback, and this peer listens on loopback only: others could not reach it; say --open"
    )]
    BootstrapBeyondLoopback {
        /// The bootstrap address.
        addr: Multiaddr,
    },
    /// An address that is no address to bootstrap from.
    #[error("{addr} cannot be a bootstrap address: {reason}; one looks like /ip4/192.0.2.1/tcp/4001/p2p/<PeerId>")]
    BadBootstrap {
        /// The address.
        addr: Multiaddr,
        /// What is wrong with it.
        reason: String,
    },
    /// A client found nobody in time.
    #[error("none of the bootstrap addresses answered within {}: {reason}; check that a peer runs there", humantime::format_duration(*waited))]
    NoAnswer {
        /// How long it tried.
        waited: Duration,
        /// What the last attempt said.
        reason: String,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    Config(String),
    /// It was told to stop before it had started.
    #[error("stopped before it was ready")]
    Stopped,
}
