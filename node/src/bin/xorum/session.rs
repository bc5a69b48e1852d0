//! A conversation over one store: a line in, its answer out.

use std::io;

use crate::{
    commands::Spoken,
    output::{Answer, Failure, Output},
    store::Store,
    words,
};

/// Does the conversation go on?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// With the next line.
    Line,
    /// No: `quit`, or `leave` that was done.
    End,
}

/// Who talks to the store, and where the answers go.
pub(crate) struct Session<S> {
    /// The node.
    pub(crate) store: S,
    /// Where answers go.
    pub(crate) output: Output,
    /// Is the node a client, which cannot leave?
    pub(crate) is_client: bool,
    /// Can the person interrupt a watch? Without, it needs a count.
    pub(crate) is_interactive: bool,
}

impl<S: Store> Session<S> {
    /// Understands a line; none when it is blank.
    pub(crate) fn understand(&self, line: &[u8]) -> Result<Option<Spoken>, Failure> {
        let words = words::split(line).map_err(|error| Failure::invalid(error.to_string()))?;
        if words.is_empty() {
            return Ok(None);
        }
        match Spoken::parse(words)? {
            Spoken::Watch(watch) if watch.count.is_none() && !self.is_interactive => {
                Err(Failure::invalid("watch needs --count N here, for nobody could interrupt it"))
            }
            spoken => Ok(Some(spoken)),
        }
    }

    /// Does what was said and prints the answer. The error is the output's.
    pub(crate) async fn answer(&mut self, spoken: Spoken) -> io::Result<Next> {
        let store = &self.store;
        let answer = match spoken {
            Spoken::Put(put) => put.run(store).await,
            Spoken::Get(get) => get.run(store).await,
            Spoken::Del(del) => del.run(store).await,
            Spoken::Cas(cas) => cas.run(store).await,
            Spoken::Watch(watch) => match watch.run(store, &mut self.output).await? {
                Some(failed) => failed,
                None => return Ok(Next::Line),
            },
            Spoken::Locate(locate) => locate.run(store).await,
            Spoken::Status(status) => status.run(store).await,
            Spoken::Peers(peers) => peers.run(store).await,
            Spoken::Groups(groups) => groups.run(store).await,
            Spoken::Help(help) => help.run(),
            Spoken::Leave(leave) => {
                let answer = leave.run(store, self.is_client).await;
                self.output.print(&answer)?;
                return Ok(if answer == Answer::Ok { Next::End } else { Next::Line });
            }
            Spoken::Quit(_) => {
                self.output.print(&Answer::Ok)?;
                return Ok(Next::End);
            }
        };
        self.output.print(&answer)?;
        Ok(Next::Line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{Memory, Page},
        output::Format,
    };

    async fn talk(format: Format, is_client: bool, lines: &[&str]) -> (String, Next) {
        let page = Page::default();
        let output = Output::to(page.clone(), format);
        let mut session = Session { store: Memory::new(), output, is_client, is_interactive: false };
        let mut next = Next::Line;
        for line in lines {
            next = match session.understand(line.as_bytes()) {
                Ok(Some(spoken)) => session.answer(spoken).await.expect("memory"),
                Ok(None) => Next::Line,
                Err(failure) => {
                    session.output.print(&failure.into()).expect("memory");
                    Next::Line
                }
            };
        }
        (page.text(), next)
    }

    #[tokio::test]
    async fn a_conversation_is_answered_as_the_contract_says() {
        let lines = [
            ("put k v", "OK version=1\n"),
            ("get k", "v\n"),
            ("get k --meta", "version=1 value=v\n"),
            ("get k --stale", "v\n"),
            ("get k --stale --meta", "version=1 stale_ms=3 value=v\n"),
            ("get nothing", "(not found)\n"),
            ("get nothing --meta", "(not found)\n"),
            ("", ""),
            (" \t ", ""),
            ("cas k 7 w", "CONFLICT version=1\n"),
            ("cas k 1 w", "OK version=2\n"),
            ("cas k absent w", "CONFLICT version=2\n"),
            ("cas other 3 w", "CONFLICT version=0\n"),
            ("cas other absent \"\"", "OK version=3\n"),
            ("get other", "\"\"\n"),
            ("put q \"a \\u{200b}\\xff\\n\"", "OK version=4\n"),
            ("get q", "\"a \\u{200b}\\xff\\n\"\n"),
            ("watch k --count 1", "version=2 value=w\n"),
            ("watch k", "ERR invalid watch needs --count N here, for nobody could interrupt it\n"),
            ("del k", "OK version=5\n"),
            ("del k", "(not found)\n"),
            ("put long v", "ERR too-large value of 2 bytes is larger than the limit of 1 bytes\n"),
            ("put lost v", "ERR outcome-unknown no\\nanswer\n"),
            ("put \"k", "ERR invalid the quote opened at column 5 is not closed\n"),
            ("nonsense", "ERR invalid unknown command \"nonsense\": `help` lists the commands\n"),
            ("quit", "OK\n"),
        ];
        let typed: Vec<_> = lines.iter().map(|(line, _)| *line).collect();
        let expected: String = lines.iter().map(|(_, answer)| *answer).collect();
        assert_eq!(talk(Format::Plain, false, &typed).await, (expected, Next::End));
    }

    #[tokio::test]
    async fn in_json_every_answer_is_one_object_on_one_line() {
        let lines = ["put k v", "get k", "del k", "get k", "peers", "help", "nonsense", "quit"];
        let (text, _) = talk(Format::Json, true, &lines).await;
        let objects: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let ok: Vec<_> = objects.iter().map(|object| object["ok"].as_bool().expect("ok")).collect();
        assert_eq!(ok, [true, true, true, true, true, true, false, true]);
        assert_eq!(objects[1]["value"], "v");
        assert_eq!(objects[6]["code"], "invalid");
    }

    #[tokio::test]
    async fn a_peer_that_left_ends_and_a_client_cannot_leave() {
        assert_eq!(talk(Format::Plain, false, &["leave"]).await, ("OK\n".to_owned(), Next::End));
        let (text, next) = talk(Format::Plain, true, &["leave"]).await;
        assert!(text.starts_with("ERR denied "), "{text}");
        assert_eq!(next, Next::Line);
    }

    #[tokio::test]
    async fn answers_of_several_lines_are_closed_by_end() {
        for line in ["help", "help get", "peers", "groups", "status"] {
            let (text, _) = talk(Format::Plain, false, &[line]).await;
            assert!(text.ends_with("\nEND\n"), "{line}: {text}");
            assert_eq!(text.lines().filter(|line| *line == "END").count(), 1);
        }
    }
}
