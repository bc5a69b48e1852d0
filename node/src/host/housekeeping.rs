//! Keeps a replica's log short: takes a snapshot from time to time and purges what it covers.
//!
//! A few entries behind the snapshot stay, so that a follower that lags a little is served from the log.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use super::{
    Host,
    replica::{Replica, Shared},
};
use crate::group::raft::TypeConfig;

/// How often the log's length is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// A log of more entries is cut.
const MAX_ENTRIES: u64 = 50_000;
/// A log of more bytes is cut.
const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// A log of more bytes is cut although a member that is heard still needs it.
const MAX_BYTES_FOR_FOLLOWERS: u64 = 1024 * 1024 * 1024;
/// Entries that stay behind a snapshot, for followers that lag a little.
const KEEP_ENTRIES: u64 = 5_000;

/// Entries that are purged at once.
const PURGE_STEP: u64 = 4_000;
/// How long a snapshot, or a step of a purge, may take before it is left for the next look.
const WITHIN: Duration = Duration::from_secs(60);

/// Looks after one replica.
pub(super) async fn run(host: Arc<Host>, replica: Arc<Replica>) {
    let shared = &replica.shared;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bytes_at_cut = 0;
    loop {
        ticks.tick().await;
        if replica.receiver.lock().await.expire(std::time::Instant::now()) {
            tracing::info!(group = %shared.group, "a snapshot that did not come on is forgotten");
        }
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
            if wait_for_snapshot(shared, applied).await {
                let wanted = applied.saturating_sub(keep);
                let needed = needed_by_followers(&host, &replica, &metrics);
                let upto = if grown > MAX_BYTES_FOR_FOLLOWERS { wanted } else { wanted.min(needed) };
                purge(shared, purged, upto).await;
                if upto == wanted {
                    bytes_at_cut = appended;
                }
            }
        }
    }
}

/// The first index that a member which is heard still needs from this leader's log: one that is brought in by a
/// snapshot must find the entries behind it when it has it.
fn needed_by_followers(host: &Host, replica: &Replica, metrics: &openraft::RaftMetrics<TypeConfig>) -> u64 {
    let Some(replication) = &metrics.replication else { return u64::MAX };
    let heard = |peer| host.links.heard(peer).is_some_and(|ago| ago <= host.presence.hear_within());
    let others = replication.iter().filter(|(id, _)| **id != replica.shared.id && heard(&id.peer));
    others.map(|(_, matched)| matched.map_or(0, |id| id.index)).min().unwrap_or(u64::MAX)
}

/// Purges in steps: other writes wait for each only shortly.
async fn purge(shared: &Shared, mut purged: u64, upto: u64) {
    tracing::info!(group = %shared.group, upto, "purging the log");
    while purged < upto {
        purged = upto.min(purged + PURGE_STEP);
        let done = |metrics: &openraft::RaftMetrics<_>| metrics.purged.is_some_and(|id| id.index >= purged);
        let asked = shared.raft.trigger().purge_log(purged).await;
        let waited = shared.raft.wait(Some(WITHIN)).metrics(done, "a step of a purge").await;
        if asked.is_err() || waited.is_err() {
            return;
        }
    }
}

/// Waits until a snapshot of at least this index stands.
async fn wait_for_snapshot(shared: &Shared, index: u64) -> bool {
    let stands = |metrics: &openraft::RaftMetrics<_>| metrics.snapshot.is_some_and(|id| id.index >= index);
    shared.raft.wait(Some(WITHIN)).metrics(stands, "a snapshot to purge behind").await.is_ok()
}
