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

/// What a reader of lines hands over. It reads on when it is told so by `answered`, and ends when that is dropped: at
/// the end of a conversation nobody touches the terminal any more.
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
                if let Err(error) = session.output.print(&failure.into()) {
                    return Ended::Output(error);
                }
                Vec::new()
            }
        };
        for line in text.split(|&byte| byte == b'\n') {
            if let Some(ended) = answer(session, line, signals).await {
                return ended;
            }
        }
        // A reader that has ended is seen at the next line.
        let _ = answered.send(());
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

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;
    use crate::{
        fixtures::{Memory, Page},
        output::{Format, Output},
    };

    /// A signal is told to all who listen in this process: these tests take turns.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    async fn converse_over(input: &'static [u8], is_interactive: bool) -> (String, Ended) {
        converse_on(Page::default(), input, is_interactive).await
    }

    async fn converse_on(page: Page, input: &'static [u8], is_interactive: bool) -> (String, Ended) {
        let output = Output::to(page.clone(), Format::Plain);
        let mut session = Session { store: Memory::new(), output, is_client: false, is_interactive };
        let mut lines = read_lines(input).expect("a thread");
        let mut signals = Signals::take().expect("signals");
        let ended = converse(&mut session, &mut lines, &mut signals).await;
        (page.text(), ended)
    }

    #[tokio::test]
    async fn lines_are_answered_in_order_to_the_end_of_the_input() {
        let _turn = TURN.lock().await;
        let (text, ended) = converse_over(b"put k v\r\n\nnonsense\nget k", false).await;
        assert_eq!(text, "OK version=1\nERR invalid unknown command \"nonsense\": `help` lists the commands\nv\n");
        assert!(matches!(ended, Ended::Input), "{ended:?}");
    }

    #[tokio::test]
    async fn nothing_is_answered_after_quit() {
        let _turn = TURN.lock().await;
        let (text, ended) = converse_over(b"quit\nput k v\n", false).await;
        assert_eq!(text, "OK\n");
        assert!(matches!(ended, Ended::Told), "{ended:?}");
    }

    #[tokio::test]
    async fn at_a_terminal_ctrl_c_ends_a_watch_and_not_the_program() {
        let _turn = TURN.lock().await;
        let page = Page::default();
        let watching = converse_on(page.clone(), b"put k v\nwatch k\nput k w\n", true);
        let interrupt = async {
            while !page.text().contains("value=v") {
                tokio::task::yield_now().await;
            }
            raise(Signal::SIGINT).expect("raised");
        };
        let ((text, ended), ()) = futures::join!(watching, interrupt);
        assert_eq!(text, "OK version=1\nversion=1 value=v\nOK version=2\n");
        assert!(matches!(ended, Ended::Input), "{ended:?}");
    }

    #[tokio::test]
    async fn ctrl_c_ends_any_other_command_and_the_program() {
        let _turn = TURN.lock().await;
        let waiting = converse_over(b"put never v\nput k v\n", true);
        let interrupt = async { raise(Signal::SIGINT).expect("raised") };
        let ((text, ended), ()) = futures::join!(waiting, interrupt);
        assert_eq!(text, "");
        assert!(matches!(ended, Ended::Signal), "{ended:?}");
    }
}
