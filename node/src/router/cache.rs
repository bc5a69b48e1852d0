//! The newest descriptors known, by prefix.
//!
//! Descriptors of overlapping prefixes compare by epoch, then by term: the higher wins and evicts every overlapping
//! lower one. So those kept never overlap. They are hints: ownership is decided where a command is applied.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use xorum_behaviours::{
    space::{Position, Prefix},
    wire::{Descriptor, GroupId},
};

/// The most descriptors that are kept. Beyond it the one furthest up the key space goes.
const MAX_DESCRIPTORS: usize = 4_096;

/// The newest descriptors known.
#[derive(Debug, Default)]
pub struct DescriptorCache {
    by_prefix: RwLock<BTreeMap<Prefix, Arc<Descriptor>>>,
}

impl DescriptorCache {
    /// Keeps a descriptor unless one that overlaps it is newer. Says whether anything changed.
    pub fn learn(&self, new: Descriptor) -> bool {
        if !new.is_within_bounds() {
            return false;
        }
        let mut kept = self.by_prefix.write();
        let overlapping: Vec<Prefix> = kept.keys().filter(|prefix| prefix.overlaps(&new.prefix)).copied().collect();
        for prefix in &overlapping {
            let old = &kept[prefix];
            if old.supersedes(&new) {
                return false;
            }
            let same = !new.supersedes(old);
            if same && (new.group != old.group || new.leader.is_none() || new == **old) {
                return false;
            }
        }
        for prefix in &overlapping {
            kept.remove(prefix);
        }
        if kept.len() >= MAX_DESCRIPTORS {
            kept.pop_last();
        }
        kept.insert(new.prefix, Arc::new(new));
        true
    }

    /// The descriptor of the group that owns a position.
    pub fn find(&self, position: &Position) -> Option<Arc<Descriptor>> {
        let kept = self.by_prefix.read();
        // No two kept prefixes overlap, so only the last one that starts at or before the position can contain it.
        let (prefix, found) = kept.range(..=Prefix::of(position, Prefix::MAX_LEN)).next_back()?;
        prefix.contains(position).then(|| Arc::clone(found))
    }

    /// The newer of an own replica's descriptor and the one that others told: a replica may have been removed, or lag.
    pub fn newest(&self, position: &Position, own: Option<Arc<Descriptor>>) -> Option<Arc<Descriptor>> {
        match (own, self.find(position)) {
            (Some(own), Some(told)) if told.supersedes(&own) => Some(told),
            (own, told) => own.or(told),
        }
    }

    /// Forgets who leads a group, where this leader is the one remembered.
    pub fn forget_leader(&self, group: &GroupId, leader: &libp2p::PeerId) {
        for descriptor in self.by_prefix.write().values_mut().filter(|kept| kept.group == *group) {
            if descriptor.leader == Some(*leader) {
                Arc::make_mut(descriptor).leader = None;
            }
        }
    }

    /// Remembers who leads a group, where nobody is known to and this is a voter of it.
    pub fn remember_leader(&self, group: &GroupId, leader: &libp2p::PeerId) {
        for descriptor in self.by_prefix.write().values_mut().filter(|kept| kept.group == *group) {
            if descriptor.leader.is_none() && descriptor.voters.iter().any(|voter| voter.peer == *leader) {
                Arc::make_mut(descriptor).leader = Some(*leader);
            }
        }
    }

    /// All of them, in the order of the key space.
    pub fn all(&self) -> Vec<Arc<Descriptor>> {
        self.by_prefix.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;
    use proptest::prelude::*;
    use xorum_behaviours::wire::{Epoch, GroupClock, ReplicaId, ReplicaNumber};

    use super::*;

    fn descriptor(prefix: &str, epoch: u64, term: u64) -> Descriptor {
        let peer = PeerId::random();
        Descriptor {
            group: GroupId([epoch as u8; 32]),
            prefix: prefix.parse().expect("a prefix"),
            epoch: Epoch(epoch),
            term,
            voters: vec![ReplicaId { peer, number: ReplicaNumber::FIRST }],
            leader: Some(peer),
            clock: GroupClock(0),
        }
    }

    #[test]
    fn a_newer_half_evicts_its_parent_and_an_older_parent_does_not_come_back() {
        let cache = DescriptorCache::default();
        assert!(cache.learn(descriptor("-", 1, 1)));
        assert!(cache.learn(descriptor("0", 2, 1)));
        assert!(!cache.learn(descriptor("-", 1, 9)));
        let (zero, one) = (Prefix::EMPTY.halves()).expect("the whole space has halves");
        assert_eq!(cache.find(&zero.anchor()).map(|found| found.epoch), Some(Epoch(2)));
        assert_eq!(cache.find(&one.anchor()), None);
    }

    #[test]
    fn a_newer_leader_of_the_same_epoch_and_term_is_learned() {
        let cache = DescriptorCache::default();
        let first = descriptor("-", 1, 1);
        let mut moved = first.clone();
        moved.leader = Some(PeerId::random());
        assert!(cache.learn(first));
        assert!(cache.learn(moved.clone()));
        assert_eq!(cache.find(&Prefix::EMPTY.anchor()), Some(Arc::new(moved)));
    }

    #[test]
    fn a_leader_is_forgotten_and_only_a_voter_is_remembered_in_its_place() {
        let cache = DescriptorCache::default();
        let first = descriptor("-", 1, 1);
        let (group, voter) = (first.group, first.voters[0].peer);
        let leader = || cache.find(&Prefix::EMPTY.anchor()).and_then(|found| found.leader);
        assert!(cache.learn(first));
        cache.forget_leader(&group, &voter);
        cache.remember_leader(&group, &PeerId::random());
        assert_eq!(leader(), None);
        cache.remember_leader(&group, &voter);
        assert_eq!(leader(), Some(voter));
    }

    proptest! {
        #[test]
        fn kept_prefixes_never_overlap(learned in proptest::collection::vec(("[01]{1,6}|-", 0u64..8, 0u64..3), 1..60)) {
            let cache = DescriptorCache::default();
            for (prefix, epoch, term) in learned {
                cache.learn(descriptor(&prefix, epoch, term));
                let all = cache.all();
                for (i, a) in all.iter().enumerate() {
                    prop_assert!(all[i + 1..].iter().all(|b| !a.prefix.overlaps(&b.prefix)));
                    let found = cache.find(&a.prefix.anchor());
                    prop_assert_eq!(found.as_ref(), Some(a));
                }
            }
        }
    }
}
