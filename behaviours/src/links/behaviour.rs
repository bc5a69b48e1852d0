//! All connections: chooses one for each lane, dials where there is none, and closes those to the silent.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, NotifyHandler,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, NewExternalAddrOfPeer, PeerAddresses},
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::mpsc;

use super::{
    Class, Event,
    error::NotSent,
    handler::{Handler, Shared},
    peers::{Command, Peer},
};
use crate::{admission::Gate, wire::PeerRole};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// The most failed dials that are remembered; past it those whose backoff is over are forgotten.
const REMEMBERED_FAILURES: usize = 1024;

/// The most peers whose addresses are remembered here; Kademlia has its own.
const REMEMBERED_ADDRESSES: NonZeroUsize = NonZeroUsize::new(4096).expect("is not zero");

/// One established connection.
#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    /// Lower is better.
    rank: u8,
    /// It is being closed: nothing new goes there.
    closing: bool,
}

/// A peer whose last dial failed.
#[derive(Debug)]
struct Failure {
    times: u32,
    until: Instant,
    why: String,
}

/// See the module.
pub struct Behaviour {
    shared: Arc<Shared>,
    gate: Gate,
    commands: mpsc::UnboundedReceiver<Command>,
    reports: mpsc::Receiver<Event>,
    /// Oldest first.
    connections: HashMap<PeerId, Vec<Connection>>,
    /// Dials that lanes wait for; none where another behaviour's is under way.
    dialing: HashMap<PeerId, Option<ConnectionId>>,
    failures: HashMap<PeerId, Failure>,
    /// Where peers are, as told by the event loop or another behaviour, or as dialed; of the latest so many. A failed
    /// dial takes nothing from it: who restarts comes back where it was.
    addresses: PeerAddresses,
    events: VecDeque<ToSwarm<Event, Class>>,
}

impl Behaviour {
    pub(super) fn new(
        shared: Arc<Shared>,
        gate: Gate,
        commands: mpsc::UnboundedReceiver<Command>,
        reports: mpsc::Receiver<Event>,
    ) -> Self {
        Self {
            shared,
            gate,
            commands,
            reports,
            connections: HashMap::new(),
            dialing: HashMap::new(),
            failures: HashMap::new(),
            addresses: PeerAddresses::new(REMEMBERED_ADDRESSES),
            events: VecDeque::new(),
        }
    }

    fn handler(&self, connection: ConnectionId, id: PeerId) -> Handler {
        let theirs = self.gate.established(&id);
        let offered = match (self.gate.role(), theirs) {
            (PeerRole::Client, _) => Vec::new(),
            (PeerRole::Peer, PeerRole::Client) => vec![Class::Operation],
            (PeerRole::Peer, PeerRole::Peer) => Class::ALL.to_vec(),
        };
        Handler::new(self.shared.clone(), connection, id, self.shared.peers.get(&id), offered, theirs == PeerRole::Peer)
    }

    /// The connection for new streams to a peer: the best kind, and of those the oldest.
    fn best(&self, peer: &PeerId) -> Option<ConnectionId> {
        let usable = self.connections.get(peer)?.iter().filter(|connection| !connection.closing);
        usable.min_by_key(|connection| connection.rank).map(|connection| connection.id)
    }

    /// Gets a stream for a lane that wants one.
    fn open(&mut self, id: PeerId, class: Class) {
        let peer = self.shared.peers.get(&id);
        if let Some(connection) = self.best(&id) {
            if peer.lane(class).choose(connection) {
                let handler = NotifyHandler::One(connection);
                self.events.push_back(ToSwarm::NotifyHandler { peer_id: id, handler, event: class });
            }
        } else if let Some(failure) = self.failures.get(&id).filter(|failure| failure.until > Instant::now()) {
            peer.lane(class).fail(None, &NotSent::Unreachable(failure.why.clone()));
        } else if let Entry::Vacant(dialing) = self.dialing.entry(id) {
            let opts = DialOpts::peer_id(id).condition(PeerCondition::NotDialing).build();
            dialing.insert(Some(opts.connection_id()));
            self.events.push_back(ToSwarm::Dial { opts });
        }
    }

    /// Gets streams for the lanes of a peer that want one and have no connection for it.
    fn open_unserved(&mut self, id: PeerId, peer: &Peer) {
        for class in Class::ALL {
            if peer.lane(class).is_unserved() {
                self.open(id, class);
            }
        }
    }

    fn disconnect(&mut self, id: PeerId) {
        let peer = self.shared.peers.get(&id);
        peer.disconnecting.store(false, Ordering::Release);
        peer.connected.store(false, Ordering::Release);
        for connection in self.connections.get_mut(&id).into_iter().flatten() {
            connection.closing = true;
            for class in Class::ALL {
                peer.lane(class).unchoose(connection.id);
                peer.lane(class).stop(connection.id);
            }
        }
        self.events.push_back(ToSwarm::CloseConnection { peer_id: id, connection: CloseConnection::All });
        self.open_unserved(id, &peer);
    }

    fn on_established(
        &mut self,
        ConnectionEstablished { peer_id, connection_id, endpoint, .. }: ConnectionEstablished<'_>,
    ) {
        self.dialing.remove(&peer_id);
        self.failures.remove(&peer_id);
        if let ConnectedPoint::Dialer { address, .. } = endpoint {
            self.addresses.add(peer_id, address.clone());
        }
        let connection = Connection { id: connection_id, rank: rank(endpoint), closing: false };
        self.connections.entry(peer_id).or_default().push(connection);
        let peer = self.shared.peers.get(&peer_id);
        peer.connected.store(true, Ordering::Release);
        self.open_unserved(peer_id, &peer);
    }

    fn on_closed(&mut self, closed: ConnectionClosed<'_>) {
        let id = closed.peer_id;
        if let Some(connections) = self.connections.get_mut(&id) {
            connections.retain(|connection| connection.id != closed.connection_id);
            if connections.is_empty() {
                self.connections.remove(&id);
                self.gate.forget(&id);
            }
        }
        let peer = self.shared.peers.get(&id);
        peer.connected.store(self.best(&id).is_some(), Ordering::Release);
        Class::ALL.iter().for_each(|class| peer.lane(*class).unchoose(closed.connection_id));
        self.open_unserved(id, &peer);
    }

    fn on_dial_failure(&mut self, DialFailure { peer_id, error, connection_id }: DialFailure<'_>) {
        let Some(id) = peer_id else { return };
        match self.dialing.get(&id) {
            Some(Some(ours)) if *ours != connection_id => return,
            Some(_) => {}
            None => return,
        }
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            self.dialing.insert(id, None);
            return;
        }
        self.dialing.remove(&id);
        let why = crate::admission::cause(error).map_or_else(|| error.to_string(), |cause| cause.to_string());
        self.note_failure(id, why.clone());
        let peer = self.shared.peers.get(&id);
        let why = NotSent::Unreachable(why);
        Class::ALL.iter().for_each(|class| peer.lane(*class).fail(None, &why));
    }

    fn note_failure(&mut self, id: PeerId, why: String) {
        let now = Instant::now();
        if self.failures.len() >= REMEMBERED_FAILURES {
            self.failures.retain(|_, failure| failure.until > now);
        }
        let times = self.failures.get(&id).map_or(0, |failure| failure.times) + 1;
        let longest = BACKOFF_MAX.min(BACKOFF_MIN * 2u32.pow(times.min(5)));
        let until = now + longest.mul_f64(rand::random_range(0.5..1.0));
        self.failures.insert(id, Failure { times, until, why });
    }
}

/// TCP (and memory) before QUIC, direct before relayed.
fn rank(endpoint: &ConnectedPoint) -> u8 {
    let address = endpoint.get_remote_address();
    let has = |wanted: fn(&Protocol<'_>) -> bool| address.iter().any(|part| wanted(&part));
    if has(|part| matches!(part, Protocol::P2pCircuit)) {
        2
    } else {
        u8::from(has(|part| matches!(part, Protocol::QuicV1 | Protocol::Quic)))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, peer))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer.map(|peer| self.addresses.get(&peer).collect()).unwrap_or_default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => self.on_established(established),
            FromSwarm::ConnectionClosed(closed) => self.on_closed(closed),
            FromSwarm::DialFailure(failure) => self.on_dial_failure(failure),
            FromSwarm::NewExternalAddrOfPeer(NewExternalAddrOfPeer { peer_id, addr }) => {
                self.addresses.add(peer_id, addr.clone());
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            if let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) {
                match command {
                    Command::Open(peer, class) => self.open(peer, class),
                    Command::Disconnect(peer) => self.disconnect(peer),
                }
                continue;
            }
            return match self.reports.poll_recv(cx) {
                Poll::Ready(Some(event)) => Poll::Ready(ToSwarm::GenerateEvent(event)),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl Drop for Behaviour {
    fn drop(&mut self) {
        self.shared.peers.close();
    }
}
