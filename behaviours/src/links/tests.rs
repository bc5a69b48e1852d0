//! Links between whole swarms, and against hostile ones.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::{join_all, pending, poll_immediate};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{Class, MaybeSent, NotSent, RequestError, Service};
use crate::testing::{Answers, Builder, PATIENCE, Seen, TestPeer, echo, soon};

const NOT_SENT_CLOSED: RequestError = RequestError::NotSent(NotSent::Closed);
const MAYBE_SENT_CLOSED: RequestError = RequestError::MaybeSent(MaybeSent::Closed);

async fn pair(service: impl Service) -> (TestPeer, TestPeer) {
    let asker = Builder::new().start(echo()).await;
    let answerer = Builder::new().start(service).await;
    asker.know(&answerer).await;
    (asker, answerer)
}

fn unreachable(outcome: &Result<Bytes, RequestError>) -> bool {
    matches!(outcome, Err(RequestError::NotSent(NotSent::Unreachable(_))))
}

/// A service that tells what it was asked, and answers when it is let.
fn gated() -> (impl Service, mpsc::UnboundedReceiver<Bytes>, Arc<Semaphore>) {
    let (asked, asks) = mpsc::unbounded_channel();
    let permits = Arc::new(Semaphore::new(0));
    let gate = permits.clone();
    let service = Answers(move |_, _, body: Bytes| {
        let (asked, gate) = (asked.clone(), gate.clone());
        async move {
            let _ = asked.send(body.clone());
            gate.acquire().await.expect("is never closed").forget();
            body
        }
    });
    (service, asks, permits)
}

async fn answers_in_both_directions(listen: &str) {
    let one = Builder::new().listen(listen).start(echo()).await;
    let other = Builder::new().listen(listen).start(echo()).await;
    one.know(&other).await;
    assert!(!one.client.is_connected(&other.id));
    assert_eq!(one.client.heard(&other.id), None);
    for class in Class::ALL {
        let answer = soon(one.client.request(other.id, class, Bytes::from_static(b"there"), PATIENCE)).await;
        assert_eq!(answer, Ok(Bytes::from_static(b"there")));
    }
    assert_eq!(soon(other.ask(one.id, b"back")).await, Ok(Bytes::from_static(b"back")));
    for (peer, of) in [(&one, other.id), (&other, one.id)] {
        assert!(peer.client.is_connected(&of));
        assert!(peer.client.heard(&of).is_some_and(|silent| silent < PATIENCE));
    }
}

#[tokio::test]
async fn requests_are_answered_in_memory() {
    answers_in_both_directions("/memory/0").await;
}

#[tokio::test]
async fn requests_are_answered_over_tcp() {
    answers_in_both_directions("/ip4/127.0.0.1/tcp/0").await;
}

#[cfg(feature = "quic")]
#[tokio::test]
async fn requests_are_answered_over_quic() {
    answers_in_both_directions("/ip4/127.0.0.1/udp/0/quic-v1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_in_flight_gets_its_own_answer() {
    let (asker, answerer) = pair(echo()).await;
    let requests = (0..4000u32).map(|i| {
        let body = Bytes::from(i.to_be_bytes().repeat(1 + i as usize % 500));
        let request = asker.client.request(answerer.id, Class::Operation, body.clone(), PATIENCE);
        async move { assert_eq!(request.await, Ok(body)) }
    });
    soon(join_all(requests)).await;
}

#[tokio::test]
async fn a_message_of_the_largest_size_passes_and_a_larger_is_refused_unsent() {
    let (asker, answerer) = pair(echo()).await;
    let largest = Bytes::from(vec![7; crate::wire::MAX_MESSAGE_BYTES]);
    let answer = soon(asker.client.request(answerer.id, Class::Bulk, largest.clone(), PATIENCE)).await;
    assert!(answer == Ok(largest));
    let larger = Bytes::from(vec![7; crate::wire::MAX_MESSAGE_BYTES + 1]);
    assert!(unreachable(&asker.client.request(answerer.id, Class::Bulk, larger, PATIENCE).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_start_in_the_order_in_which_they_were_sent() {
    let started = Arc::new(Mutex::new(Vec::new()));
    let log = started.clone();
    let service = Answers(move |_, _, body: Bytes| {
        let log = log.clone();
        async move {
            log.lock().expect("no test panics with it").push(body.clone());
            tokio::task::yield_now().await;
            body
        }
    });
    let (asker, answerer) = pair(service).await;
    let sent: Vec<Bytes> = (0..3000u32).map(|i| Bytes::from(i.to_be_bytes().to_vec())).collect();
    let requests = sent.iter().map(|body| asker.client.request(answerer.id, Class::Raft, body.clone(), PATIENCE));
    assert!(soon(join_all(requests)).await.iter().all(Result::is_ok));
    assert_eq!(*started.lock().expect("no test panics with it"), sent);
}

#[tokio::test]
async fn a_slow_request_does_not_hold_up_the_ones_behind_it() {
    let service = Answers(|_, _, body: Bytes| async move {
        if body.as_ref() == b"slow" {
            pending::<()>().await;
        }
        body
    });
    let (asker, answerer) = pair(service).await;
    let mut slow = Box::pin(asker.ask(answerer.id, b"slow"));
    assert!(poll_immediate(&mut slow).await.is_none());
    assert!(soon(asker.ask(answerer.id, b"fast")).await.is_ok());
}

#[tokio::test]
async fn one_dropped_before_it_is_written_is_never_sent() {
    let asker = Builder::new().links(|config| config.with_in_flight(1)).start(echo()).await;
    let (service, mut asks, permits) = gated();
    let answerer = Builder::new().start(service).await;
    asker.know(&answerer).await;
    let mut first = Box::pin(asker.ask(answerer.id, b"first"));
    assert!(poll_immediate(&mut first).await.is_none());
    assert_eq!(soon(asks.recv()).await, Some(Bytes::from_static(b"first")));
    let mut second = Box::pin(asker.ask(answerer.id, b"second"));
    assert!(poll_immediate(&mut second).await.is_none());
    drop(second);
    permits.add_permits(2);
    assert!(soon(asker.ask(answerer.id, b"third")).await.is_ok());
    assert!(soon(first).await.is_ok());
    assert_eq!(soon(asks.recv()).await, Some(Bytes::from_static(b"third")));
}

#[tokio::test]
async fn past_what_may_wait_it_says_busy_and_takes_more_once_some_gave_up() {
    let asker = Builder::new().links(|config| config.with_in_flight(1).with_waiting_requests(2)).start(echo()).await;
    let (service, mut asks, _permits) = gated();
    let answerer = Builder::new().start(service).await;
    asker.know(&answerer).await;
    let mut first = Box::pin(asker.ask(answerer.id, b"in flight"));
    assert!(poll_immediate(&mut first).await.is_none());
    soon(asks.recv()).await;
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(asker.ask(answerer.id, b"waits"))).collect();
    for request in &mut waiting {
        assert!(poll_immediate(request).await.is_none());
    }
    assert_eq!(asker.ask(answerer.id, b"too many").await, Err(NotSent::Busy.into()));
    waiting.clear();
    assert!(poll_immediate(Box::pin(asker.ask(answerer.id, b"room again"))).await.is_none());
}

#[tokio::test]
async fn past_what_may_be_worked_on_nothing_more_is_read() {
    let answering = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (answering.clone(), most.clone());
    let service = Answers(move |_, _, body: Bytes| {
        let (now, peak) = (now.clone(), peak.clone());
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            body
        }
    });
    let asker = Builder::new().start(echo()).await;
    let answerer = Builder::new().links(|config| config.with_concurrent(3)).start(service).await;
    asker.know(&answerer).await;
    let requests = (0..500).map(|_| asker.ask(answerer.id, b"work"));
    assert!(soon(join_all(requests)).await.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_was_written_when_the_connection_ended_is_maybe_sent_and_the_rest_is_not() {
    let asker = Builder::new().links(|config| config.with_in_flight(1)).start(echo()).await;
    let (service, mut asks, _permits) = gated();
    let answerer = Builder::new().start(service).await;
    asker.know(&answerer).await;
    let id = answerer.id;
    let mut written = Box::pin(asker.ask(id, b"written"));
    assert!(poll_immediate(&mut written).await.is_none());
    soon(asks.recv()).await;
    let mut waiting = Box::pin(asker.ask(id, b"waits"));
    assert!(poll_immediate(&mut waiting).await.is_none());
    answerer.stop().await;
    let written = soon(written).await;
    assert_eq!(written, Err(MAYBE_SENT_CLOSED));
    assert!(written.is_err_and(|error| error.was_sent()));
    let waiting = soon(waiting).await;
    assert!(unreachable(&waiting), "{waiting:?}");
    assert!(waiting.is_err_and(|error| !error.was_sent()));
}

#[tokio::test]
async fn at_the_deadline_it_says_whether_it_was_written() {
    let asker = Builder::new().links(|config| config.with_in_flight(1)).start(echo()).await;
    let (service, mut asks, _permits) = gated();
    let answerer = Builder::new().start(service).await;
    asker.know(&answerer).await;
    let mut first = Box::pin(asker.ask(answerer.id, b"first"));
    assert!(poll_immediate(&mut first).await.is_none());
    soon(asks.recv()).await;
    let short = Duration::from_millis(50);
    let waits = asker.client.request(answerer.id, Class::Operation, Bytes::from_static(b"waits"), short);
    assert_eq!(soon(waits).await, Err(NotSent::TimedOut.into()));
    let written = asker.client.request(answerer.id, Class::Bulk, Bytes::from_static(b"hangs"), short);
    assert_eq!(soon(written).await, Err(MaybeSent::TimedOut.into()));
}

#[tokio::test]
async fn who_cannot_be_reached_fails_at_once_and_again_without_a_dial() {
    let asker = Builder::new().start(echo()).await;
    let gone = Builder::new().start(echo()).await;
    asker.know(&gone).await;
    let id = gone.id;
    gone.stop().await;
    let outcomes = soon(join_all((0..10).map(|_| asker.ask(id, b"hello")))).await;
    assert!(outcomes.iter().all(unreachable), "{outcomes:?}");
    assert!(unreachable(&soon(asker.ask(id, b"again")).await));
}

#[tokio::test]
async fn oneself_is_never_asked() {
    let peer = Builder::new().start(echo()).await;
    assert!(unreachable(&peer.ask(peer.id, b"hello").await));
}

#[tokio::test]
async fn without_its_swarm_a_handle_says_closed() {
    let (asker, answerer) = pair(Answers(|_, _, _| pending())).await;
    let client = asker.client.clone();
    let id = answerer.id;
    let other = client.clone();
    let waiting = tokio::spawn(async move { other.request(id, Class::Raft, Bytes::new(), PATIENCE).await });
    let (known, unknown) = (id, libp2p::PeerId::random());
    asker.stop().await;
    assert!(soon(waiting).await.expect("does not panic").is_err());
    for peer in [known, unknown] {
        let outcome = soon(client.request(peer, Class::Raft, Bytes::new(), PATIENCE)).await;
        assert_eq!(outcome, Err(NOT_SENT_CLOSED));
    }
}

#[tokio::test]
async fn after_disconnect_what_is_in_flight_ends_and_the_next_request_dials_anew() {
    let served = Arc::new(Notify::new());
    let hanging = served.clone();
    let service = Answers(move |_, _, body: Bytes| {
        let hanging = hanging.clone();
        async move {
            if body.as_ref() == b"hang" {
                hanging.notify_one();
                pending::<()>().await;
            }
            body
        }
    });
    let (mut asker, answerer) = pair(service).await;
    let mut hangs = Box::pin(asker.ask(answerer.id, b"hang"));
    assert!(poll_immediate(&mut hangs).await.is_none());
    soon(served.notified()).await;
    asker.client.disconnect(answerer.id);
    assert_eq!(soon(hangs).await, Err(MAYBE_SENT_CLOSED));
    assert!(soon(asker.ask(answerer.id, b"again")).await.is_ok());
    let id = answerer.id;
    for _ in 0..2 {
        asker.sees(|seen| *seen == Seen::Connected(id)).await;
    }
}

#[tokio::test]
async fn a_client_may_ask_operations_and_nothing_else() {
    let client = Builder::new().client().start(echo()).await;
    let peer = Builder::new().start(echo()).await;
    client.know(&peer).await;
    assert!(soon(client.ask(peer.id, b"hello")).await.is_ok());
    for class in [Class::Raft, Class::Bulk] {
        let outcome = soon(client.client.request(peer.id, class, Bytes::from_static(b"vote"), PATIENCE)).await;
        assert!(unreachable(&outcome), "{outcome:?}");
    }
    assert!(unreachable(&soon(peer.ask(client.id, b"hello")).await), "a client answers nothing");
}

#[tokio::test]
async fn silence_is_counted_from_the_last_frame() {
    let (asker, answerer) = pair(echo()).await;
    assert!(soon(asker.ask(answerer.id, b"hello")).await.is_ok());
    let since = Instant::now();
    soon(async {
        while asker.client.heard(&answerer.id).is_none_or(|silent| silent < Duration::from_millis(20)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(since.elapsed() >= Duration::from_millis(15));
    assert!(soon(asker.ask(answerer.id, b"hello")).await.is_ok());
    assert!(asker.client.heard(&answerer.id).is_some_and(|silent| silent < since.elapsed()));
}

#[tokio::test]
async fn of_two_connections_one_is_used_and_the_other_when_that_closes() {
    let (service, mut asks, permits) = gated();
    let (mut asker, answerer) = pair(service).await;
    asker.connect(&answerer).await;
    asker.connect(&answerer).await;
    let mut hangs = Box::pin(asker.ask(answerer.id, b"hangs"));
    assert!(poll_immediate(&mut hangs).await.is_none());
    soon(asks.recv()).await;
    asker.close_oldest();
    assert_eq!(soon(hangs).await, Err(MAYBE_SENT_CLOSED));
    permits.add_permits(1);
    assert!(soon(asker.ask(answerer.id, b"on the other")).await.is_ok());
    assert!(asker.client.is_connected(&answerer.id));
    assert_eq!(asker.saw(), [], "nothing was dialed, and the peer was never without a connection");
    assert!(answerer.gate.role_of(&asker.id).is_some());
}

#[tokio::test]
async fn a_peer_that_restarts_where_it_was_is_reached_again() {
    let keypair = libp2p::identity::Keypair::generate_ed25519();
    let asker = Builder::new().start(echo()).await;
    let mut address = "/ip4/127.0.0.1/tcp/0".to_owned();
    for round in 0..4 {
        let answerer = Builder::new().keypair(keypair.clone()).listen(&address).start(echo()).await;
        if round == 0 {
            asker.know(&answerer).await;
        }
        address = answerer.address.to_string();
        soon(async {
            while asker.ask(answerer.id, b"again").await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let id = answerer.id;
        answerer.stop().await;
        assert!(soon(asker.ask(id, b"nobody there")).await.is_err());
    }
}

#[tokio::test]
async fn who_closes_a_connection_drops_the_work_for_the_other_side() {
    struct Told(mpsc::UnboundedSender<()>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let (begun, mut begins) = mpsc::unbounded_channel();
    let service = Answers(move |_, _, body: Bytes| {
        let (told, begun) = (Told(tell.clone()), begun.clone());
        async move {
            let _ = begun.send(());
            pending::<()>().await;
            drop(told);
            body
        }
    });
    let (asker, answerer) = pair(service).await;
    let mut hangs = Box::pin(asker.ask(answerer.id, b"hangs"));
    assert!(poll_immediate(&mut hangs).await.is_none());
    soon(begins.recv()).await;
    answerer.close_oldest();
    assert_eq!(soon(told.recv()).await, Some(()));
    assert_eq!(soon(hangs).await, Err(MAYBE_SENT_CLOSED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_dial_each_other_at_once_both_get_their_answers() {
    for _ in 0..20 {
        let (one, other) = pair(echo()).await;
        other.know(&one).await;
        let (there, back) = soon(futures::future::join(one.ask(other.id, b"there"), other.ask(one.id, b"back"))).await;
        assert_eq!((there.is_ok(), back.is_ok()), (true, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_connections_do_every_request_ends_and_none_is_answered_with_anothers() {
    let (asker, answerer) = pair(echo()).await;
    let asker = &asker;
    let requests = (0..2000u32).map(|i| async move {
        if i % 100 == 99 {
            asker.client.disconnect(answerer.id);
        }
        tokio::task::yield_now().await;
        let body = Bytes::from(i.to_be_bytes().to_vec());
        match asker.client.request(answerer.id, Class::Operation, body.clone(), PATIENCE).await {
            Ok(answer) => assert_eq!(answer, body),
            Err(RequestError::NotSent(NotSent::TimedOut) | RequestError::MaybeSent(MaybeSent::TimedOut)) => {
                panic!("request {i} was forgotten")
            }
            Err(_) => {}
        }
    });
    let requests = futures::StreamExt::buffer_unordered(futures::stream::iter(requests), 64);
    soon(futures::StreamExt::for_each(requests, |()| std::future::ready(()))).await;
    soon(async {
        while asker.ask(answerer.id, b"still there").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn peers_that_stopped_leave_no_task_behind() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks(), 0);
    let (asker, answerer) = pair(echo()).await;
    for class in Class::ALL {
        for (from, to) in [(&asker, &answerer), (&answerer, &asker)] {
            assert!(soon(from.client.request(to.id, class, Bytes::new(), PATIENCE)).await.is_ok());
        }
    }
    let client = asker.client.clone();
    answerer.stop().await;
    asker.stop().await;
    soon(async {
        while tasks() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(client);
}

#[tokio::test]
async fn after_disconnect_a_stream_that_could_take_no_more_ends_too() {
    let asker = Builder::new().links(|config| config.with_in_flight(1)).start(echo()).await;
    let (service, mut asks, permits) = gated();
    let answerer = Builder::new().start(service).await;
    asker.know(&answerer).await;
    let mut hangs = Box::pin(asker.ask(answerer.id, b"hangs"));
    assert!(poll_immediate(&mut hangs).await.is_none());
    soon(asks.recv()).await;
    let mut waits = Box::pin(asker.ask(answerer.id, b"waits"));
    assert!(poll_immediate(&mut waits).await.is_none());
    asker.client.disconnect(answerer.id);
    assert_eq!(soon(hangs).await, Err(MAYBE_SENT_CLOSED));
    permits.add_permits(1);
    assert_eq!(soon(waits).await, Ok(Bytes::from_static(b"waits")));
}
