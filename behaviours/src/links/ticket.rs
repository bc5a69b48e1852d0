//! One request on its way: whether a byte of it was written, and its answer.
//!
//! A ticket goes from *waiting* to *written* to *ended*, or to *abandoned* from either of the first two. Only
//! [`Ticket::begin`] moves it to *written*, and the writer calls that before it copies a byte: so one that is abandoned
//! while it waits is never written.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{
    error::{MaybeSent, NotSent, RequestError},
    lock,
};

type Outcome = Result<Bytes, RequestError>;

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Written(Option<Waker>),
    Ended(Outcome),
    Abandoned,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ticket(Mutex<State>);

impl Ticket {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Waiting(None))))
    }

    /// May it be written now? From here on it counts as sent.
    pub(super) fn begin(&self) -> bool {
        let mut state = lock(&self.0);
        match &mut *state {
            State::Waiting(waker) => {
                let waker = waker.take();
                *state = State::Written(waker);
                true
            }
            _ => false,
        }
    }

    /// Its answer came.
    pub(super) fn answer(&self, body: Bytes) {
        self.end(Ok(body));
    }

    /// It will never be written.
    pub(super) fn refuse(&self, why: NotSent) {
        self.end(Err(why.into()));
    }

    /// Its stream ended after it was begun.
    pub(super) fn lose(&self) {
        self.end(Err(MaybeSent::Closed.into()));
    }

    fn end(&self, outcome: Outcome) {
        let waker = {
            let mut state = lock(&self.0);
            match &mut *state {
                State::Waiting(waker) | State::Written(waker) => {
                    let waker = waker.take();
                    *state = State::Ended(outcome);
                    waker
                }
                State::Ended(_) | State::Abandoned => None,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the end.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Outcome> {
        let mut state = lock(&self.0);
        match &mut *state {
            State::Waiting(waker) | State::Written(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Ended(_) => match std::mem::replace(&mut *state, State::Abandoned) {
                State::Ended(outcome) => Poll::Ready(outcome),
                _ => Poll::Pending,
            },
            State::Abandoned => Poll::Ready(Err(MaybeSent::Closed.into())),
        }
    }

    /// The asker's deadline passed; the outcome, if it came at the last moment.
    pub(super) fn give_up(&self) -> Outcome {
        match std::mem::replace(&mut *lock(&self.0), State::Abandoned) {
            State::Waiting(_) => Err(NotSent::TimedOut.into()),
            State::Written(_) | State::Abandoned => Err(MaybeSent::TimedOut.into()),
            State::Ended(outcome) => outcome,
        }
    }

    /// The asker went away. True if it was still waiting to be written.
    pub(super) fn abandon(&self) -> bool {
        matches!(std::mem::replace(&mut *lock(&self.0), State::Abandoned), State::Waiting(_))
    }

    /// Did the asker go away?
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(&*lock(&self.0), State::Abandoned)
    }
}
