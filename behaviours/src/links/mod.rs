//! Links: our request-response protocol on long-lived substreams.
//!
//! To each peer and for each [`Class`] there is one substream for the own requests; the peer has another for its own. So
//! votes and heartbeats never wait behind bulk, and all groups share what there is. A request is a frame with a
//! correlation number, its answer a frame with the same.
//!
//! - The connection handler only negotiates substreams; each then belongs to one task, and no message passes the swarm.
//!   The task writes all that waits at once, up to 256 KiB, and flushes once; it decodes as many frames as one read
//!   brought.
//! - Requests of a stream are started in the order in which they were sent, and answered as they complete. When a
//!   stream ends, the futures of its requests are dropped.
//! - Everything is bounded: what waits for a peer (then *busy*), what is in flight, what is worked on (then nothing
//!   more is read), what is answered and not taken (likewise).
//! - A request that fails says whether a byte of it may have been written: [`RequestError::was_sent`].
//! - What is no frame, or answers what was not asked, closes its substream and loses the requests on it, nothing else.
//! - Of a connection that was admitted as a client, only [`Class::Operation`] is answered.
//!
//! It never retries: whoever asks knows what a second copy would do.

mod answer;
mod ask;
mod behaviour;
mod client;
mod error;
mod frame;
mod handler;
mod in_flight;
mod lane;
mod peers;
mod protocol;
mod ticket;
mod work;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use behaviour::Behaviour;
use bytes::Bytes;
pub use client::Client;
pub use error::{MaybeSent, NotSent, RequestError, StreamError};
pub use frame::FrameError;
pub use handler::Handler;
use handler::{Answering, Shared};
use lane::LaneBounds;
use libp2p::{PeerId, StreamProtocol};
use peers::Peers;
use tokio::sync::mpsc;

use crate::admission::Gate;

/// What a request is about; each class has its own substreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// [`PeerRequest`](crate::wire::PeerRequest)s: between peers only.
    Raft,
    /// [`OpRequest`](crate::wire::OpRequest)s: from peers and clients.
    Operation,
    /// [`BulkRequest`](crate::wire::BulkRequest)s: between peers only.
    Bulk,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Raft, Self::Operation, Self::Bulk];

    /// Its protocol's name.
    pub const fn protocol(self) -> StreamProtocol {
        match self {
            Self::Raft => StreamProtocol::new("/xorum/raft/1"),
            Self::Operation => StreamProtocol::new("/xorum/operation/1"),
            Self::Bulk => StreamProtocol::new("/xorum/bulk/1"),
        }
    }
}

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. Called in order of arrival on a stream; each future is first polled before the next
    /// request's is, and then they run concurrently in the stream's task, so none may block. It is dropped when the
    /// stream ends. An answer longer than a message may be is replaced by an empty one.
    fn call(&self, from: PeerId, class: Class, body: Bytes) -> impl Future<Output = Bytes> + Send;
}

/// What the behaviour tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer broke the protocol on a substream, which was closed for it.
    Violation {
        /// Who.
        peer: PeerId,
        /// On a substream of which class.
        class: Class,
        /// How.
        error: StreamError,
    },
}

/// Bounds of the links of a peer.
#[derive(Debug, Clone)]
pub struct Config {
    gate: Gate,
    waiting_requests: usize,
    waiting_bytes: usize,
    in_flight: usize,
    concurrent: usize,
}

impl Config {
    /// The defaults. `gate` is the one that the swarm's transport has: it knows who is a client.
    pub const fn new(gate: Gate) -> Self {
        Self { gate, waiting_requests: 4096, waiting_bytes: 16 * 1024 * 1024, in_flight: 4096, concurrent: 4096 }
    }

    /// The most requests that wait for one peer and class to be written; 4,096. Too small says *busy* in a burst; too
    /// large keeps requests until their deadline.
    #[must_use]
    pub const fn with_waiting_requests(mut self, requests: usize) -> Self {
        self.waiting_requests = requests;
        self
    }

    /// The most bytes that wait for one peer and class to be written; 16 MiB. One request may pass it.
    #[must_use]
    pub const fn with_waiting_bytes(mut self, bytes: usize) -> Self {
        self.waiting_bytes = bytes;
        self
    }

    /// The most requests of one peer and class that are written and not answered; 4,096. Past it they wait.
    #[must_use]
    pub const fn with_in_flight(mut self, requests: usize) -> Self {
        self.in_flight = requests;
        self
    }

    /// The most requests of one stream that are worked on at once; 4,096. Past it nothing more is read from it: too small
    /// lets those that take long hold up the others.
    #[must_use]
    pub const fn with_concurrent(mut self, requests: usize) -> Self {
        self.concurrent = requests;
        self
    }
}

/// The behaviour for the swarm, and the handle that asks through it.
pub fn new<S: Service>(config: Config, service: S, local_peer: PeerId) -> (Behaviour, Client) {
    let (commands, command_queue) = mpsc::unbounded_channel();
    let (reports, report_queue) = mpsc::channel(64);
    let bounds = LaneBounds { requests: config.waiting_requests, bytes: config.waiting_bytes };
    let peers = Arc::new(Peers::new(bounds, commands));
    let answerer = Box::new(Answering { service: Arc::new(service), concurrent: config.concurrent });
    let shared = Shared { peers: peers.clone(), reports, in_flight: config.in_flight, answerer };
    let behaviour = Behaviour::new(Arc::new(shared), config.gate, command_queue, report_queue);
    (behaviour, Client::new(local_peer, peers))
}

/// Cuts frames out of bytes that come in pieces of so many: what a stream task does with what it reads.
///
/// # Errors
/// At the first bytes that are no frame.
#[doc(hidden)]
pub fn decode_frames(bytes: &[u8], piece_bytes: usize) -> Result<Vec<(u64, Bytes)>, FrameError> {
    let mut decoder = frame::Decoder::default();
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece_bytes.max(1)) {
        decoder.feed(piece);
        while let Some(frame) = decoder.next()? {
            frames.push((frame.correlation, frame.body));
        }
    }
    Ok(frames)
}

/// Locks; nothing that holds one of these locks can panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
