//! A crash loses a tail of what was written, and never anything before it.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    path::{Path, PathBuf},
};

use openraft::storage::RaftLogStorage;

use super::rig::{directory, group, id, one_replica, open, put};

/// Copies a directory; of journals, only so many bytes.
fn copy(from: &Path, to: &Path, journal_bytes: u64) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("lists") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target, journal_bytes);
        } else if path.extension().is_some_and(|extension| extension == "jnl") {
            let mut bytes = Vec::new();
            let journal = fs::File::open(&path).expect("opens");
            journal.take(journal_bytes).read_to_end(&mut bytes).expect("reads");
            fs::write(&target, bytes).expect("writes");
        } else {
            fs::copy(&path, &target).expect("copies");
        }
    }
}

fn journal(dir: &Path) -> PathBuf {
    let journals = fs::read_dir(dir).expect("lists").map(|entry| entry.expect("an entry").path());
    journals.filter(|path| path.extension().is_some_and(|e| e == "jnl")).max().expect("a journal")
}

/// The journal's bytes in use: up to the last that is not zero. It is a short one.
fn used(dir: &Path) -> u64 {
    let mut bytes = Vec::new();
    let journal = fs::File::open(journal(dir)).expect("opens");
    journal.take(1 << 20).read_to_end(&mut bytes).expect("reads");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

#[tokio::test]
async fn a_cut_anywhere_leaves_a_prefix_with_all_that_was_synced_before_it() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    // How long the journal was when so many entries were acknowledged, and so many applied and flushed.
    let mut marks = vec![(used(dir.path()), 0, 0)];
    for round in 0..8u64 {
        let entries: Vec<_> = (5 * round..5 * round + 5).map(|i| put(i, &format!("k{i}"), &"v".repeat(50))).collect();
        replica.append(entries.clone()).await.expect("is durable");
        let applied = marks.last().map_or(0, |mark| mark.2);
        marks.push((used(dir.path()), 5 * round + 5, applied));
        replica.apply(entries).await.expect("is applied");
        replica.log.save_committed(Some(id(1, 5 * round + 4))).await.expect("is queued");
        replica.flush().await.expect("is flushed");
        marks.push((used(dir.path()), 5 * round + 5, 5 * round + 5));
    }
    let (begin, end) = (marks[0].0, marks[marks.len() - 1].0);
    for step in 0..=60 {
        let cut = begin + (end - begin) * step / 60;
        let crashed = directory();
        copy(dir.path(), crashed.path(), cut);
        // What the file system had allocated, and not written, reads as zeros.
        if step % 2 == 0 {
            let file = OpenOptions::new().write(true).open(journal(crashed.path())).expect("opens");
            file.set_len(end + 4096).expect("extends");
        }

        let storage = open(crashed.path());
        let mut replica = storage.replica(&group(1)).expect("opens");
        let entries = replica.entries().await;
        let (_, acknowledged, flushed) = *marks.iter().rfind(|mark| mark.0 <= cut).expect("a mark");
        assert!(entries.len() as u64 >= acknowledged, "cut at {cut}: {acknowledged} were acknowledged");
        let expected: Vec<_> = (0..entries.len() as u64).map(|i| put(i, &format!("k{i}"), &"v".repeat(50))).collect();
        assert_eq!(entries, expected, "a prefix");
        let applied = replica.view.head().applied.map_or(0, |id| id.index + 1);
        assert!(applied >= flushed && applied <= entries.len() as u64, "cut at {cut}: applied {applied}");
        assert_eq!(replica.view.usage().expect("counts").keys, applied, "the rows are those of the head");
        let committed = replica.log.read_committed().await.expect("reads").map_or(0, |id| id.index + 1);
        assert!(committed <= entries.len() as u64, "committed never passes the log");
        // And it works on from there.
        let next = entries.len() as u64;
        replica.append(vec![put(next, "on", "v")]).await.expect("is durable");
    }
    drop(storage);
}

#[tokio::test]
async fn a_purge_cut_short_is_finished_at_the_next_opening() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    for i in 0..10 {
        replica.append(vec![put(i, "k", "v")]).await.expect("is durable");
    }
    let purged = crate::storage::engine::Row::put(
        crate::storage::engine::Space::Raft,
        crate::storage::keys::purged(&group(1), super::rig::NUMBER),
        xorum_behaviours::wire::encode(&id(1, 5)).expect("encodes"),
    );
    storage.shared.writer.write_blocking(crate::storage::Write::synced(vec![purged])).expect("is written");
    let mut replica = storage.replica(&group(1)).expect("opens");
    assert_eq!(replica.entries().await.first().map(|entry| entry.log_id.index), Some(6));
    storage.close().await.expect("closes");
    let rows = storage.shared.engine.frozen();
    assert_eq!(rows.rows(crate::storage::engine::Space::Log, &[], None).count(), 4);
}
