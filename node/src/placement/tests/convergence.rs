//! From any state, with peers held still, the plan reaches exactly what is wanted, and then rests.

use std::collections::BTreeSet;

use libp2p::PeerId;
use proptest::prelude::*;
use xorum_behaviours::wire::{Farewell, ReplicaNumber};

use super::world::{World, peer, replica};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Up,
    Down,
    Leaving,
    Stopping,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Voter,
    Learner,
    None,
}

/// A world of these peers in which a live quorum exists, or none.
pub(super) fn world(replication_factor: u8, of: &[(Part, Status)], leader: usize) -> Option<World> {
    let having = |part| (0u8..).zip(of).filter(move |(_, (p, _))| *p == part).map(|(n, _)| n).collect::<Vec<u8>>();
    let (voters, learners) = (having(Part::Voter), having(Part::Learner));
    let mut world = World::new(replication_factor, of.len() as u8, voters.first().map(|_| &voters[..])?, &learners);
    for (n, (part, status)) in (0u8..).zip(of) {
        world = match status {
            Status::Up => world,
            Status::Down => world.down(n),
            Status::Leaving => world.going(n, Farewell::Leaving),
            Status::Stopping => world.going(n, Farewell::Stopping),
            Status::Gone if *part == Part::None => return None,
            Status::Gone => world.gone(n),
        };
    }
    let live: Vec<_> = world.voters[0].iter().filter(|voter| world.is_live(voter)).copied().collect();
    world.leader = *live.get(leader % live.len().max(1))?;
    world.has_live_quorum().then_some(world)
}

/// What every group comes to.
fn assert_settled(world: &World) {
    let voters = &world.voters[0];
    assert_eq!(world.voters.len(), 1);
    assert_eq!(world.voting_peers(), world.wanted(), "the voters are the wanted ones: {world:?}");
    assert_eq!(voters.len() % 2, 1, "their count is odd");
    assert!(world.has_live_quorum());
    let stays = |id: &PeerId| world.peers[id].up && world.peers[id].farewell == Farewell::Stays;
    let staying: BTreeSet<PeerId> = world.peers.keys().filter(|id| stays(id)).copied().collect();
    let leaves = |id: &PeerId| world.peers[id].farewell == Farewell::Leaving && world.peers[id].up;
    if !staying.is_empty() {
        let left = world.members().into_iter().all(|member| !leaves(&member.peer));
        assert!(left, "who leaves is out of the group: {world:?}");
    }
    let seats = usize::from(world.config.replication_factor);
    let live = staying.len().min(seats).saturating_sub(1) / 2 * 2 + 1;
    assert!(voters.len() >= live, "no live candidate lacks a seat that there should be");
    if voters.len() > 1 {
        assert!(world.learners.is_empty(), "nobody learns who is not to vote: {world:?}");
        let seated = staying.iter().filter(|id| world.voting_peers().contains(*id)).count();
        // Peers that stop keep their seats while they are up, and so may stand before a farther one.
        let closest: BTreeSet<PeerId> = staying.iter().copied().take(seated).collect();
        assert!(closest.is_subset(&world.voting_peers()), "the closest live ones have the seats: {world:?}");
        let gone = voters.iter().filter(|voter| stays(&voter.peer) && !world.is_live(voter)).count();
        assert_eq!(gone, 0, "a live peer's seat is held by a replica that works: {world:?}");
    } else if staying.len() == 2 {
        assert_eq!(world.learners.len(), 1, "of two live peers one learns: {world:?}");
    } else {
        assert!(world.learners.len() <= 1);
    }
}

fn any_peer() -> impl Strategy<Value = (Part, Status)> {
    let part = prop_oneof![4 => Just(Part::Voter), 1 => Just(Part::Learner), 3 => Just(Part::None)];
    let status = prop_oneof![
        6 => Just(Status::Up), 3 => Just(Status::Down), 1 => Just(Status::Leaving), 1 => Just(Status::Stopping),
        1 => Just(Status::Gone)
    ];
    (part, status)
}

prop_compose! {
    /// Peers in any state, a leader of any age, learners that lag or not, and perhaps a half-done joint change.
    pub(super) fn any_world()(
        replication_factor in prop_oneof![Just(3u8), Just(5), Just(7)],
        mut of in prop::collection::vec(any_peer(), 1..10),
        leader: usize,
        lagging: u16,
        joint in prop::option::of(any::<u16>()),
        age in 0u64..60,
    ) -> World {
        let first = leader % of.len();
        of[first] = (Part::Voter, Status::Up);
        loop {
            for each in &mut of {
                if *each == (Part::None, Status::Gone) {
                    *each = (Part::None, Status::Up);
                }
            }
            let Some(mut world) = world(replication_factor, &of, leader) else {
                // Too few live voters: one more is up.
                if let Some(voter) = of.iter_mut().find(|(part, status)| *part == Part::Voter && *status != Status::Up) {
                    voter.1 = Status::Up;
                }
                continue;
            };
            world.led_since = world.now - age;
            for n in (0..of.len() as u8).filter(|n| lagging >> n & 1 == 1) {
                world.progress.remove(&replica(n, u64::from(n) + 1));
            }
            if let Some(bits) = joint {
                let one = world.clone();
                let picked = (0..of.len() as u8).filter(|n| bits >> n & 1 == 1);
                let next: BTreeSet<_> = picked.map(|n| replica(n, u64::from(n) + 1)).filter(|r| world.members().contains(r)).collect();
                world.learners.retain(|learner| !next.contains(learner));
                world.voters.push(next);
                if world.voters[1].len() % 2 == 0 || !world.has_live_quorum() {
                    return one;
                }
            }
            return world;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_group_whose_peers_are_held_still_reaches_what_is_wanted(mut world in any_world()) {
        world.settle();
        assert_settled(&world);
    }

    #[test]
    fn of_peers_that_are_up_or_down_the_closest_get_the_seats(
        replication_factor in prop_oneof![Just(3u8), Just(5), Just(7)],
        of in prop::collection::vec((any::<bool>(), prop::bool::weighted(0.7)), 1..12),
        leader: usize,
    ) {
        let described: Vec<_> = of.iter().map(|(votes, up)| (
            if *votes { Part::Voter } else { Part::None },
            if *up { Status::Up } else { Status::Down },
        )).collect();
        let Some(mut world) = world(replication_factor, &described, leader) else { return Ok(()) };
        let ids = |filter: &dyn Fn(bool, bool) -> bool| (0u8..).zip(&of)
            .filter(|(_, (votes, up))| filter(*votes, *up)).map(|(n, _)| peer(n)).collect::<Vec<_>>();
        let (voters, up, dead) = (ids(&|v, _| v), ids(&|_, u| u), ids(&|v, u| v && !u));
        let seats = (voters.len().max(up.len().min(usize::from(replication_factor))) - 1) / 2 * 2 + 1;
        let expected: BTreeSet<PeerId> = if seats == 1 && voters.len() == 1 {
            voters.into_iter().collect()
        } else {
            up.into_iter().chain(dead).take(seats).collect()
        };
        world.settle();
        prop_assert_eq!(world.voting_peers(), expected);
    }
}

#[test]
fn every_small_group_reaches_what_is_wanted() {
    const STATUSES: [Status; 4] = [Status::Up, Status::Down, Status::Leaving, Status::Gone];
    let every = |parts: &'static [Part]| {
        parts.iter().flat_map(|part| STATUSES.map(|status| (*part, status))).collect::<Vec<_>>()
    };
    let mut tried = 0;
    for (count, kinds) in [
        (1, every(&[Part::Voter, Part::Learner, Part::None])),
        (2, every(&[Part::Voter, Part::Learner, Part::None])),
        (3, every(&[Part::Voter, Part::Learner, Part::None])),
        (4, every(&[Part::Voter, Part::Learner, Part::None])),
        (5, every(&[Part::Voter, Part::None])),
    ] {
        let total = kinds.len().pow(count);
        for code in 0..total {
            let of: Vec<_> = (0..count).map(|n| kinds[code / kinds.len().pow(n) % kinds.len()]).collect();
            // The leader is another one each time.
            if let Some(mut world) = world(5, &of, code / 7) {
                world.settle();
                assert_settled(&world);
                tried += 1;
            }
        }
    }
    assert!(tried > 10_000, "{tried} worlds");
}

#[test]
fn a_number_is_never_used_twice_by_a_peer_that_is_gone_again_and_again() {
    let mut world = World::new(3, 3, &[0, 1, 2], &[]);
    let mut numbers = BTreeSet::from([ReplicaNumber(3)]);
    for _ in 0..5 {
        let number = world.voters[0].iter().find(|voter| voter.peer == peer(2)).map(|voter| voter.number);
        world.peer(2).gone = number;
        world.settle();
        assert_settled(&world);
        let next = world.voters[0].iter().find(|voter| voter.peer == peer(2)).expect("it has its seat again");
        assert!(numbers.insert(next.number), "{} is used twice", next.number);
    }
}
