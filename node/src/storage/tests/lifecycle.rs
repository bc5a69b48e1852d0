//! Replicas are made, buried, quarantined (invariant 4).

use openraft::storage::{RaftLogStorage, RaftStateMachine};
use xorum_behaviours::wire::ReplicaNumber;

use super::rig::{DEADLINE, NUMBER, blank, config, directory, group, head, id, one_replica, open, put};
use crate::storage::{Condition, Storage, StorageConfig, StorageError, engine::Space};

#[tokio::test]
async fn a_replica_is_there_after_a_restart_with_log_vote_and_state() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    let vote = openraft::Vote::new(3, xorum_behaviours::wire::ReplicaId::from(2));
    replica.log.save_vote(&vote).await.expect("is saved");
    replica.take((0..20).map(|i| put(i, &format!("k{}", i % 7), &i.to_string())).collect()).await;
    replica.log.save_committed(Some(id(1, 19))).await.expect("is saved");
    let (head, usage) = (replica.view.head(), replica.view.usage().expect("counts"));
    storage.close().await.expect("closes");
    drop((storage, replica));

    let storage = open(dir.path());
    let mut replica = storage.replica(&group(1)).expect("opens");
    assert_eq!(openraft::RaftLogReader::read_vote(&mut replica.log).await.expect("reads"), Some(vote));
    assert_eq!(replica.log.read_committed().await.expect("reads"), Some(id(1, 19)));
    assert_eq!(replica.entries().await.len(), 20);
    assert_eq!(replica.view.head(), head);
    assert_eq!(replica.view.usage().expect("counts"), usage);
    assert_eq!(replica.value("k5").map(|(_, value)| value), Some("19".into()));
    assert_eq!(replica.view.durable_applied(), Some(id(1, 19)));
}

#[tokio::test]
async fn what_was_acknowledged_is_there_when_storage_is_dropped_without_close() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    replica.take((0..5).map(|i| put(i, "k", &i.to_string())).collect()).await;
    drop((storage, replica));

    let storage = open(dir.path());
    let mut replica = storage.replica(&group(1)).expect("opens");
    assert_eq!(replica.entries().await.len(), 5);
    assert!(replica.view.head().applied.is_none(), "nothing was flushed");
    let entries = replica.entries().await;
    replica.apply(entries).await.expect("is applied again");
    assert_eq!(replica.value("k").map(|(_, value)| value), Some("4".into()));
}

#[tokio::test]
async fn a_dead_number_is_refused_for_ever() {
    let dir = directory();
    let (storage, replica) = one_replica(dir.path()).await;
    storage.bury(&group(1), ReplicaNumber(3)).await.expect("is buried");
    assert!(storage.replicas().expect("lists").is_empty());
    drop((storage, replica));

    let storage = open(dir.path());
    for number in 1..=3 {
        let refused = storage.create(head(1), ReplicaNumber(number)).await;
        let dead = StorageError::Dead { group: group(1), number: ReplicaNumber(number), dead: ReplicaNumber(3) };
        assert_eq!(refused, Err(dead));
    }
    storage.bury(&group(1), ReplicaNumber(2)).await.expect("is dead already");
    assert_eq!(storage.dead_number(&group(1)), Ok(Some(ReplicaNumber(3))), "a tombstone never goes back");
    storage.create(head(1), ReplicaNumber(4)).await.expect("a higher number is made");
}

#[tokio::test]
async fn a_working_replica_is_not_replaced_and_a_lower_burial_leaves_it() {
    let dir = directory();
    let storage = open(dir.path());
    storage.create(head(1), ReplicaNumber(5)).await.expect("is made");
    let refused = storage.create(head(1), ReplicaNumber(6)).await;
    assert_eq!(refused, Err(StorageError::Exists { group: group(1), number: ReplicaNumber(5) }));
    storage.bury(&group(1), ReplicaNumber(4)).await.expect("is buried");
    assert_eq!(storage.replicas().expect("lists").len(), 1);
    storage.replica(&group(1)).expect("still opens");
}

#[tokio::test]
async fn a_quarantined_replica_stays_but_does_not_open_and_gives_way_to_a_higher_number() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    storage.quarantine(&group(1), "its log went back").await.expect("is quarantined");
    assert!(replica.append(vec![blank(1, 0)]).await.is_err(), "its handles write no more");
    let quarantined = StorageError::Quarantined { group: group(1), reason: "its log went back".to_owned() };
    assert_eq!(storage.replica(&group(1)).err(), Some(quarantined));
    let records = storage.replicas().expect("lists");
    assert!(matches!(records[0].condition, Condition::Quarantined { .. }));

    storage.create(head(1), ReplicaNumber(2)).await.expect("gives way");
    assert_eq!(storage.dead_number(&group(1)), Ok(Some(NUMBER)));
    storage.replica(&group(1)).expect("the new one opens");
}

#[tokio::test]
async fn an_earlier_opening_writes_no_more() {
    let dir = directory();
    let (storage, mut former) = one_replica(dir.path()).await;
    former.take(vec![put(0, "k", "first")]).await;
    let mut current = storage.replica(&group(1)).expect("opens anew");
    assert!(former.append(vec![put(1, "k", "late")]).await.is_err());
    former.apply(vec![put(1, "k", "late")]).await.expect("applies to memory of its own");
    assert_eq!(former.flush().await, Err(StorageError::Fenced));
    assert!(former.log.save_vote(&openraft::Vote::new(9, 1.into())).await.is_err());
    current.take(vec![put(1, "k", "second")]).await;
    drop((former, current));
    drop(storage);

    let storage = open(dir.path());
    let mut replica = storage.replica(&group(1)).expect("opens");
    assert_eq!(replica.entries().await[1], put(1, "k", "second"));
    assert_eq!(openraft::RaftLogReader::read_vote(&mut replica.log).await.expect("reads"), None);
}

#[tokio::test]
async fn a_seed_begins_its_log_behind_the_entry_it_is_of() {
    let dir = directory();
    let storage = open(dir.path());
    storage.create(crate::group::state::Head { applied: Some(id(0, 0)), ..head(1) }, NUMBER).await.expect("is made");
    let mut replica = storage.replica(&group(1)).expect("opens");
    let state = replica.log.get_log_state().await.expect("reads");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(0, 0)), Some(id(0, 0))));
    assert_eq!(replica.log.read_committed().await.expect("reads"), Some(id(0, 0)));
    assert!(replica.machine.get_current_snapshot().await.expect("reads").is_some());
    replica.take(vec![blank(1, 1)]).await;
    assert_eq!(replica.entries().await.len(), 1);
}

#[tokio::test]
async fn what_was_buried_goes_also_after_a_restart_and_leaves_others() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    replica.take((0..2500).map(|i| put(i, &format!("k{i}"), "v")).collect()).await;
    replica.flush().await.expect("is flushed");
    storage.create(head(2), NUMBER).await.expect("is made");
    let mut other = storage.replica(&group(2)).expect("opens");
    other.take(vec![put(0, "kept", "v")]).await;
    other.flush().await.expect("is flushed");
    storage.bury(&group(1), NUMBER).await.expect("is buried");
    drop((storage, replica, other));

    let storage = Storage::open(dir.path(), StorageConfig { ..config() }).expect("opens");
    tokio::time::timeout(DEADLINE, async {
        while !storage.shared.keeper.is_idle() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("all is dropped");
    let frozen = storage.shared.engine.frozen();
    let count = |space, prefix: &[u8]| frozen.rows(space, prefix, None).count();
    assert_eq!(count(Space::Data, &[]), 1, "the other's key");
    assert_eq!(count(Space::Log, &[]), 1, "the other's entry");
    assert_eq!(count(Space::Meta, super::super::keys::DROPS), 0, "the records of it are gone too");
    assert_eq!(storage.dead_number(&group(1)), Ok(Some(NUMBER)), "the tombstone stays");
    assert!(storage.replica(&group(2)).expect("opens").value("kept").is_some());
}

#[tokio::test]
async fn everything_is_refused_after_close_and_nothing_is_left_running() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    storage.close().await.expect("closes");
    assert!(replica.append(vec![blank(1, 0)]).await.is_err());
    assert_eq!(storage.create(head(2), NUMBER).await, Err(StorageError::Closed));
    assert_eq!(storage.replica(&group(1)).err(), Some(StorageError::Closed));
    storage.close().await.expect_err("is closed already");
    drop((storage, replica));
    open(dir.path());
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let dir = directory();
    let storage = open(dir.path());
    let second = Storage::open(dir.path(), config());
    assert_eq!(second.err(), Some(StorageError::Locked(dir.path().to_owned())));
    drop(storage);
}
