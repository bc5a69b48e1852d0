//! What whoever owns the group is told.

use xorum_behaviours::wire::{ReplicaId, ReplicaNumber};

use crate::group::seam::Violation;

/// Told of other replicas what openraft does not tell. Called from openraft's tasks: it must not block.
pub trait GroupWatch: Send + Sync + 'static {
    /// The replica is dead for ever, by its own peer's word: all numbers up to `dead` are.
    fn gone(&self, replica: ReplicaId, dead: ReplicaNumber);

    /// The replica answered what no sound one would; openraft was told that it is unreachable.
    fn misbehaved(&self, replica: ReplicaId, why: &Violation);
}
