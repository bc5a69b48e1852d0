//! What the line editor shows and offers: completion, hints and colour, all from the grammar of the commands.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};
use rustyline::{
    Context, Helper, Result,
    completion::{Completer, Pair},
    highlight::{CmdKind, Highlighter},
    hint::{Hint, Hinter},
    history::SearchDirection,
    validate::Validator,
};

use crate::commands::help;

/// Shown to who has never typed a line.
const FIRST_HINT: &str = "help lists the commands";

/// Knows the commands.
pub(super) struct Editing {
    names: Vec<String>,
}

impl Editing {
    pub(super) fn new() -> Self {
        Self { names: help::names() }
    }

    fn is_command(&self, word: &str) -> bool {
        self.names.iter().any(|name| name == word)
    }

    /// What may stand where the last word of `line` stands, and where that word begins.
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = line.get(start..).unwrap_or_default();
        let before: Vec<_> = line.get(..start).unwrap_or_default().split_whitespace().collect();
        let all = match before.as_slice() {
            [] | ["help"] => self.names.clone(),
            ["cas", _] => vec!["absent".to_owned()],
            [name, ..] if word.starts_with('-') => help::options(name),
            _ => Vec::new(),
        };
        (start, all.into_iter().filter(|candidate| candidate.starts_with(word)).collect())
    }

    /// The parameters that are still to be typed.
    fn parameters_left(&self, line: &str) -> Option<String> {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        if !line.ends_with(char::is_whitespace) || line.contains('"') || !self.is_command(name) {
            return None;
        }
        let typed = words.filter(|word| !word.starts_with("--")).count();
        let left = help::parameters(name).get(typed..)?.join(" ");
        (!left.is_empty()).then_some(left)
    }
}

impl Helper for Editing {}
impl Validator for Editing {}

impl Completer for Editing {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let (start, candidates) = self.candidates(line.get(..pos).unwrap_or_default());
        let pair = |name: String| Pair { replacement: format!("{name} "), display: name };
        Ok((start, candidates.into_iter().map(pair).collect()))
    }
}

/// What is shown after the cursor.
pub(super) enum Shown {
    /// The rest of a line of the history, which a key takes over.
    History(String),
    /// Parameters, which are only shown.
    Parameters(String),
}

impl Hint for Shown {
    fn display(&self) -> &str {
        match self {
            Self::History(text) | Self::Parameters(text) => text,
        }
    }

    fn completion(&self) -> Option<&str> {
        match self {
            Self::History(text) => Some(text),
            Self::Parameters(_) => None,
        }
    }
}

impl Hinter for Editing {
    type Hint = Shown;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<Shown> {
        if line.is_empty() {
            // Of someone who is here for the first time.
            return context.history().is_empty().then(|| Shown::Parameters(FIRST_HINT.to_owned()));
        }
        if pos < line.len() {
            return None;
        }
        if let Some(left) = self.parameters_left(line) {
            return Some(Shown::Parameters(left));
        }
        let newest = context.history().len().checked_sub(1)?;
        let found = context.history().starts_with(line, newest, SearchDirection::Reverse).ok()??;
        let rest = found.entry.get(pos..)?;
        (!rest.is_empty() && !rest.contains('\n')).then(|| Shown::History(rest.to_owned()))
    }
}

fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

impl Highlighter for Editing {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let name = line.split_whitespace().next().unwrap_or_default();
        match line.split_once(name) {
            Some((before, after)) if self.is_command(name) => {
                let style = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
                format!("{before}{}{after}", painted(style, name)).into()
            }
            _ => line.into(),
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        painted(Style::new().bold(), prompt).into()
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        painted(Style::new().dimmed(), hint).into()
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_their_options_and_what_help_explains_are_completed() {
        let editing = Editing::new();
        assert_eq!(editing.candidates("pu"), (0, vec!["put".to_owned()]));
        assert_eq!(editing.candidates("help qu"), (5, vec!["quit".to_owned()]));
        assert_eq!(editing.candidates("get k --s"), (6, vec!["--stale".to_owned()]));
        assert_eq!(editing.candidates("watch k -"), (8, vec!["--count".to_owned()]));
        assert_eq!(editing.candidates("cas k a"), (6, vec!["absent".to_owned()]));
        assert_eq!(editing.candidates("put k a"), (6, vec![]));
    }

    #[test]
    fn parameters_that_are_still_to_be_typed_are_shown() {
        let editing = Editing::new();
        assert_eq!(editing.parameters_left("put ").as_deref(), Some("KEY VALUE"));
        assert_eq!(editing.parameters_left("put k ").as_deref(), Some("VALUE"));
        assert_eq!(editing.parameters_left("put k v "), None);
        assert_eq!(editing.parameters_left("put"), None);
        assert_eq!(editing.parameters_left("say "), None);
    }

    #[test]
    fn only_a_command_is_painted_and_the_text_stays_the_same() {
        let editing = Editing::new();
        assert_eq!(editing.highlight("frob k", 0), "frob k");
        assert_eq!(anstream::adapter::strip_str(&editing.highlight(" put put", 0)).to_string(), " put put");
    }
}
