//! Arithmetic of the key space.
//!
//! Keys and peers are points of one 256-bit space; closeness is XOR distance, as in Kademlia (Maymounkov and
//! Mazières, IPTPS 2002, §2.1). Groups own prefixes of it. Nothing here does I/O.

mod distance;
mod position;
mod prefix;

pub use distance::Distance;
pub use position::{ParseHexError, Position};
pub(crate) use position::{parse_hex, write_hex};
pub use prefix::{ParsePrefixError, Prefix};
