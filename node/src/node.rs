//! The public handle: a peer, or a client, of one network.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use libp2p::{Multiaddr, PeerId};

use crate::{
    api::{Change, Expected, GroupInfo, Location, PeerInfo, PeerStatus, StaleRead, Swap, Version, Versioned},
    builder::Builder,
    config::Config,
    error::{OpError, StartError},
};

/// A running peer, or client. A cheap clone of a handle: when the last one is dropped, or [`Node::shutdown`] was
/// called on one, all that it started ends.
#[derive(Clone, Debug)]
pub struct Node {}

#[allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
impl Node {
    /// Sets a node up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a peer or a client. A peer is returned when it serves: see [`Node::builder`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        todo!()
    }

    /// Waits until the node has ended: by [`Node::shutdown`], or by itself, with what ended it.
    pub async fn stopped(&self) -> Result<(), StartError> {
        todo!()
    }

    /// Its id.
    pub fn peer_id(&self) -> PeerId {
        todo!()
    }

    /// Where it listens, each ending in `/p2p/<its id>`.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        todo!()
    }

    /// The same node with another deadline for the operations of this handle; at most [`crate::api::MAX_TIMEOUT`].
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        todo!()
    }

    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Version, OpError> {
        todo!()
    }

    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Versioned>, OpError> {
        todo!()
    }

    pub async fn get_stale(&self, key: impl Into<Bytes>) -> Result<StaleRead, OpError> {
        todo!()
    }

    /// `None`: there was nothing to remove.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<Option<Version>, OpError> {
        todo!()
    }

    pub async fn compare_and_swap(
        &self,
        key: impl Into<Bytes>,
        expected: Expected,
        value: impl Into<Bytes>,
    ) -> Result<Swap, OpError> {
        todo!()
    }

    /// The changes of a key from now on. Ends only with an error.
    pub fn watch(&self, key: impl Into<Bytes>) -> BoxStream<'static, Result<Change, OpError>> {
        todo!()
    }

    pub async fn locate(&self, key: impl Into<Bytes>) -> Result<Location, OpError> {
        todo!()
    }

    /// Of this peer; of a client: of the peer that it is connected to.
    pub async fn status(&self) -> Result<PeerStatus, OpError> {
        todo!()
    }

    /// The peers that this peer (of a client: the peer it is connected to) knows.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, OpError> {
        todo!()
    }

    /// The groups that this peer (of a client: the peer it is connected to) knows.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>, OpError> {
        todo!()
    }

    /// Hands over all that this peer holds and leaves every group. The node goes on running; shut it down afterwards.
    pub async fn leave(&self) -> Result<(), OpError> {
        todo!()
    }

    /// Hands leadership over, flushes and stops; at most 3 s.
    pub async fn shutdown(&self) {
        todo!()
    }
}
