//! Peers as real processes or in this one, strangers that say what they like, and waiting for conditions.
//!
//! - [`process`]: the real binary, started, killed, stopped, let go on, and started again on the same directory.
//! - [`network`]: several of them, and what their group looks like from outside.
//! - [`talk`]: its prompt as a pipe. [`command`](mod@command): single commands, run to their end.
//! - [`local`]: peers in this process, on real sockets and directories.
//! - [`stranger`]: an admitted peer or client without a node behind it.
//! - [`wire_level`]: connections below our own protocols, any bytes on them.
//! - [`wait`]: until a condition holds, or a deadline says what it was that did not.
//! - [`turn`](mod@turn): how many tests start processes at a time.

pub mod command;
pub mod local;
pub mod network;
pub mod process;
pub mod stranger;
pub mod talk;
pub mod turn;
pub mod wait;
pub mod wire_level;

pub use command::{Ran, command, finish, ran};
pub use local::Local;
pub use network::{Network, client, closest, group, voters_are};
pub use process::{Launch, Process};
pub use stranger::Stranger;
pub use talk::Talk;
pub use turn::turn;
pub use wait::until;
