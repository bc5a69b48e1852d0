//! A key for Kademlia whose hash is near a given position.
//!
//! Kademlia looks for the peers closest to the *hash* of a key; an anchor is a position, of which no key is known. A
//! key that hashes near it is found by trying: with `BITS` leading bits in common, the peers closest to it are, in a
//! network of up to about 2^`BITS` peers, the peers closest to the anchor.

use xorum_behaviours::space::Position;

/// Leading bits that the hash has in common with the position; about 2^`BITS` hashes are tried.
const BITS: u32 = 12;
/// Where trying ends in any case; the best key so far is taken.
const MAX_TRIES: u64 = 1 << 16;

/// A key that hashes near the position: the same one for the same position.
pub(super) fn preimage_near(position: &Position) -> Vec<u8> {
    let mut best = None;
    for nonce in 0..MAX_TRIES {
        let key = nonce.to_be_bytes();
        let distance = Position::of_key(&key).distance(position);
        if best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, key));
            if distance.leading_zeros() >= BITS {
                break;
            }
        }
    }
    best.map_or_else(Vec::new, |(_, key)| key.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_hashes_near_the_position() {
        for seed in 0..8u8 {
            let position = Position::from_bytes([seed.wrapping_mul(37); 32]);
            let key = preimage_near(&position);
            assert!(Position::of_key(&key).distance(&position).leading_zeros() >= BITS);
        }
    }
}
