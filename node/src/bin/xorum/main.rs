//! The `xorum` command.
fn main() {}
