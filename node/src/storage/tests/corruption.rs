//! Corruption is a typed error, wherever it is, and stays with the replica whose rows it struck.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::rig::{NUMBER, config, directory, group, head, one_replica, open, put};
use crate::storage::{
    Storage, StorageError, Write as Rows,
    engine::{Row, Space},
    keys,
};

#[tokio::test]
async fn a_replica_with_a_corrupt_row_does_not_open_and_others_do() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    replica.take(vec![put(0, "k", "v")]).await;
    replica.flush().await.expect("is flushed");
    storage.create(head(2), NUMBER).await.expect("is made");
    let store =
        storage.replicas().expect("lists").iter().find(|record| record.group == group(1)).expect("is there").store;
    for key in [keys::head(store, &group(1)), keys::usage(store, &group(1))] {
        let whole = storage.shared.engine.get(Space::State, &key).expect("reads").expect("is there");
        for row in
            [Row::put(Space::State, key.clone(), &whole[..whole.len() / 2]), Row::remove(Space::State, key.clone())]
        {
            storage.shared.writer.write_blocking(Rows::synced(vec![row])).expect("is written");
            let refused = storage.replica(&group(1)).err();
            assert!(matches!(refused, Some(StorageError::Corrupt { .. })), "{refused:?}");
            storage.replica(&group(2)).expect("the other opens");
        }
        let mended = vec![Row::put(Space::State, key, whole)];
        storage.shared.writer.write_blocking(Rows::synced(mended)).expect("is written");
    }
    storage.replica(&group(1)).expect("opens again");
}

#[tokio::test]
async fn a_hole_in_the_log_and_an_entry_that_is_none_are_errors() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    for i in 0..10 {
        replica.append(vec![put(i, "k", "v")]).await.expect("is durable");
    }
    let key = keys::entry(&group(1), NUMBER, 4);
    for row in [Row::put(Space::Log, key.clone(), *b"none"), Row::remove(Space::Log, key)] {
        storage.shared.writer.write_blocking(Rows::synced(vec![row])).expect("is written");
        let mut replica = storage.replica(&group(1)).expect("opens");
        let read = openraft::RaftLogReader::try_get_log_entries(&mut replica.log, 0..10).await;
        assert_eq!(read.map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::InvalidData));
        let read = openraft::RaftLogReader::try_get_log_entries(&mut replica.log, 5..10).await;
        assert_eq!(read.expect("what is whole is read").len(), 5);
    }
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let dir = directory();
    let storage = open(dir.path());
    let row = Row::put(Space::Meta, keys::FORMAT, 7u32.to_be_bytes());
    storage.shared.writer.write_blocking(Rows::synced(vec![row])).expect("is written");
    drop(storage);
    let refused = Storage::open(dir.path(), config()).err();
    assert_eq!(refused, Some(StorageError::NewerFormat { found: 7, supported: 1 }));
}

/// Turns some bytes of a file around.
fn break_at(path: &Path, at: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let mut bytes = [0; 16];
    file.seek(SeekFrom::Start(at)).expect("seeks");
    let read = file.read(&mut bytes).expect("reads");
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    file.seek(SeekFrom::Start(at)).expect("seeks");
    file.write_all(&bytes[..read]).expect("writes");
}

#[tokio::test]
async fn a_journal_broken_before_its_last_write_is_refused_rather_than_cut() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    for i in 0..30 {
        replica.append(vec![put(i, "k", &"v".repeat(200))]).await.expect("is durable");
    }
    drop((storage, replica));
    let journal = journal(dir.path());
    let whole = fs::read(&journal).expect("reads");
    for at in (100..8000).step_by(611) {
        break_at(&journal, at);
        let refused = Storage::open(dir.path(), config()).err();
        assert!(matches!(refused, Some(StorageError::Corrupt { .. })), "at {at}: {refused:?}");
        fs::write(&journal, &whole).expect("mends");
    }
    let storage = open(dir.path());
    assert_eq!(storage.replica(&group(1)).expect("opens").entries().await.len(), 30);
}

#[tokio::test]
async fn after_close_also_the_last_write_that_matters_is_not_taken_for_a_torn_one() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    let value = "last words";
    replica.append(vec![put(0, "k", value)]).await.expect("is durable");
    storage.close().await.expect("closes");
    drop((storage, replica));
    let journal = journal(dir.path());
    let whole = fs::read(&journal).expect("reads");
    let at = whole.windows(value.len()).position(|bytes| bytes == value.as_bytes()).expect("is there");
    break_at(&journal, at as u64);
    let refused = Storage::open(dir.path(), config()).err();
    assert!(matches!(refused, Some(StorageError::Corrupt { .. })), "{refused:?}");
}

fn journal(dir: &Path) -> std::path::PathBuf {
    fs::read_dir(dir)
        .expect("lists")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .expect("a journal")
}

/// Every table file below a directory.
fn tables(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(tables(&path));
        } else if path.parent().is_some_and(|parent| parent.ends_with("tables")) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_broken_table_is_an_error_and_never_wrong_data() {
    let dir = directory();
    let (storage, mut replica) = one_replica(dir.path()).await;
    replica.take((0..200).map(|i| put(i, &format!("k{i}"), &format!("{i}-").repeat(40))).collect()).await;
    replica.flush().await.expect("is flushed");
    storage.shared.engine.write_tables().expect("writes tables");
    storage.close().await.expect("closes");
    drop((storage, replica));
    let tables = tables(dir.path());
    assert!(!tables.is_empty());
    let mut struck = 0;
    for table in tables {
        let whole = fs::read(&table).expect("reads");
        for at in (0..whole.len() as u64).step_by((whole.len() / 12).max(1)) {
            break_at(&table, at);
            struck += u32::from(!reads_right_or_fails(dir.path()).await);
            fs::write(&table, &whole).expect("mends");
        }
    }
    assert!(struck > 0, "some of it was noticed");
}

/// True when all was read, and was right; false when something failed with an error.
async fn reads_right_or_fails(dir: &Path) -> bool {
    let Ok(storage) = Storage::open(dir, config()) else { return false };
    let Ok(mut replica) = storage.replica(&group(1)) else { return false };
    let mut whole = true;
    for i in 0..200 {
        match replica.view.read(format!("k{i}").as_bytes()) {
            Ok(reading) => assert_eq!(reading.found.map(|(_, value)| value), Some(format!("{i}-").repeat(40).into())),
            Err(_) => whole = false,
        }
    }
    match openraft::RaftLogReader::try_get_log_entries(&mut replica.log, ..).await {
        Ok(entries) => assert_eq!(entries.len(), 200),
        Err(_) => whole = false,
    }
    whole
}
