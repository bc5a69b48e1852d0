//! Xorum: a decentralised, strongly consistent key-value network.

pub mod api;
mod bootstrap;
mod builder;
pub mod config;
pub mod data_dir;
pub mod error;
mod founding;
pub mod group;
mod host;
mod node;
mod peers;
pub mod placement;
mod router;
mod start;
pub mod storage;
mod swarm;

pub use builder::Builder;
pub use libp2p::{Multiaddr, PeerId};
pub use node::Node;

/// The target of log events that whoever runs a peer should see without asking for a log: that the network is not
/// reached yet, say, or that a replica was set aside.
pub const NOTICE: &str = "xorum::notice";
