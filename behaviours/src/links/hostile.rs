//! Links against peers that were admitted and then speak garbage.

use std::{
    convert::Infallible,
    future,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::join_all};
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    identity::Keypair,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        SubstreamProtocol, SwarmEvent, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::mpsc;

use super::{Class, FrameError, MaybeSent, StreamError, frame::HEADER_BYTES};
use crate::{
    admission::{Gate, GateConfig},
    testing::{Builder, Keeper, PATIENCE, Seen, TestPeer, echo, genesis, memory, soon},
    transport,
    wire::PeerRole,
};

/// Opens substreams of one class and says something on each; says the same on those opened to it, once it is spoken to.
#[derive(Clone)]
struct Hostile {
    class: Class,
    streams: usize,
    says: Vec<u8>,
    /// Told when a substream of its own was ended by the other side.
    ended: mpsc::UnboundedSender<()>,
}

struct HostileHandler(Hostile);

impl ConnectionHandler for HostileHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<libp2p::StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<libp2p::StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.0.class.protocol()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Infallible>> {
        if self.0.streams == 0 {
            return Poll::Pending;
        }
        self.0.streams -= 1;
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol: self.listen_protocol() })
    }

    fn on_behaviour_event(&mut self, never: Infallible) {
        match never {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), ()>,
    ) {
        let says = self.0.says.clone();
        match event {
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, .. }) => {
                tokio::spawn(talk(stream, says, self.0.ended.clone()));
            }
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: mut stream, .. }) => {
                let ended = self.0.ended.clone();
                tokio::spawn(async move {
                    let mut request = [0; HEADER_BYTES];
                    let _ = stream.read_exact(&mut request).await;
                    talk(stream, says, ended).await;
                });
            }
            _ => {}
        }
    }
}

async fn talk(mut stream: Stream, says: Vec<u8>, ended: mpsc::UnboundedSender<()>) {
    let _ = stream.write_all(&says).await;
    let _ = stream.flush().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    let _ = ended.send(());
}

impl NetworkBehaviour for Hostile {
    type ConnectionHandler = HostileHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<HostileHandler, ConnectionDenied> {
        Ok(HostileHandler(self.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<HostileHandler, ConnectionDenied> {
        Ok(HostileHandler(self.clone()))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// A hostile peer that runs until it is dropped.
struct Attacker {
    id: PeerId,
    address: Multiaddr,
    ended: mpsc::UnboundedReceiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a hostile peer that listens, and dials `victim` if there is one.
async fn attack(victim: Option<&TestPeer>, class: Class, streams: usize, says: Vec<u8>) -> Attacker {
    let keypair = Keypair::generate_ed25519();
    let id = keypair.public().to_peer_id();
    let gate = Gate::new(GateConfig {
        local: id,
        role: PeerRole::Peer,
        network: Some(genesis("a")),
        learn: std::sync::Arc::new(Keeper::default()),
        timeout: PATIENCE,
    });
    let transport = transport::build(&keypair, gate, &transport::Config::default()).expect("can be built");
    let (tell, ended) = mpsc::unbounded_channel();
    let behaviour = Hostile { class, streams, says, ended: tell };
    let mut swarm = Swarm::new(transport, behaviour, id, libp2p::swarm::Config::with_tokio_executor());
    let address = memory();
    swarm.listen_on(address.clone()).expect("is free");
    soon(async { while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {} }).await;
    if let Some(victim) = victim {
        swarm.dial(victim.address.clone()).expect("can be dialed");
    }
    let task = tokio::spawn(async move { swarm.for_each(|_| future::ready(())).await });
    Attacker { id, address, ended, task }
}

async fn assert_serves(peer: &TestPeer, others: &[TestPeer]) {
    let asked = others.iter().map(|other| other.ask(peer.id, b"hello"));
    assert!(soon(join_all(asked)).await.iter().all(Result::is_ok));
}

fn garbage() -> [(Vec<u8>, StreamError); 3] {
    let huge = [&u32::MAX.to_be_bytes()[..], &[0; 40]].concat();
    let short = vec![0, 0, 0, 3, 1, 2, 3];
    let mut late = Vec::new();
    late.extend_from_slice(&9u32.to_be_bytes());
    late.extend_from_slice(&[0; 9]);
    late.extend_from_slice(&[0xff; 4]);
    [
        (huge, FrameError::TooLong { bytes: u32::MAX as usize }.into()),
        (short, FrameError::TooShort { bytes: 3 }.into()),
        (late, FrameError::TooLong { bytes: u32::MAX as usize }.into()),
    ]
}

#[tokio::test]
async fn garbage_closes_its_own_substream_and_others_are_served() {
    for class in Class::ALL {
        for (says, expected) in garbage() {
            let mut peer = Builder::new().start(echo()).await;
            let honest = [Builder::new().start(echo()).await];
            honest[0].know(&peer).await;
            assert_serves(&peer, &honest).await;
            let mut attacker = attack(Some(&peer), class, 1, says).await;
            let seen = peer.sees(|seen| matches!(seen, Seen::Violation(..))).await;
            assert_eq!(seen, Seen::Violation(attacker.id, class, expected));
            assert_eq!(soon(attacker.ended.recv()).await, Some(()));
            assert!(peer.client.is_connected(&attacker.id), "the connection itself is kept");
            assert_serves(&peer, &honest).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_ends_the_stream_and_what_is_in_flight() {
    let mut peer = Builder::new().start(echo()).await;
    let honest = [Builder::new().start(echo()).await];
    honest[0].know(&peer).await;
    let mut answer = 12u32.to_be_bytes().to_vec();
    answer.extend_from_slice(&u64::MAX.to_be_bytes());
    answer.extend_from_slice(b"four");
    let attacker = attack(None, Class::Operation, 0, answer).await;
    peer.know_at(attacker.id, &attacker.address).await;
    assert_eq!(soon(peer.ask(attacker.id, b"hello")).await, Err(MaybeSent::Closed.into()));
    let seen = peer.sees(|seen| matches!(seen, Seen::Violation(..))).await;
    assert_eq!(seen, Seen::Violation(attacker.id, Class::Operation, StreamError::UnknownCorrelation));
    assert_serves(&peer, &honest).await;
}

#[tokio::test]
async fn more_substreams_than_one_may_open_are_refused() {
    let mut peer = Builder::new().start(echo()).await;
    let attacker = attack(Some(&peer), Class::Raft, 5, Vec::new()).await;
    for _ in 0..3 {
        let seen = peer.sees(|seen| matches!(seen, Seen::Violation(..))).await;
        assert_eq!(seen, Seen::Violation(attacker.id, Class::Raft, StreamError::TooManyStreams));
    }
}

#[tokio::test]
async fn a_class_that_the_other_side_does_not_speak_is_not_sent() {
    let peer = Builder::new().start(echo()).await;
    let attacker = attack(None, Class::Operation, 0, Vec::new()).await;
    peer.know_at(attacker.id, &attacker.address).await;
    let outcome = soon(peer.client.request(attacker.id, Class::Raft, Bytes::new(), PATIENCE)).await;
    assert!(outcome.is_err_and(|error| !error.was_sent()));
}
