//! Nothing is acknowledged before it is synced, and a failed sync is never retried.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::TryStreamExt;
use openraft::{Vote, storage::RaftLogStorage};

use super::rig::{DEADLINE, NUMBER, blank, config, directory, faulty, group, head, id, one_replica, open, put};
use crate::storage::{Storage, StorageConfig, StorageError, writer::Fault};

/// Does a fixed piece of work until something fails; the entries that were acknowledged, and what was voted last.
async fn work(storage: &Storage) -> (u64, Option<crate::group::raft::Vote>) {
    let (mut acknowledged, mut voted) = (0, None);
    if storage.create(head(1), NUMBER).await.is_err() {
        return (acknowledged, voted);
    }
    let Ok(mut replica) = storage.replica(&group(1)) else { return (acknowledged, voted) };
    for i in 0..6 {
        let vote = Vote::new(i, 1.into());
        if replica.log.save_vote(&vote).await.is_err() {
            break;
        }
        voted = Some(vote);
        let entries: Vec<_> = (3 * i..3 * i + 3).map(|i| put(i, "k", &i.to_string())).collect();
        if replica.append(entries.clone()).await.is_err() {
            break;
        }
        acknowledged = 3 * i + 3;
        if replica.apply(entries).await.is_err() || replica.flush().await.is_err() {
            break;
        }
    }
    (acknowledged, voted)
}

#[tokio::test]
async fn a_failure_of_any_commit_is_told_and_undoes_nothing_that_was_acknowledged() {
    for fault in [Fault::BeforeWrite, Fault::AfterWrite] {
        for nth in 1..=20 {
            let dir = directory();
            let config = faulty(move |commit| (commit == nth).then_some(fault));
            let storage = Storage::open(dir.path(), config).expect("opens");
            let (acknowledged, voted) = work(&storage).await;
            let failed = storage.failed().borrow().clone();
            assert_eq!(failed.is_some(), nth <= 19, "commit {nth} of 19");
            if let Some(error) = failed {
                assert!(matches!(error, StorageError::Io { .. }), "{error}");
                assert_eq!(storage.create(head(2), NUMBER).await, Err(error), "everything is refused with it");
            }
            drop(storage);

            let storage = open(dir.path());
            let Ok(mut replica) = storage.replica(&group(1)) else {
                assert_eq!(acknowledged, 0);
                continue;
            };
            let entries = replica.entries().await;
            assert!(entries.len() as u64 >= acknowledged, "commit {nth}: {acknowledged} entries were acknowledged");
            let vote = openraft::RaftLogReader::read_vote(&mut replica.log).await.expect("reads");
            assert!(vote >= voted, "commit {nth}");
            let applied = replica.view.head().applied.map_or(0, |id| id.index + 1);
            assert!(applied <= entries.len() as u64, "applied never passes the log");
        }
    }
}

#[tokio::test]
async fn an_append_is_read_at_once_but_not_acknowledged_when_its_sync_fails() {
    let dir = directory();
    let storage =
        Storage::open(dir.path(), faulty(|commit| (commit == 2).then_some(Fault::BeforeWrite))).expect("opens");
    storage.create(head(1), NUMBER).await.expect("is made");
    let mut replica = storage.replica(&group(1)).expect("opens");
    let durable = replica.append_unsynced(vec![blank(1, 0)]).await.expect("is taken");
    assert_eq!(replica.entries().await.len(), 1);
    assert!(durable.await.expect("is answered").is_err());
    drop((storage, replica));
    let storage = open(dir.path());
    assert!(storage.replica(&group(1)).expect("opens").entries().await.is_empty());
}

#[tokio::test]
async fn appends_that_wait_share_a_sync() {
    let dir = directory();
    let commits = Arc::new(AtomicU64::new(0));
    let counted = commits.clone();
    let (gate, opened) = std::sync::mpsc::channel();
    let opened = parking_lot::Mutex::new(opened);
    let config = faulty(move |commit| {
        counted.store(commit, Ordering::SeqCst);
        if commit == 3 {
            // The third commit lasts until all the appends wait.
            let waited = opened.lock().recv_timeout(DEADLINE);
            assert!(waited.is_ok());
        }
        None
    });
    let storage = Storage::open(dir.path(), config).expect("opens");
    let mut replicas = Vec::new();
    for n in 1..=2 {
        storage.create(head(n), NUMBER).await.expect("is made");
        replicas.push(storage.replica(&group(n)).expect("opens"));
    }
    let mut waiting = Vec::new();
    for i in 0..20 {
        for replica in &mut replicas {
            waiting.push(replica.append_unsynced(vec![blank(1, i)]).await.expect("is taken"));
        }
    }
    gate.send(()).expect("the writer waits");
    for durable in waiting {
        durable.await.expect("is answered").expect("is durable");
    }
    let commits = commits.load(Ordering::SeqCst);
    assert!(commits <= 5, "two creations and forty appends took {commits} commits");
}

#[tokio::test]
async fn what_needs_no_sync_waits_for_what_does_and_is_kept_by_close() {
    let dir = directory();
    let commits = Arc::new(AtomicU64::new(0));
    let counted = commits.clone();
    let config = faulty(move |commit| {
        counted.store(commit, Ordering::SeqCst);
        None
    });
    let storage = Storage::open(dir.path(), config).expect("opens");
    storage.create(head(1), NUMBER).await.expect("is made");
    let mut replica = storage.replica(&group(1)).expect("opens");
    replica.append((0..10).map(|i| blank(1, i)).collect()).await.expect("is durable");
    let before = commits.load(Ordering::SeqCst);
    replica.log.save_committed(Some(id(1, 8))).await.expect("is queued");
    replica.log.purge(id(1, 3)).await.expect("is queued");
    assert_eq!(replica.entries().await.len(), 6, "a purge is seen at once");
    replica.log.save_vote(&Vote::new(1, 1.into())).await.expect("is saved");
    assert_eq!(commits.load(Ordering::SeqCst), before + 1, "all went with the vote");
    replica.log.save_committed(Some(id(1, 9))).await.expect("is queued");
    storage.close().await.expect("closes");
    drop((storage, replica));
    let storage = open(dir.path());
    let mut replica = storage.replica(&group(1)).expect("opens");
    assert_eq!(replica.entries().await.len(), 6);
    assert_eq!(replica.log.read_committed().await.expect("reads"), Some(id(1, 9)));
}

#[tokio::test]
async fn entries_are_read_alike_from_memory_and_disk() {
    let dir = directory();
    let config = StorageConfig { log_cache_bytes: 2000, ..config() };
    let storage = Storage::open(dir.path(), config).expect("opens");
    storage.create(head(1), NUMBER).await.expect("is made");
    let mut replica = storage.replica(&group(1)).expect("opens");
    let all: Vec<_> = (0..100).map(|i| put(i, &format!("k{i}"), &"v".repeat(100))).collect();
    for chunk in all.chunks(7) {
        replica.append(chunk.to_vec()).await.expect("is durable");
    }
    for (start, end) in [(0, 100), (0, 10), (50, 99), (95, 100), (99, 100), (30, 30)] {
        let read = openraft::RaftLogReader::try_get_log_entries(&mut replica.log, start..end).await.expect("reads");
        assert_eq!(read, all[start as usize..end as usize], "{start}..{end}");
    }
    // Truncated and written anew, the tail is the new one, wherever it is read from.
    replica.log.truncate_after(Some(id(1, 89))).await.expect("is queued");
    let anew: Vec<_> = (90..130).map(|i| blank(2, i)).collect();
    for chunk in anew.chunks(3) {
        replica.append(chunk.to_vec()).await.expect("is durable");
    }
    let expected = [&all[..90], &anew[..]].concat();
    assert_eq!(replica.entries().await, expected);
    drop((storage, replica));
    let storage = open(dir.path());
    assert_eq!(storage.replica(&group(1)).expect("opens").entries().await, expected);
}

#[tokio::test]
async fn a_limited_read_gives_one_entry_at_least_and_no_more_than_fit_a_message() {
    let dir = directory();
    let (_storage, mut replica) = one_replica(dir.path()).await;
    let value = "v".repeat(700 * 1024);
    replica.append((0..4).map(|i| put(i, "k", &value)).collect()).await.expect("is durable");
    for (start, end) in [(0, 4), (3, 4)] {
        let read = openraft::RaftLogReader::limited_get_log_entries(&mut replica.log, start, end).await;
        assert_eq!(read.expect("reads").len(), 1, "{start}..{end}");
    }
}

#[tokio::test]
async fn what_is_to_be_applied_is_streamed_whole_and_a_purged_beginning_is_an_error() {
    let dir = directory();
    let (_storage, mut replica) = one_replica(dir.path()).await;
    let value = "v".repeat(300 * 1024);
    let all: Vec<_> = (0..12).map(|i| put(i, "k", &value)).collect();
    replica.append(all.clone()).await.expect("is durable");
    let read = openraft::RaftLogReader::entries_stream(&mut replica.log, 2..11).await;
    assert_eq!(read.try_collect::<Vec<_>>().await.expect("reads"), all[2..11]);
    replica.log.purge(id(1, 4)).await.expect("is queued");
    let read = openraft::RaftLogReader::entries_stream(&mut replica.log, 3..11).await;
    assert!(read.try_collect::<Vec<_>>().await.is_err());
}

#[tokio::test]
async fn nothing_is_applied_twice() {
    let dir = directory();
    let (_storage, mut replica) = one_replica(dir.path()).await;
    replica.take(vec![blank(1, 0), blank(1, 1)]).await;
    assert!(replica.apply(vec![blank(1, 1)]).await.is_err());
}

#[tokio::test]
async fn an_append_that_leaves_a_hole_is_refused() {
    let dir = directory();
    let (_storage, mut replica) = one_replica(dir.path()).await;
    replica.append(vec![blank(1, 0)]).await.expect("is durable");
    assert!(replica.append(vec![blank(1, 2)]).await.is_err());
    assert_eq!(replica.entries().await.len(), 1);
}

#[tokio::test]
async fn a_truncation_or_a_purge_within_a_run_keeps_the_rest_of_it() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    let all: Vec<_> = (0..300).map(|i| blank(1, i)).collect();
    replica.append(all.clone()).await.expect("is durable");
    // Entries still on their way to the disk are cut as well.
    let queued = replica.append_unsynced((300..310).map(|i| blank(1, i)).collect()).await;
    replica.log.truncate_after(Some(id(1, 304))).await.expect("is queued");
    replica.log.truncate_after(Some(id(1, 200))).await.expect("is queued");
    drop(queued);
    replica.append(vec![blank(2, 201), blank(2, 202)]).await.expect("is durable");
    replica.log.truncate_after(Some(id(2, 201))).await.expect("is queued");
    replica.log.purge(id(1, 150)).await.expect("is queued");
    replica.append(vec![blank(3, 202)]).await.expect("is durable");
    let expected = [&all[151..=200], &[blank(2, 201), blank(3, 202)]].concat();
    assert_eq!(replica.entries().await, expected);
    drop((storage, replica));
    let storage = open(dir.path());
    assert_eq!(storage.replica(&group(1)).expect("opens").entries().await, expected);
}
