//! The transport: memory, TCP with Noise and Yamux, QUIC, names resolved, and the admission gate over all of them.
//!
//! Nothing passes the gate unseen, and nothing follows it but a time limit: see [`admission`](crate::admission).

use std::time::Duration;

use futures::future::Either;
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, MemoryTransport, timeout::TransportTimeout},
        upgrade::Version,
    },
    dns,
    identity::Keypair,
    noise, tcp, yamux,
};

use crate::admission::Gate;

/// The most substreams of a TCP connection, both directions together. Ours keep about twenty open; each may park 256 KiB
/// at the receiver.
const MAX_SUBSTREAMS: usize = 128;

/// A transport that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The identity cannot be used for Noise.
    #[error("the identity cannot be used: {0}")]
    Identity(#[from] noise::Error),
}

/// Time limits of connecting.
#[derive(Debug, Clone)]
pub struct Config {
    connect_within: Duration,
    #[cfg_attr(not(feature = "quic"), allow(dead_code))]
    quic_idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { connect_within: Duration::from_secs(10), quic_idle_timeout: Duration::from_secs(5) }
    }
}

impl Config {
    /// How long connecting may take, the handshakes before admission included; 10 s. Admission's own limit comes on top.
    #[must_use]
    pub const fn with_connect_within(mut self, limit: Duration) -> Self {
        self.connect_within = limit;
        self
    }

    /// How long a QUIC connection may be silent; 5 s. Too short closes those of busy peers; too long keeps dead ones.
    #[must_use]
    pub const fn with_quic_idle_timeout(mut self, limit: Duration) -> Self {
        self.quic_idle_timeout = limit;
        self
    }
}

/// Builds the transport of a peer.
///
/// Where the system has no configuration for resolving names, only addresses with numbers can be dialed.
///
/// # Errors
/// When the identity cannot be used.
pub fn build(
    keypair: &Keypair,
    gate: Gate,
    config: &Config,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, TransportError> {
    let noise = noise::Config::new(keypair)?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(MAX_SUBSTREAMS);

    let memory = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(noise.clone())
        .multiplex(yamux.clone())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let direct = || direct(keypair, noise.clone(), yamux.clone(), config);
    let named = match dns::tokio::Transport::system(direct()) {
        Ok(named) => named.boxed(),
        Err(error) => {
            tracing::warn!(%error, "names cannot be resolved");
            direct()
        }
    };
    let within = config.connect_within + gate.timeout();
    let admitted = memory
        .or_transport(named)
        .map(|either, _| match either {
            Either::Left(output) | Either::Right(output) => output,
        })
        .and_then(move |output, point| gate.upgrade(output, point));
    Ok(TransportTimeout::new(admitted, within).boxed())
}

/// TCP, and QUIC where it is wanted.
fn direct(
    keypair: &Keypair,
    noise: noise::Config,
    yamux: yamux::Config,
    config: &Config,
) -> Boxed<(PeerId, StreamMuxerBox)> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .upgrade(Version::V1)
        .authenticate(noise)
        .multiplex(yamux)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    #[cfg(feature = "quic")]
    let tcp = tcp.or_transport(quic(keypair, config)).map(|either, _| match either {
        Either::Left(output) | Either::Right(output) => output,
    });
    #[cfg(not(feature = "quic"))]
    let _ = (keypair, config);
    tcp.boxed()
}

#[cfg(feature = "quic")]
fn quic(keypair: &Keypair, config: &Config) -> Boxed<(PeerId, StreamMuxerBox)> {
    use libp2p::quic;

    let mut settings = quic::Config::new(keypair);
    settings.max_idle_timeout = u32::try_from(config.quic_idle_timeout.as_millis()).unwrap_or(u32::MAX);
    settings.keep_alive_interval = config.quic_idle_timeout / 4;
    settings.max_concurrent_stream_limit = MAX_SUBSTREAMS as u32;
    // Less than the largest message: a sender then waits for the reader, which is the back-pressure that is wanted.
    settings.max_stream_data = 1024 * 1024;
    quic::tokio::Transport::new(settings).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
}
