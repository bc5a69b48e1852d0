//! What can become of a request, and of a stream.

use super::frame::FrameError;

/// A request that got no answer. The two variants are the one thing that a caller must know: may the other side have
/// seen it?
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No byte of it was written.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// Some or all of it may have been written, and read, and worked on.
    #[error(transparent)]
    MaybeSent(#[from] MaybeSent),
}

impl RequestError {
    /// May any byte of the request have been written?
    pub const fn was_sent(&self) -> bool {
        matches!(self, Self::MaybeSent(_))
    }
}

/// Why no byte of a request was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// As much as may wait for this peer waits already.
    #[error("as many requests as may wait for the peer wait already")]
    Busy,
    /// The peer cannot be reached, or does not take such requests.
    #[error("the peer cannot be reached: {0}")]
    Unreachable(String),
    /// The deadline passed before it was its turn.
    #[error("the deadline passed before the request was sent")]
    TimedOut,
    /// This side is shutting down.
    #[error("links are closed")]
    Closed,
}

/// Why it is not known what became of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaybeSent {
    /// The deadline passed before an answer came.
    #[error("the deadline passed before an answer came")]
    TimedOut,
    /// The substream or its connection ended before an answer came.
    #[error("the connection ended before an answer came")]
    Closed,
}

/// Why a substream was closed. It loses the requests on it, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The other side sent what is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side answered what was not asked.
    #[error("an answer to a request that is not in flight")]
    UnknownCorrelation,
    /// The other side opened more substreams of a class than it may.
    #[error("more substreams than a peer may open")]
    TooManyStreams,
    /// The other side, or the connection, ended it.
    #[error("the stream ended")]
    Ended,
}

impl StreamError {
    /// Did the other side break the protocol?
    pub const fn is_violation(&self) -> bool {
        !matches!(self, Self::Ended)
    }
}
