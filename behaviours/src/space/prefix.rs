//! A part of the key space that one group owns.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Position;

/// The first *n* bits of a position, 0 <= n <= 64; the empty prefix is the whole space.
///
/// Bits past `len` are zero: two equal prefixes have one representation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u64, u8)", into = "(u64, u8)")]
pub struct Prefix {
    bits: u64,
    len: u8,
}

impl Prefix {
    /// The longest prefix, in bits.
    pub const MAX_LEN: u8 = 64;

    /// The whole key space.
    pub const EMPTY: Self = Self { bits: 0, len: 0 };

    /// The first `len` bits of a position; `len` past [`Self::MAX_LEN`] is taken as that.
    pub fn of(position: &Position, len: u8) -> Self {
        let len = len.min(Self::MAX_LEN);
        Self { bits: position.head() & mask(len), len }
    }

    /// Its length in bits.
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Is it the whole key space?
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Does it own this position?
    pub fn contains(&self, position: &Position) -> bool {
        (position.head() ^ self.bits) & mask(self.len) == 0
    }

    /// Is every position of `other` one of its own?
    pub fn covers(&self, other: &Prefix) -> bool {
        self.len <= other.len && (other.bits ^ self.bits) & mask(self.len) == 0
    }

    /// Do they share a position?
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The prefix padded with zeros: the point that a group's voters are closest to.
    pub fn anchor(&self) -> Position {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.bits.to_be_bytes());
        Position::from_bytes(bytes)
    }

    /// The two halves, `p0` and `p1`; none of a prefix of full length.
    pub fn halves(&self) -> Option<(Prefix, Prefix)> {
        if self.len == Self::MAX_LEN {
            return None;
        }
        let len = self.len + 1;
        let one = 1 << (Self::MAX_LEN - len);
        Some((Self { bits: self.bits, len }, Self { bits: self.bits | one, len }))
    }
}

const fn mask(len: u8) -> u64 {
    if len == 0 { 0 } else { u64::MAX << (64 - len) }
}

/// A pair of bits and length that is no prefix: too long, or with bits past its length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a prefix: at most 64 binary digits, or - for none")]
pub struct ParsePrefixError;

impl TryFrom<(u64, u8)> for Prefix {
    type Error = ParsePrefixError;

    fn try_from((bits, len): (u64, u8)) -> Result<Self, Self::Error> {
        if len > Self::MAX_LEN || bits & !mask(len) != 0 {
            return Err(ParsePrefixError);
        }
        Ok(Self { bits, len })
    }
}

impl From<Prefix> for (u64, u8) {
    fn from(prefix: Prefix) -> Self {
        (prefix.bits, prefix.len)
    }
}

impl fmt::Display for Prefix {
    /// Its bits as `0` and `1`, or `-` for the empty prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        (0..self.len).try_for_each(|i| f.write_str(if self.bits << i >> 63 == 1 { "1" } else { "0" }))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({self})")
    }
}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" {
            return Ok(Self::EMPTY);
        }
        if text.is_empty() || text.len() > usize::from(Self::MAX_LEN) {
            return Err(ParsePrefixError);
        }
        let mut bits = 0;
        for (i, digit) in text.bytes().enumerate() {
            match digit {
                b'0' => {}
                b'1' => bits |= 1 << (63 - i),
                _ => return Err(ParsePrefixError),
            }
        }
        Ok(Self { bits, len: text.len() as u8 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix() -> impl Strategy<Value = Prefix> {
        (any::<u64>(), 0..=64u8).prop_map(|(bits, len)| Prefix { bits: bits & mask(len), len })
    }

    proptest! {
        #[test]
        fn the_halves_of_a_prefix_tile_it(prefix in prefix(), at: [u8; 32]) {
            let at = Position::from_bytes(at);
            let Some((zero, one)) = prefix.halves() else { return Ok(()) };
            let owners = u8::from(zero.contains(&at)) + u8::from(one.contains(&at));
            prop_assert_eq!(owners, u8::from(prefix.contains(&at)));
            prop_assert!(prefix.covers(&zero) && prefix.covers(&one) && !zero.overlaps(&one));
        }

        #[test]
        fn a_prefix_contains_its_anchor_and_is_read_back(prefix in prefix()) {
            prop_assert!(prefix.contains(&prefix.anchor()));
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert_eq!(Prefix::try_from(<(u64, u8)>::from(prefix)), Ok(prefix));
        }
    }

    #[test]
    fn bits_past_the_length_are_refused() {
        assert!(Prefix::try_from((1, 3)).is_err());
        assert!(Prefix::try_from((0, 65)).is_err());
        assert_eq!("-".parse(), Ok(Prefix::EMPTY));
        assert!("012".parse::<Prefix>().is_err());
    }
}
