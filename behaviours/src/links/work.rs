//! The requests of one stream that are worked on.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{StreamExt, stream::FuturesUnordered, task::AtomicWaker};

/// How often the set is asked again at once when it was woken while it was asked.
const AGAIN: usize = 2;

/// A set of futures. Those that were added since are first polled in the order in which they were added.
///
/// The set wakes its task whenever all that it polled are pending, to be fair to other tasks; for a task that serves one
/// request at a time that is a needless wakeup each. So wakes while it is asked are only noted, and it is asked again.
pub(super) struct Work<F> {
    futures: FuturesUnordered<F>,
    nudge: Arc<Nudge>,
    waker: Waker,
}

#[derive(Default)]
struct Nudge {
    asking: AtomicBool,
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// Either this sees that nobody is asking, or who asks sees that it was woken.
    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, SeqCst);
        if !self.asking.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl<F: Future> Work<F> {
    pub(super) fn new() -> Self {
        let nudge = Arc::new(Nudge::default());
        Self { futures: FuturesUnordered::new(), waker: nudge.clone().into(), nudge }
    }

    pub(super) fn len(&self) -> usize {
        self.futures.len()
    }

    /// Adds one; it is polled when the set is asked next.
    pub(super) fn push(&self, future: F) {
        self.futures.push(future);
    }

    /// One that is finished; none when there are none at all.
    pub(super) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<F::Output>> {
        self.nudge.task.register(cx.waker());
        for _ in 0..=AGAIN {
            self.nudge.woken.store(false, SeqCst);
            self.nudge.asking.store(true, SeqCst);
            let polled = self.futures.poll_next_unpin(&mut Context::from_waker(&self.waker));
            self.nudge.asking.store(false, SeqCst);
            if polled.is_ready() || !self.nudge.woken.load(SeqCst) {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        pin::pin,
        sync::{Mutex, atomic::AtomicUsize},
    };

    use futures::{
        FutureExt,
        channel::oneshot,
        future::{BoxFuture, poll_immediate},
    };

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn one_that_is_pending_wakes_nobody_until_it_can_go_on() {
        let counter = Arc::new(Counter::default());
        let waker = counter.clone().into();
        let cx = Context::from_waker(&waker);
        let mut work = Work::new();
        let (send, receive) = oneshot::channel::<u8>();
        work.push(receive);
        assert!(work.poll_next(&cx).is_pending());
        assert_eq!(counter.0.load(SeqCst), 0);
        send.send(7).expect("is waited for");
        assert_eq!(counter.0.load(SeqCst), 1);
        assert_eq!(work.poll_next(&cx), Poll::Ready(Some(Ok(7))));
    }

    #[test]
    fn one_that_yields_is_asked_again_later() {
        let counter = Arc::new(Counter::default());
        let waker = counter.clone().into();
        let cx = Context::from_waker(&waker);
        let mut work = Work::new();
        work.push(poll_fn(|cx: &mut Context<'_>| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        assert!(work.poll_next(&cx).is_pending());
        assert_eq!(counter.0.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn those_added_are_first_polled_in_order() {
        let order = Mutex::new(Vec::new());
        let mut work: Work<BoxFuture<'_, ()>> = Work::new();
        for i in 0..1000 {
            let order = &order;
            work.push(
                async move {
                    order.lock().expect("no test panics with it").push(i);
                    pending::<()>().await;
                }
                .boxed(),
            );
        }
        assert!(poll_immediate(pin!(poll_fn(|cx| work.poll_next(cx)))).await.is_none());
        assert_eq!(*order.lock().expect("no test panics with it"), (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_of_another_thread_is_lost() {
        for _ in 0..2000 {
            let mut work = Work::new();
            for _ in 0..3 {
                let (send, receive) = oneshot::channel::<()>();
                work.push(receive);
                tokio::spawn(async move { send.send(()) });
            }
            for _ in 0..3 {
                let next = crate::testing::soon(poll_fn(|cx| work.poll_next(cx))).await;
                assert_eq!(next, Some(Ok(())));
            }
        }
    }
}
