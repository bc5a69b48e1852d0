//! Who is to lead: when the leader hands over, and to whom.

use std::collections::BTreeSet;

use libp2p::PeerId;
use xorum_behaviours::wire::{Farewell, ReplicaId};

use super::view::View;

/// A leader hands over for its share's sake only to one that leads fewer groups by more than this: with less, two
/// leaders that count at the same moment would hand a group to and fro.
const SPREAD_MARGIN: u64 = 2;

/// Who is to lead after this leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successor {
    /// This voter, at once.
    Ready(ReplicaId),
    /// This voter, once it has caught up.
    CatchingUp(ReplicaId),
    /// No other voter that is alive and stays.
    Nobody,
}

/// The voter that can best follow the leader among those of these peers: alive, staying, caught up; of several the
/// one that leads the fewest groups, then the closest.
pub(super) fn successor(view: &View, among: &BTreeSet<PeerId>) -> Successor {
    let seated = view.seated();
    let sound = |voter: &&ReplicaId| **voter != view.local && among.contains(&voter.peer) && view.is_sound(voter);
    let mut sound: Vec<&ReplicaId> = seated.iter().filter(sound).collect();
    sound.sort_by_key(|voter| (leads(view, &voter.peer), view.distance(&voter.peer)));
    match (sound.iter().find(|voter| view.progress(voter).caught_up), sound.first()) {
        (Some(ready), _) => Successor::Ready(**ready),
        (None, Some(first)) => Successor::CatchingUp(**first),
        (None, None) => Successor::Nobody,
    }
}

/// Does the leader's peer leave or stop?
pub(super) fn leader_goes(view: &View) -> bool {
    view.farewell(&view.local.peer) != Farewell::Stays
}

/// The voter that is to lead in this leader's place because this leader's peer leads more than its share.
pub(super) fn spread(view: &View) -> Option<ReplicaId> {
    let others = view.seated().iter().map(|voter| voter.peer).collect();
    let Successor::Ready(to) = successor(view, &others) else { return None };
    (leads(view, &view.local.peer) > leads(view, &to.peer) + SPREAD_MARGIN).then_some(to)
}

fn leads(view: &View, peer: &PeerId) -> u64 {
    view.peers.get(peer).map_or(0, |peer| peer.leads)
}
