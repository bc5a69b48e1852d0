//! Answers, and how they are written: a line (or lines closed by `END`) in plain mode, an object in JSON mode.
//!
//! Nothing but answers and the ready line goes through here, and nothing else goes to stdout. Each answer is flushed
//! before the next command is looked at.

mod json;
mod plain;
mod quote;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
pub(crate) use quote::quote;
use xorum_behaviours::wire::GroupId;
use xorum_node::{
    api::{Change, GroupInfo, Location, PeerInfo, PeerStatus, Version, Versioned},
    error::OpError,
};

use crate::exit::Exit;

/// What a command says when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, with nothing to tell.
    Ok,
    /// Written, or removed, at this version.
    Written(Version),
    /// A compare-and-swap that found this version, 0 when absent.
    Conflict(Version),
    /// There is no such key.
    NotFound,
    /// A value.
    Value {
        /// The value and the version of its write.
        found: Versioned,
        /// Of a stale read: how stale, at most.
        stale: Option<Duration>,
        /// Print more than the bare value?
        meta: bool,
    },
    /// A change of a watched key.
    Changed(Change),
    /// Where a key lives.
    Located(Location),
    /// The peers known.
    Peers(Vec<PeerInfo>),
    /// The groups known.
    Groups(Vec<GroupInfo>),
    /// The peer itself.
    Status(PeerStatus),
    /// How to use the prompt.
    Help(String),
    /// It did not work.
    Failed(Failure),
}

/// What failed, in a code for programs and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One of the codes of [`OpError::code`].
    pub(crate) code: &'static str,
    /// What happened.
    pub(crate) message: String,
    /// The group that it is about, where that is known.
    pub(crate) group: Option<GroupId>,
}

impl Failure {
    /// A command that breaks a rule.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: "invalid", message: message.into(), group: None }
    }
}

impl From<OpError> for Failure {
    fn from(error: OpError) -> Self {
        Self { code: error.code(), message: error.to_string(), group: error.group() }
    }
}

impl From<OpError> for Answer {
    fn from(error: OpError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Answer {
    /// The status of a process that was started for this answer.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotFound => Exit::NotFound,
            Self::Conflict(_) => Exit::Conflict,
            Self::Failed(failure) => Exit::of_code(failure.code),
            _ => Exit::Done,
        }
    }

    fn style(&self) -> Style {
        match self {
            Self::Ok | Self::Written(_) => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Self::Conflict(_) => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Self::NotFound => Style::new().dimmed(),
            Self::Failed(_) => Style::new().fg_color(Some(AnsiColor::Red.into())),
            _ => Style::new(),
        }
    }
}

/// Lines for people, or objects for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the prompt shows them.
    Plain,
    /// A JSON object an answer.
    Json,
}

impl Format {
    /// JSON if it was asked for.
    pub(crate) const fn json_if(asked: bool) -> Self {
        if asked { Self::Json } else { Self::Plain }
    }
}

/// May what is written to stdout be coloured? Only at a terminal, and only if `NO_COLOR` is not set.
pub(crate) fn may_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Where answers go.
pub(crate) struct Output {
    out: Box<dyn Write + Send>,
    format: Format,
    colour: bool,
}

impl Output {
    /// To stdout; coloured only in a prompt at a terminal.
    pub(crate) fn stdout(format: Format, colour: bool) -> Self {
        Self { out: Box::new(io::stdout()), format, colour: colour && format == Format::Plain }
    }

    /// To any writer, without colour.
    #[cfg(test)]
    pub(crate) fn to(out: impl Write + Send + 'static, format: Format) -> Self {
        Self { out: Box::new(out), format, colour: false }
    }

    /// Writes an answer, and flushes it.
    pub(crate) fn print(&mut self, answer: &Answer) -> io::Result<()> {
        let mut text = match self.format {
            Format::Plain => plain::text(answer),
            Format::Json => json::object(answer).to_string(),
        };
        if self.colour {
            let style = answer.style();
            text = format!("{style}{text}{style:#}");
        }
        text.push('\n');
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}
