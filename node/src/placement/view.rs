//! What a group's leader knows when it plans.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use libp2p::PeerId;
use xorum_behaviours::{
    space::{Distance, Position},
    wire::{Farewell, Genesis, ReplicaId, ReplicaNumber},
};

/// One removed as dead must have been heard for this many times `settle_after` before it displaces a live voter.
const SETTLE_FACTOR_OF_REMOVED: u32 = 5;

/// The network's settings of placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementConfig {
    /// R, the voters wanted: 3, 5 or 7.
    pub replication_factor: u8,
    /// A replica silent for this long is dead. Too short replaces peers that were only slow; too long leaves a group
    /// with a seat less for longer.
    pub replace_after: Duration,
    /// A newcomer must have been heard for this long before it displaces a live voter. Too short moves data with
    /// every peer that comes by; too long keeps data far from where it is looked for first.
    pub settle_after: Duration,
}

impl From<&Genesis> for PlacementConfig {
    fn from(genesis: &Genesis) -> Self {
        Self {
            replication_factor: genesis.replication_factor,
            replace_after: genesis.timings.placement.replace_after(),
            settle_after: genesis.timings.placement.settle_after(),
        }
    }
}

/// Everything that a group's leader knows, as of one moment. Build it from *applied and effective* membership and
/// from clocks that started with this leadership.
#[derive(Clone, Debug)]
pub struct View {
    /// The group's prefix padded with zeros: what peers are close to.
    pub anchor: Position,
    /// The leader's own replica.
    pub local: ReplicaId,
    /// The effective voter sets: one, or, in a joint change, the old one and then the new one.
    pub voters: Vec<BTreeSet<ReplicaId>>,
    /// Members that do not vote.
    pub learners: BTreeSet<ReplicaId>,
    /// Has the leader applied an entry of its own term?
    pub own_entry_applied: bool,
    /// Is the effective membership committed and applied?
    pub membership_committed: bool,
    /// Numbers that a committed command minted and no membership entry has used yet, by the peer that they are for.
    pub fresh: BTreeMap<PeerId, ReplicaNumber>,
    /// How far the members' replicas are; one that is absent counts as [`ReplicaView::default`].
    pub replicas: BTreeMap<ReplicaId, ReplicaView>,
    /// The members' peers, the leader's own among them, and all candidates: peers that serve, never clients. A
    /// member's peer that is absent counts as neither heard nor dead.
    pub peers: BTreeMap<PeerId, PeerView>,
}

/// How far one replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaView {
    /// Did its log match the leader's, but for what is under way, a moment ago?
    pub caught_up: bool,
    /// Does its log hold the entry of the effective membership?
    pub knows_membership: bool,
    /// Did it just answer a fresh probe, holding the leader's last log index, and not going itself?
    pub probed_at_last_log: bool,
}

/// What the leader knows of one peer.
#[derive(Clone, Copy, Debug)]
pub struct PeerView {
    /// The hash of its id.
    pub position: Position,
    /// For how long the leader and a majority of the other voters that it hears have not heard it
    /// ([`liveness::silence`](super::liveness::silence)); of one never heard: since this leadership began.
    pub silent_for: Duration,
    /// Do the leader and such a majority hear it now ([`liveness::heard`](super::liveness::heard))?
    pub alive: bool,
    /// For how long it has been alive without a break in this leadership; zero when it is not.
    pub alive_for: Duration,
    /// Is it going?
    pub farewell: Farewell,
    /// It answered that its replicas of the group up to this number are dead for ever.
    pub gone: Option<ReplicaNumber>,
    /// Was a replica of it removed as dead ([`View::is_dead`]) and has it held no seat since, as far as this leader
    /// knows?
    pub removed_as_dead: bool,
    /// How many groups it leads.
    pub leads: u64,
}

impl View {
    /// Is the replica dead: gone for ever, or silent for `replace_after`? The leader's own is not.
    pub fn is_dead(&self, replica: &ReplicaId, config: &PlacementConfig) -> bool {
        *replica != self.local && (self.is_gone(replica) || self.is_silent(&replica.peer, config))
    }

    /// Did its peer say that it is dead for ever?
    pub(super) fn is_gone(&self, replica: &ReplicaId) -> bool {
        self.peers.get(&replica.peer).and_then(|peer| peer.gone).is_some_and(|gone| replica.number <= gone)
    }

    fn is_silent(&self, peer: &PeerId, config: &PlacementConfig) -> bool {
        *peer != self.local.peer && self.peers.get(peer).is_some_and(|peer| peer.silent_for >= config.replace_after)
    }

    /// Can it acknowledge entries now?
    pub(super) fn is_alive(&self, replica: &ReplicaId) -> bool {
        *replica == self.local
            || (!self.is_gone(replica) && self.peers.get(&replica.peer).is_some_and(|peer| peer.alive))
    }

    /// Is it alive, and not going?
    pub(super) fn is_sound(&self, replica: &ReplicaId) -> bool {
        self.is_alive(replica) && self.farewell(&replica.peer) == Farewell::Stays
    }

    /// How it goes, if it does.
    pub(super) fn farewell(&self, peer: &PeerId) -> Farewell {
        self.peers.get(peer).map_or(Farewell::Stays, |peer| peer.farewell)
    }

    /// Does it want out? One that fell silent for `replace_after` does not: a crash cancels a leave.
    pub(super) fn is_leaving(&self, peer: &PeerId, config: &PlacementConfig) -> bool {
        self.farewell(peer) == Farewell::Leaving && !self.is_silent(peer, config)
    }

    /// May it get a seat that it does not hold? It must stay, and be heard; a learner must only not be dead, so that
    /// what was begun with it is not dropped for a moment's silence.
    pub(super) fn is_candidate(&self, peer: &PeerId, config: &PlacementConfig) -> bool {
        let heard = self.peers.get(peer).is_some_and(|peer| peer.alive) && !self.is_silent(peer, config);
        self.farewell(peer) == Farewell::Stays && (heard || self.live_learner(peer, config).is_some())
    }

    /// Has it been heard for long enough to displace a live voter?
    pub(super) fn is_settled(&self, peer: &PeerId, config: &PlacementConfig) -> bool {
        self.peers.get(peer).is_some_and(|peer| {
            let factor = if peer.removed_as_dead { SETTLE_FACTOR_OF_REMOVED } else { 1 };
            peer.alive && peer.alive_for >= config.settle_after.saturating_mul(factor)
        })
    }

    /// How far the peer is from the anchor; the id makes the order total.
    pub(super) fn distance(&self, peer: &PeerId) -> (Distance, PeerId) {
        let position = self.peers.get(peer).map_or_else(|| Position::of_peer(peer), |peer| peer.position);
        (self.anchor.distance(&position), *peer)
    }

    /// The voters that the group has, or will have once a joint change is finished.
    pub(super) fn seated(&self) -> BTreeSet<ReplicaId> {
        self.voters.last().cloned().unwrap_or_default()
    }

    /// The peer's newest learner that is not dead.
    pub(super) fn live_learner(&self, peer: &PeerId, config: &PlacementConfig) -> Option<ReplicaId> {
        let of_peer = self.learners.iter().filter(|learner| learner.peer == *peer && !self.is_dead(learner, config));
        of_peer.max_by_key(|learner| learner.number).copied()
    }

    /// Has the peer a replica, voter or learner, that is not dead?
    pub(super) fn has_live_replica(&self, peer: &PeerId, config: &PlacementConfig) -> bool {
        let members = self.voters.iter().flatten().chain(&self.learners);
        members.into_iter().any(|member| member.peer == *peer && !self.is_dead(member, config))
    }

    /// How far the replica is; the leader's own is as far as can be.
    pub(super) fn progress(&self, replica: &ReplicaId) -> ReplicaView {
        if *replica == self.local {
            return ReplicaView { caught_up: true, knows_membership: true, probed_at_last_log: true };
        }
        self.replicas.get(replica).copied().unwrap_or_default()
    }

    /// Can a majority of these voters acknowledge entries now?
    pub(super) fn has_quorum(&self, voters: &BTreeSet<ReplicaId>) -> bool {
        2 * voters.iter().filter(|voter| self.is_alive(voter)).count() > voters.len()
    }
}
