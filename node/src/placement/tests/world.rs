//! A model of one group: peers that are up or not, a membership, and the effect of each action on them. It checks
//! what must hold of every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use libp2p::PeerId;
use xorum_behaviours::{
    space::Position,
    wire::{Farewell, ReplicaId, ReplicaNumber},
};

use crate::placement::{Action, PeerView, PlacementConfig, ReplicaView, View, plan, wanted};

pub(super) const fn config(replication_factor: u8) -> PlacementConfig {
    PlacementConfig {
        replication_factor,
        replace_after: Duration::from_secs(10),
        settle_after: Duration::from_secs(30),
    }
}

/// The n-th peer: the n-th closest to the anchor.
pub(super) fn peer(n: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, n]).expect("an identity multihash of one byte")
}

pub(super) fn replica(n: u8, number: u64) -> ReplicaId {
    ReplicaId { peer: peer(n), number: ReplicaNumber(number) }
}

pub(super) fn peers(of: impl IntoIterator<Item = u8>) -> BTreeSet<PeerId> {
    of.into_iter().map(peer).collect()
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) up: bool,
    /// When it came up, or went down.
    pub(super) since: u64,
    pub(super) farewell: Farewell,
    pub(super) gone: Option<ReplicaNumber>,
    pub(super) removed_as_dead: bool,
    pub(super) leads: u64,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) config: PlacementConfig,
    /// Seconds.
    pub(super) now: u64,
    /// When the leader began.
    pub(super) led_since: u64,
    pub(super) leader: ReplicaId,
    pub(super) voters: Vec<BTreeSet<ReplicaId>>,
    pub(super) learners: BTreeSet<ReplicaId>,
    pub(super) fresh: BTreeMap<PeerId, ReplicaNumber>,
    pub(super) next_number: u64,
    pub(super) progress: BTreeMap<ReplicaId, ReplicaView>,
    pub(super) peers: BTreeMap<PeerId, Peer>,
}

impl fmt::Debug for World {
    /// On one line: each peer with its distance, its state, and its replicas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R={} now={} led_since={}", self.config.replication_factor, self.now, self.led_since)?;
        for (id, peer) in &self.peers {
            let up = if peer.up { "up" } else { "down" };
            write!(f, " [{} {up} {:?} {:?}", id.to_bytes()[2], peer.farewell, peer.gone)?;
            for member in self.members().iter().filter(|member| member.peer == *id) {
                let (votes, leads) = (self.voters.iter().map(|set| set.contains(member)), *member == self.leader);
                let caught_up = self.progress.get(member).is_some_and(|view| view.caught_up);
                write!(f, " #{} votes={:?}", member.number, votes.collect::<Vec<_>>())?;
                write!(f, "{}{}", if leads { " leads" } else { "" }, if caught_up { "" } else { " lags" })?;
            }
            write!(f, "]")?;
        }
        Ok(())
    }
}

impl World {
    /// `count` peers, up and heard for long; peers `voters` vote, the first of them leads; `learners` learn.
    pub(super) fn new(replication_factor: u8, count: u8, voters: &[u8], learners: &[u8]) -> Self {
        let member = |n: &u8| replica(*n, u64::from(*n) + 1);
        let up = Peer { up: true, since: 0, farewell: Farewell::Stays, gone: None, removed_as_dead: false, leads: 0 };
        let mut world = Self {
            config: config(replication_factor),
            now: 1_000,
            led_since: 0,
            leader: member(&voters[0]),
            voters: vec![voters.iter().map(member).collect()],
            learners: learners.iter().map(member).collect(),
            fresh: BTreeMap::new(),
            next_number: 100,
            progress: BTreeMap::new(),
            peers: (0..count).map(|n| (peer(n), up.clone())).collect(),
        };
        world.catch_up();
        world
    }

    pub(super) fn peer(&mut self, n: u8) -> &mut Peer {
        self.peers.get_mut(&peer(n)).expect("a peer of this world")
    }

    /// Down for long.
    pub(super) fn down(mut self, n: u8) -> Self {
        self.peer(n).up = false;
        self
    }

    pub(super) fn going(mut self, n: u8, farewell: Farewell) -> Self {
        self.peer(n).farewell = farewell;
        if let Some(view) = self.progress.get_mut(&replica(n, u64::from(n) + 1)) {
            view.probed_at_last_log = false;
        }
        self
    }

    pub(super) fn gone(mut self, n: u8) -> Self {
        self.peer(n).gone = Some(ReplicaNumber(u64::from(n) + 1));
        self
    }

    /// Came up just now.
    pub(super) fn new_here(mut self, n: u8) -> Self {
        let now = self.now;
        self.peer(n).since = now;
        self
    }

    pub(super) fn members(&self) -> BTreeSet<ReplicaId> {
        self.voters.iter().flatten().chain(&self.learners).copied().collect()
    }

    pub(super) fn voting_peers(&self) -> BTreeSet<PeerId> {
        self.voters.iter().flatten().map(|voter| voter.peer).collect()
    }

    pub(super) fn is_live(&self, replica: &ReplicaId) -> bool {
        let peer = &self.peers[&replica.peer];
        peer.up && peer.gone.is_none_or(|gone| replica.number > gone)
    }

    pub(super) fn has_live_quorum(&self) -> bool {
        self.voters.iter().all(|set| 2 * set.iter().filter(|voter| self.is_live(voter)).count() > set.len())
    }

    /// Time goes on and every live replica learns all.
    pub(super) fn catch_up(&mut self) {
        self.now += 1;
        for member in self.members() {
            if self.is_live(&member) {
                let probed_at_last_log = self.peers[&member.peer].farewell == Farewell::Stays;
                let view = ReplicaView { caught_up: true, knows_membership: true, probed_at_last_log };
                self.progress.insert(member, view);
            }
        }
    }

    pub(super) fn view(&self) -> View {
        let peers = self.peers.iter().map(|(id, peer)| {
            let lasted = Duration::from_secs(self.now - self.led_since.max(peer.since));
            let [first, ..] = id.to_bytes()[2..] else { unreachable!("an identity multihash of one byte") };
            let mut position = [0; 32];
            position[0] = first + 1;
            let view = PeerView {
                position: Position::from_bytes(position),
                silent_for: if peer.up { Duration::ZERO } else { lasted },
                alive: peer.up,
                alive_for: if peer.up { lasted } else { Duration::ZERO },
                farewell: peer.farewell,
                gone: peer.gone,
                removed_as_dead: peer.removed_as_dead,
                leads: peer.leads,
            };
            (*id, view)
        });
        View {
            anchor: Position::from_bytes([0; 32]),
            local: self.leader,
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            own_entry_applied: true,
            membership_committed: true,
            fresh: self.fresh.clone(),
            replicas: self.progress.clone(),
            peers: peers.collect(),
        }
    }

    pub(super) fn plan(&self) -> Action {
        plan(&self.view(), &self.config)
    }

    pub(super) fn wanted(&self) -> BTreeSet<PeerId> {
        wanted(&self.view(), &self.config)
    }

    fn lead(&mut self, leader: ReplicaId) {
        self.leader = leader;
        self.led_since = self.now;
    }

    /// Carries one action out.
    ///
    /// # Panics
    /// When it is one that must not be.
    pub(super) fn apply(&mut self, action: &Action) {
        let had_quorum = self.has_live_quorum();
        let joint = self.voters.len() > 1;
        assert!(!joint || *action == Action::FinishJoint, "a half-done joint change is finished first: {action:?}");
        match action {
            Action::Nothing | Action::Wait(_) => self.catch_up(),
            // Without a quorum the entry is never committed.
            Action::FinishJoint if !had_quorum => self.catch_up(),
            Action::FinishJoint => self.finish_joint(),
            Action::Mint { peer } => {
                self.fresh.insert(*peer, ReplicaNumber(self.next_number));
                self.next_number += 1;
            }
            Action::AddLearner { replica } => {
                let number = self.fresh.remove(&replica.peer);
                assert_eq!(number, Some(replica.number), "a number is minted before it is used, and used once");
                let peer = &self.peers[&replica.peer];
                assert!(peer.up && peer.farewell == Farewell::Stays, "only who is heard and stays is added");
                let live = self.members().into_iter().filter(|member| self.is_live(member));
                assert!(live.into_iter().all(|member| member.peer != replica.peer), "a peer has one replica");
                self.learners.insert(*replica);
            }
            Action::ChangeVoters { add, remove } => self.enter_joint(add, remove),
            Action::RemoveLearner { replica } => {
                let dead = self.view().is_dead(replica, &self.config);
                let knows = self.progress.get(replica).is_some_and(|view| view.knows_membership);
                assert!(dead || knows, "a removed voter is a learner until it knows or is dead");
                assert!(self.learners.remove(replica), "it is a learner");
            }
            Action::TransferLeadership { to } => {
                assert!(self.voters[0].contains(to) && *to != self.leader && self.is_live(to));
                assert!(self.progress[to].caught_up, "only a voter that has caught up is asked to lead");
                assert_eq!(self.peers[&to.peer].farewell, Farewell::Stays, "only one that stays is asked to lead");
                self.lead(*to);
            }
        }
        assert!(!had_quorum || self.has_live_quorum(), "{action:?} takes the live quorum");
    }

    fn enter_joint(&mut self, add: &BTreeSet<ReplicaId>, remove: &BTreeSet<ReplicaId>) {
        let old = self.voters[0].clone();
        assert!(!add.is_empty() || !remove.is_empty(), "a change changes");
        assert!(add.is_subset(&self.learners) && remove.is_subset(&old));
        assert!(add.iter().all(|learner| self.progress.get(learner).is_some_and(|view| view.caught_up)));
        let next: BTreeSet<ReplicaId> = old.difference(remove).chain(add).copied().collect();
        assert_eq!(next.len() % 2, 1, "the count of voters stays odd");
        assert_eq!(next.iter().map(|voter| voter.peer).collect::<BTreeSet<_>>().len(), next.len());
        let dead: Vec<PeerId> =
            remove.iter().filter(|v| self.view().is_dead(v, &self.config)).map(|v| v.peer).collect();
        for peer in self.peers.iter_mut().filter(|(id, _)| dead.contains(id)) {
            peer.1.removed_as_dead = true;
        }
        for learner in add {
            self.peers.get_mut(&learner.peer).expect("a known peer").removed_as_dead = false;
        }
        self.learners.retain(|learner| !add.contains(learner));
        self.voters = vec![old, next];
        self.progress.values_mut().for_each(|view| view.knows_membership = false);
    }

    fn finish_joint(&mut self) {
        let [old, new] = &self.voters[..] else { panic!("no joint change to finish") };
        let removed: BTreeSet<ReplicaId> = old.difference(new).copied().collect();
        self.voters = vec![new.clone()];
        self.learners.extend(removed);
        self.progress.values_mut().for_each(|view| view.knows_membership = false);
        if !self.voters[0].contains(&self.leader) {
            let next = self.voters[0].iter().find(|voter| self.is_live(voter)).copied();
            self.lead(next.expect("a live voter"));
        }
    }

    /// Follows the plan until it has nothing to do, however long it is waited, and answers the actions taken.
    ///
    /// # Panics
    /// When that takes more actions than any group needs.
    pub(super) fn settle(&mut self) -> Vec<Action> {
        let mut taken = Vec::new();
        let mut waited = 0;
        loop {
            let action = self.plan();
            self.apply(&action);
            match action {
                Action::Nothing if waited > 5 * 30 => return taken,
                Action::Nothing => {
                    self.now += 40;
                    waited += 40;
                }
                Action::Wait(_) => {
                    waited += 1;
                    assert!(waited < 1_000, "it waits for ever: {action:?} after {taken:?} in {self:?}");
                }
                action => {
                    waited = 0;
                    taken.push(action);
                }
            }
            assert!(taken.len() <= 60, "it comes to no end: {taken:?} in {self:?}");
        }
    }
}
