//! The frame of a link's substream: `[length u32][correlation u64][body]`, integers big-endian.
//!
//! `length` counts the correlation number and the body. It is checked before anything is kept for it, so a hostile
//! length costs nothing.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite};

use crate::wire::MAX_MESSAGE_BYTES;

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 12;
/// Bytes that `length` counts beside the body.
const CORRELATION_BYTES: usize = 8;
/// What may wait in an [`Outbox`] before no more is added; one frame may pass it.
pub(super) const OUTBOX_BYTES: usize = 256 * 1024;
/// The most that is read at once.
const READ_BYTES: usize = 128 * 1024;
/// A buffer that grew beyond this is given back once it is empty.
const KEPT_BYTES: usize = 512 * 1024;

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The body would be longer than any message.
    #[error("frame of {bytes} bytes is longer than a message of {MAX_MESSAGE_BYTES} needs")]
    TooLong {
        /// The length told.
        bytes: usize,
    },
    /// Too short to hold a correlation number.
    #[error("frame of {bytes} bytes has no correlation number")]
    TooShort {
        /// The length told.
        bytes: usize,
    },
}

/// One request or answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Chosen by the asker; its answer carries the same.
    pub(super) correlation: u64,
    /// The encoded message.
    pub(super) body: Bytes,
}

/// Cuts frames out of a stream of bytes. Bodies share its buffer: nothing is copied for each.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Appends what was read.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Reads once, as much as is there; the number of bytes, 0 at the end.
    ///
    /// The bytes pass through a buffer of the thread's, so that an idle stream keeps none.
    pub(super) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R,
    ) -> Poll<io::Result<usize>> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let n = ready!(Pin::new(stream).poll_read(cx, buffer))?;
            self.feed(&buffer[..n]);
            Poll::Ready(Ok(n))
        })
    }

    /// The next whole frame, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*length) as usize;
        if bytes < CORRELATION_BYTES {
            return Err(FrameError::TooShort { bytes });
        }
        if bytes > MAX_MESSAGE_BYTES + CORRELATION_BYTES {
            return Err(FrameError::TooLong { bytes });
        }
        if self.buffer.len() < 4 + bytes {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + bytes);
        frame.advance(4);
        let correlation = frame.get_u64();
        Ok(Some(Frame { correlation, body: frame.freeze() }))
    }
}

/// Frames on their way to a stream, written together.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl Outbox {
    /// May more be added?
    pub(super) const fn has_room(&self) -> bool {
        self.bytes.len() - self.written < OUTBOX_BYTES
    }

    /// Is there nothing to write or flush?
    pub(super) const fn is_idle(&self) -> bool {
        self.bytes.is_empty() && !self.unflushed
    }

    /// Adds a frame. The body is within [`MAX_MESSAGE_BYTES`].
    pub(super) fn add(&mut self, correlation: u64, body: &[u8]) {
        let length = (CORRELATION_BYTES + body.len()) as u32;
        self.bytes.reserve(HEADER_BYTES + body.len());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(&correlation.to_be_bytes());
        self.bytes.extend_from_slice(body);
    }

    /// Writes all of it, then flushes once.
    pub(super) fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let n = ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.unflushed = true;
        }
        self.written = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut outbox = Outbox::default();
        for (correlation, body) in frames {
            outbox.add(*correlation, body);
        }
        outbox.bytes
    }

    #[test]
    fn a_length_beyond_any_message_is_refused_before_its_bytes_come() {
        let mut decoder = Decoder::default();
        decoder.feed(&u32::MAX.to_be_bytes());
        assert_eq!(decoder.next(), Err(FrameError::TooLong { bytes: u32::MAX as usize }));
    }

    #[test]
    fn a_length_without_room_for_a_correlation_number_is_refused() {
        let mut decoder = Decoder::default();
        decoder.feed(&[0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(decoder.next(), Err(FrameError::TooShort { bytes: 7 }));
    }

    #[test]
    fn a_frame_of_the_largest_message_passes() {
        let mut decoder = Decoder::default();
        decoder.feed(&encoded(&[(9, vec![3; MAX_MESSAGE_BYTES])]));
        let frame = decoder.next().expect("is within bounds").expect("is whole");
        assert_eq!((frame.correlation, frame.body.len()), (9, MAX_MESSAGE_BYTES));
    }

    proptest! {
        #[test]
        fn frames_cut_anywhere_come_back_whole_and_in_order(
            frames in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..200)), 0..20),
            cut in 1usize..97,
        ) {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in encoded(&frames).chunks(cut) {
                decoder.feed(piece);
                while let Some(frame) = decoder.next().expect("only whole frames were written") {
                    seen.push((frame.correlation, frame.body.to_vec()));
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1usize..50) {
            let mut decoder = Decoder::default();
            'all: for piece in bytes.chunks(cut) {
                decoder.feed(piece);
                loop {
                    match decoder.next() {
                        Ok(Some(frame)) => prop_assert!(frame.body.len() <= bytes.len()),
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
            }
        }
    }
}
