//! Bodies of messages and answers: CBOR with bounds.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xorum_behaviours::wire::{self, EncodeError, MAX_MESSAGE_BYTES};

use super::Violation;
use crate::group::raft::{SnapshotMeta, Vote};

/// The longest body, in bytes: what is left of a message when its envelope is taken off.
pub const MAX_BODY_BYTES: usize = MAX_MESSAGE_BYTES - 4096;

/// The most entries that one message may carry.
pub const MAX_ENTRIES: usize = 16_384;

/// What a snapshot is of and who sends it: the head of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// The leader's vote.
    pub vote: Vote,
    /// What it is of.
    pub meta: SnapshotMeta,
}

/// Encodes a body.
///
/// # Errors
/// When it would be longer than [`MAX_BODY_BYTES`], or cannot be expressed in CBOR.
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, EncodeError> {
    let bytes = wire::encode(body)?;
    if bytes.len() > MAX_BODY_BYTES { Err(EncodeError::TooLong { bytes: bytes.len() }) } else { Ok(bytes) }
}

/// Decodes a body: any bytes give a value of the type or a violation.
///
/// # Errors
/// When the bytes are too long or not one value of the type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Violation> {
    if bytes.len() > MAX_BODY_BYTES {
        return Err(Violation::Malformed(wire::DecodeError::TooLong { bytes: bytes.len() }.to_string()));
    }
    wire::decode(bytes).map_err(|error| Violation::Malformed(error.to_string()))
}
