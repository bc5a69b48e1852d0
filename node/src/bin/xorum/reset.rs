//! `reset-identity`: a data directory becomes a new peer's.
//!
//! A copied or restored directory must not be used: the other copy has the same identity, and what is in it may be
//! older than what the network was promised. Nothing is deleted; the directory is renamed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use xorum_node::{data_dir::DataDir, error::StartError};

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResetError {
    /// There is nothing to reset.
    #[error("{} does not exist: there is no identity to reset; give another with --data-dir", .0.display())]
    Absent(PathBuf),
    /// A peer runs on it, or it cannot be locked.
    #[error(transparent)]
    NotOurs(#[from] StartError),
    /// The system refused.
    #[error("data directory {}: {source}; nothing was moved", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Renames `dir`, holding its lock; returns its new name.
pub(crate) fn reset(dir: &Path) -> Result<PathBuf, ResetError> {
    let failed = |source| ResetError::Io { path: dir.to_owned(), source };
    let dir_there = dir.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ResetError::Absent(dir.to_owned()),
        _ => failed(error),
    })?;
    let name = dir_there.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let _locked = DataDir::open(dir)?;
    for number in 1..=u32::MAX {
        let mut aside = name.to_owned();
        aside.push(format!(".old-{number}"));
        let aside = dir_there.with_file_name(aside);
        if !aside.try_exists().map_err(failed)? {
            fs::rename(&dir_there, &aside).map_err(failed)?;
            return Ok(aside);
        }
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_moved_aside_and_an_earlier_one_is_kept() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("d");
        for number in 1..=2 {
            drop(DataDir::open(&dir).expect("made"));
            fs::write(dir.join("identity"), number.to_string()).expect("written");
            let aside = reset(&dir).expect("moved");
            assert!(aside.ends_with(format!("d.old-{number}")));
            assert_eq!(fs::read_to_string(aside.join("identity")).expect("there"), number.to_string());
            assert!(!dir.exists());
        }
    }

    #[test]
    fn a_directory_in_use_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let _peer = DataDir::open(dir.path()).expect("free");
        assert!(matches!(reset(dir.path()), Err(ResetError::NotOurs(StartError::Locked(_)))));
        assert!(dir.path().exists());
    }

    #[test]
    fn nothing_is_nothing_to_reset() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(reset(&dir.path().join("d")), Err(ResetError::Absent(_))));
    }
}
