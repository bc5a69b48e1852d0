//! The next single step to the wanted seats.

use std::collections::BTreeSet;

use libp2p::PeerId;
use xorum_behaviours::wire::{ReplicaId, ReplicaNumber};

use super::{
    leadership::{Successor, leader_goes, spread, successor},
    seats::{is_going, sole_voter, standing_learners, wanted},
    view::{PlacementConfig, View},
};

/// One step of a group's leader. Each is one entry of the group's log, or one message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// All is as wanted.
    Nothing,
    /// Something is wanted that cannot be done yet: look again soon.
    Wait(WaitFor),
    /// Write the uniform second half of the joint change that stands.
    FinishJoint,
    /// Have a committed command mint a replica number for this peer; [`View::fresh`] has it afterwards.
    Mint {
        /// Who is to get a replica.
        peer: PeerId,
    },
    /// Add a replica as a learner, under a number of [`View::fresh`].
    AddLearner {
        /// The new replica.
        replica: ReplicaId,
    },
    /// Enter a joint change of voters.
    ChangeVoters {
        /// Caught-up learners that are to vote.
        add: BTreeSet<ReplicaId>,
        /// Voters that are to stay as learners.
        remove: BTreeSet<ReplicaId>,
    },
    /// Remove a learner; it knows of it, or is dead, or never voted.
    RemoveLearner {
        /// The learner.
        replica: ReplicaId,
    },
    /// Ask a voter, alive and caught up, to take over.
    TransferLeadership {
        /// The next leader.
        to: ReplicaId,
    },
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitFor {
    /// An entry of the leader's own term, applied.
    OwnEntry,
    /// The membership, to be committed and applied.
    Membership,
    /// A majority of the voters, to be heard again.
    Quorum,
    /// Another leader: this one is no voter any more.
    NextLeader,
    /// A voter, to catch up, so that it can lead.
    Successor(ReplicaId),
    /// A learner, to catch up, so that it can vote.
    CatchUp(ReplicaId),
    /// A learner, to answer a fresh probe at the last log index ([`ReplicaView::probed_at_last_log`]), so that it can
    /// follow a sole voter that goes.
    ///
    /// [`ReplicaView::probed_at_last_log`]: super::ReplicaView::probed_at_last_log
    Probe(ReplicaId),
    /// A removed voter, to learn that it is one.
    Removed(ReplicaId),
}

/// The group's next single step. While it answers [`Action::Nothing`] the voters are [`wanted`].
pub fn plan(view: &View, config: &PlacementConfig) -> Action {
    if let Some(action) = not_yet(view) {
        return action;
    }
    let wanted = wanted(view, config);
    let goal = match hand_over(view, &wanted) {
        HandOver::Now(action) => return action,
        HandOver::After(goal) => goal,
    };
    let change = Change::towards(view, config, &goal);
    let standing = standing_learners(view, config, &goal);
    if let Some(action) = change.voters(view, config) {
        return action;
    }
    let absent = |peer: &&PeerId| !view.has_live_replica(peer, config);
    if let Some(peer) = change.missing.first().or_else(|| standing.iter().find(absent)) {
        return bring_in(view, *peer);
    }
    let unwanted = |learner: &&ReplicaId| {
        let is_newest = view.live_learner(&learner.peer, config) == Some(**learner);
        !(is_newest && (standing.contains(&learner.peer) || change.add.contains(learner)))
    };
    let unwanted: Vec<&ReplicaId> = view.learners.iter().filter(unwanted).collect();
    let knows = |learner: &&&ReplicaId| view.is_dead(learner, config) || view.progress(learner).knows_membership;
    if let Some(replica) = unwanted.iter().find(knows) {
        return Action::RemoveLearner { replica: **replica };
    }
    if let Some(lagging) = change.add.iter().find(|learner| !is_ready(view, learner)) {
        return Action::Wait(WaitFor::CatchUp(*lagging));
    }
    if let Some(removed) = unwanted.first() {
        return Action::Wait(WaitFor::Removed(**removed));
    }
    if let Some(sole) = sole_voter(&view.seated()).filter(|sole| is_going(view, sole)) {
        let heir = standing.iter().filter(|peer| view.is_candidate(peer, config));
        let heir = heir.filter_map(|peer| view.live_learner(peer, config)).find(|heir| heir.peer != sole.peer);
        return heir.map_or(Action::Nothing, |heir| Action::Wait(WaitFor::Probe(heir)));
    }
    spread(view).map_or(Action::Nothing, |to| Action::TransferLeadership { to })
}

/// What comes before any new step.
fn not_yet(view: &View) -> Option<Action> {
    if !view.own_entry_applied {
        return Some(Action::Wait(WaitFor::OwnEntry));
    }
    if !view.membership_committed {
        return Some(Action::Wait(WaitFor::Membership));
    }
    if view.voters.len() > 1 {
        return Some(Action::FinishJoint);
    }
    let seated = view.seated();
    if !seated.contains(&view.local) {
        let heir = seated.iter().find(|voter| view.is_sound(voter) && view.progress(voter).caught_up);
        return Some(heir.map_or(Action::Wait(WaitFor::NextLeader), |to| Action::TransferLeadership { to: *to }));
    }
    (!view.has_quorum(&seated)).then_some(Action::Wait(WaitFor::Quorum))
}

/// When the leader hands over.
enum HandOver {
    /// Before anything else, or as soon as that can be.
    Now(Action),
    /// Not before the voters are these; they may be all that is wanted.
    After(BTreeSet<PeerId>),
}

/// A leader that goes hands over first. One that is displaced keeps a seat, in place of the farthest newcomer, until
/// the others are as wanted, and hands over then: its clocks, which say who is dead and who is settled, start anew
/// with the next leader. So a sole voter's seat never moves by distance either.
fn hand_over(view: &View, wanted: &BTreeSet<PeerId>) -> HandOver {
    let seated: BTreeSet<PeerId> = view.seated().iter().map(|voter| voter.peer).collect();
    let keeps = wanted.contains(&view.local.peer);
    if seated.len() == 1 && is_going(view, &view.local) {
        return HandOver::After(wanted.clone());
    }
    let goes = leader_goes(view);
    let mut goal = wanted.clone();
    if !keeps && !goes {
        let newcomers = wanted.difference(&seated);
        if let Some(farthest) = newcomers.copied().max_by_key(|peer| view.distance(peer)) {
            goal.remove(&farthest);
            goal.insert(view.local.peer);
            if goal != seated {
                return HandOver::After(goal);
            }
        }
    } else if !goes {
        return HandOver::After(goal);
    }
    match successor(view, wanted) {
        Successor::Ready(to) => HandOver::Now(Action::TransferLeadership { to }),
        Successor::CatchingUp(voter) => HandOver::Now(Action::Wait(WaitFor::Successor(voter))),
        Successor::Nobody => HandOver::After(wanted.clone()),
    }
}

/// Can the learner be promoted now? It must know the membership too: a voter that does not know another takes it for a
/// stranger and gives it no vote.
fn is_ready(view: &View, learner: &ReplicaId) -> bool {
    let progress = view.progress(learner);
    view.is_alive(learner) && progress.caught_up && progress.knows_membership
}

/// Adds a replica of this peer as a learner, under a number that was never used; mints one first.
fn bring_in(view: &View, peer: PeerId) -> Action {
    let members = view.voters.iter().flatten().chain(&view.learners).filter(|member| member.peer == peer);
    let used = members.map(|member| member.number).chain(view.peers.get(&peer).and_then(|peer| peer.gone)).max();
    let unused = |number: &&ReplicaNumber| used.is_none_or(|used| **number > used);
    match view.fresh.get(&peer).filter(unused) {
        Some(number) => Action::AddLearner { replica: ReplicaId { peer, number: *number } },
        None => Action::Mint { peer },
    }
}

/// What stands between the voters and a goal.
struct Change {
    /// Learners to be promoted.
    add: BTreeSet<ReplicaId>,
    /// Peers to be promoted that have no learner yet.
    missing: Vec<PeerId>,
    /// Voters to be removed.
    remove: BTreeSet<ReplicaId>,
}

impl Change {
    fn towards(view: &View, config: &PlacementConfig, goal: &BTreeSet<PeerId>) -> Self {
        let seated = view.seated();
        let mut change = Self { add: BTreeSet::new(), missing: Vec::new(), remove: seated.clone() };
        for peer in goal {
            // A dead replica keeps its seat only where its peer cannot take it under a new number.
            let voter = seated.iter().filter(|voter| voter.peer == *peer).max();
            let keeps = |voter: &&ReplicaId| !view.is_dead(voter, config) || !view.is_candidate(peer, config);
            if let Some(voter) = voter.filter(keeps) {
                change.remove.remove(voter);
            } else if let Some(learner) = view.live_learner(peer, config) {
                change.add.insert(learner);
            } else {
                change.missing.push(*peer);
            }
        }
        change.missing.sort_by_key(|peer| view.distance(peer));
        change
    }

    /// The joint change that can be entered now: the whole of it, or else, from an odd count, the part
    /// that what is ready allows.
    fn voters(&self, view: &View, config: &PlacementConfig) -> Option<Action> {
        let ready: BTreeSet<ReplicaId> = self.add.iter().filter(|learner| is_ready(view, learner)).copied().collect();
        let whole = self.missing.is_empty() && ready.len() == self.add.len();
        let odd = view.seated().len() % 2 == 1;
        let (add, remove) = match whole {
            true => (ready, self.remove.clone()),
            false if odd => self.part(view, config, ready),
            false => return None,
        };
        if add.is_empty() && remove.is_empty() {
            return None;
        }
        let next = view.seated().difference(&remove).chain(&add).copied().collect();
        if !view.has_quorum(&next) {
            return Some(Action::Wait(WaitFor::Quorum));
        }
        Some(Action::ChangeVoters { add, remove })
    }

    /// Each that is ready takes the seat of one that is to go, the dead and the leaving first; what is left over is
    /// promoted in pairs.
    fn part(
        &self,
        view: &View,
        config: &PlacementConfig,
        ready: BTreeSet<ReplicaId>,
    ) -> (BTreeSet<ReplicaId>, BTreeSet<ReplicaId>) {
        let mut removable: Vec<ReplicaId> = self.remove.iter().copied().collect();
        removable.sort_by_key(|voter| {
            let same_peer = ready.iter().any(|learner| learner.peer == voter.peer);
            let vacant = view.is_dead(voter, config) || view.is_leaving(&voter.peer, config);
            (!same_peer, !vacant, std::cmp::Reverse(view.distance(&voter.peer)))
        });
        let swaps = ready.len().min(removable.len());
        let pairs = (ready.len() - swaps) / 2 * 2;
        let mut ready: Vec<ReplicaId> = ready.into_iter().collect();
        ready.sort_by_key(|learner| view.distance(&learner.peer));
        ready.sort_by_key(|learner| !self.remove.iter().any(|voter| voter.peer == learner.peer));
        (ready.into_iter().take(swaps + pairs).collect(), removable.into_iter().take(swaps).collect())
    }
}
