//! One group: what its log carries and what applying it does.
//!
//! - [`raft`]: openraft's types, made concrete once for the whole crate.
//! - [`command`]: what an entry carries and what applying it answers.
//! - [`sessions`]: exactly once (after RIFL, Lee et al., SOSP 2015).
//! - [`state`]: the state that every replica of a group has in common at one log index, and how an entry changes it.
//!
//! Applying is a function of the entry, the group's state and the genesis record alone: it reads no clock, draws no
//! random number and asks nobody.

pub mod command;
pub mod raft;
pub mod sessions;
pub mod state;
