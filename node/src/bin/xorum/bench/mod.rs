//! `bench`: load on a running network, and what it did.
//!
//! *Closed loop*: each client sends its next operation when the last was answered. *Open loop* (`--rate`): operations
//! are due at fixed times, whoever is free takes the next one, and its latency counts from when it was due, so that a
//! stall is felt by all that had to wait for it and not only by the one that met it.

mod drive;
mod measure;
mod summary;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use xorum_node::Node;

use crate::{
    cli::OneShot,
    exit::Exit,
    oneshot,
    output::{Format, Output},
    settings::Settings,
    signals::Signals,
};

/// What load to make.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Load {
    /// Operations under way at a time [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: Option<u32>,
    /// For how many seconds [default: 10]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Bytes of each value [default: 100]
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    value_size: Option<u32>,
    /// Percentage of linearizable gets; the others are puts [default: 0]
    #[arg(long, value_name = "PCT", value_parser = clap::value_parser!(u32).range(0..=100))]
    reads: Option<u32>,
    /// Operations due each second (open loop) [default: as many as get done (closed loop)]
    #[arg(long, value_name = "OPS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Keys used, `bench:0` and on, each as likely [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keys: Option<u32>,
    /// Connections that the clients share [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    handles: Option<u32>,
}

/// A [`Load`] with its defaults.
#[derive(Clone, Copy, Debug)]
struct Plan {
    clients: u32,
    duration: Duration,
    value_bytes: usize,
    reads_percent: u32,
    rate: Option<u32>,
    keys: u32,
}

impl From<&Load> for Plan {
    fn from(load: &Load) -> Self {
        Self {
            clients: load.clients.unwrap_or(16),
            duration: Duration::from_secs(load.seconds.unwrap_or(10).into()),
            value_bytes: load.value_size.unwrap_or(100) as usize,
            reads_percent: load.reads.unwrap_or(0),
            rate: load.rate,
            keys: load.keys.unwrap_or(10_000),
        }
    }
}

/// Connects, makes the load, prints the summary. Interrupted, it prints what was measured until then.
pub(crate) async fn run(settings: &Settings, OneShot { command: load, client }: OneShot<Load>) -> anyhow::Result<Exit> {
    let mut signals = Signals::take()?;
    let mut nodes = Vec::new();
    for _ in 0..load.handles.unwrap_or(1) {
        match oneshot::connect(settings).await? {
            Ok(node) => nodes.push(node.with_timeout(settings.timeout())),
            Err(answer) => {
                Output::stdout(Format::json_if(client.json), false).print(&answer)?;
                return Ok(answer.exit());
            }
        }
    }
    let plan = Plan::from(&load);
    let bar = progress(plan.duration);
    let interrupted = async {
        signals.next().await;
    };
    let seen = drive::drive(&nodes, plan, &bar, interrupted).await;
    bar.finish_and_clear();
    let mut text = if client.json { summary::json(plan, &seen).to_string() } else { summary::text(plan, &seen) };
    text.push('\n');
    for node in &nodes {
        Node::shutdown(node).await;
    }
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ if seen.done() == 0 => Ok(Exit::Error),
        _ => Ok(Exit::Done),
    }
}

/// A bar on stderr, if that is a terminal.
fn progress(duration: Duration) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(duration.as_secs()), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {pos}/{len} s {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
