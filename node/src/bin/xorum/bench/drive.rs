//! Clients at work.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use indicatif::ProgressBar;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Plan, measure::Seen};
use crate::store::Store;

/// A client that failed waits so long before it goes on, so that a refusal at once is not asked for at full speed.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// What all clients share.
struct Shared {
    plan: Plan,
    began: Instant,
    is_over: AtomicBool,
    done: AtomicU64,
    schedule: Option<Schedule>,
}

/// Operations that are due: a permit each, taken in their order.
struct Schedule {
    due: Semaphore,
    taken: AtomicU64,
    rate: u32,
}

impl Schedule {
    /// When the next operation is due; waits until then.
    async fn next(&self, began: Instant) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        Some(began + due_after(self.taken.fetch_add(1, Ordering::Relaxed), self.rate))
    }
}

fn due_after(number: u64, rate: u32) -> Duration {
    Duration::from_nanos((u128::from(number) * 1_000_000_000 / u128::from(rate)).try_into().unwrap_or(u64::MAX))
}

/// Makes the planned load until it is over or `interrupted`, and waits for what is under way.
pub(super) async fn drive<S: Store>(
    stores: &[S],
    plan: Plan,
    bar: &ProgressBar,
    interrupted: impl Future<Output = ()>,
) -> Seen {
    let schedule = plan.rate.map(|rate| Schedule { due: Semaphore::new(0), taken: AtomicU64::new(0), rate });
    let began = Instant::now();
    let shared = Arc::new(Shared { plan, began, is_over: AtomicBool::new(false), done: AtomicU64::new(0), schedule });
    if plan.rate.is_some() {
        let shared = shared.clone();
        // A thread, for the timers of the runtime are a millisecond coarse.
        thread::spawn(move || release(&shared));
    }
    let mut clients = JoinSet::new();
    for (number, store) in (0..plan.clients).zip(stores.iter().cycle()) {
        clients.spawn(client(store.clone(), shared.clone(), number.into()));
    }
    tokio::select! {
        () = interrupted => {}
        () = show(&shared, bar) => {}
    }
    shared.is_over.store(true, Ordering::Relaxed);
    let not_sent = shared.schedule.as_ref().map_or(0, |schedule| {
        schedule.due.close();
        schedule.due.available_permits() as u64
    });
    let mut seen = Seen { not_sent, ..Seen::new() };
    while let Some(client) = clients.join_next().await {
        // A client that panicked has seen nothing.
        if let Ok(client) = client {
            seen.add(&client);
        }
    }
    seen.took = began.elapsed();
    seen
}

/// Shows progress until the time is over.
async fn show(shared: &Shared, bar: &ProgressBar) {
    let end = tokio::time::Instant::from_std(shared.began + shared.plan.duration);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(end) => return,
            _ = ticks.tick() => {
                let elapsed = shared.began.elapsed();
                let done = shared.done.load(Ordering::Relaxed);
                bar.set_position(elapsed.as_secs());
                bar.set_message(format!("{:.0} ops/s", done as f64 / elapsed.as_secs_f64().max(0.001)));
            }
        }
    }
}

/// Releases each operation when it is due.
fn release(shared: &Shared) {
    let Some(schedule) = &shared.schedule else { return };
    for number in 0.. {
        let due = due_after(number, schedule.rate);
        if due >= shared.plan.duration || shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(due.saturating_sub(shared.began.elapsed()));
        schedule.due.add_permits(1);
    }
}

async fn client<S: Store>(store: S, shared: Arc<Shared>, number: u64) -> Seen {
    let plan = shared.plan;
    let mut random = StdRng::seed_from_u64(number);
    let mut value = vec![0; plan.value_bytes];
    random.fill(&mut value[..]);
    let value = Bytes::from(value);
    let mut seen = Seen::new();
    while !shared.is_over.load(Ordering::Relaxed) {
        let due = match &shared.schedule {
            None => Instant::now(),
            Some(schedule) => match schedule.next(shared.began).await {
                Some(due) => due,
                None => break,
            },
        };
        let key = Bytes::from(format!("bench:{}", random.random_range(0..plan.keys)));
        let result = if random.random_range(0..100) < plan.reads_percent {
            store.get(key).await.map(|_| seen.get(due.elapsed()))
        } else {
            store.put(key, value.clone()).await.map(|_| seen.put(due.elapsed()))
        };
        match result {
            Ok(()) => {
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                seen.failed(error.code());
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Memory;

    const PLAN: Plan = Plan {
        clients: 4,
        duration: Duration::from_millis(300),
        value_bytes: 10,
        reads_percent: 50,
        rate: None,
        keys: 10,
    };

    #[tokio::test]
    async fn a_closed_loop_counts_puts_and_gets() {
        let interrupted = std::future::pending();
        let seen = drive(&[Memory::new()], PLAN, &ProgressBar::hidden(), interrupted).await;
        assert!(seen.puts.count() > 0 && seen.gets.count() > 0, "{seen:?}");
        assert_eq!((seen.not_sent, seen.failed_count()), (0, 0));
        assert_eq!(seen.done(), seen.all().count());
    }

    #[tokio::test]
    async fn an_open_loop_sends_what_is_due_and_no_more() {
        let plan = Plan { rate: Some(100), reads_percent: 0, ..PLAN };
        let seen = drive(&[Memory::new()], plan, &ProgressBar::hidden(), std::future::pending()).await;
        assert_eq!(seen.gets.count(), 0);
        assert!(seen.done() + seen.not_sent <= 30, "{seen:?}");
        assert!(seen.done() > 0);
    }

    #[tokio::test]
    async fn an_interrupted_load_ends_early() {
        let plan = Plan { duration: Duration::from_secs(3600), ..PLAN };
        let seen = drive(&[Memory::new()], plan, &ProgressBar::hidden(), std::future::ready(())).await;
        assert!(seen.took < Duration::from_secs(30));
    }

    #[test]
    fn operations_are_due_at_even_distances() {
        assert_eq!(due_after(0, 3), Duration::ZERO);
        assert_eq!(due_after(3, 3), Duration::from_secs(1));
        assert_eq!(due_after(1, 1000), Duration::from_millis(1));
    }
}
