//! Listening, before the event loop runs: a peer is ready only once it knows where it listens.

use std::{io, net::TcpListener, time::Duration};

use futures::{FutureExt, StreamExt};
use libp2p::{Multiaddr, Swarm, core::transport::ListenerId, multiaddr::Protocol, swarm::SwarmEvent};
use xorum_behaviours::{Behaviour, reachability};

/// How long the system may take to say where a listener is.
const LISTEN_WITHIN: Duration = Duration::from_secs(10);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{addr}: {reason}")]
pub struct ListenFailure {
    /// The address.
    pub addr: Multiaddr,
    /// What the system said.
    pub reason: String,
}

/// Listens on each address and waits until each has one that others can dial. The listen addresses, in order.
///
/// # Errors
/// When one cannot be listened on.
pub async fn listen(swarm: &mut Swarm<Behaviour>, wanted: &[Multiaddr]) -> Result<Vec<Multiaddr>, ListenFailure> {
    let mut listeners: Vec<Listener> = Vec::new();
    for addr in wanted {
        let failed = |reason: String| ListenFailure { addr: addr.clone(), reason };
        probe(addr).map_err(|error| failed(error.to_string()))?;
        let id = swarm.listen_on(addr.clone()).map_err(|error| failed(error_text(&error)))?;
        listeners.push(Listener { id, wanted: addr.clone(), got: Vec::new() });
    }
    let all = async {
        while listeners.iter().any(|listener| !listener.is_complete()) {
            note(&mut listeners, swarm.select_next_some().await)?;
        }
        // A wildcard's other interfaces are told right behind.
        while let Some(event) = swarm.select_next_some().now_or_never() {
            note(&mut listeners, event)?;
        }
        Ok(())
    };
    match tokio::time::timeout(LISTEN_WITHIN, all).await {
        Ok(done) => done?,
        Err(_) => {
            if let Some(silent) = listeners.iter().find(|listener| listener.got.is_empty()) {
                let reason = "no address came of it in time".into();
                return Err(ListenFailure { addr: silent.wanted.clone(), reason });
            }
        }
    }
    Ok(listeners.into_iter().flat_map(|listener| listener.got).collect())
}

/// Fails where another process listens on a TCP port already. The transport shares ports, so that it can dial from the
/// one that it listens on: another that does the same would not stop it, and each would get some of the connections.
fn probe(addr: &Multiaddr) -> io::Result<()> {
    let port = addr.iter().find_map(|part| match part {
        Protocol::Tcp(port) if port != 0 => Some(port),
        _ => None,
    });
    match (reachability::ip_of(addr), port) {
        (Some(ip), Some(port)) => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// An address that is listened on, and what the system made of it.
struct Listener {
    id: ListenerId,
    wanted: Multiaddr,
    got: Vec<Multiaddr>,
}

impl Listener {
    /// A wildcard listens on loopback too, and it is not complete before it has said so.
    fn is_complete(&self) -> bool {
        let wildcard = reachability::ip_of(&self.wanted).is_some_and(|ip| ip.is_unspecified());
        if wildcard { self.got.iter().any(reachability::is_loopback) } else { !self.got.is_empty() }
    }
}

fn note<E>(listeners: &mut [Listener], event: SwarmEvent<E>) -> Result<(), ListenFailure> {
    let (id, told) = match event {
        SwarmEvent::NewListenAddr { listener_id, address } => (listener_id, Ok(address)),
        SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => (listener_id, Err(error.to_string())),
        _ => return Ok(()),
    };
    let Some(listener) = listeners.iter_mut().find(|listener| listener.id == id) else { return Ok(()) };
    match told {
        Ok(address) => listener.got.push(address),
        Err(reason) => return Err(ListenFailure { addr: listener.wanted.clone(), reason }),
    }
    Ok(())
}

fn error_text(error: &libp2p::TransportError<std::io::Error>) -> String {
    match error {
        libp2p::TransportError::MultiaddrNotSupported(_) => "no transport here listens on such an address".into(),
        libp2p::TransportError::Other(error) => error.to_string(),
    }
}
