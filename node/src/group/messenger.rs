//! How a group's messages reach other peers.

use std::{future::Future, time::Duration};

use libp2p::PeerId;
use xorum_behaviours::wire::{BulkAnswer, BulkRequest, PeerAnswer, PeerRequest};

/// Carries messages to other peers; a cheap handle.
///
/// Messages of one class to one peer are sent in the order in which they were asked. Nothing is sent twice.
pub trait Messenger: Clone + Send + Sync + 'static {
    /// Asks a peer, in the `raft` class.
    fn ask(
        &self,
        to: PeerId,
        request: PeerRequest,
        within: Duration,
    ) -> impl Future<Output = Result<PeerAnswer, AskError>> + Send;

    /// Asks a peer, in the `bulk` class.
    fn bulk(
        &self,
        to: PeerId,
        request: BulkRequest,
        within: Duration,
    ) -> impl Future<Output = Result<BulkAnswer, AskError>> + Send;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No byte of the request left this peer.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request may have arrived and may have had its effect.
    #[error("no answer: {0}")]
    MaybeSent(String),
    /// The other side answered with what is no answer.
    #[error("malformed answer: {0}")]
    Malformed(String),
}
