//! Recorded histories of operations, and two checks of them.
//!
//! - [`record`]: operations with the times at which they were invoked and returned, as clients saw them.
//! - [`register`]: what one key does when operations happen one after the other.
//! - [`linearizable`]: is there one order of the operations that the register and real time explain? Exact, and
//!   exponential at worst.
//! - [`versions`]: do versions keep to real time? In O(n log n), for histories of any length.

pub mod linearizable;
pub mod record;
pub mod register;
#[cfg(test)]
mod tests;
pub mod versions;

pub use record::{Answer, Invocation, Op, Operation, Outcome, Recorder, by_key};
