//! How many connections there may be: in all, to one peer, and not yet admitted from one IP address.
//!
//! The bound for each IP address is what keeps a flood from one place from locking out who comes from another: the bound
//! on all that are pending cannot tell them apart.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    net::IpAddr,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    connection_limits::{self, ConnectionLimits},
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

use crate::reachability::ip_of;

/// Bounds on connections.
#[derive(Debug, Clone)]
pub struct Config {
    /// From one IP address, not yet admitted; loopback has no such bound. Too small refuses many that restart behind one
    /// router; too large lets one place use up `pending_inbound`.
    pub pending_inbound_per_ip: u32,
    /// From anywhere, not yet admitted.
    pub pending_inbound: u32,
    /// Being dialed.
    pub pending_outbound: u32,
    /// With one peer; two sides that dial each other at once need two, a closing one a third.
    pub established_per_peer: u32,
    /// In all.
    pub established: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pending_inbound_per_ip: 32,
            pending_inbound: 1024,
            pending_outbound: 256,
            established_per_peer: 4,
            established: 4096,
        }
    }
}

/// Too many connections from one IP address were not yet admitted.
#[derive(Debug, Clone, Copy)]
pub struct TooManyFromIp(IpAddr);

impl fmt::Display for TooManyFromIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many connections from {} wait to be admitted", self.0)
    }
}

impl std::error::Error for TooManyFromIp {}

/// See the module.
pub struct Behaviour {
    totals: connection_limits::Behaviour,
    pending_inbound_per_ip: u32,
    pending: HashMap<ConnectionId, IpAddr>,
    per_ip: HashMap<IpAddr, u32>,
}

impl Behaviour {
    /// Enforces these bounds.
    pub fn new(config: &Config) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(config.pending_inbound))
            .with_max_pending_outgoing(Some(config.pending_outbound))
            .with_max_established_per_peer(Some(config.established_per_peer))
            .with_max_established(Some(config.established));
        Self {
            totals: connection_limits::Behaviour::new(limits),
            pending_inbound_per_ip: config.pending_inbound_per_ip,
            pending: HashMap::new(),
            per_ip: HashMap::new(),
        }
    }

    fn begin(&mut self, connection: ConnectionId, from: &Multiaddr) -> Result<(), TooManyFromIp> {
        let Some(ip) = ip_of(from).filter(|ip| !ip.is_loopback()) else { return Ok(()) };
        let pending = self.per_ip.entry(ip).or_default();
        if *pending >= self.pending_inbound_per_ip {
            return Err(TooManyFromIp(ip));
        }
        *pending += 1;
        self.pending.insert(connection, ip);
        Ok(())
    }

    fn end(&mut self, connection: ConnectionId) {
        let Some(ip) = self.pending.remove(&connection) else { return };
        if let Some(pending) = self.per_ip.get_mut(&ip) {
            *pending -= 1;
            if *pending == 0 {
                self.per_ip.remove(&ip);
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.begin(connection, remote).map_err(ConnectionDenied::new)?;
        self.totals.handle_pending_inbound_connection(connection, local, remote).inspect_err(|_| self.end(connection))
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.end(connection);
        self.totals.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.totals.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.totals.handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) = event {
            self.end(connection_id);
        }
        self.totals.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        self.totals.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour(per_ip: u32) -> Behaviour {
        Behaviour::new(&Config { pending_inbound_per_ip: per_ip, ..Config::default() })
    }

    fn from(ip: &str) -> Multiaddr {
        format!("/ip4/{ip}/tcp/4001").parse().expect("is a multiaddr")
    }

    #[test]
    fn a_flood_from_one_address_leaves_room_for_another() {
        let mut limits = behaviour(2);
        let mut pending =
            |id, ip| limits.handle_pending_inbound_connection(ConnectionId::new_unchecked(id), &from(ip), &from(ip));
        assert!(pending(1, "10.0.0.1").is_ok());
        assert!(pending(2, "10.0.0.1").is_ok());
        assert!(pending(3, "10.0.0.1").is_err());
        assert!(pending(4, "10.0.0.2").is_ok());
    }

    #[test]
    fn one_that_was_admitted_is_pending_no_more() {
        let mut limits = behaviour(1);
        let address = from("10.0.0.1");
        let id = ConnectionId::new_unchecked;
        assert!(limits.handle_pending_inbound_connection(id(1), &address, &address).is_ok());
        assert!(limits.handle_established_inbound_connection(id(1), PeerId::random(), &address, &address).is_ok());
        assert!(limits.handle_pending_inbound_connection(id(2), &address, &address).is_ok());
        assert!(limits.handle_pending_inbound_connection(id(3), &address, &address).is_err());
    }
}
