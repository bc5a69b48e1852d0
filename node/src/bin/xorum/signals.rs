//! Ctrl-C and SIGTERM, and how long a stop may take.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use xorum_node::Node;

use crate::exit::Exit;

/// Handing over and flushing take no longer; it leaves the rest of the process a part of the 3 s promised.
const STOP_WITHIN: Duration = Duration::from_millis(2800);

/// Who asks to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A person, by Ctrl-C.
    Interrupt,
    /// The system, by SIGTERM.
    Terminate,
}

/// The signals that ask to stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes them over from their default, which is death.
    pub(crate) fn take() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Stop::Interrupt,
            Some(()) = self.terminate.recv() => Stop::Terminate,
        }
    }

    /// Shuts the node down; a further signal ends the wait at once.
    pub(crate) async fn shut_down(&mut self, node: &Node) -> Exit {
        tokio::select! {
            biased;
            _ = tokio::time::timeout(STOP_WITHIN, node.shutdown()) => Exit::Done,
            _ = self.next() => Exit::AtOnce,
        }
    }
}
