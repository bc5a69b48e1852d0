//! Connections below our own protocols: a substream opened by hand, any bytes on it.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result, bail};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
        transport::{Boxed, DialOpts, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    noise, tcp, yamux,
};
use tokio::time::timeout;
use xorum_behaviours::{transport, wire::PeerRole};

use super::{local::SOON, stranger::gate};

/// A connection, driven only while something is done on it.
pub struct Connection {
    /// Who is at its other end.
    pub peer: PeerId,
    muxer: StreamMuxerBox,
}

impl Connection {
    /// Connects and is admitted.
    ///
    /// # Errors
    /// When it is not.
    pub async fn admitted(keys: &Keypair, role: PeerRole, addr: &Multiaddr) -> Result<Self> {
        let transport =
            transport::build(keys, gate(keys, role, std::slice::from_ref(addr)), &transport::Config::default())?;
        Self::dial(transport, addr).await
    }

    /// Connects as far as the multiplexer, and says no word of admission.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn unadmitted(keys: &Keypair, addr: &Multiaddr) -> Result<Self> {
        let transport = tcp::tokio::Transport::new(tcp::Config::new())
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(keys)?)
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed();
        Self::dial(transport, addr).await
    }

    async fn dial(mut transport: Boxed<(PeerId, StreamMuxerBox)>, addr: &Multiaddr) -> Result<Self> {
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let mut bare = addr.clone();
        bare.pop();
        let dial = transport.dial(bare, opts).with_context(|| format!("{addr}"))?;
        let (peer, muxer) = timeout(SOON, dial).await.context("no connection")??;
        Ok(Self { peer, muxer })
    }

    /// Opens a substream.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn open(&mut self) -> Result<SubstreamBox> {
        let muxer = &mut self.muxer;
        let opened = poll_fn(|cx| match muxer.poll_outbound_unpin(cx) {
            Poll::Pending => drive(muxer, cx).map(Err),
            ready => ready,
        });
        timeout(SOON, opened).await.context("no substream")?.context("the connection ended")
    }

    /// Waits for a substream that the other side opens.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn accept(&mut self) -> Result<SubstreamBox> {
        let muxer = &mut self.muxer;
        let accepted = poll_fn(|cx| match muxer.poll_inbound_unpin(cx) {
            Poll::Pending => match muxer.poll_unpin(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
            ready => ready,
        });
        timeout(SOON, accepted).await.context("no substream")?.context("the connection ended")
    }

    /// Does something on a substream of this connection. What the other side opens meanwhile is closed.
    ///
    /// # Errors
    /// When the connection ends, or nothing comes of it for long.
    pub async fn during<T>(&mut self, conversation: impl Future<Output = io::Result<T>>) -> Result<T> {
        let mut conversation = pin!(conversation);
        let muxer = &mut self.muxer;
        let held = poll_fn(|cx| match conversation.as_mut().poll(cx) {
            Poll::Pending => match drive(muxer, cx) {
                // What was received before the end can still be read.
                Poll::Ready(error) => match conversation.as_mut().poll(cx) {
                    Poll::Pending => Poll::Ready(Err(error)),
                    ready => ready,
                },
                Poll::Pending => Poll::Pending,
            },
            ready => ready,
        });
        Ok(timeout(SOON, held).await.context("nothing comes of it")??)
    }

    /// Writes these bytes on a substream, and reads all that comes until the other side ends it.
    ///
    /// # Errors
    /// When it does not end it.
    pub async fn provoke(&mut self, mut stream: SubstreamBox, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut said = Vec::new();
        let talk = async {
            // A side that has heard enough may end the substream before all is written.
            if stream.write_all(bytes).await.is_ok() {
                let _ = stream.flush().await;
            }
            read_to_end(&mut stream, &mut said).await;
            Ok(())
        };
        match self.during(talk).await {
            // The whole connection ended: so did the substream.
            Err(error) if error.downcast_ref::<io::Error>().is_none() => Err(error),
            _ => Ok(said),
        }
    }

    /// Opens a substream for a protocol.
    ///
    /// # Errors
    /// When the other side does not speak it.
    pub async fn speak(&mut self, protocol: &str) -> Result<SubstreamBox> {
        let mut stream = self.open().await?;
        let heard = self.during(negotiate(&mut stream, protocol)).await?;
        if heard != protocol {
            bail!("asked for {protocol}, and was told {heard}");
        }
        Ok(stream)
    }
}

/// Lets the connection work, and closes what the other side opens; ready when it has ended.
fn drive(muxer: &mut StreamMuxerBox, cx: &mut Context<'_>) -> Poll<io::Error> {
    loop {
        match muxer.poll_inbound_unpin(cx) {
            Poll::Ready(Ok(unwanted)) => drop(unwanted),
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Pending => break,
        }
    }
    match muxer.poll_unpin(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(error),
        _ => Poll::Pending,
    }
}

async fn read_to_end<R: AsyncRead + Unpin>(stream: &mut R, said: &mut Vec<u8>) {
    let mut bytes = [0; 1024];
    while let Ok(n @ 1..) = stream.read(&mut bytes).await {
        said.extend_from_slice(&bytes[..n]);
    }
}

/// Asks for a protocol as multistream-select does; what the other side says to it.
async fn negotiate<T: AsyncRead + AsyncWrite + Unpin>(stream: &mut T, protocol: &str) -> io::Result<String> {
    for line in ["/multistream/1.0.0", protocol] {
        stream.write_all(&[line.len() as u8 + 1]).await?;
        stream.write_all(line.as_bytes()).await?;
        stream.write_all(b"\n").await?;
    }
    stream.flush().await?;
    let mut heard = String::new();
    for _ in 0..2 {
        let mut length = [0];
        stream.read_exact(&mut length).await?;
        let mut line = vec![0; length[0].into()];
        stream.read_exact(&mut line).await?;
        heard = String::from_utf8_lossy(&line).trim_end().to_owned();
    }
    Ok(heard)
}
