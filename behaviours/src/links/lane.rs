//! The requests of one class that wait for one peer, whether it is connected or not.
//!
//! A lane outlives streams and connections. At most one stream serves it at a time: it is *idle* (nobody asked for a
//! stream), *opening* (the behaviour was told to get one), *open* (a task takes from it) or *closed* for ever. What
//! waits is bounded in number and bytes. Whoever adds wakes the task only if it sleeps, so many that add wake it once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;
use libp2p::{PeerId, swarm::ConnectionId};
use tokio::sync::mpsc;

use super::{Class, error::NotSent, frame::Outbox, in_flight::InFlight, lock, peers::Command, ticket::Ticket};

/// How much may wait in a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneBounds {
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Entry {
    ticket: Arc<Ticket>,
    body: Bytes,
}

#[derive(Debug)]
enum State {
    Idle,
    /// On this connection, if the behaviour has chosen one.
    Opening(Option<ConnectionId>),
    /// On this connection, by this task.
    Open(ConnectionId, Sleeper),
    /// The task is to end.
    Stopping,
    Closed,
}

/// The task that serves a lane.
#[derive(Debug, Default)]
struct Sleeper {
    /// There while it sleeps.
    waker: Option<Waker>,
    /// Did it take all that waited, so that more is to wake it?
    took_all: bool,
}

impl Sleeper {
    fn sleep(&mut self, waker: &Waker, took_all: bool) {
        self.took_all = took_all;
        match &mut self.waker {
            Some(registered) => registered.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<Entry>,
    bytes: usize,
    state: State,
}

impl Inner {
    /// Drops what was abandoned while it waited.
    fn sweep(&mut self) {
        self.queue.retain(|entry| !entry.ticket.is_abandoned());
        self.bytes = self.queue.iter().map(|entry| entry.body.len()).sum();
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    peer: PeerId,
    class: Class,
    bounds: LaneBounds,
    abandoned: AtomicUsize,
    commands: mpsc::UnboundedSender<Command>,
    inner: Mutex<Inner>,
}

impl Lane {
    pub(super) fn new(
        peer: PeerId,
        class: Class,
        bounds: LaneBounds,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        let inner = Inner { queue: VecDeque::new(), bytes: 0, state: State::Idle };
        Self { peer, class, bounds, abandoned: AtomicUsize::new(0), commands, inner: Mutex::new(inner) }
    }

    /// Adds a request.
    pub(super) fn push(&self, body: Bytes) -> Result<Arc<Ticket>, NotSent> {
        let ticket = Ticket::new();
        let waker = {
            let mut inner = lock(&self.inner);
            if matches!(inner.state, State::Closed) {
                return Err(NotSent::Closed);
            }
            if !self.fits(&inner, body.len()) && self.abandoned.swap(0, Ordering::Relaxed) > 0 {
                inner.sweep();
            }
            if !self.fits(&inner, body.len()) {
                return Err(NotSent::Busy);
            }
            inner.bytes += body.len();
            inner.queue.push_back(Entry { ticket: ticket.clone(), body });
            match &mut inner.state {
                State::Idle => {
                    inner.state = State::Opening(None);
                    // Who receives is gone only when the lane is about to be closed, which fails what waits.
                    let _ = self.commands.send(Command::Open(self.peer, self.class));
                    None
                }
                State::Open(_, sleeper) if sleeper.took_all => sleeper.waker.take(),
                State::Open(..) | State::Opening(_) | State::Stopping | State::Closed => None,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(ticket)
    }

    fn fits(&self, inner: &Inner, bytes: usize) -> bool {
        inner.queue.len() < self.bounds.requests && (inner.queue.is_empty() || inner.bytes + bytes <= self.bounds.bytes)
    }

    /// A request of it was abandoned while it waited.
    pub(super) fn note_abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream was opened for it on `connection`: true if it is wanted.
    pub(super) fn attach(&self, connection: ConnectionId) -> bool {
        let mut inner = lock(&self.inner);
        let wanted = matches!(inner.state, State::Opening(Some(on)) if on == connection);
        if wanted {
            inner.state = State::Open(connection, Sleeper::default());
        }
        wanted
    }

    /// Its stream ended; another is asked for if requests wait.
    pub(super) fn detach(&self) {
        let mut inner = lock(&self.inner);
        if matches!(inner.state, State::Closed) {
            return;
        }
        inner.sweep();
        inner.state = if inner.queue.is_empty() { State::Idle } else { State::Opening(None) };
        if !inner.queue.is_empty() {
            let _ = self.commands.send(Command::Open(self.peer, self.class));
        }
    }

    /// Moves what waits into `outbox` and `in_flight`, as far as they have room; `waker` is woken when there is more.
    /// False if the task is to end.
    pub(super) fn take(&self, waker: &Waker, outbox: &mut Outbox, in_flight: &mut InFlight) -> bool {
        let mut inner = lock(&self.inner);
        if !matches!(inner.state, State::Open(..)) {
            return false;
        }
        while outbox.has_room() && in_flight.has_room() {
            let Some(entry) = inner.queue.pop_front() else { break };
            inner.bytes -= entry.body.len();
            if entry.ticket.begin() {
                let correlation = in_flight.insert(entry.ticket);
                outbox.add(correlation, &entry.body);
            }
        }
        let took_all = inner.queue.is_empty();
        if let State::Open(_, sleeper) = &mut inner.state {
            sleeper.sleep(waker, took_all);
        }
        true
    }

    /// Is a stream asked for, and no connection chosen for it?
    pub(super) fn is_unserved(&self) -> bool {
        matches!(lock(&self.inner).state, State::Opening(None))
    }

    /// The stream that is asked for is to be opened on `connection`: true if one is.
    pub(super) fn choose(&self, connection: ConnectionId) -> bool {
        let mut inner = lock(&self.inner);
        let wanted = matches!(inner.state, State::Opening(_));
        if wanted {
            inner.state = State::Opening(Some(connection));
        }
        wanted
    }

    /// Nothing will be opened on `connection` any more.
    pub(super) fn unchoose(&self, connection: ConnectionId) {
        let mut inner = lock(&self.inner);
        if matches!(inner.state, State::Opening(Some(on)) if on == connection) {
            inner.state = State::Opening(None);
        }
    }

    /// No stream can be had, on the connection chosen, or at all where none was: fails what waits.
    pub(super) fn fail(&self, connection: Option<ConnectionId>, why: &NotSent) {
        let entries = {
            let mut inner = lock(&self.inner);
            if !matches!(inner.state, State::Opening(on) if on == connection) {
                return;
            }
            inner.state = State::Idle;
            inner.bytes = 0;
            std::mem::take(&mut inner.queue)
        };
        for entry in entries {
            entry.ticket.refuse(why.clone());
        }
    }

    /// Ends the task that serves it, if that is on `connection`; what waits gets another stream.
    ///
    /// A connection that is closed from this side does not wake who reads from its substreams.
    pub(super) fn stop(&self, connection: ConnectionId) {
        let waker = {
            let mut inner = lock(&self.inner);
            match &mut inner.state {
                State::Open(on, sleeper) if *on == connection => {
                    let waker = sleeper.waker.take();
                    inner.state = State::Stopping;
                    waker
                }
                _ => None,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Closes it for ever.
    pub(super) fn close(&self) {
        let (entries, waker) = {
            let mut inner = lock(&self.inner);
            let waker = match &mut inner.state {
                State::Open(_, sleeper) => sleeper.waker.take(),
                _ => None,
            };
            inner.state = State::Closed;
            inner.bytes = 0;
            (std::mem::take(&mut inner.queue), waker)
        };
        for entry in entries {
            entry.ticket.refuse(NotSent::Closed);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
