//! Every message comes back as it was sent, and no bytes make a decoder panic.

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, multihash::Multihash};
use proptest::{collection::vec, option, prelude::*};
use serde::{Serialize, de::DeserializeOwned};

use super::*;
use crate::space::{Position, Prefix};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn peer() -> impl Strategy<Value = PeerId> {
    any::<[u8; 32]>().prop_map(|digest| {
        let hash = Multihash::wrap(0x12, &digest).expect("a digest fits");
        PeerId::from_multihash(hash).expect("is a SHA-256")
    })
}

fn position() -> impl Strategy<Value = Position> {
    any::<[u8; 32]>().prop_map(Position::from_bytes)
}

fn prefix() -> impl Strategy<Value = Prefix> {
    vec(any::<bool>(), 0..=usize::from(Prefix::MAX_LEN)).prop_map(|bits| {
        bits.into_iter().fold(Prefix::EMPTY, |prefix, bit| match prefix.halves() {
            Some((low, high)) => {
                if bit {
                    high
                } else {
                    low
                }
            }
            None => prefix,
        })
    })
}

fn group() -> impl Strategy<Value = GroupId> {
    any::<[u8; 32]>().prop_map(GroupId)
}

fn number() -> impl Strategy<Value = ReplicaNumber> {
    any::<u64>().prop_map(ReplicaNumber)
}

fn version() -> impl Strategy<Value = Version> {
    any::<u64>().prop_map(Version)
}

fn clock() -> impl Strategy<Value = GroupClock> {
    any::<u64>().prop_map(GroupClock)
}

fn seat() -> impl Strategy<Value = ReplicaId> {
    (peer(), number()).prop_map(|(peer, number)| ReplicaId { peer, number })
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    (group(), prefix(), any::<u64>(), any::<u64>(), vec(seat(), 0..8), option::of(peer()), clock()).prop_map(
        |(group, prefix, epoch, term, voters, leader, clock)| Descriptor {
            group,
            prefix,
            epoch: Epoch(epoch),
            term,
            voters,
            leader,
            clock,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let expected = prop_oneof![Just(Expected::Absent), version().prop_map(Expected::Version)];
    prop_oneof![
        (bytes(), bytes()).prop_map(|(key, value)| Op::Put { key, value }),
        bytes().prop_map(|key| Op::Delete { key }),
        (bytes(), expected, bytes()).prop_map(|(key, expected, value)| Op::CompareAndSwap { key, expected, value }),
    ]
}

fn command() -> impl Strategy<Value = ClientCommand> {
    (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), clock(), op()).prop_map(
        |(session, number, watermark, expires, op)| ClientCommand {
            id: CommandId {
                session: SessionId(session),
                number: CommandNumber(number),
                watermark: CommandNumber(watermark),
                expires,
            },
            op,
        },
    )
}

fn consistency() -> impl Strategy<Value = Consistency> {
    prop_oneof![Just(Consistency::Linearizable), Just(Consistency::Stale)]
}

fn op_request() -> impl Strategy<Value = OpRequest> {
    prop_oneof![
        command().prop_map(OpRequest::Command),
        (bytes(), consistency()).prop_map(|(key, consistency)| OpRequest::Read(ReadRequest { key, consistency })),
        (bytes(), version(), version(), any::<u64>()).prop_map(|(key, seen, seen_revision, wait_ms)| {
            OpRequest::Watch(WatchRequest { key, seen, seen_revision, wait_ms })
        }),
        position().prop_map(OpRequest::Locate),
        Just(OpRequest::Status),
        Just(OpRequest::Peers),
        Just(OpRequest::Groups),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![version().prop_map(Answer::Done), Just(Answer::NotFound), version().prop_map(Answer::Conflict)]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop::sample::select(vec![
        Refusal::WrongGroup,
        Refusal::Sealed,
        Refusal::BelowWatermark,
        Refusal::Expired,
        Refusal::ExpiresTooFarAhead,
        Refusal::TableFull,
        Refusal::TooLarge,
        Refusal::GroupTooLarge,
    ])
}

fn role() -> impl Strategy<Value = PeerRole> {
    prop_oneof![Just(PeerRole::Peer), Just(PeerRole::Client)]
}

fn address() -> impl Strategy<Value = Multiaddr> {
    (any::<[u8; 4]>(), any::<u16>())
        .prop_map(|([a, b, c, d], port)| format!("/ip4/{a}.{b}.{c}.{d}/tcp/{port}").parse().expect("is a multiaddr"))
}

fn peer_info() -> impl Strategy<Value = PeerInfo> {
    (peer(), option::of(address()), role(), any::<bool>(), option::of(any::<u64>()))
        .prop_map(|(peer, addr, role, is_self, heard_ms)| PeerInfo { peer, addr, role, is_self, heard_ms })
}

fn group_info() -> impl Strategy<Value = GroupInfo> {
    let role =
        prop::sample::select(vec![ReplicaRole::Leader, ReplicaRole::Voter, ReplicaRole::Learner, ReplicaRole::None]);
    (descriptor(), role, option::of(any::<u64>()), option::of(any::<u64>()))
        .prop_map(|(descriptor, role, keys, bytes)| GroupInfo { descriptor, role, keys, bytes })
}

fn found() -> impl Strategy<Value = Option<(Version, Bytes)>> {
    option::of((version(), bytes()))
}

fn status() -> impl Strategy<Value = PeerStatus> {
    (peer(), any::<[u8; 32]>(), any::<u8>(), any::<u64>(), any::<u64>()).prop_map(
        |(peer, network, replication_factor, groups, leads)| PeerStatus {
            peer,
            network: NetworkId(network),
            replication_factor,
            groups,
            leads,
        },
    )
}

fn peer_addrs() -> impl Strategy<Value = PeerAddrs> {
    let addr = any::<u16>().prop_map(|port| Multiaddr::empty().with(Protocol::Memory(port.into())));
    (peer(), vec(addr, 0..3)).prop_map(|(peer, addrs)| PeerAddrs { peer, addrs })
}

fn route() -> impl Strategy<Value = Route> {
    (descriptor(), vec(peer_addrs(), 0..3)).prop_map(|(descriptor, addrs)| Route { descriptor, addrs })
}

fn op_answer() -> impl Strategy<Value = OpAnswer> {
    let known = || option::of(route());
    prop_oneof![
        (answer(), group(), clock()).prop_map(|(answer, group, clock)| OpAnswer::Applied { answer, group, clock }),
        (refusal(), any::<bool>(), group(), clock(), known()).prop_map(|(refusal, proposed, group, clock, route)| {
            OpAnswer::Refused { refusal, proposed, group, clock, route }
        }),
        Just(OpAnswer::Unknown),
        known().prop_map(|route| OpAnswer::NotLeader { route }),
        Just(OpAnswer::Busy),
        ".{0,40}".prop_map(OpAnswer::Invalid),
        (found(), version(), any::<u64>()).prop_map(|(found, revision, stale_ms)| OpAnswer::Read(ReadAnswer {
            found,
            revision,
            stale_ms
        })),
        (any::<bool>(), found(), version()).prop_map(|(changed, found, revision)| OpAnswer::Watch(WatchAnswer {
            changed,
            found,
            revision
        })),
        known().prop_map(|route| OpAnswer::Located { route }),
        status().prop_map(OpAnswer::Status),
        vec(peer_info(), 0..4).prop_map(OpAnswer::Peers),
        vec(group_info(), 0..4).prop_map(OpAnswer::Groups),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Founding),
        (group(), any::<u64>()).prop_map(|(parent, index)| Origin::Split { parent, index })
    ]
}

fn farewell() -> impl Strategy<Value = Farewell> {
    prop::sample::select(vec![Farewell::Stays, Farewell::Stopping, Farewell::Leaving])
}

fn peer_request() -> impl Strategy<Value = PeerRequest> {
    let kind = prop::sample::select(vec![
        GroupMessageKind::Append,
        GroupMessageKind::Vote,
        GroupMessageKind::PreVote,
        GroupMessageKind::TransferLeader,
    ]);
    prop_oneof![
        (group(), origin(), number(), number(), kind, bytes()).prop_map(|(group, origin, from, to, kind, body)| {
            PeerRequest::Group(GroupMessage { group, origin, from, to, kind, body })
        }),
        Just(PeerRequest::Presence),
        (group(), number(), any::<u64>(), vec(peer_addrs(), 0..8))
            .prop_map(|(group, to, term, peers)| PeerRequest::Survey(Survey { group, to, term, peers })),
        (group(), number(), farewell()).prop_map(|(group, number, farewell)| PeerRequest::Farewell {
            group,
            number,
            farewell
        }),
        route().prop_map(PeerRequest::Tell),
        (group(), number()).prop_map(|(group, number)| PeerRequest::Membership { group, number }),
    ]
}

fn survey_answer() -> impl Strategy<Value = SurveyAnswer> {
    let last_log = option::of((any::<u64>(), any::<u64>()).prop_map(|(term, index)| LastLog { term, index }));
    let heard = (peer(), option::of(any::<u64>())).prop_map(|(peer, heard_ms)| HeardPeer { peer, heard_ms });
    (last_log, farewell(), vec(heard, 0..8), any::<u64>()).prop_map(|(last_log, farewell, heard, leads)| SurveyAnswer {
        last_log,
        farewell,
        heard,
        leads,
    })
}

fn peer_answer() -> impl Strategy<Value = PeerAnswer> {
    let group_answer = prop_oneof![
        bytes().prop_map(GroupAnswer::Raft),
        Just(GroupAnswer::NotYet),
        number().prop_map(GroupAnswer::Gone),
        ".{0,40}".prop_map(GroupAnswer::Refused),
        Just(GroupAnswer::Busy),
    ];
    prop_oneof![
        group_answer.prop_map(PeerAnswer::Group),
        farewell().prop_map(PeerAnswer::Present),
        survey_answer().prop_map(PeerAnswer::Survey),
        Just(PeerAnswer::Ok),
        any::<bool>().prop_map(PeerAnswer::Member),
        option::of(route()).prop_map(PeerAnswer::NotLeader),
        number().prop_map(PeerAnswer::Gone),
        ".{0,40}".prop_map(PeerAnswer::Refused),
        Just(PeerAnswer::Busy),
    ]
}

fn transfer() -> impl Strategy<Value = TransferId> {
    any::<u64>().prop_map(TransferId)
}

fn bulk_request() -> impl Strategy<Value = BulkRequest> {
    let row = (bytes(), bytes()).prop_map(|(key, value)| SnapshotRow { key, value });
    prop_oneof![
        (transfer(), group(), origin(), number(), number(), bytes()).prop_map(
            |(transfer, group, origin, from, to, head)| BulkRequest::Begin { transfer, group, origin, from, to, head }
        ),
        (transfer(), any::<u64>(), vec(row, 0..8)).prop_map(|(transfer, sequence, rows)| BulkRequest::Rows {
            transfer,
            sequence,
            rows
        }),
        (transfer(), any::<u64>(), any::<u64>()).prop_map(|(transfer, chunks, rows)| BulkRequest::End {
            transfer,
            chunks,
            rows
        }),
    ]
}

fn bulk_answer() -> impl Strategy<Value = BulkAnswer> {
    prop_oneof![
        Just(BulkAnswer::Continue),
        bytes().prop_map(BulkAnswer::Installed),
        Just(BulkAnswer::NotYet),
        number().prop_map(BulkAnswer::Gone),
        ".{0,40}".prop_map(BulkAnswer::Refused),
        Just(BulkAnswer::Busy),
    ]
}

fn genesis() -> impl Strategy<Value = Genesis> {
    (any::<[u8; 32]>(), ".{0,40}", any::<bool>(), any::<u8>(), any::<[u64; 6]>(), any::<[u32; 4]>()).prop_map(
        |(nonce, label, open, replication_factor, [split_bytes, a, b, c, d, e], [w, x, y, z])| Genesis {
            nonce,
            label,
            access: if open { Access::Open } else { Access::Keyed },
            replication_factor,
            split_bytes,
            timings: Timings {
                raft: RaftTimings { heartbeat_ms: a, election_min_ms: b, election_max_ms: c },
                placement: PlacementTimings { replace_after_ms: d, settle_after_ms: e },
            },
            bounds: Bounds { max_key_bytes: w, max_value_bytes: x, max_sessions: y, max_answers: z },
        },
    )
}

/// It comes back; cut short or followed by more it is refused.
fn assert_round_trip<T>(message: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let encoded = encode(message).expect("is within bounds");
    prop_assert_eq!(&decode::<T>(&encoded).expect("was just encoded"), message);
    prop_assert!(decode::<T>(&encoded[..encoded.len() - 1]).is_err());
    let longer = [encoded.as_slice(), &[0]].concat();
    prop_assert!(decode::<T>(&longer).is_err());
    Ok(())
}

fn decode_all(bytes: &[u8]) {
    let _ = decode::<OpRequest>(bytes);
    let _ = decode::<OpAnswer>(bytes);
    let _ = decode::<PeerRequest>(bytes);
    let _ = decode::<PeerAnswer>(bytes);
    let _ = decode::<BulkRequest>(bytes);
    let _ = decode::<BulkAnswer>(bytes);
    let _ = decode::<Descriptor>(bytes);
    let _ = decode::<Genesis>(bytes).map(|genesis| genesis.check());
}

proptest! {
    #[test]
    fn operations_come_back(request in op_request(), answer in op_answer()) {
        assert_round_trip(&request)?;
        assert_round_trip(&answer)?;
    }

    #[test]
    fn what_peers_say_comes_back(request in peer_request(), answer in peer_answer()) {
        assert_round_trip(&request)?;
        assert_round_trip(&answer)?;
    }

    #[test]
    fn bulk_comes_back(request in bulk_request(), answer in bulk_answer()) {
        assert_round_trip(&request)?;
        assert_round_trip(&answer)?;
    }

    #[test]
    fn records_come_back_under_the_same_name(genesis in genesis(), descriptor in descriptor()) {
        assert_round_trip(&genesis)?;
        assert_round_trip(&descriptor)?;
        let again: Genesis = decode(&encode(&genesis).expect("is within bounds")).expect("was just encoded");
        prop_assert_eq!(again.network_id(), genesis.network_id());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..400)) {
        decode_all(&bytes);
    }

    #[test]
    fn no_damage_to_a_message_makes_a_decoder_panic(
        request in peer_request(), answer in op_answer(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        for mut bytes in [encode(&request), encode(&answer)].map(|encoded| encoded.expect("is within bounds")) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            decode_all(&bytes);
        }
    }
}

#[test]
fn byte_strings_are_encoded_as_byte_strings() {
    let op = Op::Put { key: Bytes::new(), value: Bytes::from(vec![0xff; 10_000]) };
    let encoded = encode(&op).expect("is within bounds");
    assert!(encoded.len() < 10_100, "{} bytes", encoded.len());
}

#[test]
fn what_is_longer_than_a_message_is_neither_encoded_nor_decoded() {
    let op = Op::Delete { key: Bytes::from(vec![0; MAX_MESSAGE_BYTES]) };
    assert!(matches!(encode(&op), Err(EncodeError::TooLong { .. })));
    assert!(matches!(decode::<Op>(&vec![0; MAX_MESSAGE_BYTES + 1]), Err(DecodeError::TooLong { .. })));
}

#[test]
fn a_claim_of_a_long_list_takes_no_memory_before_its_items_come() {
    // An array of 2^40 items, of which none follows.
    let mut bytes = vec![0xa1, 0x65];
    bytes.extend_from_slice(b"Peers");
    bytes.extend_from_slice(&[0x9b, 0, 0, 1, 0, 0, 0, 0, 0]);
    assert!(decode::<OpAnswer>(&bytes).is_err());
}

#[test]
fn deep_nesting_is_an_error() {
    for byte in [0x81, 0xa1, 0xc1, 0xd8, 0x9f] {
        decode_all(&vec![byte; 1_000_000]);
    }
}
