//! Whom this peer knows, where, and whether it is connected: shared by whoever needs to ask.
//!
//! The swarm's event loop writes connections and what identify says; routes learned from answers add addresses.
//! Addresses are hints; nothing here decides who owns or serves what.

use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use xorum_behaviours::wire::{Descriptor, PeerAddrs, PeerRole, Route};

/// The most peers that are remembered.
const MAX_PEERS: usize = 4_096;
/// The most addresses that are remembered of one peer.
const MAX_ADDRS: usize = 8;

#[derive(Clone, Debug, Default)]
struct Known {
    /// The newest last.
    addrs: Vec<Multiaddr>,
    role: Option<PeerRole>,
    connected: bool,
}

/// Whom this peer knows.
#[derive(Debug)]
pub struct PeerBook {
    local: PeerId,
    known: RwLock<BTreeMap<PeerId, Known>>,
    /// Addresses that the swarm should hear of; when it lags behind, it hears of them another time.
    news: mpsc::Sender<(PeerId, Multiaddr)>,
}

impl PeerBook {
    /// An empty book; `news` takes each address learned.
    pub fn new(local: PeerId, news: mpsc::Sender<(PeerId, Multiaddr)>) -> Self {
        Self { local, known: RwLock::default(), news }
    }

    /// Learns addresses that others told.
    pub fn learn(&self, told: &[PeerAddrs]) {
        for PeerAddrs { peer, addrs } in told {
            for addr in addrs.iter().take(MAX_ADDRS) {
                self.add_addr(*peer, addr.clone());
            }
        }
    }

    /// Learns one address of a peer.
    pub fn add_addr(&self, peer: PeerId, addr: Multiaddr) {
        let addr = without_peer(addr);
        if peer == self.local || !is_dialable(&addr) {
            return;
        }
        let mut known = self.known.write();
        make_room(&mut known, &peer);
        let entry = known.entry(peer).or_default();
        // QUIC only where TCP is not: it is no faster here, and a dead peer's UDP port is silent where TCP refuses.
        let beside = |known: &Multiaddr| host_of(known) == host_of(&addr) && is_quic(known) != is_quic(&addr);
        if entry.addrs.contains(&addr) || (is_quic(&addr) && entry.addrs.iter().any(beside)) {
            return;
        }
        entry.addrs.retain(|known| !beside(known));
        if entry.addrs.len() >= MAX_ADDRS {
            entry.addrs.remove(0);
        }
        // An address that the swarm could not be told is not kept: it is told when it is learned again.
        if self.news.try_send((peer, addr.clone())).is_ok() {
            entry.addrs.push(addr);
        }
    }

    /// Notes that a connection to a peer stands; `addr` is where it was dialed, if this side dialed.
    pub fn connected(&self, peer: PeerId, role: Option<PeerRole>, addr: Option<Multiaddr>) {
        {
            let mut known = self.known.write();
            make_room(&mut known, &peer);
            let entry = known.entry(peer).or_default();
            entry.connected = true;
            entry.role = role.or(entry.role);
        }
        if let Some(addr) = addr {
            self.add_addr(peer, addr);
        }
    }

    /// Notes that no connection to a peer stands any more.
    pub fn disconnected(&self, peer: &PeerId) {
        let mut known = self.known.write();
        if let Some(entry) = known.get_mut(peer) {
            entry.connected = false;
            if entry.role == Some(PeerRole::Client) {
                known.remove(peer);
            }
        }
    }

    /// The connected peers that serve: clients are none.
    pub fn connected_peers(&self) -> Vec<PeerId> {
        let known = self.known.read();
        let serves = |known: &Known| known.connected && known.role != Some(PeerRole::Client);
        known.iter().filter(|(_, known)| serves(known)).map(|(peer, _)| *peer).collect()
    }

    /// A peer's addresses.
    pub fn addrs(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.known.read().get(peer).map(|known| known.addrs.clone()).unwrap_or_default()
    }

    /// A peer's addresses, as they are told to others.
    pub fn tell(&self, peers: impl IntoIterator<Item = PeerId>) -> Vec<PeerAddrs> {
        peers.into_iter().map(|peer| PeerAddrs { peer, addrs: self.addrs(&peer) }).collect()
    }

    /// A descriptor, and where its voters are.
    pub fn route(&self, descriptor: &Descriptor) -> Route {
        let addrs = self.tell(descriptor.voters.iter().map(|voter| voter.peer));
        Route { descriptor: descriptor.clone(), addrs }
    }

    /// Everyone known: id, addresses, role, and whether connected.
    pub fn all(&self) -> Vec<(PeerId, Vec<Multiaddr>, PeerRole, bool)> {
        let known = self.known.read();
        let row = |(peer, known): (&PeerId, &Known)| {
            (*peer, known.addrs.clone(), known.role.unwrap_or(PeerRole::Peer), known.connected)
        };
        known.iter().map(row).collect()
    }

    /// Those worth finding again after a restart: the peers with an address, without clients.
    pub fn to_keep(&self) -> Vec<PeerAddrs> {
        (self.all().into_iter())
            .filter(|(_, addrs, role, _)| *role == PeerRole::Peer && !addrs.is_empty())
            .map(|(peer, addrs, ..)| PeerAddrs { peer, addrs })
            .collect()
    }
}

/// Forgets a peer that is not connected, where one more would be too many. Those connected are bounded by the swarm.
fn make_room(known: &mut BTreeMap<PeerId, Known>, for_peer: &PeerId) {
    if known.len() >= MAX_PEERS && !known.contains_key(for_peer) {
        let forgotten = known.iter().find(|(_, known)| !known.connected).map(|(peer, _)| *peer);
        forgotten.and_then(|peer| known.remove(&peer));
    }
}

/// The address without a trailing `/p2p/…`.
fn without_peer(mut addr: Multiaddr) -> Multiaddr {
    if matches!(addr.iter().last(), Some(Protocol::P2p(_))) {
        addr.pop();
    }
    addr
}

/// The host that an address names.
fn host_of(addr: &Multiaddr) -> Option<Protocol<'_>> {
    addr.iter().next()
}

fn is_quic(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| matches!(part, Protocol::QuicV1))
}

/// Can an address be dialed at all? Wildcards and port 0 cannot.
fn is_dialable(addr: &Multiaddr) -> bool {
    let fault = |protocol| match protocol {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        Protocol::Tcp(port) | Protocol::Udp(port) => port == 0,
        _ => false,
    };
    !addr.is_empty() && !addr.iter().any(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_to_the_swarm_once_and_without_its_peer() {
        let (news, mut told) = mpsc::channel(8);
        let book = PeerBook::new(PeerId::random(), news);
        let peer = PeerId::random();
        let addr: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().expect("an address");
        book.add_addr(peer, addr.clone().with(Protocol::P2p(peer)));
        book.add_addr(peer, addr.clone());
        book.add_addr(peer, "/ip4/0.0.0.0/tcp/4001".parse().expect("an address"));
        assert_eq!(told.try_recv(), Ok((peer, addr.clone())));
        assert!(told.try_recv().is_err());
        assert_eq!(book.addrs(&peer), vec![addr]);
    }

    #[test]
    fn quic_is_kept_only_where_tcp_is_not() {
        let (news, _told) = mpsc::channel(8);
        let book = PeerBook::new(PeerId::random(), news);
        let peer = PeerId::random();
        let addr = |text: &str| text.parse::<Multiaddr>().expect("an address");
        book.add_addr(peer, addr("/ip4/10.0.0.1/udp/4001/quic-v1"));
        book.add_addr(peer, addr("/ip4/10.0.0.2/udp/4001/quic-v1"));
        book.add_addr(peer, addr("/ip4/10.0.0.1/tcp/4001"));
        book.add_addr(peer, addr("/ip4/10.0.0.1/udp/4002/quic-v1"));
        assert_eq!(book.addrs(&peer), vec![addr("/ip4/10.0.0.2/udp/4001/quic-v1"), addr("/ip4/10.0.0.1/tcp/4001")]);
    }

    #[test]
    fn clients_are_not_peers() {
        let (news, _told) = mpsc::channel(8);
        let book = PeerBook::new(PeerId::random(), news);
        let (peer, client) = (PeerId::random(), PeerId::random());
        book.connected(peer, Some(PeerRole::Peer), None);
        book.connected(client, Some(PeerRole::Client), None);
        assert_eq!(book.connected_peers(), vec![peer]);
        book.disconnected(&client);
        book.disconnected(&peer);
        assert!(book.connected_peers().is_empty());
        assert_eq!(book.all().into_iter().map(|(known, ..)| known).collect::<Vec<_>>(), vec![peer]);
    }
}
