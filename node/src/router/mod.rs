//! From a key to the group that owns it, and back with an answer.
//!
//! - [`cache`]: the newest descriptors known, by prefix.
//! - [`session`]: this handle's numbers, watermark and deadlines: the owner's half of "exactly once".
//! - [`attempt`]: what the answer to one copy of a request means for the next step.
//! - [`route`]: the loop that asks, follows redirects, waits and gives up, under one deadline.

pub mod attempt;
pub mod cache;
pub mod route;
pub mod session;

pub use cache::DescriptorCache;
pub use route::{Router, RouterParts};
