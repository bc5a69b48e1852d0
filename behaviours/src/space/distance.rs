//! How far apart two positions are.

use std::fmt;

use super::position::write_hex;

/// The XOR of two positions, compared as a 256-bit unsigned integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; 32]);

impl Distance {
    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// How many leading bits the two positions have in common.
    pub fn leading_zeros(&self) -> u32 {
        let zero_bytes = self.0.iter().take_while(|byte| **byte == 0).count();
        zero_bytes as u32 * 8 + self.0.get(zero_bytes).map_or(0, |byte| byte.leading_zeros())
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distance({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Position;

    proptest! {
        #[test]
        fn distance_is_a_metric_and_unidirectional(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let [a, b, c] = [a, b, c].map(Position::from_bytes);
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert_eq!(a.distance(&a), super::Distance::from_bytes([0; 32]));
            // For one point and one distance there is exactly one other point.
            prop_assert_eq!(a.distance(&b) == a.distance(&c), b == c);
        }
    }
}
