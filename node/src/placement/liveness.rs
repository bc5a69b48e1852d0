//! How the leader judges whom the group hears: its own word and that of a majority of the other voters that it hears.
//!
//! One side alone may be wrong about a peer: the leader may sit behind a broken link, and so may a voter. The peer
//! that is judged has no say; nor has a voter that the leader does not hear.

use std::time::Duration;

/// For how long the leader *and* a majority of the other voters that it hears have not heard a peer, given how long
/// ago each did. One that never did counts from the start of the leadership.
pub fn silence(leader: Duration, mut others: Vec<Duration>) -> Duration {
    others.sort_unstable_by(|a, b| b.cmp(a));
    others.get(others.len() / 2).map_or(leader, |majority| leader.min(*majority))
}

/// Have the leader *and* such a majority heard the peer within `hear_within`?
pub fn heard(leader: Duration, mut others: Vec<Duration>, hear_within: Duration) -> bool {
    others.sort_unstable();
    let longest = others.get(others.len() / 2).map_or(leader, |majority| leader.max(*majority));
    longest <= hear_within
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(of: &[u64]) -> Vec<Duration> {
        of.iter().copied().map(Duration::from_secs).collect()
    }

    #[test]
    fn silence_takes_the_leader_and_a_majority() {
        let nine = Duration::from_secs(9);
        assert_eq!(silence(nine, vec![]), nine);
        assert_eq!(silence(nine, seconds(&[1])), Duration::from_secs(1));
        assert_eq!(silence(nine, seconds(&[20, 1])), Duration::from_secs(1), "one of two is no majority");
        assert_eq!(silence(nine, seconds(&[20, 1, 15])), nine);
        assert_eq!(silence(nine, seconds(&[7, 1, 20])), Duration::from_secs(7));
    }

    #[test]
    fn to_be_heard_takes_the_leader_and_a_majority() {
        let within = Duration::from_secs(2);
        let heard = |leader, others| heard(Duration::from_secs(leader), seconds(others), within);
        assert!(heard(1, &[]) && heard(1, &[2]) && heard(1, &[2, 0, 9]));
        assert!(!heard(3, &[0, 0]), "the leader does not hear it");
        assert!(!heard(1, &[0, 9]) && !heard(1, &[9]), "a majority does not hear it");
    }
}
