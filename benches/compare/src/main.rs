//! Xorum and etcd side by side: three peers and three members on loopback, data directories on one disk, and the same
//! closed loop against both, by turns within one run, so that whatever else the machine does meets both.
//!
//! `cargo run --release -- --xorum ../../target/release/xorum`. It needs `etcd` (Debian's etcd-server) to run, and
//! `protoc` (Debian's protobuf-compiler) to build.

mod drive;
mod etcd;
mod failover;
mod report;
mod xorum;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use tempfile::TempDir;

use crate::{
    drive::{Load, Op, Store},
    report::{Memory, Report, Row},
};

/// Measures Xorum against etcd.
#[derive(Debug, Parser)]
struct Args {
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Clients at once, each of which waits for its answer before it asks again
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    clients: Vec<usize>,
    /// How often each measurement is made of both, by turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How often the leader of each is killed
    #[arg(long, default_value_t = 5)]
    trials: usize,
    /// How many keys there are
    #[arg(long, default_value_t = 1_000)]
    keys: usize,
    /// How long a value is
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Connections that etcd's clients share
    #[arg(long, default_value_t = 8)]
    etcd_connections: usize,
    /// The binary of Xorum
    #[arg(long, env = "XORUM_BIN", default_value = "../../target/release/xorum")]
    xorum: PathBuf,
    /// The binary of etcd
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// Where the data directories are made: on the disk that is to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Print one JSON value instead of tables
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let dir = TempDir::with_prefix_in("compare-", &args.dir).context("--dir")?;
    let mut xorum = xorum::Cluster::start(&args.xorum, dir.path()).await.context("xorum")?;
    let mut etcd = etcd::Cluster::start(&args.etcd, dir.path()).await.context("etcd")?;
    let stores = [xorum.store().await?, etcd.store(args.etcd_connections).await?];
    for store in &stores {
        drive::fill(store, args.keys, args.value_bytes).await.with_context(|| store.name())?;
    }
    let mut report = Report::default();
    for clients in &args.clients {
        for op in [Op::Put, Op::Get] {
            let seconds = Duration::from_secs_f64(args.seconds);
            let load = Load { op, clients: *clients, keys: args.keys, value_bytes: args.value_bytes, within: seconds };
            report.rows.push(by_turns(&stores, load, args.rounds).await?);
            eprintln!("{op:?} by {clients}: done");
        }
    }
    report.memory = Memory { xorum: xorum.resident_bytes()?, etcd: etcd.resident_bytes()? };
    drop::<[Store; 2]>(stores);
    for trial in 0..args.trials {
        report.failover.xorum.push(xorum.fail_over().await.with_context(|| format!("xorum, trial {trial}"))?);
        report.failover.etcd.push(etcd.fail_over().await.with_context(|| format!("etcd, trial {trial}"))?);
        eprintln!("failover {trial}: done");
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// The same load on both, as often as told; who begins changes with each round.
async fn by_turns(stores: &[Store; 2], load: Load, rounds: usize) -> Result<Row> {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            samples[which].push(drive::closed_loop(&stores[which], load).await?);
        }
    }
    let [xorum, etcd] = samples;
    Row::of(load, &xorum, &etcd)
}
