//! `run` and `connect`: a node with a prompt.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use etcetera::BaseStrategy;
use xorum_node::Node;

use crate::{
    cli::Client,
    exit::Exit,
    logging::Route,
    output::{Format, Output, may_colour},
    prompt::{Ended, Lines, Terminal, converse, read_lines},
    session::Session,
    settings::Settings,
    signals::Signals,
};

/// The file in the data directory that keeps what was typed.
const HISTORY: &str = "history";

/// Runs a peer until it is told to stop. At the end of its input it goes on serving; at a terminal that end is Ctrl-D,
/// which stops it.
pub(crate) async fn run(settings: &Settings, route: Route) -> anyhow::Result<Exit> {
    let mut signals = Signals::take()?;
    let config = settings.peer()?;
    let history = settings.data_dir()?.join(HISTORY);
    let node = tokio::select! {
        biased;
        _ = signals.next() => return Ok(Exit::Done),
        started = Node::start(config) => started?,
    };
    let node = node.with_timeout(settings.timeout());
    if say_ready(&node).is_err() {
        return Ok(signals.shut_down(&node).await);
    }
    if settings.no_repl.unwrap_or(false) {
        return wait(&node, signals).await;
    }
    let prompt = Prompt::open(Some(history), Format::Plain, route)?;
    match talk(&node, prompt, false, &mut signals).await? {
        Some(Ended::Input) => wait(&node, signals).await,
        Some(_) => Ok(signals.shut_down(&node).await),
        None => Ok(Exit::Done),
    }
}

/// Opens a prompt as a client, until its input ends or it is told to stop.
pub(crate) async fn connect(settings: &Settings, client: &Client, route: Route) -> anyhow::Result<Exit> {
    let mut signals = Signals::take()?;
    let node = tokio::select! {
        biased;
        _ = signals.next() => return Ok(Exit::Done),
        started = Node::start(settings.client()) => started?,
    };
    let node = node.with_timeout(settings.timeout());
    let prompt = Prompt::open(client_history(), Format::json_if(client.json), route)?;
    match talk(&node, prompt, true, &mut signals).await? {
        Some(_) => Ok(signals.shut_down(&node).await),
        None => Ok(Exit::Done),
    }
}

/// One line for whoever waits for the peer to serve.
fn say_ready(node: &Node) -> io::Result<()> {
    let mut line = format!("ready peer={}", node.peer_id());
    for addr in node.listen_addrs() {
        line += &format!(" addr={addr}");
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Where lines come from and answers go to.
struct Prompt {
    terminal: Option<Terminal>,
    lines: Lines,
    output: Output,
}

impl Prompt {
    /// With line editing if stdin and stdout are a terminal, else a line a command.
    fn open(history: Option<PathBuf>, format: Format, route: Route) -> io::Result<Self> {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if !is_terminal {
            let lines = read_lines(io::stdin())?;
            return Ok(Self { terminal: None, lines, output: Output::stdout(format, false) });
        }
        let colour = may_colour();
        let (terminal, lines) = Terminal::open(history, colour, route)?;
        Ok(Self { terminal: Some(terminal), lines, output: Output::stdout(format, colour) })
    }
}

/// Converses until that ends (and tells how) or the node ends by itself; what a terminal was is restored.
async fn talk(node: &Node, prompt: Prompt, is_client: bool, signals: &mut Signals) -> anyhow::Result<Option<Ended>> {
    let Prompt { terminal, mut lines, output } = prompt;
    let is_interactive = terminal.is_some();
    let mut session = Session { store: node.clone(), output, is_client, is_interactive };
    let ended = tokio::select! {
        biased;
        stopped = node.stopped() => {
            drop(terminal);
            stopped?;
            return Ok(None);
        }
        ended = converse(&mut session, &mut lines, signals) => ended,
    };
    drop(terminal);
    match ended {
        Ended::Input if is_interactive => Ok(Some(Ended::Told)),
        Ended::Output(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            signals.shut_down(node).await;
            Err(error.into())
        }
        ended => Ok(Some(ended)),
    }
}

/// Serves until a signal, or until the node ends by itself.
async fn wait(node: &Node, mut signals: Signals) -> anyhow::Result<Exit> {
    tokio::select! {
        biased;
        stopped = node.stopped() => {
            stopped?;
            return Ok(Exit::Done);
        }
        _ = signals.next() => {}
    }
    Ok(signals.shut_down(node).await)
}

/// A client has no data directory: what was typed is kept with the platform's state, if it has a place for that.
fn client_history() -> Option<PathBuf> {
    let dir = etcetera::choose_base_strategy().ok()?.state_dir()?.join("xorum");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join(HISTORY))
}
