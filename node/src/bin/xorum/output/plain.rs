//! Answers as lines.

use std::fmt::{Display, Write as _};

use xorum_behaviours::{space::Position, wire::Descriptor};
use xorum_node::api::{Change, GroupInfo, Location, PeerInfo, PeerRole, PeerStatus, ReplicaRole, Versioned};

use super::{Answer, Failure, quote};

/// `answer` as one line, or several of which the last is `END`; without the last line break.
pub(super) fn text(answer: &Answer) -> String {
    match answer {
        Answer::Ok => "OK".to_owned(),
        Answer::Written(version) => format!("OK version={version}"),
        Answer::Conflict(version) => format!("CONFLICT version={version}"),
        Answer::NotFound => "(not found)".to_owned(),
        Answer::Value { found, meta: false, .. } => quote(&found.value),
        Answer::Value { found: Versioned { version, value }, stale: None, meta: true } => {
            format!("version={version} value={}", quote(value))
        }
        Answer::Value { found: Versioned { version, value }, stale: Some(stale), meta: true } => {
            format!("version={version} stale_ms={} value={}", stale.as_millis(), quote(value))
        }
        Answer::Changed(Change { version, value: Some(value) }) => {
            format!("version={version} value={}", quote(value))
        }
        Answer::Changed(Change { version, value: None }) => format!("version={version} deleted"),
        Answer::Located(location) => located(location),
        Answer::Peers(peers) => ended(peers.iter().map(peer)),
        Answer::Groups(groups) => ended(groups.iter().map(group)),
        Answer::Status(status) => ended([self::status(status)]),
        Answer::Help(help) => ended(help.lines().map(str::to_owned)),
        Answer::Failed(Failure { code, message, .. }) => format!("ERR {code} {}", one_line(message)),
    }
}

fn ended(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().fold(String::new(), |text, line| text + &line + "\n") + "END"
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn located(Location { position, descriptor }: &Location) -> String {
    let Descriptor { group, prefix, epoch, voters, leader, .. } = descriptor;
    let mut line =
        format!("position={position} group={group} prefix={prefix} epoch={epoch} leader={} voters=", or_dash(*leader));
    for (i, voter) in voters.iter().enumerate() {
        let distance = position.distance(&Position::of_peer(&voter.peer));
        // Writing to a string cannot fail.
        let _ = write!(line, "{}{}:{distance}", if i == 0 { "" } else { "," }, voter.peer);
    }
    line
}

fn peer(PeerInfo { peer, addr, role, is_self, heard_ms }: &PeerInfo) -> String {
    let heard_ms = if *is_self { Some(0) } else { *heard_ms };
    format!("peer={peer} addr={} role={} heard_ms={}", or_dash(addr.as_ref()), peer_role(*role), or_dash(heard_ms))
}

fn group(GroupInfo { descriptor, role, keys, bytes }: &GroupInfo) -> String {
    let Descriptor { group, prefix, epoch, voters, leader, .. } = descriptor;
    let voters: Vec<_> = voters.iter().map(|voter| voter.peer.to_string()).collect();
    format!(
        "group={group} prefix={prefix} epoch={epoch} leader={} voters={} role={} keys={} bytes={}",
        or_dash(*leader),
        voters.join(","),
        replica_role(*role),
        or_dash(*keys),
        or_dash(*bytes),
    )
}

fn status(PeerStatus { peer, network, replication_factor, groups, leads }: &PeerStatus) -> String {
    format!("peer={peer} network={network} replicas={replication_factor} groups={groups} leads={leads}")
}

/// A peer's role, as it is printed.
pub(super) const fn peer_role(role: PeerRole) -> &'static str {
    match role {
        PeerRole::Peer => "peer",
        PeerRole::Client => "client",
    }
}

/// A replica's role, as it is printed.
pub(super) const fn replica_role(role: ReplicaRole) -> &'static str {
    match role {
        ReplicaRole::Leader => "leader",
        ReplicaRole::Voter => "voter",
        ReplicaRole::Learner => "learner",
        ReplicaRole::None => "none",
    }
}

/// A message without what would break its line.
fn one_line(message: &str) -> String {
    message.trim().chars().fold(String::new(), |mut line, c| {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use xorum_node::{
        api::{Change, Version, Versioned},
        error::OpError,
    };

    use super::{Answer, text};
    use crate::fixtures;

    #[test]
    fn answers_are_the_lines_of_the_contract() {
        let found = Versioned { version: Version(7), value: "a b".into() };
        let stale = Some(Duration::from_millis(12));
        let cases = [
            (Answer::Ok, "OK"),
            (Answer::Written(Version(3)), "OK version=3"),
            (Answer::Conflict(Version(0)), "CONFLICT version=0"),
            (Answer::NotFound, "(not found)"),
            (Answer::Value { found: found.clone(), stale: None, meta: false }, r#""a b""#),
            (Answer::Value { found: found.clone(), stale, meta: false }, r#""a b""#),
            (Answer::Value { found: found.clone(), stale: None, meta: true }, r#"version=7 value="a b""#),
            (Answer::Value { found, stale, meta: true }, r#"version=7 stale_ms=12 value="a b""#),
            (Answer::Changed(Change { version: Version(8), value: Some("x".into()) }), "version=8 value=x"),
            (Answer::Changed(Change { version: Version(9), value: None }), "version=9 deleted"),
            (OpError::Busy("two\nlines".into()).into(), r"ERR busy two\nlines"),
            (Answer::Help("one\ntwo\n".into()), "one\ntwo\nEND"),
        ];
        for (answer, line) in cases {
            assert_eq!(text(&answer), line);
        }
    }

    #[test]
    fn peers_groups_status_and_locate_name_every_field_and_dash_what_is_not_known() {
        let (me, you) = (fixtures::peer(1), fixtures::peer(2));
        let (zeros, ones) = ("00".repeat(32), "01".repeat(32));
        assert_eq!(
            text(&Answer::Peers(fixtures::peers())),
            format!(
                "peer={me} addr=/ip4/127.0.0.1/tcp/4001 role=peer heard_ms=0\npeer={you} addr=- role=client heard_ms=-\nEND"
            )
        );
        assert_eq!(
            text(&Answer::Groups(fixtures::groups())),
            format!(
                "group={ones} prefix=- epoch=4 leader={me} voters={me},{you} role=leader keys=2 bytes=30\n\
                 group={ones} prefix=- epoch=4 leader=- voters={me},{you} role=none keys=- bytes=-\nEND"
            )
        );
        assert_eq!(
            text(&Answer::Status(fixtures::status())),
            format!("peer={me} network={zeros} replicas=5 groups=2 leads=1\nEND")
        );
        let location = fixtures::location(b"k");
        let position = location.position;
        let [mine, yours] = [me, you].map(|peer| position.distance(&super::Position::of_peer(&peer)));
        assert_eq!(
            text(&Answer::Located(location)),
            format!("position={position} group={ones} prefix=- epoch=4 leader={me} voters={me}:{mine},{you}:{yours}")
        );
    }
}
