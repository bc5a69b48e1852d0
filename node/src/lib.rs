//! Xorum: a decentralised, strongly consistent key-value network.

pub mod api;
pub mod config;
pub mod data_dir;
pub mod error;
pub mod group;
mod node;
pub mod storage;

pub use libp2p::{Multiaddr, PeerId};
pub use node::Node;
