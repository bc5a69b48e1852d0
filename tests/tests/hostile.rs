//! What comes from the network is checked before use (invariant 8): peers that say what they like, against real ones.
//!
//! After each lie the peers that heard it are there, serve, have no later term for it, and are led by none but
//! themselves.
#![allow(missing_docs)]

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, identity::Keypair};
use openraft::{EntryPayload, type_config::alias::CommittedLeaderIdOf};
use tokio::io::AsyncWriteExt as _;
use xorum_behaviours::{
    links::Class,
    wire::{
        self, BulkAnswer, BulkRequest, Descriptor, Epoch, Farewell, GroupAnswer, GroupClock, GroupId, GroupMessage,
        GroupMessageKind, MAX_PEERS_IN_MESSAGE, OpAnswer, OpRequest, Origin, PROTOCOL_VERSION, PeerAddrs, PeerAnswer,
        PeerRequest, PeerRole, ReplicaId, ReplicaNumber, Route, SnapshotRow, Survey, TransferId,
    },
};
use xorum_node::{
    Multiaddr, Node,
    data_dir::DataDir,
    group::{
        raft::{
            AppendRequest, AppendResponse, Entry, LogId, Membership, SnapshotMeta, StoredMembership, TransferRequest,
            TypeConfig, Vote, VoteRequest,
        },
        seam::{self, MAX_ENTRIES, MAX_INDEX, MAX_TERM, SnapshotHead, Violation},
    },
};
use xorum_tests::harness::{
    Local, Stranger,
    local::{SOON, still},
    until,
    wire_level::Connection,
};

/// How far the liar's terms are ahead of the group's: elections of the others never come there meanwhile.
const LIE: u64 = 1_000;

fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderIdOf::<TypeConfig>::new(term), index }
}

fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

fn of_members(term: u64, index: u64, membership: Membership) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Membership(membership) }
}

fn body<T: serde::Serialize>(message: &T) -> Result<Bytes> {
    Ok(wire::encode(message)?.into())
}

/// A group of three, one of whose voters was replaced by a liar with its key.
struct Scene {
    local: Local,
    liar: Stranger,
    /// The liar's replica.
    me: ReplicaId,
    group: GroupId,
    /// The group's term when the lies began.
    term: u64,
    /// The others' replicas.
    others: Vec<ReplicaId>,
}

impl Scene {
    async fn set() -> Result<Self> {
        let mut local = Local::start(3, still).await?;
        let leader = local.leader().await?;
        let follower = (leader + 1) % 3;
        local.stop(follower).await?;
        let identity = DataDir::open(&local.data_dir(follower))?.identity()?.context("it had one")?;
        let addrs: Vec<Multiaddr> = local.running().flat_map(|(_, node)| node.listen_addrs()).collect();
        let liar = Stranger::join(&identity.key, PeerRole::Peer, &addrs).await?;
        let leader = local.leader().await?;
        let descriptor = descriptor(local.node(leader)?).await?;
        let (mut mine, others): (Vec<_>, Vec<_>) =
            descriptor.voters.iter().copied().partition(|seat| seat.peer == liar.peer_id());
        let me = mine.pop().context("it has a seat")?;
        let scene = Self { local, liar, me, group: descriptor.group, term: descriptor.term, others };
        scene.unharmed("nothing").await?;
        Ok(scene)
    }

    /// The term that the liar claims.
    const fn lie(&self) -> u64 {
        self.term + LIE
    }

    fn vote(&self) -> Vote {
        Vote::new_committed(self.lie(), self.me)
    }

    fn message(&self, to: ReplicaId, kind: GroupMessageKind, body: Bytes) -> GroupMessage {
        GroupMessage { group: self.group, origin: Origin::Founding, from: self.me.number, to: to.number, kind, body }
    }

    async fn say(&self, to: ReplicaId, message: GroupMessage) -> Result<GroupAnswer> {
        match self.liar.raft(to.peer, &PeerRequest::Group(message)).await? {
            PeerAnswer::Group(answer) => Ok(answer),
            other => bail!("an answer of another kind: {other:?}"),
        }
    }

    /// Every peer answers, serves a put and a get, and is led by one of its own in a term of their own.
    async fn unharmed(&self, by: &str) -> Result<()> {
        for (number, node) in self.local.running() {
            let unharmed = async {
                let present = self.liar.raft(node.peer_id(), &PeerRequest::Presence).await?;
                ensure!(present == PeerAnswer::Present(Farewell::Stays), "{present:?}");
                serves(node).await?;
                let descriptor = descriptor(node).await?;
                ensure!(descriptor.term < self.lie(), "it is in term {}", descriptor.term);
                ensure!(descriptor.leader != Some(self.me.peer), "the liar leads");
                ensure!(descriptor.voters.len() == 3, "{:?}", descriptor.voters);
                Ok(())
            };
            unharmed.await.with_context(|| format!("peer {number}, after {by}"))?;
        }
        Ok(())
    }
}

async fn descriptor(node: &Node) -> Result<Descriptor> {
    Ok(node.groups().await?.into_iter().next().context("it has a replica")?.descriptor)
}

async fn serves(node: &Node) -> Result<()> {
    let node = node.with_timeout(SOON);
    let version = node.put("k", "v").await?;
    let found = node.get("k").await?.context("it was just put")?;
    ensure!(found.version >= version, "{found:?} after {version}");
    Ok(())
}

async fn sole() -> Result<(Local, Multiaddr)> {
    let local = Local::start(1, still).await?;
    let addr = local.node(0)?.listen_addrs().into_iter().next().context("it listens")?;
    Ok((local, addr))
}

/// Bytes that are no message of any kind.
fn garbage() -> Vec<(&'static str, Bytes)> {
    // A map whose unknown field holds a value nested as deep as a message is long.
    let nested = [&b"\xa1\x65Group\xa1\x65other"[..], &[0x81; 1_000_000]].concat();
    vec![
        ("nothing", Bytes::new()),
        ("a byte that begins nothing", Bytes::from_static(&[0xff])),
        ("a number", Bytes::from_static(&[0x17])),
        ("an unknown variant", Bytes::from_static(b"\x67Unknown")),
        ("an array of as many as there can be", Bytes::from_static(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("a map of as many as there can be", Bytes::from_static(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("bytes of as many as there can be", Bytes::from_static(b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff\0")),
        ("text that is none", Bytes::from_static(b"\x64\xff\xfe\xfd\xfc")),
        ("nested arrays", vec![0x81; 1_000_000].into()),
        ("nested maps", b"\xa1\x61a".repeat(300_000).into()),
        ("nested tags", vec![0xc1; 1_000_000].into()),
        ("nesting in an unknown field", nested.into()),
        ("zeros", vec![0; 1_000_000].into()),
        ("two messages", b"\x68Presence\x68Presence".as_slice().into()),
        ("a message that is cut", b"\x68Presen".as_slice().into()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_bytes_that_are_no_message_get_a_typed_refusal_of_every_class() -> Result<()> {
    let (mut local, addr) = sole().await?;
    let peer = local.node(0)?.peer_id();
    let stranger = Stranger::join(&Keypair::generate_ed25519(), PeerRole::Peer, &[addr]).await?;
    for (what, bytes) in garbage() {
        let said = |class| stranger.say(peer, class, bytes.clone());
        let raft: PeerAnswer = wire::decode(&said(Class::Raft).await?)?;
        assert!(matches!(raft, PeerAnswer::Refused(_)), "{what}: {raft:?}");
        let bulk: BulkAnswer = wire::decode(&said(Class::Bulk).await?)?;
        assert!(matches!(bulk, BulkAnswer::Refused(_)), "{what}: {bulk:?}");
        let operation: OpAnswer = wire::decode(&said(Class::Operation).await?)?;
        assert!(matches!(operation, OpAnswer::Invalid(_)), "{what}: {operation:?}");
        serves(local.node(0)?).await.context(what)?;
    }
    assert_eq!(stranger.raft(peer, &PeerRequest::Presence).await?, PeerAnswer::Present(Farewell::Stays));
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_raft_messages_that_cannot_be_are_refused_by_name_and_change_nothing() -> Result<()> {
    let mut scene = Scene::set().await?;
    let (me, term) = (scene.me, scene.lie());
    let (low, high) = (Some(log_id(1, 0)), Some(log_id(term, 1 << 40)));
    for to in scene.others.clone() {
        let other = *scene.others.iter().find(|other| **other != to).context("there are two")?;
        let append = |vote, prev_log_id, entries, leader_commit| {
            let request = AppendRequest { vote, prev_log_id, entries, leader_commit };
            Ok::<_, anyhow::Error>(scene.message(to, GroupMessageKind::Append, body(&request)?))
        };
        let entries = |prev, entries| append(scene.vote(), prev, entries, None);
        let vote = |vote, last| {
            Ok::<_, anyhow::Error>(scene.message(to, GroupMessageKind::Vote, body(&VoteRequest::new(vote, last))?))
        };
        let nobody = Membership::new_with_defaults(vec![BTreeSet::new()], [me]);
        let crowd = (0..=MAX_PEERS_IN_MESSAGE as u64).map(|number| ReplicaId { number: ReplicaNumber(number), ..me });
        let crowd = Membership::new_with_defaults(vec![BTreeSet::from([me])], crowd);
        let sets = vec![BTreeSet::from([me]), BTreeSet::from([to]), BTreeSet::from([other])];
        let of_three = Membership::new_with_defaults(sets, []);
        let renumbered = ReplicaId { number: ReplicaNumber(99), ..me };
        let handed = TransferRequest::new(Vote::new_committed(term, other), to, low);
        let lies = vec![
            (append(Vote::new_committed(u64::MAX, me), None, vec![], None)?, Violation::TermTooLarge(u64::MAX)),
            (vote(Vote::new(MAX_TERM + 1, me), None)?, Violation::TermTooLarge(MAX_TERM + 1)),
            (entries(Some(log_id(term, u64::MAX)), vec![blank(term, 0)])?, Violation::IndexTooLarge(u64::MAX)),
            (
                append(scene.vote(), None, vec![], Some(log_id(term, MAX_INDEX + 1)))?,
                Violation::IndexTooLarge(MAX_INDEX + 1),
            ),
            (vote(Vote::new(term, me), Some(log_id(term, u64::MAX)))?, Violation::IndexTooLarge(u64::MAX)),
            (entries(None, vec![blank(term, 5)])?, Violation::NotConsecutive { expected: 0, found: 5 }),
            (
                entries(high, vec![blank(term, (1 << 40) + 1), blank(term, (1 << 40) + 3)])?,
                Violation::NotConsecutive { expected: (1 << 40) + 2, found: (1 << 40) + 3 },
            ),
            (
                entries(high, vec![blank(term, 1 << 40)])?,
                Violation::NotConsecutive { expected: (1 << 40) + 1, found: 1 << 40 },
            ),
            (entries(high, vec![blank(term - 1, (1 << 40) + 1)])?, Violation::TermsFall { index: (1 << 40) + 1 }),
            (entries(None, vec![blank(term + 1, 0)])?, Violation::TermAboveVote { term: term + 1, vote: term }),
            (
                vote(Vote::new(term, me), Some(log_id(term + 1, 9)))?,
                Violation::TermAboveVote { term: term + 1, vote: term },
            ),
            (
                entries(high, (0..=MAX_ENTRIES as u64).map(|at| blank(term, (1 << 40) + 1 + at)).collect())?,
                Violation::TooManyEntries(MAX_ENTRIES + 1),
            ),
            (
                entries(high, vec![of_members(term, (1 << 40) + 1, nobody)])?,
                Violation::BadMembership("it names no voters"),
            ),
            (
                entries(high, vec![of_members(term, (1 << 40) + 1, Membership::default())])?,
                Violation::BadMembership("it names no voters"),
            ),
            (
                entries(high, vec![of_members(term, (1 << 40) + 1, crowd)])?,
                Violation::BadMembership("it names too many members"),
            ),
            (
                entries(high, vec![of_members(term, (1 << 40) + 1, of_three)])?,
                Violation::BadMembership("it joins more than two sets of voters"),
            ),
            (append(Vote::new(term, me), None, vec![], None)?, Violation::VoteNotCommitted),
            (vote(scene.vote(), None)?, Violation::VoteCommitted),
            (append(Vote::new_committed(term, other), None, vec![], None)?, Violation::NotTheSender(other)),
            (vote(Vote::new(term, other), None)?, Violation::NotTheSender(other)),
            (vote(Vote::new(term, renumbered), None)?, Violation::NotTheSender(renumbered)),
            (append(Vote::new_committed(term, to), None, vec![], None)?, Violation::NamesUs),
            (vote(Vote::new(term, to), None)?, Violation::NamesUs),
            (
                GroupMessage { from: renumbered.number, ..vote(Vote::new(term, renumbered), None)? },
                Violation::Stranger(renumbered),
            ),
            (scene.message(to, GroupMessageKind::TransferLeader, body(&handed)?), Violation::NotTheSender(other)),
        ];
        for (message, rule) in lies {
            let kind = message.kind;
            let pre_vote = GroupMessage { kind: GroupMessageKind::PreVote, ..message.clone() };
            let said = scene.say(to, message).await?;
            assert_eq!(said, rule.to_answer(), "to {kind:?}");
            if kind == GroupMessageKind::Vote {
                assert_eq!(scene.say(to, pre_vote).await?, rule.to_answer(), "to a pre-vote alike");
            }
            scene.unharmed(&rule.to_string()).await?;
        }
        for (what, bytes) in garbage() {
            for kind in [
                GroupMessageKind::Append,
                GroupMessageKind::Vote,
                GroupMessageKind::PreVote,
                GroupMessageKind::TransferLeader,
            ] {
                let said = scene.say(to, scene.message(to, kind, bytes.clone())).await?;
                assert!(matches!(said, GroupAnswer::Refused(_)), "{what} as {kind:?}: {said:?}");
            }
        }
        scene.unharmed("bodies that are none").await?;
    }
    scene.local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_messages_under_votes_that_lost_or_of_others_terms_have_no_effect() -> Result<()> {
    let mut scene = Scene::set().await?;
    for to in scene.others.clone() {
        // A predecessor that nobody has, under a vote that lost long ago: openraft turns it away.
        let vote = Vote::new_committed(0, scene.me);
        let prev_log_id = Some(log_id(0, 1));
        let late = AppendRequest { vote, prev_log_id, entries: vec![blank(0, 2)], leader_commit: prev_log_id };
        let said = scene.say(to, scene.message(to, GroupMessageKind::Append, body(&late)?)).await?;
        let GroupAnswer::Raft(answer) = said else { bail!("{said:?}") };
        let answer: AppendResponse = seam::decode(&answer)?;
        assert!(matches!(answer, AppendResponse::HigherVote(_)), "{answer}");
        scene.unharmed("a late append").await?;

        // A second leader of the group's own term.
        let second = || async {
            let node = scene.local.running().find(|(_, node)| node.peer_id() == to.peer)?.1;
            let term = descriptor(node).await.ok()?.term;
            let vote = Vote::new_committed(term, scene.me);
            let request = AppendRequest { vote, prev_log_id: None, entries: vec![], leader_commit: None };
            let message = scene.message(to, GroupMessageKind::Append, body(&request).ok()?);
            let said = scene.say(to, message).await.ok()?;
            (said == Violation::TwoLeaders { term }.to_answer()).then_some(())
        };
        until("a second leader is refused", SOON, second).await?;
        scene.unharmed("a second leader").await?;
    }
    scene.local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_groups_and_replicas_that_are_not_there_are_refused() -> Result<()> {
    let mut scene = Scene::set().await?;
    for to in scene.others.clone() {
        let request = AppendRequest { vote: scene.vote(), prev_log_id: None, entries: vec![], leader_commit: None };
        let sound = scene.message(to, GroupMessageKind::Append, body(&request)?);
        let unknown = GroupMessage { group: GroupId([9; 32]), ..sound.clone() };
        let said = scene.say(to, unknown.clone()).await?;
        assert!(matches!(said, GroupAnswer::Refused(_)), "{said:?}");
        let origin = Origin::Split { parent: scene.group, index: u64::MAX };
        assert_eq!(scene.say(to, GroupMessage { origin, ..unknown }).await?, GroupAnswer::NotYet);
        for number in [0, to.number.0 + 1, u64::MAX] {
            let said = scene.say(to, GroupMessage { to: ReplicaNumber(number), ..sound.clone() }).await?;
            assert!(matches!(said, GroupAnswer::Refused(_)), "to number {number}: {said:?}");
        }
        scene.unharmed("a message for another").await?;

        let addrs = |peers: usize| vec![PeerAddrs { peer: scene.me.peer, addrs: Vec::new() }; peers];
        let survey =
            Survey { group: scene.group, to: to.number, term: u64::MAX, peers: addrs(MAX_PEERS_IN_MESSAGE + 1) };
        let said = scene.liar.raft(to.peer, &PeerRequest::Survey(survey)).await?;
        assert!(matches!(said, PeerAnswer::Refused(_)), "{said:?}");
        let told = descriptor(scene.local.running().next().context("two run")?.1).await?;
        for voters in [vec![], vec![scene.me; MAX_PEERS_IN_MESSAGE + 1]] {
            let descriptor = Descriptor { voters, epoch: Epoch(u64::MAX), clock: GroupClock(u64::MAX), ..told.clone() };
            let said = scene.liar.raft(to.peer, &PeerRequest::Tell(Route { descriptor, addrs: addrs(1) })).await?;
            assert!(matches!(said, PeerAnswer::Refused(_)), "{said:?}");
        }
        let (group, number) = (GroupId([9; 32]), ReplicaNumber(1));
        let said = scene.liar.raft(to.peer, &PeerRequest::Membership { group, number }).await?;
        assert_eq!(said, PeerAnswer::NotLeader(None));
        let said =
            scene.liar.raft(to.peer, &PeerRequest::Farewell { group, number, farewell: Farewell::Leaving }).await?;
        assert_eq!(said, PeerAnswer::NotLeader(None));
        scene.unharmed("questions about others").await?;
    }
    scene.local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_who_has_no_seat_gets_no_vote() -> Result<()> {
    let (mut local, addr) = sole().await?;
    let keys = Keypair::generate_ed25519();
    let stranger = Stranger::join(&keys, PeerRole::Peer, &[addr]).await?;
    let before = descriptor(local.node(0)?).await?;
    let to = *before.voters.first().context("it votes")?;
    let me = ReplicaId { peer: stranger.peer_id(), number: ReplicaNumber(2) };
    for kind in [GroupMessageKind::Vote, GroupMessageKind::PreVote] {
        let request = VoteRequest::new(Vote::new(before.term + LIE, me), Some(log_id(before.term, 1 << 40)));
        let message = GroupMessage {
            group: before.group,
            origin: Origin::Founding,
            from: me.number,
            to: to.number,
            kind,
            body: body(&request)?,
        };
        let said = stranger.raft(to.peer, &PeerRequest::Group(message)).await?;
        assert_eq!(said, PeerAnswer::Group(Violation::Stranger(me).to_answer()));
        serves(local.node(0)?).await?;
        let now = descriptor(local.node(0)?).await?;
        assert_eq!((now.term, now.leader), (before.term, before.leader));
    }
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_snapshots_out_of_order_or_that_cannot_be_are_refused_and_change_nothing() -> Result<()> {
    let mut scene = Scene::set().await?;
    let (me, term) = (scene.me, scene.lie());
    let transfer = TransferId(7);
    for to in scene.others.clone() {
        let members = Membership::new_with_defaults(vec![BTreeSet::from([me, to])], []);
        let head = |vote, last: Option<LogId>, members: &Membership| SnapshotHead {
            vote,
            meta: SnapshotMeta {
                last_log_id: last,
                last_membership: StoredMembership::new(Some(log_id(0, 1)), members.clone()),
            },
        };
        let begin = |head: Bytes| BulkRequest::Begin {
            transfer,
            group: scene.group,
            origin: Origin::Founding,
            from: me.number,
            to: to.number,
            head,
        };
        let rows = |sequence, rows| BulkRequest::Rows { transfer, sequence, rows };
        let end = |chunks, rows| BulkRequest::End { transfer, chunks, rows };
        let row = |key: &'static [u8]| SnapshotRow { key: key.into(), value: (&b"v"[..]).into() };
        let refused = |part: BulkRequest| {
            let scene = &scene;
            async move {
                let said = scene.liar.bulk(to.peer, &part).await?;
                ensure!(matches!(said, BulkAnswer::Refused(_)), "{said:?} to {part:?}");
                Ok(())
            }
        };
        // None has begun.
        refused(rows(0, vec![row(b"\0")])).await?;
        refused(end(0, 0)).await?;
        scene.unharmed("a transfer that did not begin").await?;

        let nobody = Membership::new_with_defaults(vec![BTreeSet::new()], [me]);
        let heads = [
            head(scene.vote(), Some(log_id(term + 1, 1 << 40)), &members),
            head(scene.vote(), None, &members),
            head(scene.vote(), Some(log_id(term, u64::MAX)), &members),
            head(scene.vote(), Some(log_id(term, 0)), &members),
            head(scene.vote(), Some(log_id(term, 1 << 40)), &nobody),
            head(Vote::new(term, me), Some(log_id(term, 1 << 40)), &members),
            head(Vote::new_committed(term, to), Some(log_id(term, 1 << 40)), &members),
            head(Vote::new_committed(u64::MAX, me), Some(log_id(term, 1 << 40)), &members),
        ];
        for head in heads {
            refused(begin(body(&head)?)).await?;
            refused(rows(0, vec![row(b"\0")])).await?;
        }
        for (_, bytes) in garbage().into_iter().filter(|(_, bytes)| bytes.len() < 1000) {
            refused(begin(bytes)).await?;
        }
        for (group, number) in [(GroupId([9; 32]), to.number), (scene.group, ReplicaNumber(u64::MAX))] {
            let sound = body(&head(Vote::new_committed(0, me), Some(log_id(0, 9)), &members))?;
            let BulkRequest::Begin { transfer, origin, from, head, .. } = begin(sound) else { bail!("it begins") };
            refused(BulkRequest::Begin { transfer, group, origin, from, to: number, head }).await?;
        }
        scene.unharmed("snapshots that cannot be").await?;

        // A head that lost its vote may begin; what comes after it is out of order, or nothing of this group's.
        let lost = body(&head(Vote::new_committed(0, me), Some(log_id(0, 9)), &members))?;
        let wrong = [
            vec![rows(1, vec![row(b"\0")])],
            vec![rows(u64::MAX, vec![row(b"\0")])],
            vec![rows(0, vec![row(b"\0")])],
            vec![rows(0, vec![row(b"\x01session")])],
            vec![rows(0, vec![row(b"")])],
            vec![end(0, 0)],
            vec![end(u64::MAX, u64::MAX)],
            vec![end(1, 1)],
            vec![rows(0, vec![row(b"\xff"); 1000]), rows(1, vec![])],
        ];
        for parts in wrong {
            let begun = scene.liar.bulk(to.peer, &begin(lost.clone())).await?;
            assert_eq!(begun, BulkAnswer::Continue);
            for part in parts {
                refused(part).await?;
            }
            // It broke off there.
            refused(end(0, 0)).await?;
        }
        scene.unharmed("transfers out of order").await?;
    }
    scene.local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_a_client_that_asks_as_a_peer_is_not_heard() -> Result<()> {
    let (mut local, addr) = sole().await?;
    let peer = local.node(0)?.peer_id();
    let client = Stranger::join(&Keypair::generate_ed25519(), PeerRole::Client, std::slice::from_ref(&addr)).await?;
    for class in [Class::Raft, Class::Bulk] {
        let error = client.say(peer, class, wire::encode(&PeerRequest::Presence)?).await.expect_err("it is a client");
        assert!(!error.was_sent(), "{error}");
    }
    let status = client.operation(peer, &OpRequest::Status).await?;
    assert!(matches!(status, OpAnswer::Status(_)), "{status:?}");

    let mut raw = Connection::admitted(&Keypair::generate_ed25519(), PeerRole::Client, &addr).await?;
    for class in [Class::Raft, Class::Bulk] {
        assert!(raw.speak(class.protocol().as_ref()).await.is_err(), "{class:?}");
    }
    raw.speak(Class::Operation.protocol().as_ref()).await?;
    serves(local.node(0)?).await?;
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_what_is_no_frame_closes_its_substream_and_nothing_else() -> Result<()> {
    let (mut local, addr) = sole().await?;
    let presence = {
        let body = wire::encode(&PeerRequest::Presence)?;
        [&(body.len() as u32 + 8).to_be_bytes()[..], &77u64.to_be_bytes(), &body].concat()
    };
    let no_frames: Vec<Vec<u8>> = vec![
        vec![0xff; 64],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7],
        (wire::MAX_MESSAGE_BYTES as u32 + 9).to_be_bytes().to_vec(),
    ];
    let mut connection = Connection::admitted(&Keypair::generate_ed25519(), PeerRole::Peer, &addr).await?;
    assert_eq!(connection.peer, local.node(0)?.peer_id());
    for class in Class::ALL {
        for bytes in &no_frames {
            let stream = connection.speak(class.protocol().as_ref()).await?;
            assert_eq!(connection.provoke(stream, bytes).await?, b"", "it answers nothing");
            // The same connection goes on.
            let mut stream = connection.speak(Class::Raft.protocol().as_ref()).await?;
            let mut answer = [0; 12];
            let asked = async {
                stream.write_all(&presence).await?;
                stream.flush().await?;
                stream.read_exact(&mut answer).await?;
                stream.close().await
            };
            connection.during(asked).await.with_context(|| format!("after {bytes:?} on {class:?}"))?;
            assert_eq!(answer[4..], 77u64.to_be_bytes());
        }
        serves(local.node(0)?).await?;
    }
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_garbage_on_libp2ps_own_protocols_harms_nobody() -> Result<()> {
    let (mut local, addr) = sole().await?;
    for protocol in ["/xorum/kad/1", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"] {
        for bytes in [vec![0xff; 4096], vec![0; 4096], vec![0x80; 64], vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1]] {
            let mut connection = Connection::admitted(&Keypair::generate_ed25519(), PeerRole::Peer, &addr).await?;
            let mut stream = connection.speak(protocol).await.with_context(|| protocol.to_owned())?;
            let said = async {
                // Not each protocol hears all of it out.
                if stream.write_all(&bytes).await.is_ok() {
                    let _ = stream.close().await;
                }
                let mut answer = Vec::new();
                let _ = (&mut stream).take(65_536).read_to_end(&mut answer).await;
                Ok(())
            };
            // That it ends is all that is asked of it; the connection may end with it.
            let _ = connection.during(said).await;
            serves(local.node(0)?).await.with_context(|| protocol.to_owned())?;
        }
    }
    local.shutdown().await;
    Ok(())
}

/// Keys whose id is less than another peer's, or greater: who speaks first in the handshake follows from it.
fn keys(less: bool, than: PeerId) -> Keypair {
    loop {
        let keys = Keypair::generate_ed25519();
        if (keys.public().to_peer_id() < than) == less {
            return keys;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_who_does_not_introduce_itself_properly_is_refused_and_keeps_nobody_out() -> Result<()> {
    let (mut local, addr) = sole().await?;
    let peer = local.node(0)?.peer_id();
    let framed = |message: &[u8]| [&(message.len() as u32).to_be_bytes()[..], message].concat();
    let version = PROTOCOL_VERSION.to_be_bytes();
    let other_version = (PROTOCOL_VERSION + 1).to_be_bytes();
    let introductions: Vec<(&str, Vec<u8>)> = vec![
        ("a length beyond bounds", vec![0xff; 64]),
        ("an empty message", framed(&[])),
        ("no known kind", framed(&[77, 1, 2, 3])),
        ("another version", framed(&[&[1][..], &other_version, b"whatever"].concat())),
        ("a hello of garbage", framed(&[&[1][..], &version, &[0xff; 100]].concat())),
        ("a hello nested without end", framed(&[&[1][..], &version, &[0x81; 8000]].concat())),
        ("a proof first", framed(&[2, 1, 2, 3])),
        ("a refusal at once", framed(b"\x03\x00no")),
        ("an empty hello", framed(&[&[1][..], &version].concat())),
    ];
    // Who says nothing waits, and keeps nobody from being admitted meanwhile.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Connection::unadmitted(&Keypair::generate_ed25519(), &addr).await?);
    }
    for speaks_first in [true, false] {
        for (what, bytes) in &introductions {
            let mut connection = Connection::unadmitted(&keys(speaks_first, peer), &addr).await?;
            let stream = if speaks_first { connection.open().await? } else { connection.accept().await? };
            connection.provoke(stream, bytes).await.with_context(|| format!("{what}: it is not shown out"))?;
            serves(local.node(0)?).await.context(*what)?;
        }
    }
    let honest = Stranger::join(&Keypair::generate_ed25519(), PeerRole::Peer, std::slice::from_ref(&addr)).await?;
    assert_eq!(honest.raft(peer, &PeerRequest::Presence).await?, PeerAnswer::Present(Farewell::Stays));

    // Below the handshake: no multistream, no Noise.
    let address: String = addr.iter().take(2).map(|part| part.to_string()).collect();
    let port = address.rsplit('/').next().context("a port")?.parse()?;
    for bytes in [vec![0; 10_000], vec![0xff; 10_000], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let _ = socket.write_all(&bytes).await;
        serves(local.node(0)?).await?;
    }
    drop(silent);
    local.shutdown().await;
    Ok(())
}
