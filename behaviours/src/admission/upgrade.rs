//! Runs the conversation on a connection's first substream, before the swarm knows of the connection.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use futures::FutureExt;
use libp2p::{
    PeerId,
    core::{
        ConnectedPoint, Endpoint,
        muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, StreamMuxerExt, SubstreamBox},
    },
};

use tokio::time::{Instant, timeout_at};

use super::{
    AdmissionError, Gate,
    error::NotAdmitted,
    handshake::{Turn, converse, refuse},
};

/// Substreams that the other side may open after its last word, and before that word was read here: with QUIC they may
/// come first. Who speaks second has no such moment.
const EARLY_SUBSTREAMS: usize = 16;

impl Gate {
    /// The step of the transport that makes a connection one.
    ///
    /// # Errors
    /// Wraps the [`AdmissionError`]: see [`cause`](super::cause).
    pub async fn upgrade(
        self,
        (peer, muxer): (PeerId, StreamMuxerBox),
        point: ConnectedPoint,
    ) -> Result<(PeerId, StreamMuxerBox), NotAdmitted> {
        self.check(peer, muxer, &point).await.map(|muxer| (peer, muxer)).map_err(|error| {
            tracing::debug!(%peer, address = %point.get_remote_address(), %error, "not admitted");
            NotAdmitted(error)
        })
    }

    async fn check(
        &self,
        peer: PeerId,
        mut muxer: StreamMuxerBox,
        point: &ConnectedPoint,
    ) -> Result<StreamMuxerBox, AdmissionError> {
        if peer == self.local() {
            return Err(AdmissionError::SelfDial);
        }
        let may_learn = match point {
            ConnectedPoint::Dialer { address, role_override: Endpoint::Dialer, .. } => self.is_bootstrap(address),
            _ => false,
        };
        let turn = if self.local() < peer { Turn::First } else { Turn::Second };
        let deadline = Instant::now() + self.timeout();
        let opened = timeout_at(deadline, poll_fn(|cx| poll_first(&mut muxer, cx, turn))).await;
        let mut stream = opened.map_err(|_| AdmissionError::TimedOut)?.map_err(|e| closed(&e))?;
        let mut early = VecDeque::new();
        let outcome = {
            let mut conversation = pin!(converse(self, &mut stream, turn, may_learn));
            let driven = poll_fn(|cx| poll_conversation(&mut muxer, &mut early, turn, conversation.as_mut(), cx));
            timeout_at(deadline, driven).await
        };
        match outcome.unwrap_or(Err(AdmissionError::TimedOut)) {
            Ok(role) => self.admit(peer, role),
            Err(error) => {
                early.clear();
                let mut refusal = pin!(refuse(&mut stream, error.clone()).map(Ok));
                // Whatever becomes of the connection now, the reason stays this one.
                let _ = poll_fn(|cx| poll_conversation(&mut muxer, &mut early, turn, refusal.as_mut(), cx)).await;
                return Err(error);
            }
        }
        Ok(if early.is_empty() { muxer } else { StreamMuxerBox::new(Early { early, muxer }) })
    }
}

fn closed(error: &io::Error) -> AdmissionError {
    AdmissionError::Closed(error.to_string())
}

/// Waits for the substream that the conversation is held on.
fn poll_first(muxer: &mut StreamMuxerBox, cx: &mut Context<'_>, turn: Turn) -> Poll<io::Result<SubstreamBox>> {
    loop {
        let stream = match turn {
            Turn::First => muxer.poll_outbound_unpin(cx)?,
            Turn::Second => muxer.poll_inbound_unpin(cx)?,
        };
        if let Poll::Ready(stream) = stream {
            return Poll::Ready(Ok(stream));
        }
        match muxer.poll_unpin(cx)? {
            Poll::Ready(StreamMuxerEvent::AddressChange(_)) => {}
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Drives conversation and connection. What was said is looked at before what else was opened.
fn poll_conversation<F: Future<Output = Result<T, AdmissionError>>, T>(
    muxer: &mut StreamMuxerBox,
    early: &mut VecDeque<SubstreamBox>,
    turn: Turn,
    mut conversation: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, AdmissionError>> {
    let bound = match turn {
        Turn::First => EARLY_SUBSTREAMS,
        Turn::Second => 0,
    };
    loop {
        if let Poll::Ready(outcome) = conversation.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        let progress = match muxer.poll_inbound_unpin(cx) {
            Poll::Ready(Ok(_)) if early.len() >= bound => {
                let text = "it opened substreams before it was admitted".to_owned();
                return Poll::Ready(Err(AdmissionError::Malformed(text)));
            }
            Poll::Ready(Ok(stream)) => {
                early.push_back(stream);
                continue;
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => muxer.poll_unpin(cx),
        };
        match progress {
            Poll::Ready(Ok(StreamMuxerEvent::AddressChange(_))) => {}
            Poll::Ready(Err(error)) => {
                // What came before the end is heard first: it may say why.
                return match conversation.poll(cx) {
                    Poll::Ready(outcome) => Poll::Ready(outcome),
                    Poll::Pending => Poll::Ready(Err(closed(&error))),
                };
            }
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// A connection whose first inbound substreams came during the handshake.
struct Early {
    early: VecDeque<SubstreamBox>,
    muxer: StreamMuxerBox,
}

impl StreamMuxer for Early {
    type Substream = SubstreamBox;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        match self.early.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => self.muxer.poll_inbound_unpin(cx),
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        self.muxer.poll_outbound_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.muxer.poll_close_unpin(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.muxer.poll_unpin(cx)
    }
}
