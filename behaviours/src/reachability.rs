//! Which addresses count, and whether this side is one that others can look things up at: decisions.

use std::net::IpAddr;

use libp2p::{Multiaddr, kad::Mode, multiaddr::Protocol};

use crate::wire::PeerRole;

/// Kademlia's mode for this side: a peer that others can dial is a server, anyone else only asks.
///
/// For now every address that a peer listens on counts as one that others can dial. Relayed addresses do not: a
/// relay's reservation must not make a server of who cannot be reached.
pub fn kad_mode(role: PeerRole, listen: &[Multiaddr], external: &[Multiaddr]) -> Mode {
    match role {
        PeerRole::Peer if listen.iter().chain(external).any(is_dialable) => Mode::Server,
        PeerRole::Peer | PeerRole::Client => Mode::Client,
    }
}

/// Can others dial this address, as far as it says itself? It names a place, and is not relayed.
pub fn is_dialable(address: &Multiaddr) -> bool {
    let names_a_place = address.iter().any(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => port != 0,
        Protocol::Memory(port) => port != 0,
        _ => false,
    });
    let relayed = address.iter().any(|part| matches!(part, Protocol::P2pCircuit));
    names_a_place && !relayed && !ip_of(address).is_some_and(|ip| ip.is_unspecified())
}

/// The address's IP address, if it begins with one.
pub fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)),
        _ => None,
    }
}

/// Can it be reached from this machine only?
pub fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Memory(_)) => true,
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => name == "localhost",
        _ => ip_of(address).is_some_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().expect("is a multiaddr")).collect()
    }

    #[test]
    fn a_peer_that_listens_is_a_server() {
        let listen = addresses(&["/ip4/127.0.0.1/tcp/4001"]);
        assert_eq!(kad_mode(PeerRole::Peer, &listen, &[]), Mode::Server);
        assert_eq!(kad_mode(PeerRole::Peer, &[], &listen), Mode::Server);
    }

    #[test]
    fn who_cannot_be_dialed_is_none() {
        let nowhere = addresses(&[
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/10.0.0.1/tcp/0",
            "/ip4/1.2.3.4/tcp/4001/p2p/12D3KooWGQmdpzHXCqLno4mMxWXKNFQHASBeF99gTm2JR8Vu5Bdc/p2p-circuit",
        ]);
        assert_eq!(kad_mode(PeerRole::Peer, &nowhere, &nowhere), Mode::Client);
        assert_eq!(kad_mode(PeerRole::Peer, &[], &[]), Mode::Client);
    }

    #[test]
    fn a_client_is_none_wherever_it_listens() {
        let listen = addresses(&["/ip4/127.0.0.1/tcp/4001"]);
        assert_eq!(kad_mode(PeerRole::Client, &listen, &listen), Mode::Client);
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for near in addresses(&["/ip4/127.1.2.3/tcp/1", "/ip6/::1/udp/1/quic-v1", "/dns4/localhost/tcp/1", "/memory/7"])
        {
            assert!(is_loopback(&near), "{near}");
        }
        for far in
            addresses(&["/ip4/0.0.0.0/tcp/1", "/ip4/192.168.1.1/tcp/1", "/ip6/::/tcp/1", "/dns4/example.org/tcp/1"])
        {
            assert!(!is_loopback(&far), "{far}");
        }
    }
}
