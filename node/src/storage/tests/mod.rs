//! Tests of storage as a whole: what a subject promises is a file.

mod corruption;
mod crash;
mod durability;
mod lifecycle;
mod raft;
mod rig;
mod snapshots;
mod state;
mod suite;
