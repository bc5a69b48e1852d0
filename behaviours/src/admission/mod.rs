//! Admission: the handshake that makes a connection one.
//!
//! It is a step of the transport, alike on every kind of connection: a connection that fails it never reaches the swarm,
//! and no behaviour sees it. Both sides tell version, role, network and the network's genesis record; on a keyed network
//! they will prove that they know its key, and the messages have the room for that. Failure is a typed error on both
//! sides: [`cause`] finds it in a dial's error, [`inbound_cause`] in a listener's.
//!
//! - Who has no network yet learns it only from an address that it dialed itself as a bootstrap address, and keeps the
//!   record (see [`Learn`]) before the connection counts. Two sides without a network refuse each other.
//! - Turns are given by comparing peer ids, never by who dialed.
//! - What a stranger can make this side keep is bounded: one substream, messages of at most 8 KiB, and a time limit.

mod error;
mod gate;
mod handshake;
mod message;
mod upgrade;

#[cfg(test)]
mod tests;

pub use error::{AdmissionError, NotAdmitted, cause, causes, inbound_cause};
pub use gate::{Gate, GateConfig, Learn};
#[doc(hidden)]
pub use message::recode;
