//! Who is to hold the group's seats.

use std::collections::BTreeSet;

use libp2p::PeerId;
use xorum_behaviours::wire::{Farewell, ReplicaId};

use super::view::{PlacementConfig, View};

/// The peers that are to be the group's voters, as things stand: exactly the set that following [`plan`] reaches
/// while nothing changes but time.
///
/// - A sole voter that goes is followed by the closest learner that has just answered a probe at the last log index;
///   without one it keeps its seat.
/// - Else there are as many seats as the largest odd number <= max(present voters, min(R, live candidates)). The
///   closest live ones get them, except that newcomers that are not settled only take what no live voter holds. Seats
///   left over stay with the closest dead holders.
/// - A leaver that no candidate can follow is not counted as present, so that another goes along with it; and where
///   that would leave a living group without a quorum, each leaver takes a dead voter along.
///
/// [`plan`]: super::plan
pub fn wanted(view: &View, config: &PlacementConfig) -> BTreeSet<PeerId> {
    let seated = view.seated();
    let holders = Holders::of(view, config, &seated);
    let seats = holders.seats(view, config);
    if let Some(sole) = sole_voter(&seated) {
        if is_going(view, &sole) {
            return BTreeSet::from([heir(view).unwrap_or(sole).peer]);
        }
        if seats == 1 {
            return BTreeSet::from([sole.peer]);
        }
    }
    let mut vacant = seats.saturating_sub(holders.live.len());
    let mut wanted = BTreeSet::new();
    for peer in closest_first(view, holders.live.union(&holders.candidates)) {
        if wanted.len() == seats {
            return wanted;
        }
        if !holders.live.contains(&peer) && !view.is_settled(&peer, config) {
            if vacant == 0 {
                continue;
            }
            vacant -= 1;
        }
        wanted.insert(peer);
    }
    for peer in closest_first(view, holders.dead.iter()) {
        if wanted.len() == seats {
            return wanted;
        }
        wanted.insert(peer);
    }
    wanted
}

/// The learners that are to stay beside a single voter, whatever is about to be promoted: one, so that two live peers
/// hold two copies; and while the voter goes, all that may follow it.
pub(super) fn standing_learners(view: &View, config: &PlacementConfig, wanted: &BTreeSet<PeerId>) -> BTreeSet<PeerId> {
    if wanted.len() != 1 {
        return BTreeSet::new();
    }
    let seated = view.seated();
    // A voter that is to go becomes a learner.
    let learning = |peer: &PeerId| view.has_live_replica(peer, config);
    let others = |peer: &&PeerId| !wanted.contains(*peer);
    let candidates = closest_first(view, view.peers.keys().filter(others).filter(|p| view.is_candidate(p, config)));
    let present: BTreeSet<PeerId> = candidates.iter().filter(|peer| learning(peer)).copied().collect();
    if !present.is_empty() && sole_voter(&seated).is_some_and(|sole| is_going(view, &sole)) {
        return present;
    }
    let stopping = || {
        let stopping = view.peers.keys().filter(others).filter(|peer| view.farewell(peer) == Farewell::Stopping);
        closest_first(view, stopping.filter(|peer| learning(peer))).into_iter().next()
    };
    let closest_present = candidates.iter().find(|peer| present.contains(peer));
    closest_present.or(candidates.first()).copied().or_else(stopping).into_iter().collect()
}

/// The voter, if there is only one.
pub(super) fn sole_voter(seated: &BTreeSet<ReplicaId>) -> Option<ReplicaId> {
    seated.first().filter(|_| seated.len() == 1).copied()
}

/// Does the replica's peer leave or stop?
pub(super) fn is_going(view: &View, replica: &ReplicaId) -> bool {
    view.farewell(&replica.peer) != Farewell::Stays
}

/// Who can follow a sole voter: the closest learner that just answered a probe at the last log index.
fn heir(view: &View) -> Option<ReplicaId> {
    let fit = |learner: &&ReplicaId| {
        let progress = view.progress(learner);
        progress.probed_at_last_log && progress.caught_up && view.is_sound(learner)
    };
    view.learners.iter().filter(fit).min_by_key(|learner| view.distance(&learner.peer)).copied()
}

fn closest_first<'a>(view: &View, peers: impl Iterator<Item = &'a PeerId>) -> Vec<PeerId> {
    let mut peers: Vec<PeerId> = peers.copied().collect();
    peers.sort_by_key(|peer| view.distance(peer));
    peers
}

/// The peers that seats may go to, or stay with.
struct Holders {
    /// Hold a seat with a replica that is not dead, and do not leave.
    live: BTreeSet<PeerId>,
    /// Hold a seat, and leave.
    leaving: BTreeSet<PeerId>,
    /// Hold a seat with a dead replica.
    dead: BTreeSet<PeerId>,
    /// May get a seat that they do not hold with a replica that is not dead. One that holds a seat with a dead
    /// replica may be among them: it would get the seat under a new number.
    candidates: BTreeSet<PeerId>,
    /// Are most of the voters' replicas, leavers' included, not dead?
    quorate: bool,
}

impl Holders {
    fn of(view: &View, config: &PlacementConfig, seated: &BTreeSet<ReplicaId>) -> Self {
        let is_live = |replica: &&ReplicaId| !view.is_dead(replica, config);
        let mut live: BTreeSet<PeerId> = seated.iter().filter(is_live).map(|replica| replica.peer).collect();
        let leaves = |peer: &PeerId| view.is_leaving(peer, config);
        let mut leaving: BTreeSet<PeerId> = seated.iter().map(|r| r.peer).filter(leaves).collect();
        let quorate = 2 * live.len() > seated.len();
        live.retain(|peer| !leaving.contains(peer));
        let gone = seated.iter().map(|replica| replica.peer);
        let dead = gone.filter(|peer| !live.contains(peer) && !leaving.contains(peer)).collect();
        let candidates: BTreeSet<PeerId> =
            view.peers.keys().filter(|p| !live.contains(p) && view.is_candidate(p, config)).copied().collect();
        if live.is_empty() && candidates.is_empty() && leaving.remove(&view.local.peer) {
            // Nobody would be left to leave the group to: its leader keeps it.
            live.insert(view.local.peer);
        }
        Self { live, leaving, dead, candidates, quorate }
    }

    /// How many voters there are to be; odd.
    fn seats(&self, view: &View, config: &PlacementConfig) -> usize {
        let voters = self.live.len() + self.leaving.len() + self.dead.len();
        // A candidate that holds a seat with a dead replica is to follow itself, not a leaver.
        let newcomers = self.candidates.difference(&self.dead).count();
        let present = voters.min(voters - self.leaving.len() + newcomers);
        let staying = self.live.iter().filter(|peer| view.farewell(peer) == Farewell::Stays).count();
        let live = staying + self.candidates.len();
        let seats = present.max(live.min(usize::from(config.replication_factor)));
        // So many that those who stay are most of them: it binds only where some leave.
        let bound = if self.quorate { 2 * (self.live.len() + self.candidates.len()) } else { usize::MAX };
        largest_odd(seats.min(bound))
    }
}

/// The largest odd number that is not above `count`, and at least 1.
fn largest_odd(count: usize) -> usize {
    (count.max(1) - 1) / 2 * 2 + 1
}
