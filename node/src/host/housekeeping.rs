//! Keeps a replica's log short: takes a snapshot from time to time and purges what it covers.
//!
//! A few entries behind the snapshot stay, so that a follower that lags a little is served from the log.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use super::replica::Shared;

/// How often the log's length is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// A log of more entries is cut.
const MAX_ENTRIES: u64 = 50_000;
/// A log of more bytes is cut.
const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Entries that stay behind a snapshot, for followers that lag a little.
const KEEP_ENTRIES: u64 = 5_000;

/// Looks after one replica.
pub async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bytes_at_cut = 0;
    loop {
        ticks.tick().await;
        let metrics = shared.metrics();
        let last = metrics.last_log_index.unwrap_or(0);
        let purged = metrics.purged.map_or(0, |id| id.index);
        let appended = shared.log.appended_bytes();
        let grown = appended.saturating_sub(bytes_at_cut);
        if last.saturating_sub(purged) > MAX_ENTRIES || grown > MAX_BYTES {
            let applied = metrics.last_applied.map_or(0, |id| id.index);
            if shared.raft.trigger().snapshot().await.is_err() {
                return;
            }
            // A log of few large entries keeps none behind: they are what makes it long.
            let keep = if grown > MAX_BYTES { KEEP_ENTRIES.min((last - purged) / 8) } else { KEEP_ENTRIES };
            if wait_for_snapshot(&shared, applied).await {
                let upto = applied.saturating_sub(keep);
                if upto > purged && shared.raft.trigger().purge_log(upto).await.is_err() {
                    return;
                }
                bytes_at_cut = appended;
            }
        }
    }
}

/// Waits until a snapshot of at least this index stands.
async fn wait_for_snapshot(shared: &Shared, index: u64) -> bool {
    let stands = |metrics: &openraft::RaftMetrics<_>| metrics.snapshot.is_some_and(|id| id.index >= index);
    shared.raft.wait(Some(Duration::from_secs(60))).metrics(stands, "a snapshot to purge behind").await.is_ok()
}
