//! The binary stands where process tests look for it: that it is built for them is what this file is for.

use std::process::Command;

#[test]
fn the_binary_says_its_version() -> std::io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_xorum")).arg("--version").output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("xorum ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(output.status.success());
    Ok(())
}
