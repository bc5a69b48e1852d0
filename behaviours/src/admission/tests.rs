//! Admission between whole swarms, and against strangers that speak the raw protocol.

use std::{future::poll_fn, task::Poll, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
        transport::{DialOpts, MemoryTransport, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    noise, yamux,
};

use super::{
    AdmissionError,
    message::{Claim, Hello, Message, receive, send},
};
use crate::{
    testing::{Builder, Keeper, Seen, TestPeer, echo, genesis, soon},
    wire::{Genesis, NetworkId, PROTOCOL_VERSION, PeerRole},
};

fn id_of(genesis: &Genesis) -> NetworkId {
    genesis.network_id().expect("can be encoded")
}

async fn assert_serves(peer: &TestPeer) {
    let honest = Builder::new().start(echo()).await;
    honest.know(peer).await;
    assert!(soon(honest.ask(peer.id, b"hello")).await.is_ok());
}

fn kept(keeper: &Keeper) -> Vec<Genesis> {
    keeper.kept.lock().expect("no test panics with it").clone()
}

#[tokio::test]
async fn a_joiner_keeps_the_record_of_its_bootstrap_peer_before_the_connection_counts() {
    let founder = Builder::new().start(echo()).await;
    let keeper = Keeper::default();
    let mut joiner = Builder::new().network(None).keeper(keeper.clone()).start(echo()).await;
    assert_eq!(joiner.gate.genesis(), None);
    joiner.gate.expect_bootstrap(&founder.address);
    joiner.connect(&founder).await;
    assert_eq!(kept(&keeper), [genesis("a")]);
    assert_eq!(joiner.gate.genesis(), Some(genesis("a")));
    assert!(soon(joiner.ask(founder.id, b"hello")).await.is_ok());
    assert_eq!(founder.gate.role_of(&joiner.id), Some(PeerRole::Peer));
}

#[tokio::test]
async fn whichever_id_is_less_a_joiner_learns() {
    for _ in 0..4 {
        let founder = Builder::new().start(echo()).await;
        let mut joiner = Builder::new().network(None).start(echo()).await;
        joiner.gate.expect_bootstrap(&founder.address.clone().with_p2p(founder.id).expect("has no other id"));
        joiner.connect(&founder).await;
        assert_eq!(joiner.gate.genesis(), Some(genesis("a")));
    }
}

#[tokio::test]
async fn a_joiner_learns_nothing_from_an_address_that_is_no_bootstrap_address() {
    let mut founder = Builder::new().start(echo()).await;
    let keeper = Keeper::default();
    let mut joiner = Builder::new().network(None).keeper(keeper.clone()).start(echo()).await;
    joiner.dial(&founder.address);
    joiner.sees(|seen| *seen == Seen::NotAdmitted(AdmissionError::NoNetworkYet)).await;
    founder.dial(&joiner.address);
    founder.sees(|seen| *seen == Seen::NotAdmitted(AdmissionError::NoNetworkYet)).await;
    assert_eq!(kept(&keeper), []);
    assert_eq!(joiner.gate.genesis(), None);
}

#[tokio::test]
async fn two_sides_without_a_network_refuse_each_other() {
    let mut one = Builder::new().network(None).start(echo()).await;
    let mut other = Builder::new().network(None).start(echo()).await;
    one.gate.expect_bootstrap(&other.address);
    one.dial(&other.address);
    one.sees(|seen| *seen == Seen::NotAdmitted(AdmissionError::NoNetworkYet)).await;
    other.sees(|seen| *seen == Seen::NotAdmittedInbound(AdmissionError::NoNetworkYet)).await;
}

async fn assert_two_networks_refuse(listen: &str) {
    let mut one = Builder::new().listen(listen).start(echo()).await;
    let mut other = Builder::new().listen(listen).network(Some(genesis("b"))).start(echo()).await;
    for _ in 0..4 {
        one.dial(&other.address);
        let theirs = id_of(&genesis("b"));
        let seen = one.sees(|seen| matches!(seen, Seen::NotAdmitted(_))).await;
        assert_eq!(seen, Seen::NotAdmitted(AdmissionError::WrongNetwork { theirs }));
        let theirs = id_of(&genesis("a"));
        let seen = other.sees(|seen| matches!(seen, Seen::NotAdmittedInbound(_))).await;
        assert_eq!(seen, Seen::NotAdmittedInbound(AdmissionError::WrongNetwork { theirs }));
    }
    assert_eq!(one.gate.role_of(&other.id), None);
}

#[tokio::test]
async fn peers_of_two_networks_each_name_the_others_on_every_transport() {
    for _ in 0..2 {
        assert_two_networks_refuse("/memory/0").await;
        assert_two_networks_refuse("/ip4/127.0.0.1/tcp/0").await;
        #[cfg(feature = "quic")]
        assert_two_networks_refuse("/ip4/127.0.0.1/udp/0/quic-v1").await;
    }
}

#[tokio::test]
async fn who_is_refused_hears_the_reason_on_every_transport() {
    for listen in ["/memory/0", "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
        if listen.contains("quic") && cfg!(not(feature = "quic")) {
            continue;
        }
        for _ in 0..3 {
            let mut joiner = Builder::new().listen(listen).network(None).start(echo()).await;
            let mut peer = Builder::new().listen(listen).start(echo()).await;
            peer.dial(&joiner.address);
            peer.sees(|seen| *seen == Seen::NotAdmitted(AdmissionError::NoNetworkYet)).await;
            joiner.sees(|seen| *seen == Seen::NotAdmittedInbound(AdmissionError::NoNetworkYet)).await;
        }
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_kept_makes_no_connection() {
    let founder = Builder::new().start(echo()).await;
    let keeper = Keeper { fails: true, ..Keeper::default() };
    let mut joiner = Builder::new().network(None).keeper(keeper).start(echo()).await;
    joiner.gate.expect_bootstrap(&founder.address);
    joiner.dial(&founder.address);
    joiner.sees(|seen| *seen == Seen::NotAdmitted(AdmissionError::Learn("disk full".to_owned()))).await;
    assert_eq!(joiner.gate.genesis(), None);
    assert_serves(&founder).await;
}

#[tokio::test]
async fn a_peer_that_dials_itself_is_told_so() {
    let keypair = Keypair::generate_ed25519();
    let one = Builder::new().keypair(keypair.clone()).start(echo()).await;
    let mut same = Builder::new().keypair(keypair).start(echo()).await;
    same.dial(&one.address);
    same.sees(|seen| *seen == Seen::NotAdmitted(AdmissionError::SelfDial)).await;
}

#[tokio::test]
async fn the_role_is_known_while_connected_and_forgotten_after() {
    let mut peer = Builder::new().start(echo()).await;
    let client = Builder::new().client().start(echo()).await;
    client.know(&peer).await;
    assert!(soon(client.ask(peer.id, b"hello")).await.is_ok());
    let id = client.id;
    assert_eq!(peer.gate.role_of(&id), Some(PeerRole::Client));
    client.stop().await;
    peer.sees(|seen| *seen == Seen::Disconnected(id)).await;
    assert_eq!(peer.gate.role_of(&id), None);
}

/// A stranger's connection, before admission; it drives itself.
struct Stranger {
    muxer: StreamMuxerBox,
    /// The one that the conversation is to be held on.
    stream: SubstreamBox,
    first: bool,
}

impl Stranger {
    /// Connects to `victim`, as the side that speaks first, or second.
    async fn connect(victim: &TestPeer, first: bool) -> Self {
        let keypair = loop {
            let keypair = Keypair::generate_ed25519();
            if (keypair.public().to_peer_id() < victim.id) == first {
                break keypair;
            }
        };
        let mut transport = MemoryTransport::default()
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&keypair).expect("is an identity"))
            .multiplex(yamux::Config::default())
            .boxed();
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
        let (_, mut muxer): (PeerId, StreamMuxerBox) =
            soon(transport.dial(victim.address.clone(), opts).expect("is an address")).await.expect("is reached");
        let stream = soon(poll_fn(|cx| {
            let stream = if first { muxer.poll_outbound_unpin(cx) } else { muxer.poll_inbound_unpin(cx) };
            if stream.is_pending() {
                let _ = muxer.poll_unpin(cx)?;
            }
            stream
        }))
        .await
        .expect("a substream is opened");
        Self { muxer, stream, first }
    }

    /// Says this and hears the other side to its end.
    async fn say(mut self, bytes: &[u8]) -> Vec<u8> {
        let mut heard = Vec::new();
        let stream = &mut self.stream;
        let talk = async {
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            let _ = stream.read_to_end(&mut heard).await;
        };
        let muxer = &mut self.muxer;
        let mut talk = Box::pin(talk);
        soon(poll_fn(|cx| {
            if talk.poll_unpin(cx).is_ready() {
                return Poll::Ready(());
            }
            while let Poll::Ready(Ok(_)) = muxer.poll_unpin(cx) {}
            talk.poll_unpin(cx)
        }))
        .await;
        drop(talk);
        heard
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

async fn assert_refused(first: bool, bytes: &[u8], refused: impl Fn(&AdmissionError) -> bool) {
    let mut victim = Builder::new().handshake(Duration::from_secs(5)).start(echo()).await;
    let stranger = Stranger::connect(&victim, first).await;
    assert_eq!(stranger.first, first);
    stranger.say(bytes).await;
    let seen = victim.sees(|seen| matches!(seen, Seen::NotAdmittedInbound(_))).await;
    assert!(matches!(&seen, Seen::NotAdmittedInbound(error) if refused(error)), "{seen:?}");
    assert_serves(&victim).await;
}

fn is_malformed(error: &AdmissionError) -> bool {
    matches!(error, AdmissionError::Malformed(_))
}

#[tokio::test]
async fn garbage_is_refused_by_name_and_harms_nobody_else() {
    for first in [true, false] {
        assert_refused(first, b"\x13/multistream/1.0.0\n", is_malformed).await;
        assert_refused(first, &framed(&[9, 9, 9]), is_malformed).await;
        assert_refused(first, &framed(&[]), is_malformed).await;
        assert_refused(first, &u32::MAX.to_be_bytes(), is_malformed).await;
        let hello = [&[1][..], &PROTOCOL_VERSION.to_be_bytes(), &[0xff; 40]].concat();
        assert_refused(first, &framed(&hello), is_malformed).await;
    }
}

#[tokio::test]
async fn another_version_is_refused_by_name() {
    let hello = [&[1][..], &77u16.to_be_bytes(), b"whatever that version says"].concat();
    for first in [true, false] {
        assert_refused(first, &framed(&hello), |error| *error == AdmissionError::Version { theirs: 77 }).await;
    }
}

#[tokio::test]
async fn a_record_that_is_not_of_the_network_named_is_refused() {
    let claim = Claim::Network(id_of(&genesis("a")));
    let hello = Hello { role: PeerRole::Peer, claim, genesis: Some(genesis("forged")), nonce: [0; 32] };
    let bytes = Message::Hello(Box::new(hello)).encode().expect("can be encoded");
    for first in [true, false] {
        assert_refused(first, &framed(&bytes), is_malformed).await;
    }
}

#[tokio::test]
async fn a_proof_that_nobody_asked_for_is_a_wrong_key() {
    let hello = Hello {
        role: PeerRole::Peer,
        claim: Claim::Network(id_of(&genesis("a"))),
        genesis: Some(genesis("a")),
        nonce: [0; 32],
    };
    let hello = Message::Hello(Box::new(hello)).encode().expect("can be encoded");
    let bytes = [framed(&hello), framed(&[2, 1, 2, 3])].concat();
    for first in [true, false] {
        assert_refused(first, &bytes, |error| *error == AdmissionError::WrongKey).await;
    }
}

#[tokio::test]
async fn who_refuses_says_why_before_it_hangs_up() {
    let victim = Builder::new().start(echo()).await;
    let hello = Hello {
        role: PeerRole::Peer,
        claim: Claim::Network(id_of(&genesis("b"))),
        genesis: Some(genesis("b")),
        nonce: [0; 32],
    };
    let hello = Message::Hello(Box::new(hello)).encode().expect("can be encoded");
    let heard = Stranger::connect(&victim, true).await.say(&framed(&hello)).await;
    let mut heard = futures::io::Cursor::new(heard);
    assert!(matches!(receive(&mut heard).await, Ok(Message::Hello(_))));
    let refusal = receive(&mut heard).await;
    assert!(matches!(&refusal, Err(AdmissionError::Refused(text)) if text.contains("another network")), "{refusal:?}");
}

#[tokio::test]
async fn who_stays_silent_is_timed_out() {
    let mut victim = Builder::new().handshake(Duration::from_millis(100)).start(echo()).await;
    let mut stranger = Stranger::connect(&victim, false).await;
    let refused = victim.sees(|seen| matches!(seen, Seen::NotAdmittedInbound(_)));
    let driven = poll_fn(|cx| {
        while let Poll::Ready(Ok(_)) = stranger.muxer.poll_unpin(cx) {}
        Poll::<()>::Pending
    });
    let seen = tokio::select! {
        seen = refused => seen,
        () = driven => unreachable!("never ends"),
    };
    assert_eq!(seen, Seen::NotAdmittedInbound(AdmissionError::TimedOut));
    assert_serves(&victim).await;
}

#[tokio::test]
async fn who_opens_substreams_before_it_is_admitted_is_refused() {
    let mut victim = Builder::new().start(echo()).await;
    let mut stranger = Stranger::connect(&victim, true).await;
    let mut streams = Vec::new();
    let driven = async {
        let _ = stranger.stream.write_all(&[0, 0]).await;
        for _ in 0..20 {
            let stream = poll_fn(|cx| {
                let stream = stranger.muxer.poll_outbound_unpin(cx);
                let _ = stranger.muxer.poll_unpin(cx);
                stream
            });
            let Ok(mut stream) = stream.await else { break };
            let _ = stream.write_all(b"early").now_or_never();
            streams.push(stream);
        }
        poll_fn(|cx| {
            while let Poll::Ready(Ok(_)) = stranger.muxer.poll_unpin(cx) {}
            Poll::<()>::Pending
        })
        .await;
    };
    let seen = tokio::select! {
        seen = victim.sees(|seen| matches!(seen, Seen::NotAdmittedInbound(_))) => seen,
        () = driven => unreachable!("never ends"),
    };
    assert!(matches!(&seen, Seen::NotAdmittedInbound(error) if is_malformed(error)), "{seen:?}");
    assert_serves(&victim).await;
}

#[tokio::test]
async fn a_listener_that_speaks_another_version_is_named_to_who_dialed_it() {
    let keypair = Keypair::generate_ed25519();
    let mut transport = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&keypair).expect("is an identity"))
        .multiplex(yamux::Config::default())
        .boxed();
    let address: Multiaddr = crate::testing::memory();
    transport.listen_on(libp2p::core::transport::ListenerId::next(), address.clone()).expect("is free");
    let mut honest = Builder::new().start(echo()).await;
    let first = keypair.public().to_peer_id() < honest.id;
    let serve = async move {
        loop {
            let Some((upgrade, _)) = transport.select_next_some().await.into_incoming() else { continue };
            let (_, mut muxer): (PeerId, StreamMuxerBox) = upgrade.await.expect("is upgraded");
            let mut stream = poll_fn(|cx| {
                let stream = if first { muxer.poll_outbound_unpin(cx) } else { muxer.poll_inbound_unpin(cx) };
                let _ = muxer.poll_unpin(cx);
                stream
            })
            .await
            .expect("a substream is opened");
            let hello = framed(&[&[1][..], &78u16.to_be_bytes()].concat());
            let talk = async {
                let _ = stream.write_all(&hello).await;
                let _ = stream.flush().await;
                let _ = send(&mut stream, &Message::Proof(Vec::new())).await;
                std::future::pending::<()>().await;
            };
            let mut talk = Box::pin(talk);
            poll_fn(|cx| {
                let _ = talk.poll_unpin(cx);
                while let Poll::Ready(Ok(_)) = muxer.poll_unpin(cx) {}
                let _ = talk.poll_unpin(cx);
                Poll::<()>::Pending
            })
            .await;
        }
    };
    let task = tokio::spawn(serve);
    honest.dial(&address);
    honest.sees(|seen| *seen == Seen::NotAdmitted(AdmissionError::Version { theirs: 78 })).await;
    task.abort();
}

#[tokio::test]
async fn a_bootstrap_address_may_be_a_name() {
    let founder = Builder::new().listen("/ip4/127.0.0.1/tcp/0").start(echo()).await;
    let text = founder.address.to_string().replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    let named: Multiaddr = text.parse().expect("is a multiaddr");
    let mut joiner = Builder::new().network(None).start(echo()).await;
    joiner.gate.expect_bootstrap(&named);
    joiner.dial(&named);
    joiner.sees(|seen| *seen == Seen::Connected(founder.id)).await;
    assert_eq!(joiner.gate.genesis(), Some(genesis("a")));
}
