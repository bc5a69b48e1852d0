//! The rules of placement, one test each.

use std::collections::BTreeSet;

use xorum_behaviours::wire::{Farewell, ReplicaId};

use super::world::{World, peer, peers, replica};
use crate::placement::{Action, WaitFor};

fn change(add: &[ReplicaId], remove: &[ReplicaId]) -> Action {
    Action::ChangeVoters { add: add.iter().copied().collect(), remove: remove.iter().copied().collect() }
}

#[test]
fn a_sole_founder_has_nothing_to_do() {
    assert_eq!(World::new(5, 1, &[0], &[]).plan(), Action::Nothing);
}

#[test]
fn of_two_live_peers_one_votes_and_one_learns() {
    let mut world = World::new(5, 2, &[1], &[]);
    assert_eq!(world.plan(), Action::Mint { peer: peer(0) });
    world.apply(&Action::Mint { peer: peer(0) });
    assert_eq!(world.plan(), Action::AddLearner { replica: replica(0, 100) });
    world.settle();
    assert_eq!(world.voting_peers(), peers([1]), "a sole voter's seat never moves by distance");
    assert_eq!(world.learners, BTreeSet::from([replica(0, 100)]));
}

#[test]
fn the_third_peer_promotes_both_in_one_joint_change() {
    let mut world = World::new(5, 3, &[0], &[1]);
    let taken = world.settle();
    let changes: Vec<_> = taken.iter().filter(|action| matches!(action, Action::ChangeVoters { .. })).collect();
    assert_eq!(changes, [&change(&[replica(1, 2), replica(2, 100)], &[])]);
}

#[test]
fn the_fourth_peer_is_a_spare_and_no_learner() {
    let world = World::new(5, 4, &[0, 1, 2], &[]);
    assert_eq!(world.plan(), Action::Nothing);
}

#[test]
fn the_fifth_peer_makes_five_voters_and_the_sixth_is_a_spare() {
    let mut world = World::new(5, 6, &[0, 1, 2], &[]);
    world.settle();
    assert_eq!(world.voting_peers(), peers(0..5));
    assert!(world.learners.is_empty());
}

#[test]
fn death_never_shrinks_an_odd_voter_set() {
    let mut world = World::new(5, 5, &[0, 1, 2, 3, 4], &[]).down(3).down(4);
    assert_eq!(world.plan(), Action::Nothing);
    assert!(world.settle().is_empty());
}

#[test]
fn a_dead_voters_seat_goes_at_once_to_a_peer_that_came_just_now() {
    let mut world = World::new(3, 4, &[0, 1, 2], &[]).down(2).new_here(3);
    assert_eq!(world.wanted(), peers([0, 1, 3]));
    let taken = world.settle();
    assert!(taken.contains(&change(&[replica(3, 100)], &[replica(2, 3)])), "{taken:?}");
    assert!(world.learners.is_empty(), "the dead one is no member any more");
}

#[test]
fn one_that_is_silent_for_less_than_replace_after_keeps_its_seat() {
    let mut world = World::new(3, 4, &[0, 1, 2], &[]).down(2);
    world.led_since = world.now - 9;
    assert_eq!(world.plan(), Action::Nothing, "the clocks start anew with each leader");
    world.now += 1;
    assert_eq!(world.plan(), Action::Mint { peer: peer(3) });
}

#[test]
fn a_closer_newcomer_displaces_a_live_voter_only_after_settle_after() {
    let mut world = World::new(3, 4, &[1, 2, 3], &[]).new_here(0);
    world.now += 29;
    assert_eq!(world.plan(), Action::Nothing);
    world.now += 1;
    assert_eq!(world.wanted(), peers([0, 1, 2]));
    assert_eq!(world.plan(), Action::Mint { peer: peer(0) });
}

#[test]
fn one_removed_as_dead_waits_five_times_that_before_it_displaces_anyone() {
    let mut world = World::new(3, 4, &[1, 2, 3], &[]).new_here(0);
    world.peer(0).removed_as_dead = true;
    world.now += 149;
    assert_eq!(world.plan(), Action::Nothing);
    world.now += 1;
    assert_eq!(world.plan(), Action::Mint { peer: peer(0) });
}

#[test]
fn one_removed_as_dead_takes_a_vacant_seat_at_once() {
    let mut world = World::new(3, 4, &[1, 2, 3], &[]).new_here(0).down(3);
    world.peer(0).removed_as_dead = true;
    assert_eq!(world.plan(), Action::Mint { peer: peer(0) });
}

#[test]
fn a_displaced_leader_hands_over_to_a_voter_that_stays() {
    let mut world = World::new(3, 4, &[3, 1, 2], &[]);
    assert_eq!(world.leader.peer, peer(3));
    assert_eq!(world.plan(), Action::TransferLeadership { to: replica(1, 2) });
    world.settle();
    assert_eq!(world.voting_peers(), peers([0, 1, 2]));
}

#[test]
fn a_displaced_leader_replaces_the_dead_before_it_hands_over() {
    let mut world = World::new(3, 6, &[5, 4, 3], &[]).down(3);
    assert_eq!(world.wanted(), peers([0, 1, 2]));
    let taken = world.settle();
    let position = |action: &Action| taken.iter().position(|a| a == action).expect("it is taken");
    let replaced =
        taken.iter().position(|a| matches!(a, Action::ChangeVoters { remove, .. } if remove.contains(&replica(3, 4))));
    let hands_over = taken.iter().position(|a| matches!(a, Action::TransferLeadership { .. }));
    assert!(replaced.expect("it is replaced") < hands_over.expect("it hands over"));
    assert_eq!(position(&Action::Mint { peer: peer(0) }), 0, "the closest first");
}

#[test]
fn a_sole_voter_that_goes_hands_its_seat_to_a_learner_that_answered_a_fresh_probe() {
    for farewell in [Farewell::Leaving, Farewell::Stopping] {
        let mut world = World::new(5, 2, &[0], &[1]).going(0, farewell);
        world.progress.get_mut(&replica(1, 2)).expect("a learner").probed_at_last_log = false;
        assert_eq!(world.plan(), Action::Wait(WaitFor::Probe(replica(1, 2))), "it is kept until then");
        world.catch_up();
        assert_eq!(world.plan(), change(&[replica(1, 2)], &[replica(0, 1)]));
        world.settle();
        assert_eq!(world.voting_peers(), peers([1]));
    }
}

#[test]
fn a_sole_voter_whose_learner_goes_too_keeps_its_seat() {
    let world = World::new(5, 2, &[0], &[1]).going(0, Farewell::Stopping).going(1, Farewell::Stopping);
    assert_eq!(world.wanted(), peers([0]));
    assert_eq!(world.plan(), Action::Nothing);
}

#[test]
fn the_only_peer_keeps_its_seat_when_it_leaves() {
    assert_eq!(World::new(5, 1, &[0], &[]).going(0, Farewell::Leaving).plan(), Action::Nothing);
}

#[test]
fn a_stopped_learner_is_kept_until_it_is_dead() {
    let mut world = World::new(5, 2, &[0], &[1]).going(1, Farewell::Stopping);
    assert_eq!(world.plan(), Action::Nothing);
    let now = world.now;
    let gone = world.peer(1);
    (gone.up, gone.since) = (false, now);
    world.now += 9;
    assert_eq!(world.plan(), Action::Nothing);
    world.now += 1;
    assert_eq!(world.plan(), Action::RemoveLearner { replica: replica(1, 2) });
}

#[test]
fn one_of_three_that_leaves_takes_the_farthest_along_which_learns_from_then_on() {
    let mut world = World::new(5, 3, &[0, 1, 2], &[]).going(1, Farewell::Leaving);
    assert_eq!(world.plan(), change(&[], &[replica(1, 2), replica(2, 3)]));
    world.settle();
    assert_eq!(world.voting_peers(), peers([0]));
    assert_eq!(world.learners, BTreeSet::from([replica(2, 3)]));
}

#[test]
fn a_leaver_takes_a_dead_one_along_before_a_live_one() {
    let mut world = World::new(5, 5, &[4, 0, 1, 2, 3], &[]).going(2, Farewell::Leaving).down(0);
    world.settle();
    assert_eq!(world.voting_peers(), peers([1, 3, 4]));
}

#[test]
fn two_leavers_go_together() {
    let mut world = World::new(5, 5, &[0, 1, 2, 3, 4], &[]).going(1, Farewell::Leaving).going(2, Farewell::Leaving);
    world.settle();
    assert_eq!(world.voting_peers(), peers([0, 3, 4]));
}

#[test]
fn a_leaver_with_a_candidate_takes_nobody_along() {
    let mut world = World::new(3, 4, &[0, 1, 2], &[]).going(0, Farewell::Leaving).new_here(3);
    assert_eq!(world.plan(), Action::TransferLeadership { to: replica(1, 2) }, "a leader that leaves hands over first");
    world.settle();
    assert_eq!(world.voting_peers(), peers([1, 2, 3]));
}

#[test]
fn leavers_never_leave_the_group_to_the_dead() {
    let mut world = World::new(5, 5, &[0, 1, 2, 3, 4], &[]).down(1).down(2);
    world = world.going(3, Farewell::Leaving).going(4, Farewell::Leaving);
    assert_eq!(world.wanted(), peers([0]), "each takes a dead one along");
    world.settle();
    assert!(world.has_live_quorum());
}

#[test]
fn five_peers_leave_one_after_the_other_down_to_one() {
    let mut world = World::new(5, 5, &[0, 1, 2, 3, 4], &[]);
    for (n, left) in [(0, 3), (3, 3), (1, 1), (2, 1)] {
        world = world.going(n, Farewell::Leaving);
        world.settle();
        assert_eq!(world.voting_peers().len(), left, "after {n} left: {world:?}");
        assert!(world.members().iter().all(|member| member.peer != peer(n)));
        world = world.down(n);
    }
    assert_eq!(world.voting_peers(), peers([4]));
}

#[test]
fn a_crash_cancels_a_leave() {
    let world = World::new(5, 3, &[0, 1, 2], &[]).going(1, Farewell::Leaving).down(1);
    assert_eq!(world.plan(), Action::Nothing);
}

#[test]
fn one_that_is_gone_is_dead_at_once_and_gets_its_seat_under_a_new_number() {
    let mut world = World::new(3, 3, &[0, 1, 2], &[]).gone(2);
    world.led_since = world.now;
    assert_eq!(world.plan(), Action::Mint { peer: peer(2) });
    let taken = world.settle();
    assert!(taken.contains(&change(&[replica(2, 100)], &[replica(2, 3)])), "{taken:?}");
}

#[test]
fn a_minted_number_that_is_dead_already_is_not_used() {
    let mut world = World::new(3, 3, &[0, 1, 2], &[]).gone(2);
    world.fresh.insert(peer(2), xorum_behaviours::wire::ReplicaNumber(3));
    assert_eq!(world.plan(), Action::Mint { peer: peer(2) });
}

#[test]
fn a_leader_that_stops_hands_over_and_keeps_its_seat() {
    let mut world = World::new(3, 4, &[0, 1, 2], &[]).going(0, Farewell::Stopping);
    assert_eq!(world.settle(), [Action::TransferLeadership { to: replica(1, 2) }]);
    assert_eq!(world.voting_peers(), peers([0, 1, 2]));
}

#[test]
fn leadership_goes_only_to_a_voter_that_is_alive_stays_and_has_caught_up() {
    let mut world = World::new(5, 5, &[0, 1, 2, 3, 4], &[]).going(0, Farewell::Stopping);
    world = world.down(1).going(2, Farewell::Stopping);
    world.progress.remove(&replica(3, 4));
    assert_eq!(world.plan(), Action::TransferLeadership { to: replica(4, 5) });
    world.progress.remove(&replica(4, 5));
    assert!(matches!(world.plan(), Action::Wait(WaitFor::Successor(_))));
}

#[test]
fn a_peer_that_leads_more_than_its_share_hands_over_and_does_not_get_it_back() {
    let mut world = World::new(3, 3, &[0, 1, 2], &[]);
    world.peer(0).leads = 1;
    assert_eq!(world.plan(), Action::Nothing, "one group is no more than a share");
    for (n, leads) in [(0, 5), (1, 3), (2, 2)] {
        world.peer(n).leads = leads;
    }
    assert_eq!(world.plan(), Action::TransferLeadership { to: replica(2, 3) });
    world.apply(&world.plan());
    (world.peer(0).leads, world.peer(2).leads) = (4, 3);
    assert_eq!(world.plan(), Action::Nothing);
}

#[test]
fn a_removed_voter_is_removed_as_learner_once_it_knows() {
    let mut world = World::new(3, 3, &[0, 1, 2], &[]).going(2, Farewell::Leaving);
    world.apply(&world.plan());
    world.apply(&Action::FinishJoint);
    assert_eq!(world.plan(), Action::Wait(WaitFor::Removed(replica(2, 3))));
    world.catch_up();
    assert_eq!(world.plan(), Action::RemoveLearner { replica: replica(2, 3) });
}

#[test]
fn a_learner_that_lags_does_not_hold_up_the_others() {
    let mut world = World::new(5, 5, &[0, 1, 2], &[3, 4]).down(2);
    world.progress.remove(&replica(4, 5));
    assert_eq!(world.plan(), change(&[replica(3, 4)], &[replica(2, 3)]));
}

#[test]
fn a_dead_voters_seat_is_filled_before_a_live_one_is_displaced() {
    let mut world = World::new(3, 5, &[1, 2, 4], &[0, 3]).down(2);
    world.progress.remove(&replica(3, 4));
    assert_eq!(world.wanted(), peers([0, 1, 3]));
    assert_eq!(world.plan(), change(&[replica(0, 1)], &[replica(2, 3)]));
}

#[test]
fn a_learner_that_is_silent_for_a_moment_is_kept() {
    let mut world = World::new(5, 3, &[0], &[1, 2]).down(1);
    world.led_since = world.now - 9;
    world.progress.remove(&replica(1, 2));
    assert_eq!(world.plan(), Action::Wait(WaitFor::CatchUp(replica(1, 2))));
    world.now += 1;
    assert_eq!(world.wanted(), peers([0]), "it is dead, and two live peers are one voter and one learner");
    assert_eq!(world.plan(), Action::RemoveLearner { replica: replica(1, 2) });
}
