//! Whom this peer hears: the other members of its groups, and whom a leader asked it about.
//!
//! Hearing is any frame of a peer on any link. Who was not heard for an interval is asked whether it is there. One
//! that does not answer for long is disconnected, so that the next message dials anew: TCP does not notice a cut by
//! itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use libp2p::PeerId;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use xorum_behaviours::wire::{Farewell, PeerAnswer, PeerRequest, Timings};

use super::{Host, messenger::LinksMessenger};
use crate::group::messenger::Messenger;

/// How long a peer stays of interest after a leader asked about it.
const ASKED_FOR: Duration = Duration::from_secs(30);
/// The most peers that are of interest by being asked about.
const MAX_ASKED: usize = 256;
/// The most questions under way at once.
const CONCURRENCY: usize = 64;

/// Whom this peer wants to hear.
#[derive(Debug)]
pub struct Presence {
    interval: Duration,
    asked: Mutex<BTreeMap<PeerId, Instant>>,
}

impl Presence {
    /// Asks often enough that a live peer is heard several times within `replace_after`.
    pub(super) fn new(timings: Timings) -> Self {
        let interval = (timings.placement.replace_after() / 10).min(Duration::from_secs(1));
        let floor = Duration::from_millis(timings.raft.heartbeat_ms);
        Self { interval: interval.max(floor), asked: Mutex::default() }
    }

    /// A peer heard within this time is there.
    pub(super) fn hear_within(&self) -> Duration {
        3 * self.interval
    }

    /// Keeps an eye on these peers for a while.
    pub(super) fn watch(&self, peers: impl IntoIterator<Item = PeerId>) {
        let until = Instant::now() + ASKED_FOR;
        let mut asked = self.asked.lock();
        for peer in peers {
            if asked.len() < MAX_ASKED || asked.contains_key(&peer) {
                asked.insert(peer, until);
            }
        }
    }

    fn of_interest(&self) -> BTreeSet<PeerId> {
        let now = Instant::now();
        let mut asked = self.asked.lock();
        asked.retain(|_, until| *until > now);
        asked.keys().copied().collect()
    }
}

/// Asks, in intervals, whoever was not heard for one. One that does not answer holds nobody else up.
pub(super) async fn run(host: Arc<Host>) {
    let interval = host.presence.interval;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = BTreeSet::new();
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(peer) = answers.next() => {
                asking.remove(&peer);
                continue;
            }
        }
        let mut peers = host.presence.of_interest();
        for replica in host.replicas() {
            peers.extend(replica.shared.member_peers());
        }
        peers.remove(&host.local);
        for peer in peers {
            let silent = host.links.heard(&peer).is_none_or(|ago| ago >= interval);
            if silent && asking.len() < CONCURRENCY && asking.insert(peer) {
                let host = &host;
                answers.push(async move {
                    ask(host, peer, interval).await;
                    peer
                });
            }
        }
    }
}

async fn ask(host: &Host, peer: PeerId, interval: Duration) {
    let asked = Instant::now();
    let answer = LinksMessenger(host.links.clone()).ask(peer, PeerRequest::Presence, 2 * interval).await;
    if matches!(answer, Ok(PeerAnswer::Present(Farewell::Stays))) {
        for replica in host.replicas() {
            replica.farewells.note_stays(&peer, asked);
        }
    }
    let silent_for = host.links.heard(&peer);
    if answer.is_err() && host.links.is_connected(&peer) && silent_for.is_none_or(|ago| ago >= 4 * interval) {
        tracing::debug!(%peer, "a connected peer is silent; disconnecting it");
        host.links.disconnect(peer);
    }
}
