//! Peers as real processes or in this one, strangers that say what they like, and waiting for conditions.
//!
//! - [`process`]: the real binary, started, killed, stopped, let go on, and started again on the same directory.
//! - [`local`]: peers in this process, on real sockets and directories.
//! - [`stranger`]: an admitted peer or client without a node behind it.
//! - [`wire_level`]: connections below our own protocols, any bytes on them.
//! - [`wait`]: until a condition holds, or a deadline says what it was that did not.

pub mod local;
pub mod process;
pub mod stranger;
pub mod wait;
pub mod wire_level;

pub use local::Local;
pub use process::{Launch, Process};
pub use stranger::Stranger;
pub use wait::until;
