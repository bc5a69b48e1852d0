//! The prompt driven as a pipe: one command a line, each answered as the contract says.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;
use xorum_tests::harness::{Talk, ran, turn};

const WITHIN: Duration = Duration::from_secs(30);

async fn peer(dir: &Path) -> Result<(Talk, String)> {
    Talk::peer([Path::new("--data-dir"), dir]).await
}

/// The version in an answer that is `before` and a number, and nothing else.
fn version(answer: &str, before: &str) -> Result<u64> {
    let number = answer.strip_prefix(before).with_context(|| format!("{answer:?} does not begin with {before:?}"))?;
    number.parse().with_context(|| format!("no version in {answer:?}"))
}

/// The fields of a line of `name=value` pairs, in order.
fn fields(line: &str) -> Vec<(&str, &str)> {
    line.split(' ').map(|field| field.split_once('=').unwrap_or((field, ""))).collect()
}

fn names<'a>(fields: &[(&'a str, &str)]) -> Vec<&'a str> {
    fields.iter().map(|(name, _)| *name).collect()
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[tokio::test]
async fn every_command_on_a_key_is_answered_as_the_contract_says() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut talk, _) = peer(dir.path()).await?;
    let first = version(&talk.ask("put k v").await?, "OK version=")?;
    assert!(first > 0, "0 is the version of what is absent");
    assert_eq!(talk.ask("get k").await?, "v");
    assert_eq!(talk.ask("get k --meta").await?, format!("version={first} value=v"));
    assert_eq!(talk.ask("get k --stale").await?, "v");
    let stale = talk.ask("get k --stale --meta").await?;
    let stale = fields(&stale);
    assert_eq!(names(&stale), ["version", "stale_ms", "value"]);
    assert_eq!((stale[0].1, stale[2].1), (first.to_string().as_str(), "v"));
    stale[1].1.parse::<u64>().context("stale_ms is a number")?;

    assert_eq!(talk.ask("cas k absent w").await?, format!("CONFLICT version={first}"));
    assert_eq!(talk.ask("cas nothing 7 w").await?, "CONFLICT version=0");
    let second = version(&talk.ask(&format!("cas k {first} w")).await?, "OK version=")?;
    assert_eq!(talk.ask(&format!("cas k {first} x")).await?, format!("CONFLICT version={second}"));
    assert_eq!(talk.ask("get k").await?, "w");

    let deleted = version(&talk.ask("del k").await?, "OK version=")?;
    assert_eq!(talk.ask("del k").await?, "(not found)");
    assert_eq!(talk.ask("get k").await?, "(not found)");
    assert_eq!(talk.ask("get k --meta").await?, "(not found)");
    assert_eq!(talk.ask("get k --stale").await?, "(not found)");
    let created = version(&talk.ask("cas k absent again").await?, "OK version=")?;
    assert!(first < second && second < deleted && deleted < created, "a version never goes back");

    assert_eq!(talk.ask("quit").await?, "OK");
    let (status, said) = talk.ended(WITHIN).await?;
    assert_eq!((status.code(), said), (Some(0), Vec::new()));
    Ok(())
}

#[tokio::test]
async fn a_watch_tells_each_change_and_a_deletion_and_never_an_older_version() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut writer, addr) = peer(dir.path()).await?;
    let mut watcher = Talk::start(["connect", "--bootstrap", &addr])?;
    version(&writer.ask("put k before").await?, "OK version=")?;
    watcher.say("watch k --count 100").await?;
    // It begins at some moment; from then on it tells.
    let (told, written) = loop {
        let written = version(&writer.ask("put k v").await?, "OK version=")?;
        if let Ok(line) = timeout(Duration::from_millis(100), watcher.line()).await {
            break (line?, written);
        }
    };
    let told = told.strip_suffix(" value=v").with_context(|| format!("not what was written: {told}"))?.to_owned();
    assert!(version(&told, "version=")? <= written);
    let deleted = version(&writer.ask("del k").await?, "OK version=")?;
    let mut told = watcher.line().await?;
    if told.ends_with(" value=v") {
        told = watcher.line().await?;
    }
    assert_eq!(told, format!("version={deleted} deleted"));
    let written = version(&writer.ask(r#"put k "a b""#).await?, "OK version=")?;
    let told = watcher.line().await?;
    assert_eq!(told, format!(r#"version={written} value="a b""#));
    Ok(())
}

#[tokio::test]
async fn after_its_count_a_watch_ends_and_the_next_line_is_read() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut talk, addr) = peer(dir.path()).await?;
    let _writes = Talk::start(["connect", "--bootstrap", &addr])?.repeat("put k v");
    talk.say("watch k --count 2").await?;
    talk.say("get nothing").await?;
    let told = [talk.line().await?, talk.line().await?];
    let [first, second] = told.each_ref().map(|line| line.strip_suffix(" value=v").unwrap_or("another"));
    assert!(version(first, "version=")? < version(second, "version=")?);
    assert_eq!(talk.line().await?, "(not found)");
    Ok(())
}

#[tokio::test]
async fn the_network_is_described_in_lines_closed_by_end() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut talk, addr) = peer(dir.path()).await?;
    let me = addr.rsplit_once('/').context("no peer id")?.1.to_owned();
    version(&talk.ask("put k v").await?, "OK version=")?;

    let located = talk.ask("locate k").await?;
    let located = fields(&located);
    assert_eq!(names(&located), ["position", "group", "prefix", "epoch", "leader", "voters"]);
    let position = "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a";
    assert_eq!((located[0].1, located[2].1, located[4].1), (position, "-", me.as_str()));
    let (voter, distance) = located[5].1.split_once(':').context("no distance")?;
    assert!(voter == me && is_hex(distance) && is_hex(located[1].1), "{located:?}");

    let status = talk.ask_all("status").await?;
    let [status] = status.as_slice() else { panic!("not one line: {status:?}") };
    let status = fields(status);
    assert_eq!(names(&status), ["peer", "network", "replicas", "groups", "leads"]);
    assert_eq!((status[0].1, status[2].1, status[3].1, status[4].1), (me.as_str(), "5", "1", "1"));
    assert!(is_hex(status[1].1), "{status:?}");

    let groups = talk.ask_all("groups").await?;
    let [group] = groups.as_slice() else { panic!("not one group: {groups:?}") };
    let group = fields(group);
    assert_eq!(names(&group), ["group", "prefix", "epoch", "leader", "voters", "role", "keys", "bytes"]);
    assert_eq!((group[0].1, group[3].1, group[4].1, group[5].1), (located[1].1, me.as_str(), me.as_str(), "leader"));
    assert_eq!(group[6].1, "1");

    let peers = talk.ask_all("peers").await?;
    let [only] = peers.as_slice() else { panic!("not one peer: {peers:?}") };
    let only = fields(only);
    assert_eq!(names(&only), ["peer", "addr", "role", "heard_ms"]);
    assert_eq!((only[0].1, only[2].1, only[3].1), (me.as_str(), "peer", "0"));
    assert!(addr.starts_with(only[1].1), "{addr} {only:?}");

    let help = talk.ask_all("help").await?;
    let commands =
        ["put", "get", "del", "cas", "watch", "locate", "status", "peers", "groups", "leave", "help", "quit"];
    for command in commands {
        assert!(help.iter().any(|line| line.starts_with(command)), "no {command} in {help:?}");
        assert!(!talk.ask_all(&format!("help {command}")).await?.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn any_bytes_can_be_typed_and_what_is_printed_can_be_typed_back() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut talk, _) = peer(dir.path()).await?;
    let awkward = [
        ("plain", "plain"),
        (r#""""#, r#""""#),
        (r#""a b""#, r#""a b""#),
        (r#""\"\\\n\r\t\0""#, r#""\"\\\n\r\t\0""#),
        (r#""\x00\xff\x1b""#, r#""\0\xff\x1b""#),
        (r#""\u{200b}\u{e9}""#, r#""\u{200b}é""#),
        (r"back\slash", r#""back\\slash""#),
        ("#number", "#number"),
        ("--stale", "--stale"),
        ("(not", r#""(not""#),
        ("ERR", r#""ERR""#),
        ("OKAY", r#""OKAY""#),
        ("END", r#""END""#),
        ("日本🙂", "日本🙂"),
        (r#"a" b"c"#, r#""a bc""#),
    ];
    for (typed, printed) in awkward {
        version(&talk.ask(&format!("put k {typed}")).await?, "OK version=")?;
        assert_eq!(talk.ask("get k").await?, printed, "typed {typed}");
        version(&talk.ask(&format!("put {printed} it")).await?, "OK version=")?;
        assert_eq!(talk.ask(&format!("get -- {typed}")).await?, "it", "a key typed as {typed}, printed as {printed}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_understood_is_invalid_and_the_next_line_is_read() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut talk, _) = peer(dir.path()).await?;
    let wrong = [
        "frobnicate",
        "PUT k v",
        "put k",
        "put k v w",
        "get",
        "get k --loud",
        "cas k v",
        "cas k maybe v",
        "cas k -1 v",
        "watch k",
        "watch k --count 0",
        "status now",
        "help frobnicate",
        r#"put k "open"#,
        r#"put k "\q""#,
        r#"put k "\xg0""#,
        r#"put k "\u{d800}""#,
        "\u{1b}[A",
    ];
    for line in wrong {
        let answer = talk.ask(line).await?;
        assert!(answer.starts_with("ERR invalid "), "{line:?}: {answer}");
        assert!(answer.len() > "ERR invalid ".len() + 10, "{line:?} is not explained: {answer}");
    }
    assert!(talk.ask("leave").await?.starts_with("ERR denied "), "it is the only peer");
    talk.say("").await?;
    talk.say("  \t ").await?;
    assert_eq!(talk.ask("get k").await?, "(not found)", "a blank line has no answer");
    Ok(())
}

#[tokio::test]
async fn the_largest_key_and_value_are_taken_and_one_byte_more_is_too_large() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut talk, _) = peer(dir.path()).await?;
    let (key, value) = ("k".repeat(1024), "v".repeat(1024 * 1024));
    version(&talk.ask(&format!("put {key} {value}")).await?, "OK version=")?;
    assert!(talk.ask(&format!("get {key}")).await? == value, "the value came back changed");
    for line in [format!("put {key}k v"), format!("put k {value}v"), format!("cas k absent {value}v")] {
        let answer = talk.ask(&line).await?;
        assert!(answer.starts_with("ERR too-large ") && answer.contains("limit of 10"), "{answer}");
    }
    for command in ["get", "del", "locate", "watch --count 1"] {
        let answer = talk.ask(&format!("{command} {key}k")).await?;
        assert!(answer.starts_with("ERR too-large "), "{command}: {answer}");
    }
    assert_eq!(talk.ask("get k").await?, "(not found)", "nothing was applied");
    let answer = talk.ask(&format!("put k {}", "v".repeat(9 * 1024 * 1024))).await?;
    assert!(answer.starts_with("ERR too-large line "), "{answer}");
    Ok(())
}

#[tokio::test]
async fn at_the_end_of_input_a_peer_serves_on_and_a_client_exits() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut talk, addr) = peer(dir.path()).await?;
    talk.say("put k v").await?;
    talk.close();
    version(&talk.line().await?, "OK version=")?;

    let mut client = Talk::start(["connect", "--bootstrap", &addr])?;
    assert_eq!(client.ask("get k").await?, "v");
    assert!(client.ask("leave").await?.starts_with("ERR denied "));
    client.say("get k").await?;
    client.close();
    let (status, said) = client.ended(WITHIN).await?;
    assert_eq!((status.code(), said), (Some(0), vec!["v".to_owned()]), "what was typed is answered before it exits");

    assert_eq!(ran(["get", "k", "--bootstrap", &addr]).await?.stdout, "v\n", "the peer serves on");
    ensure!(talk.is_running()?, "it ended");
    Ok(())
}

#[tokio::test]
async fn without_a_prompt_stdin_is_ignored() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let args = [Path::new("--no-repl"), Path::new("--data-dir"), dir.path()];
    let (mut talk, addr) = Talk::peer(args).await?;
    talk.say("put k v").await?;
    talk.say("quit").await?;
    talk.close();
    assert_eq!(ran(["get", "k", "--bootstrap", &addr]).await?.code, Some(3), "nothing was put");
    ensure!(talk.is_running()?, "it ended");
    talk.signal(nix::sys::signal::Signal::SIGTERM)?;
    let (status, said) = talk.ended(WITHIN).await?;
    assert_eq!((status.code(), said), (Some(0), Vec::new()));
    Ok(())
}
