//! Placement, tried on a model of a group whose peers are held still while time goes on.

mod convergence;
mod invariants;
mod sentences;
mod world;
