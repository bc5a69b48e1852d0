//! Peers as real processes, and waiting for conditions.
//!
//! - [`process`]: the real binary, started, killed, stopped, let go on, and started again on the same directory.
//! - [`wait`]: until a condition holds, or a deadline says what it was that did not.

pub mod process;
pub mod wait;

pub use process::{Launch, Process};
pub use wait::until;
