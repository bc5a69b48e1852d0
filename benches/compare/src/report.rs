//! What was measured, as tables or JSON.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::drive::{Load, Op, Sample, histogram};

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// A row for each load.
    pub rows: Vec<Row>,
    /// Of all three processes, after the loads.
    pub memory: Memory,
    /// From the leader's death to the next write.
    pub failover: Failover,
}

/// One load on both.
#[derive(Debug, Serialize)]
pub struct Row {
    op: Op,
    clients: usize,
    xorum: Side,
    etcd: Side,
    /// Xorum's rate divided by etcd's, of the medians.
    ratio: f64,
    /// The same, of each round.
    ratios: Vec<f64>,
}

/// One load on one of them, over all rounds.
#[derive(Debug, Serialize)]
pub struct Side {
    /// The median of the rounds, in operations a second.
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
}

/// Resident memory, in bytes.
#[derive(Debug, Default, Serialize)]
pub struct Memory {
    /// Of Xorum's peers.
    pub xorum: u64,
    /// Of etcd's members.
    pub etcd: u64,
}

/// Seconds of each trial.
#[derive(Debug, Default, Serialize)]
pub struct Failover {
    /// Of Xorum.
    pub xorum: Vec<f64>,
    /// Of etcd.
    pub etcd: Vec<f64>,
}

impl Side {
    fn of(samples: &[Sample]) -> Result<Self> {
        let mut latency = histogram()?;
        for sample in samples {
            latency.add(&sample.latency)?;
        }
        let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
        Ok(Self {
            rate: median(samples.iter().map(|sample| sample.rate).collect()),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            errors: samples.iter().map(|sample| sample.errors).sum(),
        })
    }
}

impl Row {
    /// A load, and what came of it in each round.
    pub fn of(load: Load, xorum: &[Sample], etcd: &[Sample]) -> Result<Self> {
        let ratios = xorum.iter().zip(etcd).map(|(xorum, etcd)| xorum.rate / etcd.rate).collect();
        let (xorum, etcd) = (Side::of(xorum)?, Side::of(etcd)?);
        Ok(Self { op: load.op, clients: load.clients, ratio: xorum.rate / etcd.rate, xorum, etcd, ratios })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:4} {:>7} {:>6} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>7}",
            "op", "clients", "ratio", "xorum/s", "etcd/s", "x p50 ms", "e p50 ms", "x p99 ms", "e p99 ms", "errors"
        )?;
        for Row { op, clients, xorum, etcd, ratio, .. } in &self.rows {
            let op = format!("{op:?}").to_lowercase();
            writeln!(
                f,
                "{op:4} {clients:>7} {ratio:>6.2} {:>10.0} {:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>3}/{:<3}",
                xorum.rate, etcd.rate, xorum.p50_ms, etcd.p50_ms, xorum.p99_ms, etcd.p99_ms, xorum.errors, etcd.errors
            )?;
        }
        let mib = |bytes: u64| bytes / 1024 / 1024;
        writeln!(f, "memory of three: xorum {} MiB, etcd {} MiB", mib(self.memory.xorum), mib(self.memory.etcd))?;
        for (name, trials) in [("xorum", &self.failover.xorum), ("etcd", &self.failover.etcd)] {
            let each: Vec<String> = trials.iter().map(|seconds| format!("{seconds:.2}")).collect();
            writeln!(f, "failover of {name}: median {:.2} s of {}", median(trials.clone()), each.join(" "))?;
        }
        Ok(())
    }
}
