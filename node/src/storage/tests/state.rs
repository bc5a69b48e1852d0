//! What is applied is read at once, counted exactly, and watched.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;
use xorum_behaviours::wire::{Expected, Op, Version};

use super::rig::{DEADLINE, NUMBER, config, delete, directory, entry, group, head, one_replica, put};
use crate::storage::{Replica, Storage, StorageConfig, Usage};

#[tokio::test]
async fn what_is_applied_is_read_at_once_and_the_same_after_a_flush() {
    let dir = directory();
    let (_storage, mut replica) = one_replica(dir.path()).await;
    replica.take(vec![put(0, "a", "1"), put(1, "b", "2"), delete(2, "a")]).await;
    for _ in 0..2 {
        assert_eq!(replica.value("a"), None);
        assert_eq!(replica.value("b"), Some((Version(2), "2".into())));
        assert_eq!(replica.view.read(b"b").expect("reads").revision, Version(3));
        replica.flush().await.expect("is flushed");
    }
    replica.take(vec![put(3, "b", "3")]).await;
    assert_eq!(replica.value("b"), Some((Version(4), "3".into())));
}

#[tokio::test]
async fn a_watch_tells_the_newest_change_and_goes_with_its_watcher() {
    let dir = directory();
    let (_storage, mut replica) = one_replica(dir.path()).await;
    replica.take(vec![put(0, "k", "before")]).await;
    let mut watch = replica.view.watch("k".into());
    replica.take(vec![put(1, "k", "1"), put(2, "other", "x"), put(3, "k", "2")]).await;
    let change = tokio::time::timeout(DEADLINE, watch.changed()).await.expect("is told");
    assert_eq!(change, (Version(4), Some(Bytes::from("2"))));
    assert!(tokio::time::timeout(Duration::ZERO, watch.changed()).await.is_err(), "only what is new");
    replica.take(vec![delete(4, "k")]).await;
    let change = tokio::time::timeout(DEADLINE, watch.changed()).await.expect("is told");
    assert_eq!(change, (Version(5), None));
    let second = replica.view.watch("k".into());
    drop(watch);
    assert!(!replica.view.core().watchers.is_empty(), "the other watches still");
    drop(second);
    assert!(replica.view.core().watchers.is_empty());
}

#[tokio::test]
async fn the_keeper_flushes_by_itself() {
    let dir = directory();
    let config = StorageConfig { flush_interval: Duration::from_millis(1), ..config() };
    let storage = Storage::open(dir.path(), config).expect("opens");
    storage.create(head(1), NUMBER).await.expect("is made");
    let mut replica = storage.replica(&group(1)).expect("opens");
    replica.take(vec![put(0, "k", "v")]).await;
    let mut flushes = replica.view.core().flushes.subscribe();
    let flushed = flushes.wait_for(|_| replica.view.durable_applied().is_some());
    tokio::time::timeout(DEADLINE, flushed).await.expect("is flushed").expect("is told");
}

#[tokio::test]
async fn applying_waits_for_flushes_when_too_much_is_in_memory() {
    let dir = directory();
    let config = StorageConfig { dirty_limit_bytes: 4096, ..config() };
    let storage = Storage::open(dir.path(), config).expect("opens");
    storage.create(head(1), NUMBER).await.expect("is made");
    let mut replica = storage.replica(&group(1)).expect("opens");
    let value = "v".repeat(1000);
    for i in 0..100 {
        replica.take(vec![put(i, &format!("k{i}"), &value)]).await;
        let unflushed = replica.view.core().applied.read().unflushed_bytes();
        assert!(unflushed <= 2 * 4096 + 1300, "{unflushed} bytes in memory");
    }
    assert!(replica.view.durable_applied().is_some());
    assert_eq!(replica.view.usage().expect("counts").keys, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_exact_while_flushes_are_under_way() {
    let dir = directory();
    let config = StorageConfig { flush_interval: Duration::from_micros(100), ..config() };
    let storage = Storage::open(dir.path(), config).expect("opens");
    storage.create(head(1), NUMBER).await.expect("is made");
    let mut replica = storage.replica(&group(1)).expect("opens");
    let mut model = BTreeMap::new();
    let ended = |replica: &Replica| replica.view.core().flushes.borrow().ended;
    let deadline = Instant::now() + DEADLINE;
    for i in 0u64.. {
        if i > 500 && ended(&replica) >= 10 {
            break;
        }
        assert!(Instant::now() < deadline, "only {} flushes ended", ended(&replica));
        let key = format!("k{}", i % 97 * (i % 97) % 97);
        if i % 5 == 4 {
            model.remove(&key);
            replica.apply(vec![delete(i, &key)]).await.expect("is applied");
        } else {
            let value = "v".repeat(i as usize % 31);
            replica.apply(vec![put(i, &key, &value)]).await.expect("is applied");
            model.insert(key, value.len());
        }
        let bytes = model.iter().map(|(key, bytes)| (key.len() + bytes) as u64).sum();
        assert_eq!(replica.view.usage(), Ok(Usage { keys: model.len() as u64, bytes }), "after entry {i}");
    }
}

/// What a random test does next.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Swap(u8, u8),
    Flush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8u8, 0..40u8).prop_map(|(key, bytes)| Step::Put(key, bytes)),
        3 => (0..8u8).prop_map(Step::Delete),
        1 => (0..8u8, 0..40u8).prop_map(|(key, bytes)| Step::Swap(key, bytes)),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn usage_and_reads_are_those_of_a_model(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        runtime.block_on(run(steps))?;
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = directory();
    let (mut storage, mut replica) = one_replica(dir.path()).await;
    let mut model: BTreeMap<String, (Version, usize)> = BTreeMap::new();
    let mut revision = 0;
    let mut index = 0;
    for step in steps {
        let (key, op) = match step {
            Step::Put(key, bytes) => {
                let (key, value) = (format!("key-{key}"), vec![1; bytes.into()]);
                (key.clone(), Op::Put { key: key.into(), value: value.into() })
            }
            Step::Delete(key) => {
                let key = format!("key-{key}");
                (key.clone(), Op::Delete { key: key.into() })
            }
            Step::Swap(key, bytes) => {
                let (key, value) = (format!("key-{key}"), vec![1; bytes.into()]);
                let expected = Expected::Version(model.get(&key).map_or(Version(0), |(version, _)| *version));
                (key.clone(), Op::CompareAndSwap { key: key.into(), expected, value: value.into() })
            }
            Step::Flush => {
                replica.flush().await.expect("is flushed");
                continue;
            }
            Step::Reopen => {
                storage.close().await.expect("closes");
                drop((storage, replica));
                storage = super::rig::open(dir.path());
                replica = storage.replica(&group(1)).expect("opens");
                continue;
            }
        };
        match op.value() {
            Some(value) => {
                revision += 1;
                model.insert(key, (Version(revision), value.len()));
            }
            None if model.remove(&key).is_some() => revision += 1,
            None => {}
        }
        replica.take(vec![entry(1, index, op)]).await;
        index += 1;
        let bytes = model.iter().map(|(key, (_, bytes))| (key.len() + bytes) as u64).sum();
        prop_assert_eq!(replica.view.usage().expect("counts"), Usage { keys: model.len() as u64, bytes });
        for key in (0..8).map(|n| format!("key-{n}")) {
            let found = replica.value(&key).map(|(version, value)| (version, value.len()));
            prop_assert_eq!(found, model.get(&key).copied());
        }
    }
    Ok(())
}
