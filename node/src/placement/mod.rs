//! Placement: which peers hold a group's seats, and the next single step that brings it there.
//!
//! A group's leader builds a [`View`] of what it knows, durations included, and asks [`plan`] for the next
//! [`Action`]; it carries that out, and asks again. Everything here is a function of its arguments: no I/O, no clock,
//! no log. A plan that was cut short by a crash or by a new leader is simply made anew from what then stands.
//!
//! What holds of every step (invariants 3 and 4):
//! - One step at a time: nothing is proposed while a membership is uncommitted, and a half-done joint change is
//!   finished before anything else (Raft §6, Ongaro's thesis §4.3).
//! - Only a caught-up learner becomes a voter, and only under a number that was minted for it.
//! - No step takes a live quorum from a group that has one.
//! - A voter that is removed stays as a learner until it knows of it, or is dead; so it campaigns no more.
//!
//! What it steers to is [`wanted`]: the live candidates closest to the group's anchor, with these rules.
//! - Death never shrinks an odd voter set: seats that no live candidate can take stay with the closest dead holders.
//! - A vacant seat (its holder is dead or leaves) is filled at once; a closer newcomer displaces a live voter only
//!   once it is settled. So churn does not thrash.
//! - A leaver without a candidate takes one more along, so that the count stays odd.
//! - A sole voter's seat never moves by distance.
//!
//! The files: [`view`] is what the leader knows, [`liveness`] how it judges who is heard, [`seats`] the wanted set,
//! [`step`] the next step to it, [`leadership`] who leads.

pub mod leadership;
pub mod liveness;
pub mod seats;
pub mod step;
#[cfg(test)]
mod tests;
pub mod view;

pub use seats::wanted;
pub use step::{Action, WaitFor, plan};
pub use view::{PeerView, PlacementConfig, ReplicaView, View};
