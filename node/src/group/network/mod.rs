//! openraft's network, over our own messages.
//!
//! [`Network`] makes a [`Client`] for each replica that openraft speaks to: one for log entries and votes, one for
//! heartbeats, one for snapshots. Each answer goes through the checked [`seam`](super::seam) before openraft sees it.
//!
//! - `append`: the order in which appends are sent and answered, which keeps ReadIndex right.
//! - `timeouts`: our own limits; openraft enforces none.
//! - `matched`: what each follower is known to have had, so that one whose log went back is noticed.
//! - `transmit`: a snapshot, sent in chunks.
//! - `watch`: what whoever owns the group is told.
//!
//! What cannot be delivered is `Unreachable` to openraft, which then waits by its backoff before it tries again;
//! so is what the other side is not ready to take (`NotYet`, `Busy`), refuses, or is dead to (`Gone`), and so is an
//! answer that breaks a rule.
#![allow(clippy::result_large_err, reason = "openraft's own error types")]

mod append;
mod client;
#[cfg(test)]
mod cluster;
mod matched;
#[cfg(test)]
mod testing;
mod timeouts;
mod transmit;
mod watch;

use std::{collections::BTreeMap, sync::Arc};

use openraft::{EmptyNode, RaftNetworkFactory};
use parking_lot::Mutex;
use xorum_behaviours::wire::{GroupId, Origin, ReplicaId};

use self::{client::Route, matched::Matched, timeouts::Purpose};
use super::{messenger::Messenger, raft::TypeConfig, snapshot::SnapshotSource};

pub use client::Client;
pub use timeouts::Limits;
pub use watch::GroupWatch;

/// Makes openraft's clients for one replica of one group.
///
/// `S` is storage's snapshot data, of which this sends the rows.
pub struct Network<M, S> {
    group: GroupId,
    origin: Origin,
    me: ReplicaId,
    messenger: M,
    watch: Arc<dyn GroupWatch>,
    limits: Limits,
    /// Of each replica spoken to, also of those that left: a group has few in its life, and each is small.
    matched: BTreeMap<ReplicaId, Arc<Mutex<Matched>>>,
    snapshots: std::marker::PhantomData<fn() -> S>,
}

impl<M, S> Network<M, S> {
    /// The network of the replica `me` of `group`.
    pub fn new(group: GroupId, origin: Origin, me: ReplicaId, messenger: M, watch: Arc<dyn GroupWatch>) -> Self {
        Self {
            group,
            origin,
            me,
            messenger,
            watch,
            limits: Limits::default(),
            matched: BTreeMap::new(),
            snapshots: std::marker::PhantomData,
        }
    }

    /// Sets other time limits than the default ones.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl<M: Messenger, S: SnapshotSource> Network<M, S> {
    fn client(&mut self, target: ReplicaId, purpose: Purpose) -> Client<M, S> {
        let matched = self.matched.entry(target).or_default().clone();
        Client::new(Route {
            group: self.group,
            origin: self.origin,
            me: self.me,
            target,
            purpose,
            limits: self.limits,
            messenger: self.messenger.clone(),
            watch: self.watch.clone(),
            matched,
        })
    }
}

impl<M: Messenger, S: SnapshotSource> RaftNetworkFactory<TypeConfig> for Network<M, S> {
    type Network = Client<M, S>;

    async fn new_client(&mut self, target: ReplicaId, _node: &EmptyNode) -> Self::Network {
        self.client(target, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, _node: &EmptyNode) -> Self::Network {
        self.client(target, Purpose::Heartbeat)
    }
}
