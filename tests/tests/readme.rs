//! README's console blocks work as printed: what they type is typed, and what they show is what comes.
//!
//! A block names its terminal, and goes on where that one's last block ended. Peer ids, ports, positions and groups are
//! others each time, and are cut short in print; the address that is typed is the one that the first peer printed.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tokio::time::Instant;
use xorum_tests::harness::{Talk, command, finish, turn};

/// How long an answer may take to become what is printed.
const WITHIN: Duration = Duration::from_secs(60);

/// A line that is typed, and the lines that answer it.
#[derive(Debug)]
struct Step {
    terminal: String,
    typed: String,
    shown: Vec<String>,
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

/// All that README's console blocks type, in order.
fn steps(text: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut terminal = None;
    for line in text.lines() {
        if let Some(info) = line.strip_prefix("```console") {
            let name = info.trim().strip_prefix("terminal=").with_context(|| format!("no terminal: {line}"))?;
            terminal = Some(name.to_owned());
        } else if line.starts_with("```") {
            terminal = None;
        } else if let Some(terminal) = &terminal {
            if line.starts_with("$ ") || line.starts_with("xorum> ") {
                steps.push(Step { terminal: terminal.clone(), typed: line.to_owned(), shown: Vec::new() });
            } else {
                steps.last_mut().context("a block begins with an answer")?.shown.push(line.to_owned());
            }
        }
    }
    Ok(steps)
}

/// A line with what is other each time taken out of it.
fn likeness(line: &str) -> String {
    let mut likeness = String::new();
    let mut before = "";
    for token in line.split_inclusive([' ', '=', ',', ':', '/']) {
        let end = token.len() - token.ends_with([' ', '=', ',', ':', '/']) as usize;
        let (word, separator) = token.split_at(end);
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let hex = word.trim_end_matches('…');
        likeness += match word {
            _ if word.starts_with("12D3KooW") => "PEER",
            _ if hex.len() >= 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => "HEX",
            _ if is_number && ["tcp/", "udp/", "epoch="].contains(&before) => "NUMBER",
            _ => word,
        };
        likeness += separator;
        before = token;
    }
    likeness
}

/// Is this what is printed? A line that ends in `…` goes on somehow.
fn agree(printed: &str, came: &str) -> bool {
    match printed.strip_suffix('…').filter(|begin| begin.ends_with('=')) {
        Some(begin) => likeness(came).starts_with(&likeness(begin)),
        None => likeness(printed) == likeness(came),
    }
}

/// The terminals, on one machine, of someone who does as README says.
struct Desk {
    home: PathBuf,
    peers: HashMap<String, Talk>,
    /// The first peer's address.
    addr: Option<String>,
    /// What `export` set.
    exported: Vec<(String, String)>,
    /// The last command's.
    code: Option<i32>,
}

impl Desk {
    async fn does(&mut self, step: &Step) -> Result<()> {
        let typed: Vec<_> = step.typed.split(' ').map(|word| self.with_addr(word)).collect();
        match typed.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["xorum>", "^C"] => self.interrupts(step).await,
            ["xorum>", ..] => self.asks(step).await,
            ["$", "cargo", "run", "--release"] => self.starts(step, &[]).await,
            ["$", "cargo", "run", "--release", "--", args @ ..] => self.starts(step, args).await,
            ["$", "export", setting] => {
                let (name, value) = setting.split_once('=').context("no setting")?;
                self.exported.push((name.to_owned(), value.to_owned()));
                Ok(())
            }
            ["$", "echo", "$?"] => {
                ensure!(step.shown == [self.code.context("no command yet")?.to_string()]);
                Ok(())
            }
            ["$", "target/release/xorum", args @ ..] => self.runs(step, args).await,
            _ => bail!("nobody knows how to do this"),
        }
    }

    /// Of an address that is printed, the one of now.
    fn with_addr(&self, word: &str) -> String {
        match (word.find("/ip4/"), &self.addr) {
            (Some(at), Some(addr)) => format!("{}{addr}", &word[..at]),
            _ => word.to_owned(),
        }
    }

    async fn starts(&mut self, step: &Step, args: &[&str]) -> Result<()> {
        let mut command = command(args)?;
        // What is not given is in the home of who types.
        command.current_dir(&self.home).env("HOME", &self.home).env_remove("XDG_DATA_HOME");
        let mut talk = Talk::over(&mut command)?;
        let [printed] = step.shown.as_slice() else { bail!("a peer says one line") };
        let ready = talk.line().await?;
        ensure!(agree(printed, &ready), "it says {ready:?}");
        if self.addr.is_none() {
            self.addr = ready.split(" addr=").nth(1).map(str::to_owned);
        }
        self.peers.insert(step.terminal.clone(), talk);
        Ok(())
    }

    async fn asks(&mut self, step: &Step) -> Result<()> {
        let line = step.typed.strip_prefix("xorum> ").context("no prompt")?;
        let talk = self.peers.get_mut(&step.terminal).context("no peer there")?;
        let [printed] = step.shown.as_slice() else { bail!("one answer is one line") };
        let began = Instant::now();
        loop {
            let came = talk.ask(line).await?;
            if agree(printed, &came) {
                return Ok(());
            }
            // What a group is like takes its time to become what is printed.
            ensure!(line.starts_with("locate ") && began.elapsed() < WITHIN, "it answers {came:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn interrupts(&mut self, step: &Step) -> Result<()> {
        let mut talk = self.peers.remove(&step.terminal).context("no peer there")?;
        talk.signal(Signal::SIGINT)?;
        let (status, said) = talk.ended(WITHIN).await?;
        ensure!(status.success() && said == step.shown, "{status}, {said:?}");
        Ok(())
    }

    async fn runs(&mut self, step: &Step, args: &[&str]) -> Result<()> {
        let ran = finish(command(args)?.envs(self.exported.iter().cloned())).await?;
        let came: Vec<_> = ran.stdout.lines().collect();
        ensure!(came.len() == step.shown.len() && ran.stderr.is_empty(), "{ran:?}");
        for (printed, came) in step.shown.iter().zip(came) {
            ensure!(agree(printed, came), "it says {came:?}");
        }
        self.code = ran.code;
        Ok(())
    }
}

#[tokio::test]
async fn the_first_five_minutes_work_as_printed() -> Result<()> {
    let (_turn, home) = (turn().await?, tempfile::tempdir()?);
    let steps = steps(&fs::read_to_string(readme())?)?;
    ensure!(steps.len() >= 10, "hardly anything is typed: {steps:?}");
    let home = home.path().to_owned();
    let mut desk = Desk { home, peers: HashMap::new(), addr: None, exported: Vec::new(), code: None };
    for step in &steps {
        desk.does(step).await.with_context(|| format!("{step:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn every_flag_and_every_command_is_in_readme() -> Result<()> {
    let text = fs::read_to_string(readme())?;
    let run = finish(&mut command(["run", "--help"])?).await?.stdout;
    let bare = finish(&mut command(["--help"])?).await?.stdout;
    let flags = run.lines().filter_map(|line| line.trim_start().strip_prefix("--")).map(|flag| {
        let end = flag.find(|c: char| c != '-' && !c.is_ascii_alphanumeric()).unwrap_or(flag.len());
        format!("--{}", &flag[..end])
    });
    let flags: Vec<_> = flags.collect();
    ensure!(flags.len() >= 14, "not the flags: {flags:?}");
    for flag in flags {
        ensure!(text.contains(&flag), "{flag} is not in README");
    }
    // A default that is one word stands in its flag's row.
    let lines: Vec<_> = run.lines().map(str::trim_start).collect();
    let mut defaults = 0;
    for pair in lines.windows(2) {
        let default = pair[1].split_once("[default: ").and_then(|(_, rest)| rest.strip_suffix(']'));
        let (Some(flag), Some(default)) = (pair[0].split(' ').next().filter(|flag| flag.starts_with("--")), default)
        else {
            continue;
        };
        let flag = flag.split('[').next().unwrap_or(flag);
        let row = text.lines().find(|line| line.starts_with(&format!("| `{flag}")));
        let row = row.with_context(|| format!("{flag} has no row"))?;
        ensure!(default.contains(' ') || row.contains(&format!("`{default}`")), "{flag} defaults to {default}: {row}");
        defaults += 1;
    }
    ensure!(defaults >= 10, "hardly any default was found in {run}");
    let commands = bare.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(commands.contains(&"reset-identity"), "not the commands: {commands:?}");
    for command in commands {
        ensure!(
            text.contains(&format!("`{command} "))
                || text.contains(&format!("xorum {command}"))
                || text.contains(&format!("`{command}`")),
            "{command} is not in README"
        );
    }
    Ok(())
}
