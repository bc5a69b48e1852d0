//! A point of the key space.

use std::{fmt, str::FromStr};

use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Distance;

/// A 256-bit point: of a peer, the SHA-256 of its [`PeerId`] bytes; of a key, the SHA-256 of its hash tag.
///
/// The hash is the one libp2p's Kademlia uses, so that "closest" means the same to routing and to placement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(#[serde(with = "serde_bytes")] [u8; 32]);

impl Position {
    /// The position of `bytes` given as they are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The position of a key: the hash of the part inside its first `{…}` when there is one and it is not empty,
    /// else of the whole key. Keys with one tag share a position, thus a group.
    pub fn of_key(key: &[u8]) -> Self {
        Self(Sha256::digest(hash_tag(key)).into())
    }

    /// The position of a peer.
    pub fn of_peer(peer: &PeerId) -> Self {
        Self(Sha256::digest(peer.to_bytes()).into())
    }

    /// The 32 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The XOR of two positions as an unsigned integer.
    pub fn distance(&self, other: &Position) -> Distance {
        Distance::from_bytes(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }

    /// The first 64 bits, which hold every prefix bit there can be.
    pub(crate) fn head(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head)
    }
}

/// The part of a key that is hashed: what stands inside its first `{…}`, if that is not empty, else all of it.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|&b| b == b'}') {
        Some(close) if close > 0 => &rest[..close],
        _ => key,
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}

/// Writes `bytes` as lower-case hex.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct ParseHexError;

/// Reads 64 hexadecimal digits.
pub(crate) fn parse_hex(text: &str) -> Result<[u8; 32], ParseHexError> {
    if text.len() != 64 || !text.is_ascii() {
        return Err(ParseHexError);
    }
    let mut bytes = [0; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| ParseHexError)?;
    }
    Ok(bytes)
}

impl FromStr for Position {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_one_tag_share_a_position() {
        let tagged = Position::of_key(b"user{42}name");
        assert_eq!(tagged, Position::of_key(b"{42}"));
        assert_eq!(tagged, Position::of_key(b"42"));
        assert_ne!(tagged, Position::of_key(b"user{43}name"));
    }

    #[test]
    fn an_empty_or_open_tag_is_no_tag() {
        for key in [&b"a{}b"[..], b"a{b", b"}a{", b"a}b{c"] {
            assert_eq!(hash_tag(key), key);
        }
    }

    #[test]
    fn a_position_is_what_kademlia_hashes() {
        let peer = PeerId::random();
        let kad: libp2p::kad::KBucketKey<PeerId> = peer.into();
        assert_eq!(Position::of_peer(&peer).as_bytes(), kad.hashed_bytes());
    }

    #[test]
    fn hex_is_read_back() {
        let position = Position::of_key(b"k");
        assert_eq!(position.to_string().parse(), Ok(position));
        assert_eq!("zz".parse::<Position>(), Err(ParseHexError));
        assert_eq!("é".repeat(32).parse::<Position>(), Err(ParseHexError));
    }
}
