//! One command as a client, then the end.

use std::{
    future::Future,
    io,
    time::{Duration, Instant},
};

use xorum_node::{
    Node,
    config::Config,
    error::{OpError, StartError},
};

use crate::{
    cli::OneShot,
    commands::{Cas, Del, Get, Groups, Locate, Peers, Put, Status, Watch},
    exit::Exit,
    output::{Answer, Format, Output},
    settings::Settings,
    signals::Signals,
    store::Store,
};

/// A command that can be given on the command line.
pub(crate) trait Command {
    /// Does it. What it returns is still to be printed; an output that fails is the outer error.
    fn run(self, store: &impl Store, output: &mut Output) -> impl Future<Output = io::Result<Option<Answer>>>;

    /// What to say when it is interrupted. Of a write nobody knows what became of it.
    fn interrupted() -> Interrupted;
}

/// What an interruption means to a command.
pub(crate) enum Interrupted {
    /// It is how the command ends.
    Done,
    /// There is no answer, and nothing was changed.
    NoAnswer,
    /// It may have been applied.
    Unknown,
}

macro_rules! command {
    ($interrupted:ident: $($name:ident),*) => {$(
        impl Command for $name {
            async fn run(self, store: &impl Store, _: &mut Output) -> io::Result<Option<Answer>> {
                Ok(Some($name::run(self, store).await))
            }

            fn interrupted() -> Interrupted {
                Interrupted::$interrupted
            }
        }
    )*};
}
command!(Unknown: Put, Del, Cas);
command!(NoAnswer: Get, Locate, Status, Peers, Groups);

impl Command for Watch {
    async fn run(self, store: &impl Store, output: &mut Output) -> io::Result<Option<Answer>> {
        Watch::run(self, store, output).await
    }

    fn interrupted() -> Interrupted {
        Interrupted::Done
    }
}

/// Connects, does the command, prints its answer. Reaching the network is part of the command, under its deadline.
pub(crate) async fn run<C: Command + clap::Args>(
    settings: &Settings,
    OneShot { command, client }: OneShot<C>,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::take()?;
    let mut output = Output::stdout(Format::json_if(client.json), false);
    let done = tokio::select! {
        biased;
        _ = signals.next() => return interrupted::<C>(&mut output),
        done = connect_and_do(settings, command, &mut output) => done?,
    };
    // The answer first: it is true whatever becomes of the connection.
    let exit = match &done.answer {
        Some(answer) => print(&mut output, answer)?,
        None => Exit::Done,
    };
    if let Some(node) = &done.node {
        signals.shut_down(node).await;
    }
    Ok(exit)
}

/// What became of a command.
struct Done {
    /// Still to be printed.
    answer: Option<Answer>,
    /// Still to be shut down.
    node: Option<Node>,
}

fn interrupted<C: Command>(output: &mut Output) -> anyhow::Result<Exit> {
    match C::interrupted() {
        Interrupted::Done => Ok(Exit::Done),
        Interrupted::NoAnswer => Ok(Exit::AtOnce),
        Interrupted::Unknown => {
            let message = "interrupted before it was answered: read the key to learn what became of it".to_owned();
            print(output, &OpError::OutcomeUnknown { message, group: None }.into())
        }
    }
}

async fn connect_and_do<C: Command>(settings: &Settings, command: C, output: &mut Output) -> anyhow::Result<Done> {
    let node = match connect(settings).await? {
        Ok(node) => node,
        Err(answer) => return Ok(Done { answer: Some(answer), node: None }),
    };
    let answer = match command.run(&node, output).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
        answer => answer?,
    };
    Ok(Done { answer, node: Some(node) })
}

/// A client within the deadline of the operation, with what is left of it for the operation. A network that cannot be
/// reached is an answer.
pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<Result<Node, Answer>> {
    let (began, timeout) = (Instant::now(), settings.timeout());
    let config = Config { connect_timeout: timeout, ..settings.client() };
    let node = match Node::start(config).await {
        Ok(node) => node,
        Err(error @ StartError::NoAnswer { .. }) => {
            let error = OpError::Unavailable { message: error.to_string(), group: None };
            return Ok(Err(error.into()));
        }
        Err(error @ StartError::UnsupportedVersion { .. }) => {
            return Ok(Err(OpError::UnsupportedVersion(error.to_string()).into()));
        }
        Err(error) => return Err(error.into()),
    };
    let left = timeout.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
    Ok(Ok(node.with_timeout(left)))
}

fn print(output: &mut Output, answer: &Answer) -> anyhow::Result<Exit> {
    match output.print(answer) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(answer.exit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Memory, Page};

    async fn status(store: &Memory, command: impl Command) -> u8 {
        let mut output = Output::to(Page::default(), Format::Plain);
        let answer = command.run(store, &mut output).await.expect("memory").expect("an answer");
        print(&mut output, &answer).expect("memory") as u8
    }

    #[tokio::test]
    async fn the_status_tells_what_became_of_the_command() {
        let store = Memory::new();
        let put = |key: &str| Put { key: key.into(), value: "v".into() };
        let get = |key: &str| Get { key: key.into(), stale: false, meta: false };
        assert_eq!(status(&store, put("k")).await, 0);
        assert_eq!(status(&store, get("k")).await, 0);
        assert_eq!(status(&store, get("nothing")).await, 3);
        assert_eq!(status(&store, Del { key: "nothing".into() }).await, 3);
        assert_eq!(status(&store, put("long")).await, 2);
        assert_eq!(status(&store, put("lost")).await, 4);
        let cas = Cas { key: "k".into(), expected: xorum_node::api::Expected::Absent, value: "w".into() };
        assert_eq!(status(&store, cas).await, 5);
    }

    #[tokio::test]
    async fn a_watch_with_a_count_prints_that_many_changes_and_no_answer() {
        let store = Memory::new();
        store.put("k".into(), "v".into()).await.expect("memory");
        let page = Page::default();
        let mut output = Output::to(page.clone(), Format::Plain);
        let watch = Watch { key: "k".into(), count: Some(1) };
        assert_eq!(Command::run(watch, &store, &mut output).await.expect("memory"), None);
        assert_eq!(page.text(), "version=1 value=v\n");
    }
}
