//! `quit`: answers `OK`; then the program ends.

/// Ends the program.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Quit {}
