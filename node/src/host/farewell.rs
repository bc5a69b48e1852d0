//! Going: leaving every group for good, or stopping for a while.
//!
//! A peer that goes says so in its answers to surveys, and to each leader at once. Leaders plan with it: they hand
//! over, give the seats away, and remove the replicas of one that leaves.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use libp2p::PeerId;
use parking_lot::Mutex;
use tokio::time::Instant;
use xorum_behaviours::wire::{Farewell, PeerRequest};

use super::{Host, messenger::LinksMessenger, replica::Replica};
use crate::{error::OpError, group::messenger::Messenger};

/// The pause between two looks at what is left.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a leader may take to hear that this peer goes.
const TELL_WITHIN: Duration = Duration::from_millis(1_000);
/// The most members whose word is remembered.
const MAX_TOLD: usize = 256;

/// Whether this peer goes.
#[derive(Debug, Default)]
pub(super) struct Going(AtomicU8);

impl Going {
    pub(super) fn farewell(&self) -> Farewell {
        match self.0.load(Ordering::Acquire) {
            0 => Farewell::Stays,
            1 => Farewell::Stopping,
            _ => Farewell::Leaving,
        }
    }

    /// A shutdown that began meanwhile goes on.
    fn stay_if_leaving(&self) {
        let _ = self.0.compare_exchange(2, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    fn set(&self, farewell: Farewell) {
        let code = match farewell {
            Farewell::Stays => 0,
            Farewell::Stopping => 1,
            Farewell::Leaving => 2,
        };
        self.0.store(code, Ordering::Release);
    }
}

/// What members told their leader of their going.
#[derive(Debug, Default)]
pub struct Farewells {
    told: Mutex<BTreeMap<PeerId, (Farewell, Instant)>>,
    step: tokio::sync::Mutex<()>,
}

impl Farewells {
    /// Notes what a member told. It waits until the step of membership that may be under way is done: so who told that
    /// it goes is counted on by no later one.
    pub(super) async fn note(&self, peer: PeerId, farewell: Farewell) {
        {
            let mut told = self.told.lock();
            if told.len() >= MAX_TOLD && !told.contains_key(&peer) {
                told.pop_first();
            }
            told.insert(peer, (farewell, Instant::now()));
        }
        drop(self.step.lock().await);
    }

    /// A peer says that it stays, in answer to a question asked then: what it told before no longer holds. So one that
    /// left may come again.
    pub(super) fn note_stays(&self, peer: &PeerId, asked: Instant) {
        let mut told = self.told.lock();
        if told.get(peer).is_some_and(|(_, at)| *at < asked) {
            told.remove(peer);
        }
    }

    /// What a member told last, and when.
    pub(super) fn of(&self, peer: &PeerId) -> Option<(Farewell, Instant)> {
        self.told.lock().get(peer).copied()
    }

    /// Held from a plan until it is carried out.
    pub(super) async fn step(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.step.lock().await
    }
}

/// Whether a removal that a leave asked for may have been proposed in a group.
#[derive(Debug, Default)]
pub struct Removals(AtomicBool);

impl Removals {
    /// A leader may have proposed it.
    pub(super) fn may_be_proposed(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A leave that failed, or that nobody waits for any more, is none.
struct StayUnlessOut<'a>(&'a Going);

impl Drop for StayUnlessOut<'_> {
    fn drop(&mut self) {
        self.0.stay_if_leaving();
    }
}

impl Host {
    /// Leaves every group.
    ///
    /// # Errors
    /// `denied` of a network's only peer; `unavailable` when no removal was proposed anywhere in time;
    /// `outcome-unknown`, naming the group, when one may have been. After an error the peer stays.
    pub async fn leave(self: &Arc<Self>, within: Duration) -> Result<(), OpError> {
        let deadline = Instant::now() + within;
        if self.replicas().iter().any(|replica| self.is_only_peer(replica)) {
            let message = "this is the only peer of its network: what it holds would be gone; stop it with `quit`";
            return Err(OpError::Denied(message.into()));
        }
        for replica in self.replicas() {
            replica.removals.clear();
        }
        self.going.set(Farewell::Leaving);
        let stay = StayUnlessOut(&self.going);
        let left = self.wait_until_out(deadline).await;
        if left.is_ok() {
            std::mem::forget(stay);
        }
        left
    }

    async fn wait_until_out(self: &Arc<Self>, deadline: Instant) -> Result<(), OpError> {
        loop {
            let replicas = self.replicas();
            self.bury_stopped().await;
            let Some(first) = replicas.first() else {
                if self.holds_nothing() {
                    return Ok(());
                }
                if Instant::now() >= deadline {
                    let message = "a stopped replica of this peer is still a member of its group; try again".into();
                    return Err(OpError::Unavailable { message, group: None });
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            };
            if Instant::now() >= deadline {
                return Err(self.left_behind(&replicas, first));
            }
            for replica in &replicas {
                self.tell_leader(replica, Farewell::Leaving).await;
                self.ask_membership(replica).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn left_behind(&self, replicas: &[Arc<Replica>], first: &Replica) -> OpError {
        match replicas.iter().find(|replica| replica.removals.any()) {
            Some(replica) => {
                let group = replica.shared.group;
                let message =
                    format!("group {group} may yet remove this peer, which stays; see `groups`, and try again");
                OpError::OutcomeUnknown { message, group: Some(group) }
            }
            None => {
                let group = first.shared.group;
                let message = format!("group {group} cannot remove this peer now: too few of its voters answer");
                OpError::Unavailable { message, group: Some(group) }
            }
        }
    }

    /// Is there nobody else who could hold what this replica holds?
    fn is_only_peer(&self, replica: &Replica) -> bool {
        let alone = replica.shared.member_peers().iter().all(|peer| *peer == self.local);
        alone && self.book.connected_peers().is_empty()
    }

    /// Hands over what this peer leads, or holds alone, before it stops.
    pub async fn hand_over(self: &Arc<Self>, within: Duration) {
        let deadline = Instant::now() + within;
        self.going.set(Farewell::Stopping);
        for replica in self.replicas() {
            self.tell_leader(&replica, Farewell::Stopping).await;
        }
        while self.replicas().iter().any(|replica| self.must_hand_over(replica)) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY / 4).await;
        }
        for replica in self.replicas().iter().filter(|replica| replica.shared.is_sole_voter()) {
            tracing::info!(group = %replica.shared.group, "this peer keeps the only seat of the group, which waits for it");
        }
    }

    /// Does the group need this replica for something that another member could do?
    fn must_hand_over(&self, replica: &Replica) -> bool {
        let alone = replica.shared.member_peers().iter().all(|peer| *peer == self.local);
        let others = replica.shared.member_peers().into_iter().filter(|peer| *peer != self.local);
        let heard = |peer| self.links.heard(&peer).is_some_and(|ago| ago < self.presence.hear_within());
        !alone && (replica.shared.is_leader() || replica.shared.is_joining()) && others.into_iter().any(heard)
    }

    async fn tell_leader(&self, replica: &Arc<Replica>, farewell: Farewell) {
        let shared = &replica.shared;
        if shared.is_leader() {
            replica.nudge.notify_one();
            return;
        }
        let Some(leader) = shared.descriptor().leader.filter(|leader| *leader != self.local) else { return };
        let goodbye = PeerRequest::Farewell { group: shared.group, number: shared.id.number, farewell };
        let told = LinksMessenger(self.links.clone()).ask(leader, goodbye, TELL_WITHIN).await;
        if farewell == Farewell::Leaving && !matches!(told, Err(crate::group::messenger::AskError::NotSent(_))) {
            replica.removals.may_be_proposed();
        }
    }
}
