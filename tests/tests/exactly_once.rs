//! Exactly once (invariant 6): copies of commands, sent by hand as a client that retries would send them, and as one
//! would that does what it must not.
#![allow(missing_docs)]

use anyhow::{Context, Result, bail};
use libp2p::{PeerId, identity::Keypair};
use xorum_behaviours::wire::{
    Answer, Bounds, ClientCommand, CommandId, CommandNumber, Expected, GroupClock, Op, OpAnswer, OpRequest, PeerRole,
    Refusal, SessionId, Version,
};
use xorum_node::{
    Multiaddr,
    group::sessions::{MAX_EXPIRES_AHEAD_MS, Sessions, Verdict},
};
use xorum_tests::harness::{
    Local, Stranger,
    local::{SOON, still},
    until,
};

/// How far ahead of the group clock the commands here expire.
const AHEAD_MS: u64 = 5 * 60 * 1000;

/// A session whose commands are written by hand, and its connection to every peer.
struct ByHand {
    client: Stranger,
    session: SessionId,
}

impl ByHand {
    async fn connect(local: &Local) -> Result<Self> {
        let addrs: Vec<Multiaddr> = local.running().flat_map(|(_, node)| node.listen_addrs()).collect();
        let client = Stranger::join(&Keypair::generate_ed25519(), PeerRole::Client, &addrs).await?;
        Ok(Self { client, session: SessionId::random() })
    }

    fn command(&self, number: u64, watermark: u64, expires: GroupClock, op: Op) -> ClientCommand {
        let (number, watermark) = (CommandNumber(number), CommandNumber(watermark));
        ClientCommand { id: CommandId { session: self.session, number, watermark, expires }, op }
    }

    async fn send(&self, to: PeerId, command: &ClientCommand) -> Result<OpAnswer> {
        self.client.operation(to, &OpRequest::Command(command.clone())).await
    }

    /// Sends copies until one is answered by an answer or a refusal, whoever leads then.
    async fn settle(&self, local: &Local, command: &ClientCommand) -> Result<OpAnswer> {
        let settled = || async {
            let leader = local.node(local.leader().await.ok()?).ok()?.peer_id();
            let answer = self.send(leader, command).await.ok()?;
            matches!(answer, OpAnswer::Applied { .. } | OpAnswer::Refused { .. }).then_some(answer)
        };
        until("a copy is answered", SOON, settled).await
    }

    /// Sends copies until the command is applied.
    async fn apply(&self, local: &Local, command: &ClientCommand) -> Result<Answer> {
        match self.settle(local, command).await? {
            OpAnswer::Applied { answer, .. } => Ok(answer),
            other => bail!("not applied: {other:?}"),
        }
    }

    /// Sends copies until the command is refused.
    async fn refusal(&self, local: &Local, command: &ClientCommand) -> Result<Refusal> {
        match self.settle(local, command).await? {
            OpAnswer::Refused { refusal, proposed: false, .. } => Ok(refusal),
            other => bail!("not refused before it was proposed: {other:?}"),
        }
    }
}

/// The group clock now, at the latest.
async fn clock(local: &Local) -> Result<GroupClock> {
    let by_hand = ByHand::connect(local).await?;
    let probe = by_hand.command(1, 1, GroupClock(u64::MAX), put("probe", "v"));
    match by_hand.settle(local, &probe).await? {
        OpAnswer::Refused { refusal: Refusal::ExpiresTooFarAhead, proposed: false, clock, .. } => Ok(clock),
        other => bail!("it expires too far ahead: {other:?}"),
    }
}

async fn soon(local: &Local) -> Result<GroupClock> {
    Ok(GroupClock(clock(local).await?.0 + AHEAD_MS))
}

fn put(key: &'static str, value: &'static str) -> Op {
    Op::Put { key: key.into(), value: value.into() }
}

/// The version and value of a key, by a linearizable read.
async fn read(local: &Local, key: &'static str) -> Result<Option<(Version, String)>> {
    let (_, node) = local.running().next().context("none runs")?;
    let found = node.with_timeout(SOON).get(key).await?;
    Ok(found.map(|found| (found.version, String::from_utf8_lossy(&found.value).into_owned())))
}

fn done(answer: Answer) -> Result<Version> {
    match answer {
        Answer::Done(version) => Ok(version),
        other => bail!("not done: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_at_once_are_applied_once_and_all_get_the_same_answer() -> Result<()> {
    let mut local = Local::start(1, still).await?;
    let by_hand = ByHand::connect(&local).await?;
    let peer = local.node(0)?.peer_id();
    let op = Op::CompareAndSwap { key: "k".into(), expected: Expected::Absent, value: "v".into() };
    let command = by_hand.command(1, 1, soon(&local).await?, op);
    let copies = (0..64).map(|_| by_hand.send(peer, &command));
    let mut answers = Vec::new();
    for answer in futures::future::join_all(copies).await {
        let OpAnswer::Applied { answer, .. } = answer? else { bail!("a sole peer applies") };
        answers.push(answer);
    }
    let version = done(answers[0])?;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(read(&local, "k").await?, Some((version, "v".into())));
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_copy_changes_nothing_that_was_written_since() -> Result<()> {
    let mut local = Local::start(1, still).await?;
    let by_hand = ByHand::connect(&local).await?;
    let expires = soon(&local).await?;
    let first = by_hand.command(1, 1, expires, put("k", "first"));
    let second = by_hand.command(2, 1, expires, put("k", "second"));
    let (one, two) = (by_hand.apply(&local, &first).await?, by_hand.apply(&local, &second).await?);
    assert!(done(two)? > done(one)?);
    assert_eq!(by_hand.apply(&local, &first).await?, one);
    assert_eq!(read(&local, "k").await?, Some((done(two)?, "second".into())));
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_a_session_that_come_in_another_order_are_each_applied_once() -> Result<()> {
    let mut local = Local::start(1, still).await?;
    let by_hand = ByHand::connect(&local).await?;
    let expires = soon(&local).await?;
    let mut versions = Vec::new();
    for number in [5, 2, 9, 1, 7, 2, 5, 9, 1] {
        let command = by_hand.command(number, 1, expires, put("k", "v"));
        versions.push((number, done(by_hand.apply(&local, &command).await?)?));
    }
    let newest = versions.iter().map(|(_, version)| *version).max();
    for (number, version) in &versions {
        let same = versions.iter().filter(|(other, _)| other == number).all(|(_, other)| other == version);
        assert!(same, "command {number}: {versions:?}");
    }
    assert_eq!(read(&local, "k").await?.map(|(version, _)| version), newest);
    assert_eq!(versions[4].1, newest.context("some were applied")?, "copies wrote nothing");
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_outlives_its_leader_and_a_restart_of_all() -> Result<()> {
    let mut local = Local::start(3, still).await?;
    let by_hand = ByHand::connect(&local).await?;
    let expires = soon(&local).await?;
    let counted = by_hand.command(1, 1, expires, put("k", "first"));
    let removed = by_hand.command(2, 1, expires, Op::Delete { key: "absent".into() });
    let kept = (by_hand.apply(&local, &counted).await?, by_hand.apply(&local, &removed).await?);
    assert_eq!(kept.1, Answer::NotFound);
    let since = by_hand.command(3, 1, expires, put("k", "since"));
    let since = by_hand.apply(&local, &since).await?;

    let leader = local.leader().await?;
    local.stop(leader).await?;
    assert_eq!(by_hand.apply(&local, &counted).await?, kept.0, "after a change of leaders");
    assert_eq!(read(&local, "k").await?, Some((done(since)?, "since".into())));

    local.open(leader).await?;
    // Makes a late copy of this a change, had its answer been lost.
    let (_, node) = local.running().next().context("all run")?;
    node.with_timeout(SOON).put("absent", "v").await?;
    local.restart().await?;
    let again = ByHand { session: by_hand.session, ..ByHand::connect(&local).await? };
    assert_eq!(again.apply(&local, &counted).await?, kept.0, "after a restart of all");
    assert_eq!(again.apply(&local, &removed).await?, kept.1, "after a restart of all");
    assert_eq!(read(&local, "k").await?, Some((done(since)?, "since".into())));
    assert_eq!(read(&local, "absent").await?.map(|(_, value)| value), Some("v".into()));
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_below_the_watermark_is_refused_and_one_above_it_keeps_its_answer() -> Result<()> {
    let mut local = Local::start(1, still).await?;
    let by_hand = ByHand::connect(&local).await?;
    let expires = soon(&local).await?;
    let [first, second] = [1, 2].map(|number| by_hand.command(number, 1, expires, put("k", "early")));
    by_hand.apply(&local, &first).await?;
    let kept = by_hand.apply(&local, &second).await?;
    let moved = by_hand.command(3, 2, expires, put("k", "moved"));
    let moved = by_hand.apply(&local, &moved).await?;
    assert_eq!(by_hand.refusal(&local, &first).await?, Refusal::BelowWatermark);
    assert_eq!(by_hand.apply(&local, &second).await?, kept);
    assert_eq!(read(&local, "k").await?, Some((done(moved)?, "moved".into())));
    local.restart().await?;
    let again = ByHand { session: by_hand.session, ..ByHand::connect(&local).await? };
    assert_eq!(again.refusal(&local, &first).await?, Refusal::BelowWatermark, "after a restart");
    let peer = local.node(0)?.peer_id();
    let own = again.command(4, 5, expires, put("k", "never"));
    assert!(matches!(again.send(peer, &own).await?, OpAnswer::Invalid(_)), "a number below its own watermark");
    assert_eq!(read(&local, "k").await?, Some((done(moved)?, "moved".into())));
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_past_its_time_or_too_far_ahead_of_it_is_refused_and_never_applied() -> Result<()> {
    let mut local = Local::start(1, still).await?;
    let by_hand = ByHand::connect(&local).await?;
    let now = clock(&local).await?;
    let early = by_hand.command(1, 1, GroupClock(now.0 + 1), put("k", "early"));
    let passed = || async {
        let now = clock(&local).await.ok()?;
        (now > early.id.expires).then_some(())
    };
    until("the group clock has passed it", SOON, passed).await?;
    assert_eq!(by_hand.refusal(&local, &early).await?, Refusal::Expired);
    for expires in [GroupClock(u64::MAX), GroupClock(clock(&local).await?.0 + 2 * MAX_EXPIRES_AHEAD_MS)] {
        let far = by_hand.command(2, 1, expires, put("k", "far"));
        assert_eq!(by_hand.refusal(&local, &far).await?, Refusal::ExpiresTooFarAhead);
    }
    assert_eq!(read(&local, "k").await?, None);
    // What was refused left no trace: the number is free.
    let fresh = by_hand.command(2, 1, soon(&local).await?, put("k", "fresh"));
    by_hand.apply(&local, &fresh).await?;
    assert_eq!(read(&local, "k").await?.map(|(_, value)| value), Some("fresh".into()));
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_as_many_answers_as_it_may_have_is_refused_more_and_loses_none() -> Result<()> {
    let mut local = Local::start(1, still).await?;
    let by_hand = ByHand::connect(&local).await?;
    let peer = local.node(0)?.peer_id();
    let expires = soon(&local).await?;
    let most = u64::from(Bounds::default().max_answers);
    let numbers: Vec<u64> = (1..=most).collect();
    let mut first = None;
    for batch in numbers.chunks(512) {
        let commands: Vec<_> = batch.iter().map(|number| by_hand.command(*number, 1, expires, put("k", "v"))).collect();
        for answer in futures::future::join_all(commands.iter().map(|command| by_hand.send(peer, command))).await {
            let OpAnswer::Applied { answer, .. } = answer? else { bail!("there is room for {most}") };
            first = first.or(Some(answer));
        }
    }
    let beyond = by_hand.command(most + 1, 1, expires, put("k", "beyond"));
    assert_eq!(by_hand.refusal(&local, &beyond).await?, Refusal::TableFull);
    let kept = by_hand.command(1, 1, expires, put("k", "v"));
    assert_eq!(Some(by_hand.apply(&local, &kept).await?), first, "the oldest answer is still there");
    // Who moves its watermark makes room.
    let moved = by_hand.command(most + 1, 2, expires, put("k", "beyond"));
    by_hand.apply(&local, &moved).await?;
    local.shutdown().await;
    Ok(())
}

#[test]
fn a_full_table_refuses_a_new_session_evicts_none_and_has_room_again_when_one_expires() {
    let bounds = Bounds { max_sessions: 3, ..Bounds::default() };
    let id = |session: u8, number: u64, expires: u64| CommandId {
        session: SessionId([session; 16]),
        number: CommandNumber(number),
        watermark: CommandNumber(1),
        expires: GroupClock(expires),
    };
    let mut table = Sessions::default();
    for session in 1..=3u8 {
        let id = id(session, 1, 100 * u64::from(session));
        assert_eq!(table.judge(&id, GroupClock(0), &bounds), Verdict::Fresh);
        table.keep(&id, Answer::Done(Version(session.into())));
    }
    assert_eq!(table.judge(&id(4, 1, 900), GroupClock(0), &bounds), Verdict::Refused(Refusal::TableFull));
    for session in 1..=3u8 {
        let kept = table.judge(&id(session, 1, 100 * u64::from(session)), GroupClock(0), &bounds);
        assert_eq!(kept, Verdict::Kept(Answer::Done(Version(session.into()))));
        // A session that has a place goes on.
        assert_eq!(table.judge(&id(session, 2, 300), GroupClock(0), &bounds), Verdict::Fresh);
    }
    assert_eq!(table.judge(&id(4, 1, 900), GroupClock(101), &bounds), Verdict::Fresh);
}
