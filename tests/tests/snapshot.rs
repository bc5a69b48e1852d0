//! A peer that was away for so long that the log it lacks is gone.

use std::{
    fs::{self, File},
    ops::Range,
    sync::LazyLock,
    time::Duration,
};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use nix::sys::signal::Signal;
use rand::{Rng, SeedableRng, distr::Alphanumeric, rngs::StdRng};
use tokio::time::{Instant, sleep};
use xorum_node::Node;
use xorum_tests::harness::{Launch, Process, Talk, command, turn};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;
const VALUE_BYTES: usize = 256 * KIB;
/// 200 MiB of values.
const VALUES: usize = 800;
/// Puts under way at a time.
const WRITERS: usize = 4;
/// What streaming a snapshot may add to a sender's memory: less than half of the snapshot.
const MAX_ADDED_BYTES: u64 = 90 * MIB;
/// What receiving one may take in all: less than a peer needs at rest, and the snapshot.
const MAX_RECEIVER_BYTES: u64 = 180 * MIB;
const WITHIN: Duration = Duration::from_secs(120);

/// A value that is like no other, that no engine makes shorter, and that is printed bare.
fn value(number: usize) -> String {
    static LETTERS: LazyLock<String> = LazyLock::new(|| {
        let letters = StdRng::seed_from_u64(1).sample_iter(Alphanumeric);
        letters.take(VALUE_BYTES).map(char::from).collect()
    });
    let mut value = format!("{number}:");
    value.push_str(&LETTERS[value.len()..]);
    value
}

async fn write(client: &Node, numbers: Range<usize>) -> Result<()> {
    let puts = stream::iter(numbers).map(|number| client.put(format!("k{number}"), value(number)));
    Ok(puts.buffer_unordered(WRITERS).map_ok(drop).try_collect().await?)
}

/// How many keys the peer's own replica holds.
async fn keys(talk: &mut Talk) -> Result<usize> {
    let groups = talk.ask_all("groups").await?;
    let keys = groups.first().and_then(|group| group.split(' ').find_map(|field| field.strip_prefix("keys=")));
    Ok(keys.and_then(|keys| keys.parse().ok()).unwrap_or(0))
}

async fn voters(talk: &mut Talk, wanted: usize) -> Result<()> {
    let began = Instant::now();
    loop {
        let located = talk.ask("locate k").await?;
        let voters = located.rsplit_once("voters=").map_or(0, |(_, voters)| voters.split(',').count());
        if voters == wanted {
            return Ok(());
        }
        ensure!(began.elapsed() < WITHIN, "never {wanted} voters: {located}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The most memory that was seen.
#[derive(Debug, Default)]
struct Most {
    /// Of those that stayed, beyond what they had before.
    added: u64,
    /// Of the one that lagged.
    receiving: u64,
}

impl Most {
    fn note(&mut self, staying: &[Process], at_rest: &[u64], lagging: &Talk) -> Result<()> {
        for (peer, at_rest) in staying.iter().zip(at_rest) {
            self.added = self.added.max(peer.resident_bytes()?.saturating_sub(*at_rest));
        }
        self.receiving = self.receiving.max(lagging.resident_bytes()?);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lagging_peer_is_restored_by_a_streamed_snapshot_with_bounded_memory() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let first = Launch::new(dir.path().join("0"))?.arg("--replicas").arg("3").start().await?;
    let addr = first.addr().clone();
    let second = Launch::new(dir.path().join("1"))?.bootstrap(&addr).start().await?;
    let third_dir = dir.path().join("2");
    let log = dir.path().join("2.log");
    let third = async || {
        let mut command = command(["run", "--listen", "/ip4/127.0.0.1/tcp/0"])?;
        command.arg("--data-dir").arg(&third_dir).arg("--bootstrap").arg(addr.to_string());
        command.env("RUST_LOG", "xorum_node=info").stderr(File::options().create(true).append(true).open(&log)?);
        let mut talk = Talk::over(&mut command)?;
        talk.ready().await?;
        anyhow::Ok(talk)
    };
    let mut lagging = third().await?;
    voters(&mut lagging, 3).await?;
    let staying = [first, second];
    let client = Node::builder().client().bootstrap(addr.clone()).start().await?.with_timeout(WITHIN);
    write(&client, 0..1).await?;
    lagging.signal(Signal::SIGKILL)?;
    lagging.ended(WITHIN).await?;

    write(&client, 1..VALUES).await?;
    let at_rest = staying.iter().map(Process::resident_bytes).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    let mut most = Most::default();
    let mut lagging = third().await?;
    while keys(&mut lagging).await? < VALUES {
        most.note(&staying, &at_rest, &lagging)?;
        ensure!(began.elapsed() < WITHIN, "it does not catch up: {} keys", keys(&mut lagging).await?);
        sleep(Duration::from_millis(20)).await;
    }
    let said = fs::read_to_string(&log)?;
    ensure!(said.contains("restored by a snapshot"), "the log was not cut past what it had: {said}");
    for number in [0, VALUES / 2, VALUES - 1] {
        let read = lagging.ask(&format!("get k{number} --stale")).await?;
        ensure!(read == value(number), "its replica has another value of k{number}, of {} bytes", read.len());
    }
    ensure!(most.added < MAX_ADDED_BYTES && most.receiving < MAX_RECEIVER_BYTES, "{most:?}");
    client.shutdown().await;
    Ok(())
}
