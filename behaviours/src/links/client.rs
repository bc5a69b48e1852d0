//! The handle that asks.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use libp2p::PeerId;

use super::{
    Class,
    error::{NotSent, RequestError},
    peers::{Peer, Peers},
    ticket::Ticket,
};
use crate::wire::MAX_MESSAGE_BYTES;

/// Asks peers. A cheap clone of a handle; all clones share queues and streams.
#[derive(Debug, Clone)]
pub struct Client {
    local: PeerId,
    peers: Arc<Peers>,
}

impl Client {
    pub(super) const fn new(local: PeerId, peers: Arc<Peers>) -> Self {
        Self { local, peers }
    }

    /// Sends a request and waits for its answer, for at most `within`.
    ///
    /// A peer that is not connected is dialed, at the addresses that the swarm's behaviours know. Dropping the future
    /// before the request was written takes it back; afterwards the other side works on it all the same.
    ///
    /// # Errors
    /// [`RequestError::NotSent`] promises that no byte of it was written; of anything else it is not known what the
    /// other side did.
    pub async fn request(
        &self,
        peer: PeerId,
        class: Class,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, RequestError> {
        if peer == self.local {
            return Err(NotSent::Unreachable("it is this peer itself".to_owned()).into());
        }
        if body.len() > MAX_MESSAGE_BYTES {
            let text = format!("a request of {} bytes is longer than {MAX_MESSAGE_BYTES}", body.len());
            return Err(NotSent::Unreachable(text).into());
        }
        let peer = self.peers.get(&peer);
        let ticket = peer.lane(class).push(body)?;
        let waiting = Waiting { peer, class, ticket };
        match tokio::time::timeout(within, poll_fn(|cx| waiting.ticket.poll(cx))).await {
            Ok(outcome) => outcome,
            Err(_) => waiting.give_up(),
        }
    }

    /// How long ago a frame of that peer was last received, on any stream; none when never.
    pub fn heard(&self, peer: &PeerId) -> Option<Duration> {
        self.peers.heard(peer)
    }

    /// Is there a connection to that peer?
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.find(peer).is_some_and(|peer| peer.connected.load(Ordering::Acquire))
    }

    /// Has all connections to a peer that is silent closed. Requests in flight end at once; later ones dial anew.
    pub fn disconnect(&self, peer: PeerId) {
        self.peers.disconnect(peer);
    }
}

/// A request whose asker waits.
struct Waiting {
    peer: Arc<Peer>,
    class: Class,
    ticket: Arc<Ticket>,
}

impl Waiting {
    fn give_up(&self) -> Result<Bytes, RequestError> {
        let outcome = self.ticket.give_up();
        if matches!(outcome, Err(RequestError::NotSent(NotSent::TimedOut))) {
            self.peer.lane(self.class).note_abandoned();
        }
        outcome
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.ticket.abandon() {
            self.peer.lane(self.class).note_abandoned();
        }
    }
}
