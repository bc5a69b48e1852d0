//! The data directory: who this peer is, of which network, and where it was.
//!
//! One data directory is one peer of one network for ever (invariant 5). The key pair, the intent (found or join) and,
//! once it is known, the genesis record are one file, written whole and synced before anything acts on it: a crash
//! leaves either no peer or a whole one, and a directory that means to join never founds.
//!
//! ```text
//! DIR/LOCK        held by the process that has the directory
//! DIR/identity    key pair, intent, genesis (mode 0600)
//! DIR/ports       the ports that the system chose at the first start
//! DIR/peers       addresses of known peers: hints
//! DIR/store/      the storage engine
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use libp2p::{PeerId, identity::Keypair};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xorum_behaviours::wire::{self, Genesis, PeerAddrs};

use crate::error::StartError;

/// The newest format of the directory that this program reads, and the one it writes.
pub const FORMAT: u32 = 1;

const LOCK: &str = "LOCK";
const IDENTITY: &str = "identity";
const PORTS: &str = "ports";
const PEERS: &str = "peers";
const STORE: &str = "store";

/// What a fresh directory is for. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// It founded its network.
    Found,
    /// It joined, or is still to join, a network that others founded.
    Join,
}

/// Who a peer is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its key pair; its peer id is the hash of the public half.
    pub key: Keypair,
    /// What its directory is for.
    pub intent: Intent,
    /// Its network; none while it is still to join.
    pub genesis: Option<Genesis>,
    /// Was its store made? A replica whose log is lost must not vote again as if it had never done so.
    pub has_store: bool,
}

impl Identity {
    /// The peer's id.
    pub fn peer_id(&self) -> PeerId {
        self.key.public().to_peer_id()
    }
}

/// The ports that the system chose for a peer that was given none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// TCP's.
    pub tcp: u16,
    /// UDP's.
    pub udp: u16,
}

/// The identity file as written. The format stands in a file of its own shape, so that a newer one is told apart.
#[derive(Serialize, Deserialize)]
struct IdentityFile {
    #[serde(with = "serde_bytes")]
    key: Vec<u8>,
    intent: Intent,
    genesis: Option<Genesis>,
    /// Was the store made? Then one that is missing was lost.
    #[serde(default)]
    has_store: bool,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(default = "Option::default")]
    body: Option<T>,
}

/// A locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is absent, and locks it.
    ///
    /// # Errors
    /// When another process has it, or it cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, StartError> {
        let at = |source| StartError::DataDir { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(at)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(at(source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the storage engine lives.
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Who the peer is; none in a fresh directory.
    ///
    /// # Errors
    /// When the file is readable by others, corrupt, or of a newer format.
    pub fn identity(&self) -> Result<Option<Identity>, StartError> {
        let path = self.path.join(IDENTITY);
        match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.refuse_store_without_identity(),
            Err(source) => return Err(StartError::DataDir { path, source }),
            Ok(meta) if meta.mode() & 0o077 != 0 => return Err(StartError::KeyReadable(path)),
            Ok(_) => {}
        }
        let Some(file) = self.read::<IdentityFile>(IDENTITY)? else { return Ok(None) };
        let corrupt = |reason: String| StartError::Corrupt { path: path.clone(), reason };
        let key = Keypair::from_protobuf_encoding(&file.key).map_err(|e| corrupt(e.to_string()))?;
        if file.intent == Intent::Found && file.genesis.is_none() {
            return Err(corrupt("a founder without a genesis record".into()));
        }
        if let Some(genesis) = &file.genesis {
            genesis.check().map_err(|e| corrupt(e.to_string()))?;
        }
        if file.has_store && !self.store().exists() {
            let reason =
                "it is missing: a peer that lost its log must not vote again; use `xorum reset-identity`".into();
            return Err(StartError::Corrupt { path: self.store(), reason });
        }
        Ok(Some(Identity { key, intent: file.intent, genesis: file.genesis, has_store: file.has_store }))
    }

    /// Without its identity a store is nobody's: making a new peer over it would break invariant 5.
    fn refuse_store_without_identity(&self) -> Result<Option<Identity>, StartError> {
        if self.store().exists() {
            let reason = "it is missing, and there is a store beside it".into();
            return Err(StartError::Corrupt { path: self.path.join(IDENTITY), reason });
        }
        Ok(None)
    }

    /// Writes who the peer is, whole and synced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), StartError> {
        let key = identity.key.to_protobuf_encoding().map_err(|e| StartError::Corrupt {
            path: self.path.join(IDENTITY),
            reason: format!("the key pair cannot be encoded: {e}"),
        })?;
        self.write(
            IDENTITY,
            &IdentityFile {
                key,
                intent: identity.intent,
                genesis: identity.genesis.clone(),
                has_store: identity.has_store,
            },
        )
    }

    /// The ports chosen at the first start.
    ///
    /// # Errors
    /// When the file is corrupt or cannot be read.
    pub fn ports(&self) -> Result<Ports, StartError> {
        Ok(self.read(PORTS)?.unwrap_or_default())
    }

    /// Keeps the ports chosen at the first start.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_ports(&self, ports: Ports) -> Result<(), StartError> {
        self.write(PORTS, &ports)
    }

    /// Addresses of known peers. They are hints: a file that cannot be read is as none.
    pub fn peers(&self) -> Vec<PeerAddrs> {
        match self.read(PEERS) {
            Ok(peers) => peers.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "the addresses of known peers are lost");
                Vec::new()
            }
        }
    }

    /// Keeps addresses of known peers.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_peers(&self, peers: &[PeerAddrs]) -> Result<(), StartError> {
        self.write(PEERS, &peers)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StartError> {
        let path = self.path.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StartError::DataDir { path, source }),
        };
        let format = wire::decode::<Versioned<serde::de::IgnoredAny>>(&bytes).map(|file| file.format);
        match format {
            Ok(found) if found > FORMAT => {
                return Err(StartError::NewerFormat { path: self.path.clone(), found, supported: FORMAT });
            }
            Ok(_) => {}
            Err(e) => return Err(StartError::Corrupt { path, reason: e.to_string() }),
        }
        let file: Versioned<T> =
            wire::decode(&bytes).map_err(|e| StartError::Corrupt { path: path.clone(), reason: e.to_string() })?;
        file.body.map(Some).ok_or(StartError::Corrupt { path, reason: "it is empty".into() })
    }

    fn write<T: Serialize>(&self, name: &str, body: &T) -> Result<(), StartError> {
        let path = self.path.join(name);
        let at = |source| StartError::DataDir { path: path.clone(), source };
        let bytes = wire::encode(&Versioned { format: FORMAT, body: Some(body) })
            .map_err(|e| at(io::Error::other(e.to_string())))?;
        let mut file = {
            use atomic_write_file::unix::OpenOptionsExt as _;
            atomic_write_file::OpenOptions::new().preserve_mode(false).mode(0o600).open(&path).map_err(at)?
        };
        file.write_all(&bytes).map_err(at)?;
        file.sync_all().map_err(at)?;
        file.commit().map_err(at)?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(at)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn fresh() -> (TempDir, DataDir) {
        let temp = TempDir::new().expect("a directory for the test");
        let dir = DataDir::open(&temp.path().join("peer")).expect("a fresh directory opens");
        (temp, dir)
    }

    fn joiner() -> Identity {
        Identity { key: Keypair::generate_ed25519(), intent: Intent::Join, genesis: None, has_store: false }
    }

    #[test]
    fn an_identity_is_read_back_and_is_nobody_elses_to_read() {
        let (_temp, dir) = fresh();
        assert!(dir.identity().expect("a fresh directory is readable").is_none());
        let identity = joiner();
        dir.set_identity(&identity).expect("it is written");
        let read = dir.identity().expect("it is read").expect("it is there");
        assert_eq!((read.peer_id(), read.intent), (identity.peer_id(), Intent::Join));

        let file = dir.path().join(IDENTITY);
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it can be opened up");
        assert!(matches!(dir.identity(), Err(StartError::KeyReadable(_))));
    }

    #[test]
    fn a_locked_directory_is_refused() {
        let (_temp, dir) = fresh();
        assert!(matches!(DataDir::open(dir.path()), Err(StartError::Locked(_))));
    }

    #[test]
    fn corrupt_and_newer_files_are_told_apart() {
        let (_temp, dir) = fresh();
        dir.set_identity(&joiner()).expect("it is written");
        let file = dir.path().join(IDENTITY);
        let newer = wire::encode(&Versioned { format: FORMAT + 1, body: Some("anything") }).expect("encodable");
        fs::write(&file, newer).expect("it can be overwritten");
        assert!(matches!(dir.identity(), Err(StartError::NewerFormat { found: 2, .. })));
        fs::write(&file, b"nonsense").expect("it can be overwritten");
        assert!(matches!(dir.identity(), Err(StartError::Corrupt { .. })));
    }

    #[test]
    fn a_store_without_an_identity_is_no_fresh_directory() {
        let (_temp, dir) = fresh();
        fs::create_dir(dir.store()).expect("a store");
        assert!(matches!(dir.identity(), Err(StartError::Corrupt { .. })));
    }
}
