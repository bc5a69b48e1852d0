//! A peer, or a client, that says what it likes: the real transport, handshake and links, and no node behind them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::JoinHandle;
use xorum_behaviours::{
    Behaviour, Config,
    admission::{Gate, GateConfig, Learn},
    behaviour,
    links::{Class, Client, RequestError, Service},
    transport,
    wire::{self, BulkAnswer, BulkRequest, Genesis, OpAnswer, OpRequest, PeerAnswer, PeerRequest, PeerRole},
};

use super::{local::SOON, until};

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Someone who was admitted. It tells everyone who asks it something that it is busy.
#[derive(Debug)]
pub struct Stranger {
    peer: PeerId,
    client: Client,
    swarm: JoinHandle<()>,
}

/// Takes whatever network it is told of.
struct Credulous;

impl Learn for Credulous {
    fn learn(&self, _: Genesis) -> BoxFuture<'static, Result<(), String>> {
        std::future::ready(Ok(())).boxed()
    }
}

struct Busy;

impl Service for Busy {
    async fn call(&self, _: PeerId, class: Class, _: Bytes) -> Bytes {
        let encoded = match class {
            Class::Raft => wire::encode(&PeerAnswer::Busy),
            Class::Operation => wire::encode(&OpAnswer::Busy),
            Class::Bulk => wire::encode(&BulkAnswer::Busy),
        };
        encoded.unwrap_or_default().into()
    }
}

/// The gate of someone who learns the network from whom it dials at these addresses.
pub fn gate(keys: &Keypair, role: PeerRole, bootstrap: &[Multiaddr]) -> Gate {
    let gate = Gate::new(GateConfig {
        local: keys.public().to_peer_id(),
        role,
        network: None,
        learn: Arc::new(Credulous),
        timeout: ANSWER_WITHIN,
    });
    bootstrap.iter().for_each(|addr| gate.expect_bootstrap(addr));
    gate
}

impl Stranger {
    /// Dials peers and is admitted by all of them. An address ends in the id of who listens there.
    ///
    /// # Errors
    /// When it is not admitted.
    pub async fn join(keys: &Keypair, role: PeerRole, addrs: &[Multiaddr]) -> Result<Self> {
        let peer = keys.public().to_peer_id();
        let gate = gate(keys, role, addrs);
        let transport = transport::build(keys, gate.clone(), &transport::Config::default())?;
        let (behaviour, client) = Behaviour::new(Config::new(gate), keys, Busy);
        let mut swarm = behaviour::swarm(transport, behaviour, peer);
        for addr in addrs {
            swarm.dial(addr.clone()).with_context(|| format!("{addr}"))?;
        }
        let swarm = tokio::spawn(async move {
            loop {
                let _ = swarm.next().await;
            }
        });
        let stranger = Self { peer, client, swarm };
        for addr in addrs {
            let Some(Protocol::P2p(other)) = addr.iter().last() else { bail!("{addr} names no peer") };
            until("it is admitted", SOON, || async { stranger.client.is_connected(&other).then_some(()) }).await?;
        }
        Ok(stranger)
    }

    /// Its id.
    pub const fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Sends any bytes as a request.
    ///
    /// # Errors
    /// When they get no answer.
    pub async fn say(&self, to: PeerId, class: Class, body: impl Into<Bytes> + Send) -> Result<Bytes, RequestError> {
        self.client.request(to, class, body.into(), ANSWER_WITHIN).await
    }

    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(&self, to: PeerId, class: Class, question: &Q) -> Result<A> {
        let answer = self.say(to, class, wire::encode(question)?).await?;
        Ok(wire::decode(&answer)?)
    }

    /// Asks as a peer does.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn raft(&self, to: PeerId, question: &PeerRequest) -> Result<PeerAnswer> {
        self.ask(to, Class::Raft, question).await
    }

    /// Sends a part of a snapshot.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn bulk(&self, to: PeerId, part: &BulkRequest) -> Result<BulkAnswer> {
        self.ask(to, Class::Bulk, part).await
    }

    /// Asks as a client does.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn operation(&self, to: PeerId, question: &OpRequest) -> Result<OpAnswer> {
        self.ask(to, Class::Operation, question).await
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}
