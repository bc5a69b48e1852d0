//! The closed loop: so many clients, each of which asks, waits, and asks again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rand::Rng;
use serde::Serialize;
use tokio::{task::JoinSet, time::timeout};
use xorum_node::Node;

/// After how long an operation is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// How many keys are filled at once.
const FILL_BY: usize = 16;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Writes a random key.
    Put,
    /// Reads one, linearizably.
    Get,
}

/// Where it does it.
#[derive(Clone)]
pub enum Store {
    /// One handle of the client library for all clients.
    Xorum(Node),
    /// Connections to the leader, which the clients share.
    Etcd(Vec<etcd_client::Client>),
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What the clients do.
    pub op: Op,
    /// How many there are.
    pub clients: usize,
    /// Among how many keys.
    pub keys: usize,
    /// With how long values.
    pub value_bytes: usize,
    /// For how long.
    pub within: Duration,
}

/// What came of it.
pub struct Sample {
    /// Operations done in a second.
    pub rate: f64,
    /// Operations that failed.
    pub errors: u64,
    /// Microseconds that one took.
    pub latency: Histogram<u64>,
}

impl Store {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Xorum(_) => "xorum",
            Self::Etcd(_) => "etcd",
        }
    }

    /// The store as one of its clients has it.
    fn client(&self, number: usize) -> Self {
        match self {
            Self::Xorum(node) => Self::Xorum(node.with_timeout(GIVE_UP_AFTER)),
            Self::Etcd(connections) => Self::Etcd(vec![connections[number % connections.len()].clone()]),
        }
    }

    /// One write.
    pub async fn put(&mut self, key: String, value: Vec<u8>) -> Result<()> {
        match self {
            Self::Xorum(node) => node.put(key, value).await.map(drop)?,
            Self::Etcd(connections) => connections[0].put(key, value, None).await.map(drop)?,
        }
        Ok(())
    }

    /// One linearizable read of a key that is there.
    async fn get(&mut self, key: String) -> Result<()> {
        match self {
            Self::Xorum(node) => node.get(key).await?.map(drop).context("the key is not there"),
            Self::Etcd(connections) => {
                let found = connections[0].get(key, None).await?;
                found.kvs().first().map(drop).context("the key is not there")
            }
        }
    }
}

fn key(number: usize) -> String {
    format!("key-{number:08}")
}

/// Writes every key once.
pub async fn fill(store: &Store, keys: usize, value_bytes: usize) -> Result<()> {
    let mut clients = JoinSet::new();
    for number in 0..FILL_BY {
        let mut store = store.client(number);
        clients.spawn(async move {
            for at in (number..keys).step_by(FILL_BY) {
                store.put(key(at), vec![b'x'; value_bytes]).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(filled) = clients.join_next().await {
        filled??;
    }
    Ok(())
}

/// Measures once.
pub async fn closed_loop(store: &Store, load: Load) -> Result<Sample> {
    let value: Arc<[u8]> = vec![b'v'; load.value_bytes].into();
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..load.clients {
        clients.spawn(client(store.client(number), load, Arc::clone(&value), start + load.within));
    }
    let (mut latency, mut errors) = (histogram()?, 0);
    while let Some(done) = clients.join_next().await {
        let (of_client, failed) = done??;
        latency.add(of_client)?;
        errors += failed;
    }
    let rate = latency.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Sample { rate, errors, latency })
}

/// Microseconds, up to a minute, to three digits.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(60_000_000, 3)?)
}

async fn client(mut store: Store, load: Load, value: Arc<[u8]>, until: Instant) -> Result<(Histogram<u64>, u64)> {
    let (mut latency, mut errors) = (histogram()?, 0);
    while Instant::now() < until {
        let key = key(rand::rng().random_range(0..load.keys));
        let began = Instant::now();
        let done = async {
            match load.op {
                Op::Put => store.put(key, value.to_vec()).await,
                Op::Get => store.get(key).await,
            }
        };
        match timeout(GIVE_UP_AFTER, done).await {
            Ok(Ok(())) => latency.saturating_record(began.elapsed().as_micros() as u64),
            Ok(Err(_)) | Err(_) => errors += 1,
        }
    }
    Ok((latency, errors))
}
