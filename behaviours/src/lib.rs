//! What a Xorum peer says and hears.
//!
//! - [`space`]: arithmetic of the key space (positions, distances, prefixes); no I/O.
//! - [`wire`]: the versioned message types, their CBOR codec and their limits; no I/O.

pub mod space;
pub mod wire;
