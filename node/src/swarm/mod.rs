//! The event loop: the one task that touches the [`Swarm`].
//!
//! Commands come in through a bounded channel; what happens goes to the peer book, and to whoever asked. Requests
//! between peers do not pass here: links carry them by themselves.

mod listen;
mod near;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, identify,
    kad::{self, QueryId, QueryResult},
    swarm::{ConnectionError, DialError, SwarmEvent, dial_opts::DialOpts},
};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use xorum_behaviours::{
    Behaviour, Event,
    admission::{self, AdmissionError, Gate},
    reachability,
    space::Position,
    wire::PeerRole,
};

use crate::peers::PeerBook;

pub use listen::{ListenFailure, listen};

/// Commands that may wait for the loop.
const QUEUE: usize = 256;

/// Asks the event loop. A cheap clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    listen: Arc<RwLock<Vec<Multiaddr>>>,
}

#[derive(Debug)]
enum Command {
    Dial(Multiaddr),
    Closest { key: Vec<u8>, reply: oneshot::Sender<Vec<PeerId>> },
}

/// What became of a dial.
#[derive(Debug)]
pub enum DialReport {
    /// A connection stands.
    Connected,
    /// None came to be.
    Failed {
        /// Why each address that answered did not admit this peer.
        refused: Vec<(Multiaddr, AdmissionError)>,
        /// The whole of it, as text.
        reason: String,
    },
}

impl Handle {
    /// Dials an address; what becomes of it is reported.
    pub async fn dial(&self, addr: Multiaddr) {
        // A loop that has ended dials no more.
        let _ = self.commands.send(Command::Dial(addr)).await;
    }

    /// The peers closest to a position that Kademlia finds in time.
    pub async fn closest(&self, position: Position, within: Duration) -> Vec<PeerId> {
        let (reply, answer) = oneshot::channel();
        let key = near::preimage_near(&position);
        if self.commands.send(Command::Closest { key, reply }).await.is_err() {
            return Vec::new();
        }
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(peers)) => peers,
            _ => Vec::new(),
        }
    }

    /// Where this peer listens, without `/p2p/…`.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.listen.read().clone()
    }
}

/// The event loop, before it runs.
pub struct EventLoop {
    swarm: Swarm<Behaviour>,
    gate: Gate,
    role: PeerRole,
    book: Arc<PeerBook>,
    news: mpsc::Receiver<(PeerId, Multiaddr)>,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Sender<DialReport>,
    listen: Arc<RwLock<Vec<Multiaddr>>>,
    queries: HashMap<QueryId, (Vec<PeerId>, oneshot::Sender<Vec<PeerId>>)>,
}

impl EventLoop {
    /// The loop over a swarm that listens already at `listening`, and its handle. `news` brings addresses that others
    /// told; `reports` takes what became of dials.
    pub fn new(
        swarm: Swarm<Behaviour>,
        gate: Gate,
        listening: Vec<Multiaddr>,
        book: Arc<PeerBook>,
        news: mpsc::Receiver<(PeerId, Multiaddr)>,
        reports: mpsc::Sender<DialReport>,
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(QUEUE);
        let listen = Arc::new(RwLock::new(listening));
        let handle = Handle { commands: sender, listen: Arc::clone(&listen) };
        let role = gate.role();
        let mut this = Self { swarm, gate, role, book, news, commands, reports, listen, queries: HashMap::new() };
        this.decide_kad_mode();
        (this, handle)
    }

    /// Runs until the token is cancelled.
    pub async fn run(mut self, token: CancellationToken) {
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(command) = self.commands.recv() => self.on_command(command),
                Some((peer, addr)) = self.news.recv() => self.add_addr(peer, addr),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial(addr) => {
                if let Err(error) = self.swarm.dial(DialOpts::from(addr)) {
                    self.report_failure(&error);
                }
            }
            Command::Closest { key, reply } => {
                let query = self.swarm.behaviour_mut().kad.get_closest_peers(key);
                self.queries.insert(query, (Vec::new(), reply));
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<Event>) {
        match event {
            SwarmEvent::Behaviour(Event::Identify(event)) => self.on_identify(*event),
            SwarmEvent::Behaviour(Event::Kad(event)) => self.on_kad(*event),
            SwarmEvent::Behaviour(Event::Links(event)) => tracing::debug!(?event, "links"),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                let dialed = endpoint.is_dialer().then(|| endpoint.get_remote_address().clone());
                tracing::debug!(peer = %peer_id, ?endpoint, "connected");
                self.book.connected(peer_id, self.gate.role_of(&peer_id), dialed);
                // Whoever waits for a report looks at the book as well; a full queue loses nothing.
                let _ = self.reports.try_send(DialReport::Connected);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                log_closed(peer_id, cause.as_ref());
                self.book.disconnected(&peer_id);
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => self.report_failure(&error),
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                let cause = admission::inbound_cause(&error);
                tracing::debug!(from = %send_back_addr, %error, ?cause, "a connection did not come to be");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                self.listen.write().push(address);
                self.decide_kad_mode();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                tracing::info!(%address, "not listening any more");
                self.listen.write().retain(|known| *known != address);
                self.decide_kad_mode();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener"),
            _ => {}
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else { return };
        if self.gate.role_of(&peer_id) != Some(PeerRole::Peer) {
            return;
        }
        for addr in info.listen_addrs.into_iter().filter(reachability::is_dialable).take(16) {
            self.book.add_addr(peer_id, addr);
        }
        for addr in self.book.addrs(&peer_id) {
            self.add_addr(peer_id, addr);
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        let kad::Event::OutboundQueryProgressed { id, result: QueryResult::GetClosestPeers(result), step, .. } = event
        else {
            return;
        };
        let Some((found, _)) = self.queries.get_mut(&id) else { return };
        let peers = match result {
            Ok(ok) => ok.peers,
            Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        for peer in peers {
            for addr in peer.addrs {
                self.book.add_addr(peer.peer_id, addr);
            }
            found.push(peer.peer_id);
        }
        if step.last
            && let Some((found, reply)) = self.queries.remove(&id)
        {
            let _ = reply.send(found);
        }
    }

    /// Tells the behaviours where a peer is.
    fn add_addr(&mut self, peer: PeerId, addr: Multiaddr) {
        if self.gate.role_of(&peer) != Some(PeerRole::Client) {
            self.swarm.behaviour_mut().kad.add_address(&peer, addr.clone());
        }
        self.swarm.add_peer_address(peer, addr);
    }

    fn report_failure(&self, error: &DialError) {
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        let refused = admission::causes(error).map(|(addr, cause)| (addr.clone(), cause)).collect();
        let reason = error_chain(error);
        tracing::debug!(reason, "a dial failed");
        let _ = self.reports.try_send(DialReport::Failed { refused, reason });
    }

    fn decide_kad_mode(&mut self) {
        let external: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        let mode = reachability::kad_mode(self.role, &self.listen.read(), &external);
        self.swarm.behaviour_mut().kad.set_mode(Some(mode));
    }
}

fn log_closed(peer: PeerId, cause: Option<&ConnectionError>) {
    match cause {
        Some(cause) => tracing::debug!(%peer, %cause, "disconnected"),
        None => tracing::debug!(%peer, "disconnected"),
    }
}

/// An error and what is behind it, in one line.
fn error_chain(error: &DialError) -> String {
    match error {
        DialError::Transport(attempts) => {
            let of = |(addr, error): &(Multiaddr, libp2p::TransportError<std::io::Error>)| match error {
                libp2p::TransportError::MultiaddrNotSupported(_) => format!("{addr}: no such transport here"),
                libp2p::TransportError::Other(error) => format!("{addr}: {}", innermost(error)),
            };
            attempts.iter().map(of).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

/// The text closest to what went wrong: the outer ones only say where.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    loop {
        let inner = match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
        match inner {
            Some(inner) => error = inner,
            None => return error.to_string(),
        }
    }
}
