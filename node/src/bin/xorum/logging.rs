//! Log lines: to stderr only, and past the line that is being typed.
//!
//! `RUST_LOG` says which. Without it only notices are shown: events of the target [`NOTICE`], which a person who runs
//! a peer must know (that the network cannot be reached yet, say). All else that matters is an answer or an error.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, mpsc::SyncSender},
};

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};
use xorum_node::NOTICE;

use crate::settings::LogFormat;

/// Where log lines go; may change while the process runs.
#[derive(Clone, Default)]
pub(crate) struct Route(Arc<Mutex<Option<SyncSender<String>>>>);

impl Route {
    /// Sends log lines to `printer` from now on; a line that finds its queue full is lost.
    pub(crate) fn to_printer(&self, printer: SyncSender<String>) {
        *self.0.lock() = Some(printer);
    }

    /// Writes log lines to stderr again.
    pub(crate) fn to_stderr(&self) {
        *self.0.lock() = None;
    }
}

impl<'a> MakeWriter<'a> for Route {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { route: self.clone(), text: Vec::new() }
    }
}

/// One log line; sent off when it is dropped.
pub(crate) struct Line {
    route: Route,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let printer = self.route.0.lock().clone();
        // A log line that cannot be written has nowhere else to go.
        match printer {
            Some(printer) => drop(printer.try_send(String::from_utf8_lossy(&self.text).into_owned())),
            None => drop(io::stderr().write_all(&self.text)),
        }
    }
}

/// Starts logging.
pub(crate) fn start(format: Option<LogFormat>, route: &Route) -> Result<(), String> {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref())?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(route.clone());
    let started = match format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}

fn filter(rust_log: Option<&str>) -> Result<EnvFilter, String> {
    let quiet = format!("off,{NOTICE}=info");
    let given = rust_log.filter(|given| !given.is_empty());
    // The line editor logs each key below warn.
    let editor = "rustyline=warn".parse().map_err(|error| format!("{error}"))?;
    match given {
        None => EnvFilter::try_new(&quiet).map_err(|error| error.to_string()),
        Some(given) => EnvFilter::try_new(given)
            .map(|filter| filter.add_directive(editor))
            .map_err(|error| format!("RUST_LOG {given:?}: {error}; it looks like `info` or `xorum_node=debug`")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn log_lines_go_to_the_printer_whole_and_are_lost_rather_than_waited_for() {
        let route = Route::default();
        let (sender, receiver) = mpsc::sync_channel(1);
        route.to_printer(sender);
        for text in ["one", "two"] {
            let mut line = route.make_writer();
            write!(line, "{text}").expect("memory");
            writeln!(line).expect("memory");
        }
        assert_eq!(receiver.try_recv().as_deref(), Ok("one\n"));
        assert!(receiver.try_recv().is_err());
        route.to_stderr();
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn a_bad_filter_is_refused_with_its_text() {
        assert!(filter(None).is_ok());
        assert!(filter(Some("")).is_ok());
        assert!(filter(Some("xorum_node=debug,warn")).is_ok());
        assert!(filter(Some("xorum=loud")).expect_err("a bad filter").contains("xorum=loud"));
    }
}
