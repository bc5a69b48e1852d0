//! One command a process: statuses, JSON, deadlines, and how it finds the network.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use xorum_tests::harness::{Launch, Ran, Talk, command, finish, ran, turn, until};

/// A place where nobody listens.
const NOBODY: &str = "/ip4/127.0.0.1/tcp/1";

async fn peer(dir: &Path) -> Result<(Talk, String)> {
    Talk::peer([Path::new("--no-repl"), Path::new("--data-dir"), dir]).await
}

/// The words, run against a peer.
async fn at(addr: &str, words: &[&str]) -> Result<Ran> {
    let ran = ran(words.iter().copied().chain(["--bootstrap", addr])).await?;
    ensure!(ran.stderr.is_empty(), "{words:?} wrote to stderr: {}", ran.stderr);
    Ok(ran)
}

/// The words, run against a peer: the status, and the one object that it answered.
async fn object_at(addr: &str, words: &[&str]) -> Result<(Option<i32>, Value)> {
    let ran = at(addr, &[words, &["--json"]].concat()).await?;
    let line = ran.stdout.strip_suffix('\n').context("no line")?;
    Ok((ran.code, serde_json::from_str(line).with_context(|| format!("{words:?}: {line}"))?))
}

#[tokio::test]
async fn the_status_tells_a_script_what_became_of_the_command() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (_peer, addr) = peer(dir.path()).await?;
    let put = at(&addr, &["put", "k", "v"]).await?;
    assert_eq!(put.code, Some(0));
    let version = put.stdout.strip_prefix("OK version=").context("OK")?.trim().to_owned();
    let long = "k".repeat(1025);
    let cases: [(&[&str], i32, &str); 14] = [
        (&["get", "k"], 0, "v\n"),
        (&["get", "k", "--meta"], 0, &format!("version={version} value=v\n")),
        (&["get", "k", "--stale"], 0, "v\n"),
        (&["get", "nothing"], 3, "(not found)\n"),
        (&["del", "nothing"], 3, "(not found)\n"),
        (&["cas", "k", "absent", "w"], 5, &format!("CONFLICT version={version}\n")),
        (&["cas", "nothing", "7", "w"], 5, "CONFLICT version=0\n"),
        (&["cas", "k", &version, "w"], 0, "OK version="),
        (&["locate", "k"], 0, "position="),
        (&["status"], 0, "peer="),
        (&["peers"], 0, "peer="),
        (&["groups"], 0, "group="),
        (&["del", "k"], 0, "OK version="),
        (&["put", &long, "v"], 2, "ERR too-large "),
    ];
    for (words, code, answer) in cases {
        let ran = at(&addr, words).await?;
        assert_eq!(ran.code, Some(code), "{words:?}: {}", ran.stdout);
        assert!(ran.stdout.starts_with(answer), "{words:?}: {}", ran.stdout);
        let is_list = ["status", "peers", "groups"].contains(&words[0]);
        let lines = ran.stdout.lines().count();
        assert!(if is_list { ran.stdout.ends_with("\nEND\n") } else { lines == 1 }, "{words:?}: {}", ran.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn in_json_every_result_is_one_object_with_the_fields_that_apply() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (_peer, addr) = peer(dir.path()).await?;
    let (code, put) = object_at(&addr, &["put", "k", "v"]).await?;
    let version = put["version"].as_u64().context("a version")?;
    assert_eq!((code, put), (Some(0), json!({"ok": true, "version": version})));
    assert_eq!(
        object_at(&addr, &["get", "k"]).await?,
        (Some(0), json!({"ok": true, "found": true, "version": version, "value": "v"}))
    );
    assert_eq!(object_at(&addr, &["get", "nothing"]).await?, (Some(3), json!({"ok": true, "found": false})));
    assert_eq!(
        object_at(&addr, &["cas", "k", "absent", "w"]).await?,
        (Some(5), json!({"ok": false, "conflict": true, "version": version}))
    );
    let (code, large) = object_at(&addr, &["get", &"k".repeat(1025)]).await?;
    assert_eq!((code, &large["ok"], &large["code"]), (Some(2), &json!(false), &json!("too-large")));
    assert!(large["message"].as_str().is_some_and(|message| message.contains("1024")), "{large}");
    let (_, stale) = object_at(&addr, &["get", "k", "--stale"]).await?;
    assert!(stale["stale_ms"].is_u64(), "{stale}");
    let (_, located) = object_at(&addr, &["locate", "k"]).await?;
    let (_, groups) = object_at(&addr, &["groups"]).await?;
    let (_, peers) = object_at(&addr, &["peers"]).await?;
    let (_, status) = object_at(&addr, &["status"]).await?;
    assert_eq!(groups["groups"][0]["group"], located["group"]);
    assert_eq!(located["leader"], status["peer"]);
    assert_eq!(located["voters"][0]["peer"], status["peer"]);
    assert!(peers["peers"].as_array().is_some_and(|peers| peers.iter().any(|peer| peer["peer"] == status["peer"])));

    let writes = Talk::start(["connect", "--bootstrap", &addr])?.repeat("put watched v");
    let (code, change) = object_at(&addr, &["watch", "watched", "--count", "1"]).await?;
    assert_eq!(
        (code, &change["ok"], &change["found"], &change["value"]),
        (Some(0), &json!(true), &json!(true), &json!("v"))
    );
    drop(writes);

    // Bytes that are no text.
    let mut connected = Talk::start(["connect", "--json", "--bootstrap", &addr])?;
    assert_eq!(serde_json::from_str::<Value>(&connected.ask(r#"put b "\xff""#).await?)?["ok"], json!(true));
    assert_eq!(object_at(&addr, &["get", "b"]).await?.1["value_base64"], json!("/w=="));
    Ok(())
}

#[tokio::test]
async fn the_environment_names_several_peers_and_one_that_answers_is_enough() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (_peer, addr) = peer(dir.path()).await?;
    let put = finish(command(["put", "k", "v"])?.env("XORUM_BOOTSTRAP", format!("{NOBODY},{addr}"))).await?;
    assert_eq!(put.code, Some(0), "{put:?}");
    let get = finish(command(["get", "k", "--bootstrap", &addr])?.env("XORUM_BOOTSTRAP", NOBODY)).await?;
    assert_eq!(get.stdout, "v\n", "a flag wins over the environment");
    Ok(())
}

#[tokio::test]
async fn where_nobody_answers_it_is_unavailable_at_the_deadline() -> Result<()> {
    for command in ["get", "status", "peers", "groups"] {
        let words: &[&str] = if command == "get" { &["get", "k"] } else { &[command] };
        let ran = at(NOBODY, &[words, &["--timeout", "300ms"]].concat()).await?;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.stdout.starts_with("ERR unavailable none of the bootstrap addresses answered within 300ms"),
            "{ran:?}"
        );
        assert_eq!(ran.stdout.lines().count(), 1);
    }
    let (code, object) = object_at(NOBODY, &["put", "k", "v", "--timeout", "300ms"]).await?;
    assert_eq!((code, &object["code"]), (Some(1), &json!("unavailable")), "nothing can have been proposed: {object}");
    Ok(())
}

#[tokio::test]
async fn wrong_usage_is_one_line_on_stderr_and_status_2() -> Result<()> {
    let wrong: [&[&str]; 12] = [
        &["put", "k"],
        &["get"],
        &["frobnicate"],
        &["get", "k", "--loud"],
        &["get", "k"],
        &["get", "k", "--bootstrap", "nonsense"],
        &["get", "k", "--bootstrap", NOBODY, "--timeout", "0s"],
        &["get", "k", "--bootstrap", NOBODY, "--timeout", "11m"],
        &["get", "k", "--bootstrap", NOBODY, "--timeout", "soon"],
        &["cas", "k", "maybe", "v", "--bootstrap", NOBODY],
        &["watch", "k", "--count", "0", "--bootstrap", NOBODY],
        &["completions", "no-shell"],
    ];
    for words in wrong {
        let ran = ran(words).await?;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{words:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("xorum: "), "{words:?}: {}", ran.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_write_whose_outcome_nobody_knows_has_status_4() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let first = Launch::new(dir.path().join("0"))?.start().await?;
    let mut others = Vec::new();
    for number in 1..3 {
        others.push(Launch::new(dir.path().join(number.to_string()))?.bootstrap(first.addr()).start().await?);
    }
    let addr = first.addr().to_string();
    let leader = until("three voters and a leader", Duration::from_secs(60), || async {
        let (_, located) = object_at(&addr, &["locate", "k"]).await.ok()?;
        let voters = located["voters"].as_array()?.len();
        let leader = located["leader"].as_str()?.to_owned();
        (voters == 3).then_some(leader)
    })
    .await?;
    others.push(first);
    let (leading, following): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|peer| peer.peer_id().to_string() == leader);
    assert_eq!(following.len(), 2);
    for follower in &following {
        follower.pause()?;
    }
    let addr = leading[0].addr().to_string();
    let (code, object) = object_at(&addr, &["put", "k", "v", "--timeout", "3s"]).await?;
    assert_eq!((code, &object["code"]), (Some(4), &json!("outcome-unknown")), "{object}");
    for follower in &following {
        follower.resume()?;
    }
    until("a majority serves again", Duration::from_secs(60), || async {
        (at(&addr, &["put", "k", "w"]).await.ok()?.code == Some(0)).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_write_that_is_interrupted_never_claims_to_be_undone() -> Result<()> {
    let mut command = command(["put", "k", "v", "--bootstrap", NOBODY, "--timeout", "10m"])?;
    let child = command.stdout(std::process::Stdio::piped()).spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id().context("it runs")?)?);
    // Its handler stands once it catches the signal; until then the signal is not sent.
    let catches = || async {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
        (u64::from_str_radix(&caught, 16).ok()? & (1 << (Signal::SIGINT as u32 - 1)) != 0).then_some(())
    };
    until("it catches Ctrl-C", Duration::from_secs(30), catches).await?;
    kill(pid, Signal::SIGINT)?;
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await??;
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout.starts_with(b"ERR outcome-unknown "), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn the_version_help_and_completions_need_no_network() -> Result<()> {
    let version = ran(["--version"]).await?;
    assert_eq!((version.code, version.stdout.as_str()), (Some(0), concat!("xorum ", env!("CARGO_PKG_VERSION"), "\n")));
    let help = ran(["--help"]).await?;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for (shell, word) in [("bash", "complete"), ("zsh", "#compdef xorum"), ("fish", "complete -c xorum")] {
        let script = ran(["completions", shell]).await?;
        assert_eq!((script.code, script.stderr.as_str()), (Some(0), ""));
        assert!(script.stdout.contains(word) && script.stdout.contains("locate"), "{shell}");
        assert!(help.stdout.contains("completions"));
    }
    Ok(())
}
