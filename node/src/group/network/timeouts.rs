//! Our own time limits: openraft passes wishes and enforces none of them.

use std::time::Duration;

use openraft::network::RPCOption;

/// What a client of the network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Entries, votes, transfers, snapshots.
    Replication,
    /// Heartbeats, which also confirm reads.
    Heartbeat,
}

/// The least time that each kind of request has, whatever openraft wishes; a connection that is lost is told without
/// it. Too short, what is only slow is sent again and again; too long, what hangs holds the group up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For an append of the log. openraft wishes for one heartbeat interval, but the answer waits for the follower's
    /// disk, and whatever stands before it in the follower's queue.
    pub append: Duration,
    /// For a chunk of a snapshot.
    pub chunk: Duration,
    /// For the end of a snapshot, which is answered when it is installed.
    pub install: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { append: Duration::from_secs(1), chunk: Duration::from_secs(5), install: Duration::from_secs(30) }
    }
}

/// The slowest link that a full message must get through: what its bytes add to the time that it has.
const SLOWEST_BYTES_PER_SECOND: u64 = 1024 * 1024;

impl Limits {
    /// How long an append may take. A heartbeat has what openraft wishes, for it gives up by then.
    pub(super) fn append(&self, purpose: Purpose, option: &RPCOption, bytes: usize) -> Duration {
        match purpose {
            Purpose::Heartbeat => option.hard_ttl(),
            Purpose::Replication => option.hard_ttl().max(self.append) + transit(bytes),
        }
    }

    /// How long one chunk of a snapshot may take.
    pub(super) fn chunk(&self, option: &RPCOption, bytes: usize) -> Duration {
        option.hard_ttl().max(self.chunk) + transit(bytes)
    }

    /// How long the end of a snapshot may take.
    pub(super) fn install(&self, option: &RPCOption) -> Duration {
        option.hard_ttl().max(self.install)
    }
}

fn transit(bytes: usize) -> Duration {
    Duration::from_micros(bytes as u64 * 1_000_000 / SLOWEST_BYTES_PER_SECOND)
}

/// Waits before another try at who was unreachable: doubled from 10 ms to 500 ms, less up to a half by chance, so
/// that the replicas of many groups do not come back at once.
pub(super) fn backoff() -> impl Iterator<Item = Duration> + Send + 'static {
    const FIRST_MS: u64 = 10;
    const LONGEST_MS: u64 = 500;
    std::iter::successors(Some(FIRST_MS), |last| Some((last * 2).min(LONGEST_MS)))
        .map(|ms| Duration::from_millis(ms).mul_f64(rand::random_range(0.5..=1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_of_the_log_has_longer_than_a_heartbeat_and_longer_with_its_bytes() {
        let limits = Limits::default();
        let wish = RPCOption::new(Duration::from_millis(50));
        assert_eq!(limits.append(Purpose::Heartbeat, &wish, 0), Duration::from_millis(50));
        assert_eq!(limits.append(Purpose::Replication, &wish, 0), limits.append);
        assert_eq!(limits.append(Purpose::Replication, &wish, 4 << 20), limits.append + Duration::from_secs(4));
        let slow = RPCOption::new(Duration::from_secs(2));
        assert_eq!(limits.append(Purpose::Replication, &slow, 0), Duration::from_secs(2));
    }

    #[test]
    fn backoff_grows_to_its_limit_and_never_ends() {
        let waits: Vec<_> = backoff().take(50).collect();
        assert_eq!(waits.len(), 50);
        assert!(waits[0] <= Duration::from_millis(10));
        assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(5) && *wait <= Duration::from_millis(500)));
        assert!(waits[49] >= Duration::from_millis(250));
    }
}
