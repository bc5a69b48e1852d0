//! Invariants 3 and 4, while peers come, go, fall silent and leave, and leaders change between any two steps.
//!
//! The model checks each step as it carries it out: [`World::apply`].

use proptest::prelude::*;
use xorum_behaviours::wire::{Farewell, ReplicaNumber};

use super::{
    convergence::any_world,
    world::{World, replica},
};
use crate::placement::{Action, WaitFor};

/// What happens to a group beside its own steps.
#[derive(Clone, Copy, Debug)]
enum Event {
    Comes(usize),
    Crashes(usize),
    Says(usize, Farewell),
    IsGone(usize),
    LeaderChanges(usize),
    TimePasses(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let farewell = prop_oneof![Just(Farewell::Stays), Just(Farewell::Stopping), Just(Farewell::Leaving)];
    prop_oneof![
        any::<usize>().prop_map(Event::Comes),
        any::<usize>().prop_map(Event::Crashes),
        (any::<usize>(), farewell).prop_map(|(n, farewell)| Event::Says(n, farewell)),
        any::<usize>().prop_map(Event::IsGone),
        any::<usize>().prop_map(Event::LeaderChanges),
        (0u64..40).prop_map(Event::TimePasses),
    ]
}

fn happen(world: &mut World, event: Event) {
    let ids: Vec<_> = world.peers.keys().copied().collect();
    let now = world.now;
    let leader = world.leader.peer;
    match event {
        Event::Comes(n) => {
            let peer = world.peers.get_mut(&ids[n % ids.len()]).expect("a peer");
            if !peer.up {
                (peer.up, peer.since, peer.farewell) = (true, now, Farewell::Stays);
            }
        }
        Event::Crashes(n) if ids[n % ids.len()] != leader => {
            let peer = world.peers.get_mut(&ids[n % ids.len()]).expect("a peer");
            if peer.up {
                (peer.up, peer.since) = (false, now);
            }
        }
        Event::Says(n, farewell) => {
            let peer = world.peers.get_mut(&ids[n % ids.len()]).expect("a peer");
            if peer.up {
                peer.farewell = farewell;
            }
        }
        Event::IsGone(n) if ids[n % ids.len()] != leader => {
            let number = world.members().iter().filter(|m| m.peer == ids[n % ids.len()]).map(|m| m.number).max();
            let peer = world.peers.get_mut(&ids[n % ids.len()]).expect("a peer");
            if peer.up && number.is_some() {
                peer.gone = number;
            }
        }
        Event::LeaderChanges(n) if world.has_live_quorum() => {
            let last = world.voters.last().expect("voters");
            let live: Vec<_> = last.iter().filter(|voter| world.is_live(voter)).copied().collect();
            (world.leader, world.led_since) = (live[n % live.len()], now);
        }
        Event::TimePasses(seconds) => world.now += seconds,
        Event::Crashes(_) | Event::IsGone(_) | Event::LeaderChanges(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn invariant_3_no_step_takes_a_live_quorum_and_each_is_a_single_one(
        mut world in any_world(),
        events in prop::collection::vec((any_event(), 0usize..6), 0..40),
    ) {
        for (event, steps) in events {
            happen(&mut world, event);
            for _ in 0..steps {
                let action = world.plan();
                world.apply(&action);
            }
        }
    }

    #[test]
    fn invariant_3_a_half_done_joint_change_is_finished_before_anything_else(world in any_world()) {
        prop_assert_eq!(world.voters.len() > 1, world.plan() == Action::FinishJoint);
    }

    #[test]
    fn invariant_3_nothing_is_proposed_before_what_was_proposed_is_committed(world in any_world()) {
        let mut view = world.view();
        view.membership_committed = false;
        prop_assert_eq!(crate::placement::plan(&view, &world.config), Action::Wait(WaitFor::Membership));
        view.own_entry_applied = false;
        prop_assert_eq!(crate::placement::plan(&view, &world.config), Action::Wait(WaitFor::OwnEntry));
    }
}

#[test]
fn invariant_3_a_learner_that_lags_does_not_become_a_voter() {
    let mut world = World::new(3, 3, &[0], &[1, 2]);
    world.progress.remove(&replica(2, 3));
    assert_eq!(world.plan(), Action::Wait(WaitFor::CatchUp(replica(2, 3))));
    world.catch_up();
    assert!(matches!(world.plan(), Action::ChangeVoters { .. }));
}

#[test]
fn invariant_3_a_group_without_a_quorum_waits() {
    let world = World::new(3, 5, &[0, 1, 2], &[]).down(1).down(2);
    assert_eq!(world.plan(), Action::Wait(WaitFor::Quorum));
}

#[test]
fn invariant_4_a_number_is_minted_for_each_new_replica() {
    let mut world = World::new(3, 4, &[0, 1, 2], &[]).down(2);
    let taken = world.settle();
    assert_eq!(taken[0], Action::Mint { peer: super::world::peer(3) });
    assert_eq!(taken[1], Action::AddLearner { replica: replica(3, 100) });
    assert_eq!(world.fresh.get(&super::world::peer(3)), None::<&ReplicaNumber>);
}
