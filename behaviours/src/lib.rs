//! What a Xorum peer says and hears.
//!
//! - [`space`]: arithmetic of the key space (positions, distances, prefixes); no I/O.
//! - [`wire`]: the versioned message types, their CBOR codec and their limits; no I/O.
//! - [`admission`]: the handshake that makes a connection one; a step of the transport.
//! - [`transport`]: memory, TCP and QUIC with admission over them.
//! - [`links`]: request-response on long-lived substreams; carries Raft's messages and client operations.
//! - [`limits`]: how many connections there may be.
//! - [`reachability`]: which addresses count; decisions.
//! - [`behaviour`]: all behaviours of a peer, composed.

pub mod admission;
pub mod behaviour;
pub mod limits;
pub mod links;
pub mod reachability;
pub mod space;
pub mod transport;
pub mod wire;

#[cfg(test)]
mod testing;

pub use behaviour::{Behaviour, Config, Event};
