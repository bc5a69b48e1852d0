//! Lines from a person at a terminal.
//!
//! The editor has a thread of its own, for it waits for keys; so has the printer of log lines, for printing above the
//! line being typed may block. Neither is ended: both end with the process. What the editor changes about the
//! terminal while it reads is put right when the [`Terminal`] is dropped, even if that is in the middle of a line.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use nix::sys::termios::{self, SetArg, Termios};
use rustyline::{
    ColorMode, CompletionType, Config, Editor, ExternalPrinter, error::ReadlineError, history::FileHistory,
};
use tokio::sync::{mpsc, oneshot};

use super::{Lines, Typed, editor::Editing};
use crate::logging::Route;

/// Log lines that may wait for the printer.
const WAITING_LOG_LINES: usize = 1024;

/// As many bytes of log lines are printed at once.
const PRINT_BYTES: usize = 64 * 1024;

const PROMPT: &str = "xorum> ";

/// The terminal while the prompt has it.
pub(crate) struct Terminal {
    before: Option<Termios>,
    is_reading: Arc<AtomicBool>,
    route: Route,
}

impl Terminal {
    /// Takes the terminal over, and log lines too if they would go there.
    pub(crate) fn open(history: Option<PathBuf>, colour: bool, route: Route) -> io::Result<(Self, Lines)> {
        let before = termios::tcgetattr(io::stdin()).ok();
        let is_reading = Arc::new(AtomicBool::new(false));
        let terminal = Self { before, is_reading: is_reading.clone(), route: route.clone() };
        let (sender, lines) = mpsc::channel(1);
        thread::Builder::new().name("prompt".to_owned()).spawn(move || {
            // A terminal that cannot be edited on is at its end.
            if let Ok(editor) = editor(history.as_deref(), colour, &route) {
                read(editor, history.as_deref(), &is_reading, &sender);
            }
        })?;
        Ok((terminal, lines))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.route.to_stderr();
        if self.is_reading.load(Ordering::SeqCst) {
            // Bracketed paste off, and off the line that was being typed.
            let mut out = io::stdout();
            let _ = out.write_all(b"\x1b[?2004l\r\n").and_then(|()| out.flush());
        }
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

type LineEditor = Editor<Editing, FileHistory>;

fn editor(history: Option<&Path>, colour: bool, route: &Route) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .color_mode(if colour { ColorMode::Enabled } else { ColorMode::Disabled })
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .max_history_size(10_000)?
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Editing::new()));
    if let Some(history) = history {
        // There is none at the first start; one that cannot be read is not worth a word.
        let _ = editor.load_history(history);
    }
    if io::IsTerminal::is_terminal(&io::stderr()) {
        let printer = editor.create_external_printer()?;
        let (sender, log_lines) = sync_channel(WAITING_LOG_LINES);
        thread::Builder::new().name("log printer".to_owned()).spawn(move || print(printer, &log_lines))?;
        route.to_printer(sender);
    }
    Ok(editor)
}

/// Prints log lines above the line being typed, those that wait together.
fn print(mut printer: impl ExternalPrinter, log_lines: &Receiver<String>) {
    while let Ok(mut text) = log_lines.recv() {
        while text.len() < PRINT_BYTES
            && let Ok(more) = log_lines.try_recv()
        {
            text.push_str(&more);
        }
        if printer.print(text).is_err() {
            return;
        }
    }
}

/// Reads lines until Ctrl-C, Ctrl-D or nobody wants them.
fn read(mut editor: LineEditor, history: Option<&Path>, is_reading: &AtomicBool, sender: &mpsc::Sender<Typed>) {
    loop {
        is_reading.store(true, Ordering::SeqCst);
        let line = editor.readline(PROMPT);
        is_reading.store(false, Ordering::SeqCst);
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Signal(_)) => continue,
            Err(_) => return,
        };
        remember(&mut editor, history, &line);
        let (answered, wait) = oneshot::channel();
        if sender.blocking_send(Typed { text: Ok(line.into_bytes()), answered }).is_err()
            || wait.blocking_recv().is_err()
        {
            return;
        }
    }
}

/// Keeps a line for later runs. What cannot be kept is not worth a word.
fn remember(editor: &mut LineEditor, history: Option<&Path>, line: &str) {
    if line.trim().is_empty() {
        return;
    }
    if let (Ok(true), Some(history)) = (editor.add_history_entry(line), history) {
        let _ = editor.append_history(history);
    }
}
