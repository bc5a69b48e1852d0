//! What a write costs within one peer: encoding, one synced append, applying.
#![allow(missing_docs)]

use std::{collections::HashMap, convert::Infallible, hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use openraft::{
    EntryPayload,
    storage::{IOFlushed, RaftLogStorage},
    type_config::{TypeConfigExt, alias::CommittedLeaderIdOf},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use xorum_behaviours::{
    space::Position,
    wire::{
        self, Bounds, ClientCommand, CommandId, CommandNumber, GroupClock, NetworkId, Op, OpRequest, ReplicaNumber,
        SessionId, Version,
    },
};
use xorum_node::{
    group::{
        command::{Body, Command},
        raft::{Entry, LogId, TypeConfig},
        sessions::Sessions,
        state::{GroupState, Head, Rows},
    },
    storage::{Storage, StorageConfig},
};

const VALUE_BYTES: usize = 256;
const KEYS: u64 = 1_000;

fn command(number: u64) -> ClientCommand {
    let id = CommandId {
        session: SessionId([1; 16]),
        number: CommandNumber(number),
        watermark: CommandNumber(number.saturating_sub(64)),
        expires: GroupClock(60_000),
    };
    let key = format!("key-{:08}", number % KEYS);
    ClientCommand { id, op: Op::Put { key: key.into(), value: vec![b'v'; VALUE_BYTES].into() } }
}

fn entry(index: u64) -> Entry {
    let leader_id = CommittedLeaderIdOf::<TypeConfig>::new(1);
    let body = Body::Client(command(index));
    let payload = EntryPayload::Normal(Command { clock: GroupClock(1), body });
    Entry { log_id: LogId { leader_id, index }, payload }
}

fn head() -> Head {
    Head::founding(&NetworkId([1; 32]))
}

fn encode(c: &mut Criterion) {
    let (request, entry) = (OpRequest::Command(command(7)), entry(7));
    let bytes = wire::encode(&request).expect("it is small");
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode a put", |b| b.iter(|| wire::encode(black_box(&request))));
    group.bench_function("decode a put", |b| b.iter(|| wire::decode::<OpRequest>(black_box(&bytes))));
    group.bench_function("encode its entry", |b| b.iter(|| wire::encode(black_box(&entry))));
    group.finish();
}

/// Appends so many entries at once, and waits for the one sync that makes them durable.
fn append(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("append and sync");
    for entries in [1u64, 16, 256] {
        // On the disk of the build, not in memory: what is measured is its sync.
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let storage =
            runtime.block_on(async { Storage::open(dir.path(), StorageConfig::default()) }).expect("it opens");
        let mut log = runtime.block_on(async {
            storage.create(head(), ReplicaNumber(1)).await.expect("it is made");
            storage.replica(&head().group).expect("it opens").log
        });
        let mut next = 0;
        group.throughput(Throughput::Elements(entries));
        group.bench_function(entries.to_string(), |b| {
            b.iter_batched(
                || {
                    next += entries;
                    (next - entries..next).map(entry).collect::<Vec<_>>()
                },
                |batch| {
                    runtime.block_on(async {
                        let (flushed, durable) = TypeConfig::oneshot();
                        log.append(batch, IOFlushed::signal(flushed)).await.expect("it is appended");
                        durable.await.expect("it is answered").expect("it is durable");
                    });
                },
                BatchSize::PerIteration,
            );
        });
        runtime.block_on(storage.close()).expect("it closes");
    }
    group.finish();
}

/// A group's rows in memory.
#[derive(Default)]
struct InMemory(HashMap<Bytes, (Version, Bytes)>);

impl Rows for InMemory {
    type Error = Infallible;

    fn version(&self, _: &Position, key: &[u8]) -> Result<Option<Version>, Infallible> {
        Ok(self.0.get(key).map(|(version, _)| *version))
    }

    fn put(&mut self, _: Position, key: Bytes, version: Version, value: Bytes) {
        self.0.insert(key, (version, value));
    }

    fn delete(&mut self, _: Position, key: Bytes, _: Version) {
        self.0.remove(&key);
    }
}

fn apply(c: &mut Criterion) {
    let bounds = Bounds::default();
    let mut state = GroupState { head: head(), sessions: Sessions::default() };
    let (mut rows, mut next) = (InMemory::default(), 0);
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a put", |b| {
        b.iter_batched(
            || {
                next += 1;
                entry(next)
            },
            |entry| state.apply(&bounds, entry, &mut rows),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(5)).sample_size(50);
    targets = encode, append, apply
}
criterion_main!(benches);
