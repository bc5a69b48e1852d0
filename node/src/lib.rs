//! Xorum: a decentralised, strongly consistent key-value network.

pub mod api;
pub mod config;
pub mod error;
pub mod group;
mod node;
pub mod placement;

pub use libp2p::{Multiaddr, PeerId};
pub use node::Node;
