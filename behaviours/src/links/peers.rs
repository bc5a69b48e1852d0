//! What links know of each peer, shared by handles, stream tasks and the behaviour.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::PeerId;
use tokio::sync::mpsc;

use super::{
    Class,
    lane::{Lane, LaneBounds},
};

/// The most peers that are remembered while they are not connected.
const REMEMBERED_PEERS: usize = 8192;

/// What a handle or a stream task asks of the behaviour. Each is sent at most once until it is dealt with, so the queue
/// is bounded by the number of lanes and peers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    /// Get a stream for this lane.
    Open(PeerId, Class),
    /// Close all connections to this peer.
    Disconnect(PeerId),
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Milliseconds after [`Peers`]' start, plus one; 0 when never.
    heard: AtomicU64,
    pub(super) connected: AtomicBool,
    pub(super) disconnecting: AtomicBool,
    lanes: [Lane; 3],
}

impl Peer {
    pub(super) const fn lane(&self, class: Class) -> &Lane {
        &self.lanes[class as usize]
    }
}

/// All peers.
#[derive(Debug)]
pub(super) struct Peers {
    start: Instant,
    bounds: LaneBounds,
    commands: mpsc::UnboundedSender<Command>,
    closed: AtomicBool,
    map: RwLock<HashMap<PeerId, Arc<Peer>>>,
}

impl Peers {
    pub(super) fn new(bounds: LaneBounds, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { start: Instant::now(), bounds, commands, closed: AtomicBool::new(false), map: RwLock::default() }
    }

    /// What is known of a peer, if it was ever asked for or connected.
    pub(super) fn find(&self, peer: &PeerId) -> Option<Arc<Peer>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).get(peer).cloned()
    }

    /// What is known of a peer.
    pub(super) fn get(&self, id: &PeerId) -> Arc<Peer> {
        if let Some(peer) = self.find(id) {
            return peer;
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= REMEMBERED_PEERS {
            // Who is in use is also held elsewhere; the rest is only remembered.
            map.retain(|_, peer| Arc::strong_count(peer) > 1 || peer.connected.load(Ordering::Relaxed));
        }
        let lane = |class| Lane::new(*id, class, self.bounds, self.commands.clone());
        let fresh = || Peer {
            heard: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            disconnecting: AtomicBool::new(false),
            lanes: Class::ALL.map(lane),
        };
        let peer = map.entry(*id).or_insert_with(|| Arc::new(fresh())).clone();
        if self.closed.load(Ordering::Acquire) {
            peer.lanes.iter().for_each(Lane::close);
        }
        peer
    }

    /// A frame of this peer was read now.
    pub(super) fn touch(&self, peer: &Peer) {
        peer.heard.store(self.start.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    /// Since when this peer is silent.
    pub(super) fn heard(&self, peer: &PeerId) -> Option<Duration> {
        let at = self.find(peer)?.heard.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start.elapsed().saturating_sub(Duration::from_millis(at)))
    }

    /// Asks the behaviour to close all connections to a peer.
    pub(super) fn disconnect(&self, id: PeerId) {
        if self.find(&id).is_some_and(|peer| !peer.disconnecting.swap(true, Ordering::AcqRel)) {
            let _ = self.commands.send(Command::Disconnect(id));
        }
    }

    /// The behaviour is gone: nothing will ever be sent again.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for peer in self.map.read().unwrap_or_else(PoisonError::into_inner).values() {
            peer.lanes.iter().for_each(Lane::close);
        }
    }
}
