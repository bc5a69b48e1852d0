//! Every error of a start is one line on stderr that says what to do, a status that is not 0, and nothing on stdout.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use tokio::process::Command;
use xorum_tests::harness::{Launch, Process, Talk, command, finish, process, turn};

const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

/// Runs a peer that is not to start; the line that says why.
async fn refused(data_dir: &Path, args: &[&str]) -> Result<String> {
    let dir = data_dir.to_str().context("a path")?;
    refused_by(&mut command([&["run", "--no-repl", "--data-dir", dir], args].concat())?).await
}

async fn refused_by(command: &mut Command) -> Result<String> {
    let ran = finish(command).await?;
    ensure!(ran.stdout.is_empty(), "it wrote to stdout: {}", ran.stdout);
    ensure!(ran.code.is_some_and(|code| code != 0), "{command:?} ended with {:?}: {}", ran.code, ran.stderr);
    ensure!(ran.stderr.lines().count() == 1 && ran.stderr.starts_with("xorum: "), "not one line: {}", ran.stderr);
    Ok(ran.stderr.trim_end().to_owned())
}

/// The line says what happened, to what, and what to do.
fn says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
}

/// A directory that a peer has used.
async fn used(dir: &Path) -> Result<()> {
    let (mut talk, _) = Talk::peer([Path::new("--data-dir"), dir]).await?;
    ensure!(talk.ask("put k v").await?.starts_with("OK version="));
    ensure!(talk.ask("quit").await? == "OK");
    let (status, _) = talk.ended(std::time::Duration::from_secs(30)).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

async fn network(dir: &Path) -> Result<Process> {
    Launch::new(dir)?.start().await
}

#[tokio::test]
async fn a_directory_that_another_process_has_is_refused_and_cannot_be_reset() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let data_dir = dir.path().join("peer");
    let peer = network(&data_dir).await?;
    let name = data_dir.to_str().context("a path")?;
    says(&refused(&data_dir, &["--listen", LOOPBACK]).await?, &[name, "in use by another process", "--data-dir"]);
    let reset = refused_by(&mut command(["reset-identity", "--data-dir", name])?).await?;
    says(&reset, &[name, "in use by another process", "stop it"]);
    drop(peer);
    Ok(())
}

#[tokio::test]
async fn a_peer_of_one_network_is_refused_by_another() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let data_dir = dir.path().join("mine");
    used(&data_dir).await?;
    let other = network(&dir.path().join("other")).await?;
    let addr = other.addr().to_string();
    let line = refused(&data_dir, &["--listen", LOOPBACK, "--bootstrap", &addr]).await?;
    says(&line, &[&addr, "is of network", "this data directory of", "another --bootstrap or another --data-dir"]);
    Ok(())
}

#[tokio::test]
async fn settings_that_differ_from_the_networks_are_refused_at_any_start() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let founder = dir.path().join("founder");
    used(&founder).await?;
    let differing: [&[&str]; 6] = [
        &["--replicas", "3"],
        &["--network", "other"],
        &["--profile", "wan"],
        &["--split-bytes", "1MiB"],
        &["--replace-after", "1m"],
        &["--settle-after", "1m"],
    ];
    for setting in differing {
        let line = refused(&founder, &[&["--listen", LOOPBACK], setting].concat()).await?;
        says(&line, &[setting[0], "differs from this network's", "fixed at founding", "drop the setting"]);
    }
    let peer = network(&founder).await?;
    let joiner = dir.path().join("joiner");
    let addr = peer.addr().to_string();
    let line = refused(&joiner, &["--listen", LOOPBACK, "--bootstrap", &addr, "--replicas", "7"]).await?;
    says(&line, &["--replicas 7 differs from this network's 5"]);
    let by_environment = command(["run", "--listen", LOOPBACK, "--data-dir", joiner.to_str().context("a path")?])?
        .args(["--bootstrap", &addr])
        .env("XORUM_REPLICAS", "3")
        .output()
        .await?;
    assert!(String::from_utf8_lossy(&by_environment.stderr).contains("--replicas 3 differs"), "{by_environment:?}");
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_refused_whoever_has_it() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let data_dir = dir.path().join("second");
    let peer = network(&dir.path().join("first")).await?;
    let addr = peer.addr().to_string();
    let addr = addr.split_once("/p2p/").context("no peer id")?.0;
    says(&refused(&data_dir, &["--listen", addr]).await?, &[addr, "in use", "another with --listen"]);

    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let addr = format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr()?.port());
    says(&refused(&data_dir, &["--listen", &addr]).await?, &[&addr, "in use", "another with --listen"]);
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    let addr = format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr()?.port());
    says(&refused(&data_dir, &["--listen", &addr]).await?, &[&addr, "in use", "another with --listen"]);
    Ok(())
}

#[tokio::test]
async fn addresses_that_are_none_or_lead_nowhere_are_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--bootstrap", "nonsense"], &["nonsense", "--bootstrap", "one looks like /ip4/"]),
        (&["--listen", "nonsense"], &["nonsense", "--listen", "one looks like /ip4/"]),
        (&["--bootstrap", "/ip4/127.0.0.1"], &["cannot be a bootstrap address", "one looks like /ip4/"]),
        (&["--listen", "/ip4/127.0.0.1"], &["cannot listen on /ip4/127.0.0.1", "another with --listen"]),
        (
            &["--listen", "/ip4/192.0.2.1/tcp/0", "--open"],
            &["cannot listen on /ip4/192.0.2.1", "another with --listen"],
        ),
        (&["--listen", "/ip4/0.0.0.0/tcp/0"], &["beyond loopback", "could read and write", "say --open"]),
        (&["--listen", "/ip6/::/tcp/0"], &["beyond loopback", "could read and write", "say --open"]),
        (
            &["--bootstrap", "/ip4/192.0.2.1/tcp/4001"],
            &["/ip4/192.0.2.1/tcp/4001", "beyond loopback", "listens on loopback only", "say --open"],
        ),
    ];
    for (args, parts) in cases {
        says(&refused(&dir.path().join("peer"), args).await?, parts);
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    fs::write(&file, "not a directory")?;
    for data_dir in [file.clone(), file.join("below"), "/proc/xorum".into()] {
        let name = data_dir.to_str().context("a path")?;
        let line = refused(&data_dir, &["--listen", LOOPBACK]).await?;
        says(&line, &[name, "a directory that you may write", "--data-dir"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // A disk of its own, for this process only, where the system lets the test have one.
    let on_disk_of = |bytes: &str, program: &Path| {
        let script = format!("mount -t tmpfs -o size={bytes} none \"$1\" && shift && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh"]).arg(dir.path()).arg(program).stdin(Stdio::null());
        command.kill_on_drop(true);
        command
    };
    let may = on_disk_of("64k", Path::new("true")).output().await;
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system lets no test mount a disk of its own");
        return Ok(());
    }
    for bytes in ["4k", "16k", "64k"] {
        let mut command = on_disk_of(bytes, &process::binary()?);
        command.args(["run", "--no-repl", "--listen", LOOPBACK, "--data-dir"]).arg(dir.path().join("peer"));
        let line = refused_by(&mut command).await?;
        says(&line, &[dir.path().to_str().context("a path")?, "No space left", "not full"]);
    }
    Ok(())
}

#[tokio::test]
async fn an_identity_that_is_not_what_was_written_is_refused() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let data_dir = dir.path().join("peer");
    used(&data_dir).await?;
    let identity = data_dir.join("identity");
    let name = identity.to_str().context("a path")?;
    let written = fs::read(&identity)?;
    let write = |bytes: &[u8]| {
        fs::write(&identity, bytes)?;
        fs::set_permissions(&identity, fs::Permissions::from_mode(0o600))
    };

    fs::set_permissions(&identity, fs::Permissions::from_mode(0o644))?;
    let line = refused(&data_dir, &["--listen", LOOPBACK]).await?;
    says(&line, &[name, "can be read by others", "chmod 600", "xorum reset-identity"]);

    let mut flipped = written.clone();
    flipped[40] ^= 0xff;
    for corrupt in [b"nonsense".as_slice(), b"", &written[..written.len() / 2], &flipped] {
        write(corrupt)?;
        let line = refused(&data_dir, &["--listen", LOOPBACK]).await?;
        says(&line, &[name, "is corrupt", "xorum reset-identity", "join anew"]);
    }
    fs::remove_file(&identity)?;
    let line = refused(&data_dir, &["--listen", LOOPBACK]).await?;
    says(&line, &[name, "missing", "xorum reset-identity"]);

    // {"format": 2}, as a later version may begin its file.
    write(b"\xa1\x66format\x02")?;
    let line = refused(&data_dir, &["--listen", LOOPBACK]).await?;
    says(&line, &["has format 2", "newer than this program's 1", "use a newer xorum"]);

    write(&written)?;
    network(&data_dir).await.context("what was written is good")?;
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_corrupt_or_newer_is_refused() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let data_dir = dir.path().join("peer");
    let store = data_dir.join("store");

    used(&data_dir).await?;
    fs::write(store.join("version"), "nonsense")?;
    let line = refused(&data_dir, &["--listen", LOOPBACK]).await?;
    says(&line, &[store.to_str().context("a path")?, "is corrupt", "xorum reset-identity", "join anew"]);

    fs::remove_dir_all(&data_dir)?;
    used(&data_dir).await?;
    {
        let database = Database::builder(&store).open()?;
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default)?;
        meta.insert("f", 2_u32.to_be_bytes())?;
        database.persist(PersistMode::SyncAll)?;
    }
    let line = refused(&data_dir, &["--listen", LOOPBACK]).await?;
    says(&line, &["has format 2", "newer than this program's 1", "use a newer xorum"]);

    // What was refused is moved aside, and the directory is a new peer's.
    let reset = finish(&mut command(["reset-identity", "--data-dir", data_dir.to_str().context("a path")?])?).await?;
    assert_eq!((reset.code, reset.stderr.as_str()), (Some(0), ""));
    assert!(reset.stdout.starts_with("OK moved=") && reset.stdout.contains(".old-1"), "{}", reset.stdout);
    network(&data_dir).await?;
    Ok(())
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("xorum.toml");
    let config = file.to_str().context("a path")?;
    let data_dir = dir.path().join("peer");
    for (text, parts) in [
        ("replicas = 4\n", ["line 1", "must be 3, 5 or 7"]),
        ("\nreplica = 5\n", ["line 2", "unknown field `replica`"]),
        ("replicas =\n", ["line 1", config]),
    ] {
        fs::write(&file, text)?;
        says(&refused(&data_dir, &["--config", config]).await?, &parts);
    }
    says(&refused(&data_dir, &["--config", "/nowhere.toml"]).await?, &["/nowhere.toml", "another with --config"]);
    says(&refused(&data_dir, &["--replicas", "4"]).await?, &["--replicas", "must be 3, 5 or 7"]);
    says(&refused(&data_dir, &["--network", &"n".repeat(65)]).await?, &["64"]);
    for (name, value) in [("XORUM_OPEN", "maybe"), ("XORUM_TIMEOUT", "11m"), ("RUST_LOG", "xorum=loud")] {
        let mut command = command(["run", "--listen", LOOPBACK, "--data-dir"])?;
        says(&refused_by(command.arg(&data_dir).env(name, value)).await?, &[name, value]);
    }
    assert!(!data_dir.join("identity").exists(), "nothing was begun");
    Ok(())
}
