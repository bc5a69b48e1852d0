//! Setting a node up, step by step.

use std::{path::PathBuf, time::Duration};

use libp2p::Multiaddr;

use crate::{
    Node,
    config::{Config, Profile, Role},
    error::StartError,
};

/// Sets a [`Node`] up: a [`Config`] in steps. A peer needs a data directory; a client has none.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let node = xorum_node::Node::builder().data_dir("peer-1").start().await?;
/// node.put("greeting", "hello").await?;
/// node.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    data_dir: Option<PathBuf>,
    is_client: bool,
    listen: Vec<Multiaddr>,
    bootstrap: Vec<Multiaddr>,
    open: bool,
    network: Option<String>,
    replicas: Option<u8>,
    profile: Option<Profile>,
    connect_timeout: Option<Duration>,
}

impl Builder {
    /// A peer, whose identity and data are in this directory; it is made if it is absent.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// A client: it only asks, and keeps nothing.
    pub fn client(mut self) -> Self {
        self.is_client = true;
        self
    }

    /// Listens here too. Without any, a peer listens by TCP and QUIC, on loopback or, if [open](Self::open),
    /// everywhere, on a port that it keeps.
    pub fn listen(mut self, addr: Multiaddr) -> Self {
        self.listen.push(addr);
        self
    }

    /// Asks this peer too. Without any, a peer with a fresh data directory founds a network.
    pub fn bootstrap(mut self, addr: Multiaddr) -> Self {
        self.bootstrap.push(addr);
        self
    }

    /// May the peer listen beyond loopback although whoever reaches it can read and write?
    pub fn open(mut self, open: bool) -> Self {
        self.open = open;
        self
    }

    /// The network's label, of at most 64 bytes.
    pub fn network(mut self, label: impl Into<String>) -> Self {
        self.network = Some(label.into());
        self
    }

    /// Voters wanted in each group: 3, 5 or 7.
    pub fn replicas(mut self, replicas: u8) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// All timings.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// How long a client tries to reach the network.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// The configuration that was built.
    ///
    /// # Errors
    /// [`StartError::Config`] for a peer without a data directory, or a client with one.
    pub fn config(self) -> Result<Config, StartError> {
        let role = match (self.is_client, self.data_dir) {
            (false, Some(data_dir)) => Role::Peer { data_dir },
            (true, None) => Role::Client,
            (false, None) => {
                return Err(StartError::Config("a peer needs a data directory: set data_dir, or client".to_owned()));
            }
            (true, Some(_)) => {
                return Err(StartError::Config("a client keeps nothing: set either data_dir or client".to_owned()));
            }
        };
        let defaults = Config::new(role);
        Ok(Config {
            listen: self.listen,
            bootstrap: self.bootstrap,
            open: self.open,
            network: self.network,
            replicas: self.replicas,
            profile: self.profile,
            connect_timeout: self.connect_timeout.unwrap_or(defaults.connect_timeout),
            ..defaults
        })
    }

    /// Starts it.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start(self) -> Result<Node, StartError> {
        Node::start(self.config()?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_peer_with_a_data_directory_or_a_client_without() {
        let peer = Builder::default().data_dir("d").replicas(3).open(true).config().expect("a peer");
        let expected = Config { replicas: Some(3), open: true, ..Config::new(Role::Peer { data_dir: "d".into() }) };
        assert_eq!(peer, expected);
        assert_eq!(Builder::default().client().config().expect("a client"), Config::new(Role::Client));
        assert!(matches!(Builder::default().config(), Err(StartError::Config(_))));
        assert!(matches!(Builder::default().client().data_dir("d").config(), Err(StartError::Config(_))));
    }
}
