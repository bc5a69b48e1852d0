//! Listening, before the event loop runs: a peer is ready only once it knows where it listens.

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt, StreamExt};
use libp2p::{Multiaddr, Swarm, core::transport::ListenerId, swarm::SwarmEvent};
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
    let mut listeners: BTreeMap<ListenerId, (Multiaddr, Vec<Multiaddr>)> = BTreeMap::new();
    for addr in wanted {
        let failed = |reason: String| ListenFailure { addr: addr.clone(), reason };
        let id = swarm.listen_on(addr.clone()).map_err(|error| failed(error_text(&error)))?;
        listeners.insert(id, (addr.clone(), Vec::new()));
    }
    let all = async {
        while listeners.values().any(|(wanted, got)| !is_complete(wanted, got)) {
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
            let silent = listeners.values().find(|(wanted, got)| !is_complete(wanted, got));
            if let Some((addr, got)) = silent.filter(|(_, got)| got.is_empty()) {
                let _ = got;
                return Err(ListenFailure { addr: addr.clone(), reason: "no address came of it in time".into() });
            }
        }
    }
    Ok(listeners.into_values().flat_map(|(_, got)| got).collect())
}

/// A wildcard listens on loopback too, and it is not complete before it has said so.
fn is_complete(wanted: &Multiaddr, got: &[Multiaddr]) -> bool {
    let wildcard = reachability::ip_of(wanted).is_some_and(|ip| ip.is_unspecified());
    if wildcard { got.iter().any(reachability::is_loopback) } else { !got.is_empty() }
}

fn note<E>(
    listeners: &mut BTreeMap<ListenerId, (Multiaddr, Vec<Multiaddr>)>,
    event: SwarmEvent<E>,
) -> Result<(), ListenFailure> {
    match event {
        SwarmEvent::NewListenAddr { listener_id, address } => {
            if let Some((_, got)) = listeners.get_mut(&listener_id) {
                got.push(address);
            }
        }
        SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
            if let Some((addr, _)) = listeners.get(&listener_id) {
                return Err(ListenFailure { addr: addr.clone(), reason: error.to_string() });
            }
        }
        _ => {}
    }
    Ok(())
}

fn error_text(error: &libp2p::TransportError<std::io::Error>) -> String {
    match error {
        libp2p::TransportError::MultiaddrNotSupported(_) => "no such transport here".into(),
        libp2p::TransportError::Other(error) => error.to_string(),
    }
}
