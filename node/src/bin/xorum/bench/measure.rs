//! What the clients saw: latencies by kind, failures by code.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// The longest latency told apart, in microseconds: the longest deadline and some.
const MAX_US: u64 = 660_000_000;

/// Latencies of one kind of operation.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    #[allow(clippy::expect_used, reason = "the bounds are constants, within what the histogram asks for")]
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_US, 3).expect("bounds of a histogram"))
    }

    fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MAX_US).max(1));
    }

    fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this share of the operations did not exceed, in microseconds.
    pub(super) fn quantile_us(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// The longest, in microseconds.
    pub(super) fn max_us(&self) -> u64 {
        self.0.max()
    }
}

/// All that was seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Of puts that were acknowledged.
    pub(super) puts: Latencies,
    /// Of gets that were answered.
    pub(super) gets: Latencies,
    /// Failures by their code.
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// Operations that were due and that nobody was free to send.
    pub(super) not_sent: u64,
    /// From the first operation to the last answer.
    pub(super) took: Duration,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            puts: Latencies::new(),
            gets: Latencies::new(),
            failures: BTreeMap::new(),
            not_sent: 0,
            took: Duration::ZERO,
        }
    }

    pub(super) fn put(&mut self, latency: Duration) {
        self.puts.record(latency);
    }

    pub(super) fn get(&mut self, latency: Duration) {
        self.gets.record(latency);
    }

    pub(super) fn failed(&mut self, code: &'static str) {
        *self.failures.entry(code).or_default() += 1;
    }

    /// Takes what another client saw in.
    pub(super) fn add(&mut self, other: &Self) {
        self.puts.add(&other.puts);
        self.gets.add(&other.gets);
        for (code, count) in &other.failures {
            *self.failures.entry(code).or_default() += count;
        }
    }

    /// Of all operations that worked.
    pub(super) fn all(&self) -> Latencies {
        let mut all = self.puts.clone();
        all.add(&self.gets);
        all
    }

    /// Operations that worked.
    pub(super) fn done(&self) -> u64 {
        self.puts.count() + self.gets.count()
    }

    /// Operations that failed.
    pub(super) fn failed_count(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Operations that worked, each second.
    pub(super) fn per_second(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { self.done() as f64 / seconds } else { 0.0 }
    }
}
