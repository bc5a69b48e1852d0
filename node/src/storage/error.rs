//! Why storage did not do what was asked.

use std::{io, path::PathBuf};

use xorum_behaviours::wire::{DecodeError, EncodeError, GroupId, ReplicaNumber};

/// Why storage did not do what was asked. It can be cloned, since one failure of the writer answers many callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// What is on the disk is not what was written.
    #[error("{what} is corrupt: {reason}")]
    Corrupt {
        /// Which part.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory was written by a newer version.
    #[error("storage has format {found}, newer than this program's {supported}")]
    NewerFormat {
        /// Its format.
        found: u32,
        /// The newest format this program reads.
        supported: u32,
    },
    /// Another process, or another handle of this one, has the directory.
    #[error("storage in {} is in use", .0.display())]
    Locked(PathBuf),
    /// The system refused to read or write.
    #[error("{message}")]
    Io {
        /// Its kind.
        kind: io::ErrorKind,
        /// What the system said.
        message: String,
    },
    /// The engine refused, for a reason that is neither corruption nor the system's.
    #[error("storage engine: {0}")]
    Engine(String),
    /// Storage was closed.
    #[error("storage is closed")]
    Closed,
    /// The replica was opened anew, retired or quarantined since this handle was made.
    #[error("this handle of the replica is no longer the current one")]
    Fenced,
    /// There is no replica of this group.
    #[error("no replica of group {0}")]
    NoReplica(GroupId),
    /// The number is dead here for ever.
    #[error("replica {number} of group {group} is dead: all up to {dead} are")]
    Dead {
        /// The group.
        group: GroupId,
        /// The number asked for.
        number: ReplicaNumber,
        /// The highest dead one.
        dead: ReplicaNumber,
    },
    /// There is a replica already.
    #[error("replica {number} of group {group} exists")]
    Exists {
        /// The group.
        group: GroupId,
        /// The number of the one that exists.
        number: ReplicaNumber,
    },
    /// The replica is kept, but does not work.
    #[error("the replica of group {group} is quarantined: {reason}")]
    Quarantined {
        /// The group.
        group: GroupId,
        /// Why.
        reason: String,
    },
    /// A row of a snapshot that must not be stored, or a snapshot that is not whole.
    #[error("snapshot refused: {0}")]
    BadSnapshot(String),
}

impl StorageError {
    /// A replica's Raft core does not run.
    pub(crate) fn stopped(reason: impl std::fmt::Display) -> Self {
        Self::Engine(format!("a Raft core does not run: {reason}"))
    }

    /// Corruption of a part.
    pub(super) fn corrupt(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.to_string() }
    }

    /// Corruption of a row.
    pub(super) fn undecodable(what: &str) -> impl FnOnce(DecodeError) -> Self {
        move |error| Self::corrupt(what, error)
    }
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        Self::Io { kind: error.kind(), message: error.to_string() }
    }
}

impl From<EncodeError> for StorageError {
    fn from(error: EncodeError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<fjall::Error> for StorageError {
    fn from(error: fjall::Error) -> Self {
        use fjall::{Error, LsmError};
        match error {
            Error::Io(error) | Error::Storage(LsmError::Io(error)) => error.into(),
            Error::Storage(
                error @ (LsmError::Decompress(_)
                | LsmError::Unrecoverable
                | LsmError::ChecksumMismatch { .. }
                | LsmError::InvalidTag(_)
                | LsmError::InvalidTrailer
                | LsmError::InvalidHeader(_)
                | LsmError::Utf8(_)),
            ) => Self::corrupt("a table", error),
            error @ (Error::JournalRecovery(_)
            | Error::Decompress(_)
            | Error::InvalidTrailer
            | Error::InvalidTag(_)
            | Error::InvalidVersion(_)
            | Error::Unrecoverable) => Self::corrupt("the journal", error),
            error => Self::Engine(error.to_string()),
        }
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Io { kind, .. } => *kind,
            StorageError::Corrupt { .. } | StorageError::BadSnapshot(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
