//! Answers as JSON objects: `ok` always, the rest as it applies.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use xorum_behaviours::{space::Position, wire::Descriptor};
use xorum_node::api::{GroupInfo, Location, PeerInfo, PeerStatus};

use super::{
    Answer, Failure,
    plain::{peer_role, replica_role},
};

/// `answer` as one object.
pub(super) fn object(answer: &Answer) -> Value {
    match answer {
        Answer::Ok => json!({"ok": true}),
        Answer::Written(version) => json!({"ok": true, "version": version}),
        Answer::Conflict(version) => json!({"ok": false, "conflict": true, "version": version}),
        Answer::NotFound => json!({"ok": true, "found": false}),
        Answer::Value { found, stale, .. } => {
            let mut object = with_value(&found.value);
            object.insert("version".into(), json!(found.version));
            if let Some(stale) = stale {
                object.insert("stale_ms".into(), json!(milliseconds(*stale)));
            }
            Value::Object(object)
        }
        Answer::Changed(change) => match &change.value {
            Some(value) => {
                let mut object = with_value(value);
                object.insert("version".into(), json!(change.version));
                Value::Object(object)
            }
            None => json!({"ok": true, "found": false, "version": change.version}),
        },
        Answer::Located(location) => located(location),
        Answer::Peers(peers) => json!({"ok": true, "peers": peers.iter().map(peer).collect::<Vec<_>>()}),
        Answer::Groups(groups) => json!({"ok": true, "groups": groups.iter().map(group).collect::<Vec<_>>()}),
        Answer::Status(PeerStatus { peer, network, replication_factor, groups, leads }) => json!({
            "ok": true, "peer": peer.to_string(), "network": network.to_string(), "replicas": replication_factor,
            "groups": groups, "leads": leads,
        }),
        Answer::Help(help) => json!({"ok": true, "message": help}),
        Answer::Failed(Failure { code, message, group: None }) => {
            json!({"ok": false, "code": code, "message": message})
        }
        Answer::Failed(Failure { code, message, group: Some(group) }) => {
            json!({"ok": false, "code": code, "message": message, "group": group.to_string()})
        }
    }
}

fn with_value(bytes: &[u8]) -> Map<String, Value> {
    let (name, text) = match std::str::from_utf8(bytes) {
        Ok(text) => ("value", text.to_owned()),
        Err(_) => ("value_base64", BASE64.encode(bytes)),
    };
    Map::from_iter([("ok".into(), json!(true)), ("found".into(), json!(true)), (name.into(), json!(text))])
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn located(Location { position, descriptor }: &Location) -> Value {
    let Descriptor { group, prefix, epoch, voters, leader, .. } = descriptor;
    let voter = |peer| json!({"peer": peer_text(&peer), "distance": distance(position, &peer)});
    json!({
        "ok": true, "position": position.to_string(), "group": group.to_string(), "prefix": prefix.to_string(),
        "epoch": epoch, "leader": leader.as_ref().map(peer_text),
        "voters": voters.iter().map(|seat| voter(seat.peer)).collect::<Vec<_>>(),
    })
}

fn peer_text(peer: &xorum_node::PeerId) -> String {
    peer.to_string()
}

fn distance(position: &Position, peer: &xorum_node::PeerId) -> String {
    position.distance(&Position::of_peer(peer)).to_string()
}

fn peer(PeerInfo { peer, addr, role, is_self, heard_ms }: &PeerInfo) -> Value {
    json!({
        "peer": peer.to_string(), "addr": addr.as_ref().map(ToString::to_string), "role": peer_role(*role),
        "heard_ms": if *is_self { Some(0) } else { *heard_ms },
    })
}

fn group(GroupInfo { descriptor, role, keys, bytes }: &GroupInfo) -> Value {
    let Descriptor { group, prefix, epoch, voters, leader, .. } = descriptor;
    json!({
        "group": group.to_string(), "prefix": prefix.to_string(), "epoch": epoch,
        "leader": leader.as_ref().map(peer_text),
        "voters": voters.iter().map(|seat| seat.peer.to_string()).collect::<Vec<_>>(),
        "role": replica_role(*role), "keys": keys, "bytes": bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use xorum_behaviours::wire::GroupId;
    use xorum_node::{
        api::{Change, Version, Versioned},
        error::OpError,
    };

    use super::{Answer, object};
    use crate::fixtures;

    fn value(value: &'static [u8], stale: Option<Duration>) -> Answer {
        Answer::Value { found: Versioned { version: Version(7), value: value.into() }, stale, meta: false }
    }

    #[test]
    fn objects_have_the_fields_that_apply_and_no_other() {
        let unknown = OpError::OutcomeUnknown { message: "m".into(), group: Some(GroupId([1; 32])) };
        let cases = [
            (Answer::Ok, json!({"ok": true})),
            (Answer::Written(Version(3)), json!({"ok": true, "version": 3})),
            (Answer::Conflict(Version(0)), json!({"ok": false, "conflict": true, "version": 0})),
            (Answer::NotFound, json!({"ok": true, "found": false})),
            (value(b"a b", None), json!({"ok": true, "found": true, "version": 7, "value": "a b"})),
            (
                value(b"\xff", Some(Duration::from_millis(5))),
                json!({"ok": true, "found": true, "version": 7, "value_base64": "/w==", "stale_ms": 5}),
            ),
            (
                Answer::Changed(Change { version: Version(8), value: Some("x".into()) }),
                json!({"ok": true, "found": true, "version": 8, "value": "x"}),
            ),
            (
                Answer::Changed(Change { version: Version(9), value: None }),
                json!({"ok": true, "found": false, "version": 9}),
            ),
            (unknown.into(), json!({"ok": false, "code": "outcome-unknown", "message": "m", "group": "01".repeat(32)})),
            (OpError::Busy("m".into()).into(), json!({"ok": false, "code": "busy", "message": "m"})),
        ];
        for (answer, expected) in cases {
            assert_eq!(object(&answer), expected);
        }
    }

    #[test]
    fn lists_are_one_object_with_null_for_what_is_not_known() {
        let peers = object(&Answer::Peers(fixtures::peers()));
        assert_eq!(peers["peers"][0]["heard_ms"], json!(0));
        assert_eq!(peers["peers"][1]["addr"], json!(null));
        let groups = object(&Answer::Groups(fixtures::groups()));
        assert_eq!(groups["groups"][0]["role"], json!("leader"));
        assert_eq!(groups["groups"][1]["keys"], json!(null));
    }
}
