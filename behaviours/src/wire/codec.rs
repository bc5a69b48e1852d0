//! CBOR encoding and decoding with bounds.

use cbor4ii::core::utils::BufWriter;
use serde::{Serialize, de::DeserializeOwned};

use super::MAX_MESSAGE_BYTES;

/// Room that a message gets at first: most need no more.
const TYPICAL_BYTES: usize = 1024;

/// A message that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The encoded message is longer than [`MAX_MESSAGE_BYTES`].
    #[error("message of {bytes} bytes is longer than {MAX_MESSAGE_BYTES}")]
    TooLong {
        /// The encoded length.
        bytes: usize,
    },
    /// A type that CBOR cannot express; a defect of this program.
    #[error("cannot be encoded: {0}")]
    Unencodable(String),
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("message of {bytes} bytes is longer than {MAX_MESSAGE_BYTES}")]
    TooLong {
        /// The length received.
        bytes: usize,
    },
    /// Not one CBOR value of the expected shape.
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// Encodes a message.
///
/// # Errors
/// When it would be longer than [`MAX_MESSAGE_BYTES`], or cannot be expressed in CBOR.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, EncodeError> {
    encode_into(Vec::with_capacity(TYPICAL_BYTES), message)
}

/// Encodes a message behind what `buffer` already holds; the limit counts the message alone.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize>(buffer: Vec<u8>, message: &T) -> Result<Vec<u8>, EncodeError> {
    let start = buffer.len();
    let mut serializer = cbor4ii::serde::Serializer::new(BufWriter::new(buffer));
    message.serialize(&mut serializer).map_err(|e| EncodeError::Unencodable(e.to_string()))?;
    let buffer = serializer.into_inner().into_inner();
    match buffer.len() - start {
        bytes if bytes > MAX_MESSAGE_BYTES => Err(EncodeError::TooLong { bytes }),
        _ => Ok(buffer),
    }
}

/// Decodes exactly one message from all of `bytes`.
///
/// # Errors
/// When `bytes` are too long, malformed, of another shape, or followed by others.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong { bytes: bytes.len() });
    }
    let malformed = |e: &dyn std::fmt::Display| DecodeError::Malformed(e.to_string());
    let mut reader = cbor4ii::core::utils::SliceReader::new(bytes);
    let mut deserializer = cbor4ii::serde::Deserializer::new(&mut reader);
    let message = T::deserialize(&mut deserializer).map_err(|e| malformed(&e))?;
    if !cbor4ii::core::dec::Read::fill(&mut reader, 1).map_err(|e| malformed(&e))?.as_ref().is_empty() {
        return Err(malformed(&"bytes after the message"));
    }
    Ok(message)
}
