//! What Xorum's integration tests are made of.
//!
//! - [`history`]: what clients did and were told, and whether one order of it all explains it.
//! - [`harness`]: peers as real processes, and waiting for conditions.
//! - [`fuzz`]: every decoder as a function of bytes, and seeds for them.

pub mod fuzz;
pub mod harness;
pub mod history;

/// README's example of a program is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
