//! Things that tests are made of: an in-memory store and sample answers.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use tokio::sync::watch;
use xorum_behaviours::{
    space::{Position, Prefix},
    wire::{Epoch, GroupClock, GroupId, NetworkId, ReplicaId, ReplicaNumber},
};
use xorum_node::{
    PeerId,
    api::{
        Change, Descriptor, Expected, GroupInfo, Location, PeerInfo, PeerRole, PeerStatus, ReplicaRole, StaleRead,
        Swap, Version, Versioned,
    },
    error::OpError,
};

use crate::store::Store;

/// A peer id that is the same at each run.
pub(crate) fn peer(number: u8) -> PeerId {
    let mut bytes = [number; 32];
    let key = libp2p::identity::Keypair::ed25519_from_bytes(&mut bytes).expect("32 bytes");
    key.public().to_peer_id()
}

/// A group of the peers 1 and 2, led by 1.
pub(crate) fn descriptor() -> Descriptor {
    let seat = |number| ReplicaId { peer: peer(number), number: ReplicaNumber::FIRST };
    Descriptor {
        group: GroupId([1; 32]),
        prefix: Prefix::EMPTY,
        epoch: Epoch(4),
        term: 2,
        voters: vec![seat(1), seat(2)],
        leader: Some(peer(1)),
        clock: GroupClock(0),
    }
}

/// The answering peer, and a client that was never heard.
pub(crate) fn peers() -> Vec<PeerInfo> {
    let addr = "/ip4/127.0.0.1/tcp/4001".parse().expect("a multiaddr");
    vec![
        PeerInfo { peer: peer(1), addr: Some(addr), role: PeerRole::Peer, is_self: true, heard_ms: None },
        PeerInfo { peer: peer(2), addr: None, role: PeerRole::Client, is_self: false, heard_ms: None },
    ]
}

/// A group held, and one known by its descriptor.
pub(crate) fn groups() -> Vec<GroupInfo> {
    let without_leader = Descriptor { leader: None, ..descriptor() };
    vec![
        GroupInfo { descriptor: descriptor(), role: ReplicaRole::Leader, keys: Some(2), bytes: Some(30) },
        GroupInfo { descriptor: without_leader, role: ReplicaRole::None, keys: None, bytes: None },
    ]
}

/// A peer's status.
pub(crate) fn status() -> PeerStatus {
    PeerStatus { peer: peer(1), network: NetworkId([0; 32]), replication_factor: 5, groups: 2, leads: 1 }
}

/// Where a key lives.
pub(crate) fn location(key: &[u8]) -> Location {
    Location { position: Position::of_key(key), descriptor: descriptor() }
}

/// What was written to it can be read by the test.
#[derive(Clone, Default)]
pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    /// All that was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("UTF-8")
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Rows {
    revision: u64,
    rows: BTreeMap<Bytes, Versioned>,
}

/// A store in memory: one group whose revision starts at 0.
#[derive(Clone)]
pub(crate) struct Memory(watch::Sender<Rows>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Rows::default()))
    }

    fn write(&self, key: Bytes, value: Option<Bytes>) -> Version {
        let mut version = Version(0);
        self.0.send_modify(|rows| {
            rows.revision += 1;
            version = Version(rows.revision);
            match value {
                Some(value) => rows.rows.insert(key, Versioned { version, value }),
                None => rows.rows.remove(&key),
            };
        });
        version
    }

    fn read(&self, key: &Bytes) -> Option<Versioned> {
        self.0.borrow().rows.get(key).cloned()
    }
}

impl Store for Memory {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<Version, OpError> {
        // As a network would, it lets others run.
        tokio::task::yield_now().await;
        match &key[..] {
            b"long" => Err(OpError::TooLarge { what: "value", bytes: 2, limit: 1 }),
            b"lost" => Err(OpError::OutcomeUnknown { message: "no\nanswer".into(), group: Some(GroupId([1; 32])) }),
            b"never" => futures::future::pending().await,
            _ => Ok(self.write(key, Some(value))),
        }
    }

    async fn get(&self, key: Bytes) -> Result<Option<Versioned>, OpError> {
        tokio::task::yield_now().await;
        Ok(self.read(&key))
    }

    async fn get_stale(&self, key: Bytes) -> Result<StaleRead, OpError> {
        Ok(StaleRead { found: self.read(&key), stale: Duration::from_millis(3) })
    }

    async fn delete(&self, key: Bytes) -> Result<Option<Version>, OpError> {
        Ok(self.read(&key).map(|_| self.write(key, None)))
    }

    async fn compare_and_swap(&self, key: Bytes, expected: Expected, value: Bytes) -> Result<Swap, OpError> {
        let found = self.read(&key).map(|found| found.version);
        let as_expected = match expected {
            Expected::Absent => found.is_none(),
            Expected::Version(version) => found == Some(version),
        };
        Ok(match as_expected {
            true => Swap::Done(self.write(key, Some(value))),
            false => Swap::Conflict(found.unwrap_or_default()),
        })
    }

    /// Begins with what stands there.
    fn watch(&self, key: Bytes) -> BoxStream<'static, Result<Change, OpError>> {
        let mut changes = self.0.subscribe();
        changes.mark_changed();
        let store = self.clone();
        futures::stream::unfold((changes, store, key), |(mut changes, store, key)| async move {
            loop {
                changes.changed().await.ok()?;
                if let Some(Versioned { version, value }) = store.read(&key) {
                    return Some((Ok(Change { version, value: Some(value) }), (changes, store, key)));
                }
            }
        })
        .boxed()
    }

    async fn locate(&self, key: Bytes) -> Result<Location, OpError> {
        Ok(location(&key))
    }

    async fn status(&self) -> Result<PeerStatus, OpError> {
        Ok(status())
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>, OpError> {
        Ok(peers())
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, OpError> {
        Ok(groups())
    }

    async fn leave(&self) -> Result<(), OpError> {
        Ok(())
    }
}
