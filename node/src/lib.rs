//! Xorum: a decentralised, strongly consistent key-value network.

pub mod api;
mod builder;
pub mod config;
pub mod error;
pub mod group;
mod node;

pub use builder::Builder;
pub use libp2p::{Multiaddr, PeerId};
pub use node::Node;
