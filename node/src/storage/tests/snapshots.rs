//! Snapshots leave as rows, arrive checked, and are switched to at once.

use bytes::Bytes;
use openraft::{RaftSnapshotBuilder, storage::RaftStateMachine};
use xorum_behaviours::wire::{ReplicaNumber, SnapshotRow, Version};

use super::rig::{DEADLINE, NUMBER, blank, delete, directory, group, head, id, membership, one_replica, open, put};
use crate::{
    group::raft::SnapshotMeta,
    storage::{OutgoingSnapshot, Replica, SnapshotData, Storage, StorageError, engine::Space, snapshot},
};

/// A snapshot of the replica, its rows, and what it is of.
async fn rows_of(replica: &mut Replica) -> (SnapshotMeta, Vec<SnapshotRow>) {
    let built = replica.machine.get_snapshot_builder().await.build_snapshot().await.expect("is built");
    let SnapshotData::Outgoing(mut outgoing) = built.snapshot else { panic!("a built snapshot goes out") };
    (built.meta, drain(&mut outgoing, 300))
}

fn drain(outgoing: &mut OutgoingSnapshot, max_bytes: usize) -> Vec<SnapshotRow> {
    let mut all = Vec::new();
    loop {
        let rows = outgoing.next_rows(max_bytes).expect("reads");
        if rows.is_empty() {
            return all;
        }
        all.extend(rows);
    }
}

async fn install(storage: &Storage, replica: &mut Replica, meta: &SnapshotMeta, rows: &[SnapshotRow]) {
    let mut staging = storage.stage(&group(1)).await.expect("begins");
    for chunk in rows.chunks(3) {
        staging.push(chunk.to_vec()).await.expect("is stored");
    }
    let staged = staging.finish().await.expect("is whole");
    assert_eq!(staged.meta(), *meta);
    replica.machine.install_snapshot(meta, SnapshotData::Staged(staged)).await.expect("is installed");
}

/// A replica that has applied something, and the first entry that it has not.
async fn filled(dir: &std::path::Path) -> (Storage, Replica, u64) {
    let (storage, mut replica) = one_replica(dir).await;
    replica.take(vec![membership(1, 0, &[1, 2])]).await;
    replica.take((1..40).map(|i| put(i, &format!("k{}", i % 11), &"v".repeat(i as usize))).collect()).await;
    replica.take(vec![delete(40, "k3")]).await;
    (storage, replica, 41)
}

async fn drops_are_done(storage: &Storage) {
    let done = async {
        while !storage.shared.keeper.is_idle() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, done).await.expect("all is dropped");
}

#[tokio::test]
async fn an_installed_snapshot_is_the_state_it_is_of_at_once_and_after_a_restart() {
    let (from, to) = (directory(), directory());
    let (_source, mut source, next) = filled(from.path()).await;
    let (meta, rows) = rows_of(&mut source).await;
    let (storage, mut replica) = one_replica(to.path()).await;
    replica.take(vec![put(0, "old", "x"), put(1, "k1", "x")]).await;
    replica.flush().await.expect("is flushed");
    let mut watch = replica.view.watch("k1".into());
    install(&storage, &mut replica, &meta, &rows).await;

    let same = |replica: &Replica| {
        assert_eq!(replica.view.head(), source.view.head());
        assert_eq!(replica.view.usage(), source.view.usage());
        assert_eq!(replica.view.durable_applied(), Some(id(1, 40)));
        for key in (0..11).map(|n| format!("k{n}")) {
            assert_eq!(replica.value(&key), source.value(&key), "{key}");
        }
        assert_eq!(replica.value("old"), None);
    };
    same(&replica);
    let told = tokio::time::timeout(DEADLINE, watch.changed()).await.expect("is told");
    assert_eq!(Some(told), source.value("k1").map(|(version, value)| (version, Some(value))));
    let command = put(39, "k", "v");
    let openraft::EntryPayload::Normal(command) = command.payload else { panic!("a command") };
    let crate::group::command::Body::Client(client) = command.body else { panic!("a client's") };
    assert_eq!(
        replica.view.judge(command.clock, &client),
        source.view.judge(command.clock, &client),
        "the sessions came along"
    );
    drops_are_done(&storage).await;
    let frozen = storage.shared.engine.frozen();
    assert_eq!(frozen.rows(Space::Data, &[], None).count(), 10, "the former store is gone");
    storage.close().await.expect("closes");
    drop((storage, replica, frozen));

    let storage = open(to.path());
    let mut replica = storage.replica(&group(1)).expect("opens");
    same(&replica);
    replica.apply(vec![put(next, "on", "v")]).await.expect("is applied");
    assert_eq!(replica.value("on"), Some((Version(41), "v".into())));
}

#[tokio::test]
async fn a_snapshot_does_not_change_with_the_state() {
    let dir = directory();
    let (_storage, mut replica, next) = filled(dir.path()).await;
    let mut builder = replica.machine.get_snapshot_builder().await;
    let (first, second) =
        (builder.build_snapshot().await.expect("is built"), builder.build_snapshot().await.expect("is built"));
    let (SnapshotData::Outgoing(mut first), SnapshotData::Outgoing(mut second)) = (first.snapshot, second.snapshot)
    else {
        panic!("built snapshots go out")
    };
    let before = drain(&mut first, 1);
    replica.take((next..next + 50).map(|i| put(i, &format!("k{}", i % 11), "changed")).collect()).await;
    replica.flush().await.expect("is flushed");
    assert_eq!(drain(&mut second, usize::MAX), before, "and chunks of any size give the same rows");
    let keys: Vec<_> = before.iter().map(|row| row.key.clone()).collect();
    assert!(keys.is_sorted(), "rows come in the order of their keys");
}

#[tokio::test]
async fn there_is_a_snapshot_once_something_was_applied() {
    let dir = directory();
    let (_storage, mut replica) = one_replica(dir.path()).await;
    assert!(replica.machine.get_current_snapshot().await.expect("reads").is_none());
    replica.take(vec![blank(1, 0)]).await;
    let current = replica.machine.get_current_snapshot().await.expect("reads").expect("there is one");
    assert_eq!(current.meta.last_log_id, Some(id(1, 0)));
    replica.take(vec![blank(1, 1)]).await;
    let current = replica.machine.get_current_snapshot().await.expect("reads").expect("there is one");
    assert_eq!(current.meta.last_log_id, replica.view.durable_applied(), "it bears the id of the last flush");
}

#[tokio::test]
async fn rows_that_may_not_be_stored_are_refused() {
    let dir = directory();
    let (storage, mut replica, _) = filled(dir.path()).await;
    let (_, rows) = rows_of(&mut replica).await;
    let data = rows.iter().position(|row| row.key[0] == snapshot::DATA).expect("data");
    let changed = |at: usize, change: &dyn Fn(&mut Vec<u8>, &mut Vec<u8>)| {
        let mut rows = rows.clone();
        let (mut key, mut value) = (rows[at].key.to_vec(), rows[at].value.to_vec());
        change(&mut key, &mut value);
        rows[at] = SnapshotRow { key: key.into(), value: value.into() };
        rows
    };
    let mut swapped = rows.clone();
    swapped.swap(data, data + 1);
    let big = storage.shared.config.bounds.max_value_bytes as usize + 9;
    let cases: Vec<(&str, Vec<SnapshotRow>)> = vec![
        ("no head", rows[1..].to_vec()),
        ("a row twice", [&rows[..=data], &rows[data..]].concat()),
        ("rows out of order", swapped),
        ("an unknown kind", changed(data, &|key, _| key[0] = 9)),
        ("an empty key", changed(0, &|key, _| key.clear())),
        ("a head that is none", changed(0, &|_, value| value.truncate(10))),
        ("a session that is none", changed(1, &|_, value| value.push(0))),
        ("a session's key cut short", changed(1, &|key, _| key.truncate(9))),
        ("a position that is not the key's", changed(data, &|key, _| key[5] ^= 1)),
        ("a data key cut short", changed(data, &|key, _| key.truncate(20))),
        ("a value without a version", changed(data, &|_, value| value.truncate(7))),
        ("a version of the future", changed(data, &|_, value| value[0] = 1)),
        ("a value too large", changed(data, &|_, value| value.resize(big, 1))),
    ];
    for (what, rows) in cases {
        let mut staging = storage.stage(&group(1)).await.expect("begins");
        let refused = staging.push(rows).await;
        assert!(matches!(refused, Err(StorageError::BadSnapshot(_))), "{what}: {refused:?}");
    }
    let mut staging = storage.stage(&group(2)).await.expect("begins");
    assert!(matches!(staging.push(rows.clone()).await, Err(StorageError::BadSnapshot(_))), "another group's");
    let empty = storage.stage(&group(1)).await.expect("begins").finish().await;
    assert!(matches!(empty.err(), Some(StorageError::BadSnapshot(_))), "nothing at all");
    drops_are_done(&storage).await;
    let frozen = storage.shared.engine.frozen();
    assert_eq!(frozen.rows(Space::Data, &[], None).count(), 10, "nothing of them is left");
    assert_eq!(replica.view.usage().expect("counts").keys, 10);
}

#[tokio::test]
async fn a_staging_cut_short_by_a_crash_is_dropped_at_the_next_start_and_its_store_not_used_again() {
    let dir = directory();
    let (storage, mut replica, _) = filled(dir.path()).await;
    let (_, rows) = rows_of(&mut replica).await;
    let mut staging = storage.stage(&group(1)).await.expect("begins");
    staging.push(rows.clone()).await.expect("is stored");
    let next = storage.shared.catalog.lock().await.next_store;
    // As a crash would leave it: given up after the threads have ended.
    storage.close().await.expect("closes");
    drop((staging, storage, replica));

    let storage = open(dir.path());
    drops_are_done(&storage).await;
    assert_eq!(storage.shared.engine.frozen().rows(Space::Data, &[], None).count(), 10);
    assert_eq!(storage.shared.catalog.lock().await.next_store, next);
    assert_eq!(storage.replica(&group(1)).expect("opens").view.usage().expect("counts").keys, 10);
}

#[tokio::test]
async fn a_snapshot_that_is_not_what_was_announced_is_not_installed() {
    let (from, to) = (directory(), directory());
    let (_source, mut source, _) = filled(from.path()).await;
    let (meta, rows) = rows_of(&mut source).await;
    let (storage, mut replica) = one_replica(to.path()).await;
    replica.take(vec![put(0, "mine", "x")]).await;
    let mut staging = storage.stage(&group(1)).await.expect("begins");
    staging.push(rows).await.expect("is stored");
    let staged = staging.finish().await.expect("is whole");
    let announced = SnapshotMeta { last_log_id: Some(id(1, 99)), ..meta };
    assert!(replica.machine.install_snapshot(&announced, SnapshotData::Staged(staged)).await.is_err());
    assert_eq!(replica.value("mine").map(|(_, value)| value), Some(Bytes::from("x")), "nothing changed");
}

#[tokio::test]
async fn what_a_quarantined_replica_had_is_kept_until_its_successor_has_caught_up() {
    let (from, to) = (directory(), directory());
    let (_source, mut source, _) = filled(from.path()).await;
    let (meta, rows) = rows_of(&mut source).await;
    let (storage, struck, _) = filled(to.path()).await;
    struck.flush().await.expect("is flushed");
    storage.quarantine(&group(1), "its vote went back").await.expect("is quarantined");
    storage.create(head(1), ReplicaNumber(2)).await.expect("gives way");
    drops_are_done(&storage).await;
    drop((struck, storage));

    let storage = open(to.path());
    let count = |space| storage.shared.engine.frozen().rows(space, &[], None).count();
    drops_are_done(&storage).await;
    assert_eq!((count(Space::Data), count(Space::Log)), (10, 3), "all of it is still there");
    let mut replica = storage.replica(&group(1)).expect("opens");
    install(&storage, &mut replica, &meta, &rows).await;
    drops_are_done(&storage).await;
    assert_eq!((count(Space::Data), count(Space::Log)), (10, 0), "only what was installed is");
    storage.discard_aside(&group(1)).await.expect("nothing is left to discard");
}

#[tokio::test]
async fn a_stale_opening_cannot_install() {
    let (from, to) = (directory(), directory());
    let (_source, mut source, _) = filled(from.path()).await;
    let (meta, rows) = rows_of(&mut source).await;
    let storage = open(to.path());
    storage.create(head(1), NUMBER).await.expect("is made");
    let mut former = storage.replica(&group(1)).expect("opens");
    let current = storage.replica(&group(1)).expect("opens anew");
    let mut staging = storage.stage(&group(1)).await.expect("begins");
    staging.push(rows).await.expect("is stored");
    let staged = staging.finish().await.expect("is whole");
    assert!(former.machine.install_snapshot(&meta, SnapshotData::Staged(staged)).await.is_err());
    assert_eq!(current.view.head(), head(1));
}
