//! One group: what its log carries and what applying it does.
//!
//! - [`raft`]: openraft's types, made concrete once for the whole crate.
//! - [`command`]: what an entry carries and what applying it answers.
//! - [`deliver`]: hands to openraft what the seam let through.
//! - [`messenger`]: how a group's messages reach other peers.
//! - [`network`]: openraft's network, over our own messages.
//! - [`seam`]: what a message may say before openraft sees it (invariant 8).
//! - [`snapshot`]: what a snapshot is to the network; [`transfer`]: one as it comes in.
//! - [`sessions`]: exactly once (after RIFL, Lee et al., SOSP 2015).
//! - [`state`]: the state that every replica of a group has in common at one log index, and how an entry changes it.
//!
//! Applying is a function of the entry, the group's state and the genesis record alone: it reads no clock, draws no
//! random number and asks nobody.

pub mod command;
pub mod deliver;
pub mod messenger;
pub mod network;
pub mod raft;
pub mod seam;
pub mod sessions;
pub mod snapshot;
pub mod state;
pub mod transfer;
