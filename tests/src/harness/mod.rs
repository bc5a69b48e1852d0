//! Peers as real processes, and waiting for conditions.
//!
//! - [`process`]: the real binary, started, killed, stopped, let go on, and started again on the same directory.
//! - [`talk`]: its prompt as a pipe. [`command`](mod@command): single commands, run to their end.
//! - [`wait`]: until a condition holds, or a deadline says what it was that did not.
//! - [`turn`](mod@turn): how many tests start processes at a time.

pub mod command;
pub mod process;
pub mod talk;
pub mod turn;
pub mod wait;

pub use command::{Ran, command, finish, ran};
pub use process::{Launch, Process};
pub use talk::Talk;
pub use turn::turn;
pub use wait::until;
