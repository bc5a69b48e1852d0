//! What fuzzing starts from: one or a few sound inputs a target.

use bytes::Bytes;
use openraft::EntryPayload;
use serde::Serialize;
use xorum_behaviours::{
    space::{Position, Prefix},
    wire::{
        self, Access, Answer, Bounds, BulkAnswer, BulkRequest, ClientCommand, CommandId, CommandNumber, Consistency,
        Descriptor, EncodeError, Epoch, Expected, Farewell, Genesis, GroupAnswer, GroupClock, GroupInfo, GroupMessage,
        GroupMessageKind, HeardPeer, LastLog, NetworkId, Op, OpAnswer, OpRequest, Origin, PROTOCOL_VERSION, PeerAddrs,
        PeerAnswer, PeerInfo, PeerRequest, PeerRole, PeerStatus, ReadAnswer, ReadRequest, Refusal, ReplicaNumber,
        ReplicaRole, Route, SessionId, SnapshotRow, Survey, SurveyAnswer, Timings, TransferId, Version, WatchAnswer,
        WatchRequest,
    },
};
use xorum_node::{
    group::{
        command::{Body, Command},
        raft::{
            AppendRequest, AppendResponse, Entry, Membership, SnapshotMeta, StoredMembership, TransferRequest, Vote,
            VoteRequest, VoteResponse,
        },
        seam::SnapshotHead,
        sessions::SessionRecord,
        state::Head,
    },
    storage::{Condition, ReplicaRecord, StoreId, Usage},
};

use super::raft::{GROUP, log_id, replica};

/// A target's name and an input for it.
pub type Seed = (&'static str, Vec<u8>);

/// All seeds.
///
/// # Errors
/// When a value cannot be encoded; none is so large.
pub fn all() -> Result<Vec<Seed>, EncodeError> {
    let mut seeds = Vec::new();
    messages(&mut seeds)?;
    raft(&mut seeds)?;
    disk(&mut seeds)?;
    Ok(seeds)
}

fn push<T: Serialize>(
    seeds: &mut Vec<Seed>,
    target: &'static str,
    before: &[u8],
    values: impl IntoIterator<Item = T>,
) -> Result<(), EncodeError> {
    for value in values {
        seeds.push((target, wire::encode_into(before.to_vec(), &value)?));
    }
    Ok(())
}

fn route() -> Route {
    let voters = vec![replica(1), replica(2), replica(3)];
    let descriptor = Descriptor {
        group: GROUP,
        prefix: Prefix::of(&Position::of_key(b"k"), 3),
        epoch: Epoch(4),
        term: 2,
        voters,
        leader: Some(replica(1).peer),
        clock: GroupClock(12_345),
    };
    let addrs = "/ip4/127.0.0.1/tcp/4001".parse().into_iter().collect();
    Route { descriptor, addrs: vec![PeerAddrs { peer: replica(2).peer, addrs }] }
}

fn ops() -> [Op; 3] {
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    [
        Op::Put { key: key.clone(), value: value.clone() },
        Op::Delete { key: key.clone() },
        Op::CompareAndSwap { key, expected: Expected::Version(Version(7)), value },
    ]
}

fn client_command(op: Op) -> ClientCommand {
    let id = CommandId {
        session: SessionId([1; 16]),
        number: CommandNumber(3),
        watermark: CommandNumber(2),
        expires: GroupClock(60_000),
    };
    ClientCommand { id, op }
}

fn record() -> Genesis {
    Genesis {
        nonce: [7; 32],
        label: "label".to_owned(),
        access: Access::Open,
        replication_factor: 5,
        split_bytes: Genesis::DEFAULT_SPLIT_BYTES,
        timings: Timings::LAN,
        bounds: Bounds::default(),
    }
}

fn messages(seeds: &mut Vec<Seed>) -> Result<(), EncodeError> {
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    let message = GroupMessage {
        group: GROUP,
        origin: Origin::Split { parent: GROUP, index: 9 },
        from: ReplicaNumber(2),
        to: ReplicaNumber(1),
        kind: GroupMessageKind::Append,
        body: value.clone(),
    };
    let peers = route().addrs;
    let (number, transfer, last) = (ReplicaNumber(1), TransferId(5), Some(LastLog { term: 2, index: 8 }));
    let requests = [
        PeerRequest::Group(message),
        PeerRequest::Presence,
        PeerRequest::Survey(Survey { group: GROUP, to: number, term: 2, peers }),
        PeerRequest::Farewell { group: GROUP, number, farewell: Farewell::Leaving },
        PeerRequest::Tell(route()),
        PeerRequest::Membership { group: GROUP, number },
    ];
    push(seeds, "peer_request", &[], requests)?;
    let survey = SurveyAnswer {
        last_log: last,
        farewell: Farewell::Stays,
        heard: vec![HeardPeer { peer: replica(3).peer, heard_ms: Some(5) }],
        leads: 1,
    };
    let answers = [
        PeerAnswer::Group(GroupAnswer::Raft(value.clone())),
        PeerAnswer::Group(GroupAnswer::Gone(number)),
        PeerAnswer::Present(Farewell::Stopping),
        PeerAnswer::Survey(survey),
        PeerAnswer::NotLeader(Some(route())),
        PeerAnswer::Refused("no".to_owned()),
        PeerAnswer::Busy,
    ];
    push(seeds, "peer_answer", &[], answers)?;
    push(seeds, "op_request", &[], ops().map(|op| OpRequest::Command(client_command(op))))?;
    let watch = WatchRequest { key: key.clone(), seen: Version(1), seen_revision: Version(2), wait_ms: 100 };
    let requests = [
        OpRequest::Read(ReadRequest { key, consistency: Consistency::Linearizable }),
        OpRequest::Watch(watch),
        OpRequest::Locate(Position::of_key(b"k")),
        OpRequest::Status,
    ];
    push(seeds, "op_request", &[], requests)?;
    let found = Some((Version(3), value.clone()));
    let (group, clock, peer) = (GROUP, GroupClock(9), replica(1).peer);
    let refusal =
        OpAnswer::Refused { refusal: Refusal::WrongGroup, proposed: true, group, clock, route: Some(route()) };
    let status = PeerStatus { peer, network: NetworkId([3; 32]), replication_factor: 3, groups: 1, leads: 1 };
    let info = PeerInfo { peer, addr: None, role: PeerRole::Client, is_self: false, heard_ms: Some(4) };
    let group_info =
        GroupInfo { descriptor: route().descriptor, role: ReplicaRole::Leader, keys: Some(1), bytes: Some(2) };
    let answers = [
        OpAnswer::Applied { answer: Answer::Conflict(Version(2)), group, clock },
        refusal,
        OpAnswer::NotLeader { route: None },
        OpAnswer::Read(ReadAnswer { found: found.clone(), revision: Version(4), stale_ms: 0 }),
        OpAnswer::Watch(WatchAnswer { changed: true, found, revision: Version(4) }),
        OpAnswer::Status(status),
        OpAnswer::Peers(vec![info]),
        OpAnswer::Groups(vec![group_info]),
    ];
    push(seeds, "op_answer", &[], answers)?;
    let rows = vec![SnapshotRow { key: value.clone(), value: value.clone() }];
    let requests = [
        BulkRequest::Begin {
            transfer,
            group,
            origin: Origin::Founding,
            from: ReplicaNumber(2),
            to: number,
            head: value.clone(),
        },
        BulkRequest::Rows { transfer, sequence: 0, rows },
        BulkRequest::End { transfer, chunks: 1, rows: 1 },
    ];
    push(seeds, "bulk_request", &[], requests)?;
    push(seeds, "bulk_answer", &[], [BulkAnswer::Continue, BulkAnswer::Installed(value), BulkAnswer::Gone(number)])?;
    push(seeds, "genesis", &[], [record()])?;
    seeds.push(("frame", b"\0\0\0\x0b\0\0\0\0\0\0\0\x01abc\0\0\0\x08\0\0\0\0\0\0\0\x02".to_vec()));
    seeds.push(("space_text", Position::of_key(b"k").to_string().into_bytes()));
    seeds.push(("space_text", route().descriptor.prefix.to_string().into_bytes()));
    let mut hello = vec![1];
    hello.extend_from_slice(&PROTOCOL_VERSION.to_be_bytes());
    hello.extend_from_slice(&hello_of(&record())?);
    for message in [hello, vec![2], vec![2, 9, 9], b"\x03\x02its key is another".to_vec()] {
        seeds.push(("admission", message));
    }
    Ok(())
}

/// A hello as it is encoded; its type is the handshake's own.
fn hello_of(genesis: &Genesis) -> Result<Vec<u8>, EncodeError> {
    #[derive(Serialize)]
    enum Claim {
        Network(NetworkId),
    }
    #[derive(Serialize)]
    struct Hello<'a> {
        role: PeerRole,
        claim: Claim,
        genesis: Option<&'a Genesis>,
        nonce: Bytes,
    }
    let claim = Claim::Network(genesis.network_id()?);
    wire::encode(&Hello { role: PeerRole::Peer, claim, genesis: Some(genesis), nonce: Bytes::from_static(&[5; 32]) })
}

fn membership() -> Membership {
    Membership::new_with_defaults(vec![[1, 2, 3].map(replica).into()], [replica(4)])
}

fn entries() -> [Entry; 4] {
    let [put, _, swap] = ops();
    let command = |body| EntryPayload::Normal(Command { clock: GroupClock(8), body });
    let payloads = [
        EntryPayload::Blank,
        command(Body::Client(client_command(put))),
        command(Body::Client(client_command(swap))),
        EntryPayload::Membership(membership()),
    ];
    let mut index = 10;
    payloads.map(|payload| {
        index += 1;
        Entry { log_id: log_id(2, index), payload }
    })
}

fn raft(seeds: &mut Vec<Seed>) -> Result<(), EncodeError> {
    let leader = Vote::new_committed(2, replica(2));
    let append = AppendRequest {
        vote: leader,
        prev_log_id: Some(log_id(1, 10)),
        entries: entries().into(),
        leader_commit: Some(log_id(1, 10)),
    };
    let vote = VoteRequest::new(Vote::new(6, replica(2)), Some(log_id(1, 12)));
    let transfer = TransferRequest::new(leader, replica(1), Some(log_id(2, 12)));
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(2, 12)),
        last_membership: StoredMembership::new(Some(log_id(1, 1)), membership()),
    };
    let head = SnapshotHead { vote: leader, meta };
    for known in 0..4 {
        push(seeds, "seam_receive", &[known * 4], [&append])?;
        push(seeds, "seam_receive", &[known * 4 + 1], [&vote])?;
        push(seeds, "seam_receive", &[known * 4 + 3], [&transfer])?;
        push(seeds, "seam_snapshot", &[known], [&head])?;
    }
    let answers = [
        AppendResponse::Success,
        AppendResponse::PartialSuccess(Some(log_id(3, 11))),
        AppendResponse::Conflict,
        AppendResponse::HigherVote(Vote::new(9, replica(3))),
    ];
    push(seeds, "seam_answer", &[0], &answers)?;
    push(seeds, "seam_answer", &[1], &answers)?;
    let granted = VoteResponse::new(Vote::new(3, replica(1)), Some(log_id(1, 9)), true);
    push(seeds, "seam_answer", &[2], [&granted])?;
    push(seeds, "seam_answer", &[3], [&granted])?;
    push(seeds, "seam_answer", &[4], [leader, Vote::new_committed(3, replica(1))])
}

fn disk(seeds: &mut Vec<Seed>) -> Result<(), EncodeError> {
    for entry in entries() {
        let key = [&GROUP.0[..], &1u64.to_be_bytes(), &entry.log_id.index.to_be_bytes()].concat();
        let encoded = wire::encode(&entry)?;
        let run = [&key[..], &(encoded.len() as u32).to_be_bytes(), &encoded].concat();
        seeds.push(("storage_log_entries", run));
    }
    let head = Head { applied: Some(log_id(2, 12)), ..Head::founding(&NetworkId([3; 32])) };
    push(seeds, "storage_row", &[0], [head])?;
    let answers = [(CommandNumber(3), Answer::Done(Version(4)))].into();
    push(seeds, "storage_row", &[1], [SessionRecord { watermark: CommandNumber(2), expires: GroupClock(5), answers }])?;
    let replica_record = ReplicaRecord {
        group: GROUP,
        number: ReplicaNumber(1),
        origin: Origin::Founding,
        store: StoreId(1),
        condition: Condition::Quarantined { reason: "its log went back".to_owned() },
    };
    push(seeds, "storage_row", &[2], [replica_record])?;
    push(seeds, "storage_row", &[3], [Usage { keys: 1, bytes: 9 }])?;
    push(seeds, "storage_row", &[4], [Vote::new_committed(2, replica(2))])?;
    push(seeds, "storage_row", &[5], [log_id(2, 12)])?;
    seeds.push(("storage_row", b"\x06\xa1\x65Store\x01".to_vec()));
    seeds.push(("storage_row", [&[7; 42][..], &[1; 16]].concat()));
    seeds.push(("storage_row", b"\x08\0\0\0\0\0\0\0\x04value".to_vec()));
    // A batch without items, without its checksum, and without its end.
    let start = b"\x01\0\0\0\0\x05\0\0\0\0\0\0\0".to_vec();
    seeds.push(("storage_journal", [&start[..], b"\x03\0\0\0\0\0\0\0\0FJL\x03", &[0; 64]].concat()));
    seeds.push(("storage_journal", start));
    seeds.push(("storage_journal", vec![0; 64]));
    Ok(())
}
