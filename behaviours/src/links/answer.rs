//! The answering side of a stream: one task reads requests, runs them concurrently and writes the answers.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;

use super::{
    Class, Service,
    error::StreamError,
    frame::{Decoder, Outbox},
    peers::{Peer, Peers},
    work::Work,
};
use crate::wire::MAX_MESSAGE_BYTES;

/// Rounds of reading and writing after which the task lets others run.
const ROUNDS: usize = 32;

/// Who asks on a stream.
pub(super) struct Asked {
    pub(super) from: PeerId,
    pub(super) class: Class,
    pub(super) peer: Arc<Peer>,
    pub(super) peers: Arc<Peers>,
}

/// Answers what comes until the stream ends or breaks the protocol. Requests start in order of arrival and are answered
/// as they complete. With `concurrent` of them in work, or the answers not taken, nothing more is read.
pub(super) async fn answer<S: Service, T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    service: Arc<S>,
    asked: Asked,
    concurrent: usize,
) -> StreamError {
    let service = &*service;
    let Asked { from, class, peer, peers } = asked;
    let mut work = Work::new();
    let start = |correlation, body| async move { (correlation, service.call(from, class, body).await) };
    let mut stream = stream;
    let mut decoder = Decoder::default();
    let mut outbox = Outbox::default();

    poll_fn(|cx| {
        for _ in 0..ROUNDS {
            let has_answers_left = collect(cx, &mut work, &mut outbox);
            let mut drained = true;
            if !outbox.is_idle() {
                match outbox.poll_drain(cx, &mut stream) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(StreamError::Ended),
                    Poll::Pending => drained = false,
                }
            }
            let mut started = false;
            let mut read = false;
            while work.len() < concurrent && outbox.has_room() {
                match decoder.next() {
                    Ok(Some(frame)) => {
                        work.push(start(frame.correlation, frame.body));
                        started = true;
                    }
                    Ok(None) if read => break,
                    Ok(None) => match decoder.poll_fill(cx, &mut stream) {
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(StreamError::Ended),
                        Poll::Ready(Ok(_)) => {
                            peers.touch(&peer);
                            read = true;
                        }
                        Poll::Pending => break,
                    },
                    Err(error) => return Poll::Ready(error.into()),
                }
            }
            let progress = started || read || (drained && has_answers_left);
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Moves finished answers to the outbox while it has room. True if it had no room for more.
fn collect<F: Future<Output = (u64, Bytes)>>(cx: &mut Context<'_>, work: &mut Work<F>, outbox: &mut Outbox) -> bool {
    while outbox.has_room() {
        match work.poll_next(cx) {
            Poll::Ready(Some((correlation, body))) if body.len() <= MAX_MESSAGE_BYTES => {
                outbox.add(correlation, &body);
            }
            Poll::Ready(Some((correlation, body))) => {
                // An empty answer is no message: the asker learns at once that there is none.
                tracing::error!(bytes = body.len(), "an answer longer than any message was dropped");
                outbox.add(correlation, &[]);
            }
            Poll::Ready(None) | Poll::Pending => return false,
        }
    }
    true
}
