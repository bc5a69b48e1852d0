//! The prompt: lines from a person or a pipe, one at a time, each answered before the next is read.

mod editor;
mod pipe;
mod terminal;

use std::io;

use tokio::sync::{mpsc, oneshot};

pub(crate) use self::{
    pipe::{TooLong, read_lines},
    terminal::Terminal,
};
use crate::{
    commands::Spoken,
    output::Failure,
    session::{Next, Session},
    signals::{Signals, Stop},
    store::Store,
};

/// What a reader of lines hands over. It reads on when `answered` is dropped.
pub(crate) struct Typed {
    /// A line without its end; a paste may hold several.
    pub(crate) text: Result<Vec<u8>, TooLong>,
    /// Tells the reader that the line is answered.
    pub(crate) answered: oneshot::Sender<()>,
}

/// Lines as they are typed.
pub(crate) type Lines = mpsc::Receiver<Typed>;

/// Why a conversation ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// `quit`, or `leave`.
    Told,
    /// There are no more lines.
    Input,
    /// A signal asked to stop.
    Signal,
    /// Nobody reads the answers any more.
    Output(io::Error),
}

/// Answers lines in their order until something ends it.
pub(crate) async fn converse<S: Store>(session: &mut Session<S>, lines: &mut Lines, signals: &mut Signals) -> Ended {
    loop {
        let typed = tokio::select! {
            biased;
            _ = signals.next() => return Ended::Signal,
            typed = lines.recv() => typed,
        };
        let Some(Typed { text, answered }) = typed else { return Ended::Input };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                let failure = Failure { code: "too-large", message: error.to_string(), group: None };
                match session.output.print(&failure.into()) {
                    Ok(()) => continue,
                    Err(error) => return Ended::Output(error),
                }
            }
        };
        for line in text.split(|&byte| byte == b'\n') {
            if let Some(ended) = answer(session, line, signals).await {
                return ended;
            }
        }
        drop(answered);
    }
}

/// Answers one line. At a terminal Ctrl-C ends a watch, and not the program.
async fn answer<S: Store>(session: &mut Session<S>, line: &[u8], signals: &mut Signals) -> Option<Ended> {
    let spoken = match session.understand(line) {
        Ok(Some(spoken)) => spoken,
        Ok(None) => return None,
        Err(failure) => return session.output.print(&failure.into()).err().map(Ended::Output),
    };
    let may_be_interrupted = session.is_interactive && matches!(spoken, Spoken::Watch(_));
    tokio::select! {
        biased;
        stop = signals.next() => match stop {
            Stop::Interrupt if may_be_interrupted => None,
            _ => Some(Ended::Signal),
        },
        next = session.answer(spoken) => match next {
            Ok(Next::Line) => None,
            Ok(Next::End) => Some(Ended::Told),
            Err(error) => Some(Ended::Output(error)),
        },
    }
}
