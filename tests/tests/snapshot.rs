//! A peer that was away for so long that the log it lacks is gone.

use std::{ops::Range, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use nix::sys::signal::Signal;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};
use xorum_node::Node;
use xorum_tests::harness::{Launch, Process, Talk, turn};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;
const VALUE_BYTES: usize = 256 * KIB;
/// 200 MiB of values.
const VALUES: usize = 800;
/// Puts under way at a time.
const WRITERS: usize = 4;
/// More than a peer needs beside what it streams, and less than that and a snapshot of all values.
const MAX_RESIDENT_BYTES: u64 = 230 * MIB;
const WITHIN: Duration = Duration::from_secs(120);

/// A value that no engine can make shorter.
fn value(number: usize) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    StdRng::seed_from_u64(number as u64).fill_bytes(&mut value);
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

/// The most memory that each of them was seen with.
#[derive(Debug, Default)]
struct Most {
    staying: u64,
    lagging: u64,
}

impl Most {
    fn note(&mut self, staying: &[Process], lagging: &Talk) -> Result<()> {
        for peer in staying {
            self.staying = self.staying.max(peer.resident_bytes()?);
        }
        self.lagging = self.lagging.max(lagging.resident_bytes()?);
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
    let (bootstrap, addr_text) = (Path::new("--bootstrap"), addr.to_string());
    let third = || Talk::peer([Path::new("--data-dir"), &third_dir, bootstrap, Path::new(&addr_text)]);
    let (mut lagging, _) = third().await?;
    voters(&mut lagging, 3).await?;
    let staying = [first, second];
    let client = Node::builder().client().bootstrap(addr.clone()).start().await?.with_timeout(WITHIN);
    write(&client, 0..1).await?;
    lagging.signal(Signal::SIGKILL)?;
    lagging.ended(WITHIN).await?;

    write(&client, 1..VALUES).await?;
    // Past its bounds, of entries and bytes, the log is cut within a second: then what the third lacks is gone.
    let began = Instant::now();
    let mut most = Most::default();
    eprintln!("written; {:?}", staying.iter().map(|peer| peer.resident_bytes().unwrap_or(0) / MIB).collect::<Vec<_>>());

    let (mut lagging, _) = third().await?;
    while keys(&mut lagging).await? < VALUES {
        most.note(&staying, &lagging)?;
        ensure!(began.elapsed() < WITHIN, "it does not catch up: {} keys", keys(&mut lagging).await?);
        sleep(Duration::from_millis(20)).await;
    }
    eprintln!("caught up after {:?}; {} {}", began.elapsed(), most.staying / MIB, most.lagging / MIB);
    for number in [0, VALUES / 2, VALUES - 1] {
        let printed = lagging.ask(&format!("get k{number} --stale --meta")).await?;
        ensure!(printed.contains("value="), "{number}: {printed:.100}");
    }
    ensure!(most.staying < MAX_RESIDENT_BYTES && most.lagging < MAX_RESIDENT_BYTES, "{most:?}");
    client.shutdown().await;
    Ok(())
}
