//! One connection: negotiates substreams and hands each to a task of its own. No message passes it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use libp2p::{
    PeerId, Stream,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, ConnectionId, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    Class, Event, Service,
    answer::{Asked, answer},
    ask::ask,
    error::{NotSent, StreamError},
    peers::{Peer, Peers},
    protocol::Classes,
};

/// The most inbound substreams of a class: the one in use, and one that takes over from it.
const INBOUND_STREAMS: usize = 2;

/// What all handlers share.
pub(super) struct Shared {
    pub(super) peers: Arc<Peers>,
    pub(super) reports: mpsc::Sender<Event>,
    pub(super) in_flight: usize,
    pub(super) answerer: Box<dyn Answerer>,
}

/// Starts tasks that answer. Hides the type of the service.
pub(super) trait Answerer: Send + Sync {
    fn start(&self, stream: Stream, asked: Asked, reports: mpsc::Sender<Event>) -> AbortHandle;
}

/// An [`Answerer`] for one service.
pub(super) struct Answering<S> {
    pub(super) service: Arc<S>,
    pub(super) concurrent: usize,
}

impl<S: Service> Answerer for Answering<S> {
    fn start(&self, stream: Stream, asked: Asked, reports: mpsc::Sender<Event>) -> AbortHandle {
        let (service, concurrent) = (self.service.clone(), self.concurrent);
        let (peer, class) = (asked.from, asked.class);
        let task = tokio::spawn(async move {
            let error = answer(stream, service, asked, concurrent).await;
            report(&reports, peer, class, error);
        });
        task.abort_handle()
    }
}

/// Tells the swarm of a broken protocol; when too many wait to be told, of none more.
fn report(reports: &mpsc::Sender<Event>, peer: PeerId, class: Class, error: StreamError) {
    tracing::debug!(%peer, ?class, %error, "a link's stream ended");
    if error.is_violation() {
        let _ = reports.try_send(Event::Violation { peer, class, error });
    }
}

/// See the module.
pub struct Handler {
    shared: Arc<Shared>,
    connection: ConnectionId,
    id: PeerId,
    peer: Arc<Peer>,
    /// The classes that this side answers on this connection.
    offered: Vec<Class>,
    keep_alive: bool,
    to_open: VecDeque<Class>,
    /// The tasks that answer.
    answering: [Vec<AbortHandle>; 3],
    waker: Option<Waker>,
}

impl Handler {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: ConnectionId,
        id: PeerId,
        peer: Arc<Peer>,
        offered: Vec<Class>,
        keep_alive: bool,
    ) -> Self {
        Self {
            shared,
            connection,
            id,
            peer,
            offered,
            keep_alive,
            to_open: VecDeque::new(),
            answering: Default::default(),
            waker: None,
        }
    }

    fn opened(&self, class: Class, stream: Stream) {
        if !self.peer.lane(class).attach(self.connection) {
            return;
        }
        let (shared, peer, id) = (self.shared.clone(), self.peer.clone(), self.id);
        tokio::spawn(async move {
            let error = ask(stream, shared.peers.clone(), peer, class, shared.in_flight).await;
            report(&shared.reports, id, class, error);
        });
    }

    fn accepted(&mut self, class: Class, stream: Stream) {
        let answering = &mut self.answering[class as usize];
        answering.retain(|task| !task.is_finished());
        if answering.len() >= INBOUND_STREAMS {
            report(&self.shared.reports, self.id, class, StreamError::TooManyStreams);
            return;
        }
        let asked = Asked { from: self.id, class, peer: self.peer.clone(), peers: self.shared.peers.clone() };
        answering.push(self.shared.answerer.start(stream, asked, self.shared.reports.clone()));
    }
}

/// A connection that is closed from this side does not wake who reads from its substreams: so they are told here.
impl Drop for Handler {
    fn drop(&mut self) {
        Class::ALL.iter().for_each(|class| self.peer.lane(*class).stop(self.connection));
        self.answering.iter().flatten().for_each(AbortHandle::abort);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Class;
    type ToBehaviour = Infallible;
    type InboundProtocol = Classes;
    type OutboundProtocol = Classes;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Class;

    fn listen_protocol(&self) -> SubstreamProtocol<Classes, ()> {
        SubstreamProtocol::new(Classes(self.offered.clone()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.keep_alive
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Classes, Class, Infallible>> {
        if let Some(class) = self.to_open.pop_front() {
            let protocol = SubstreamProtocol::new(Classes(vec![class]), class);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, class: Class) {
        self.to_open.push_back(class);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Classes, Classes, (), Class>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (class, stream), .. }) => {
                self.accepted(class, stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (class, stream), .. }) => {
                self.opened(class, stream)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: class, error }) => {
                let text = match error {
                    StreamUpgradeError::NegotiationFailed => format!("it does not take {}", class.protocol()),
                    StreamUpgradeError::Timeout => "it did not answer when a stream was opened".to_owned(),
                    StreamUpgradeError::Io(error) => error.to_string(),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                self.peer.lane(class).fail(Some(self.connection), &NotSent::Unreachable(text));
            }
            _ => {}
        }
    }
}
