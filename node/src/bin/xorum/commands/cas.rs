//! `cas KEY EXPECTED VALUE`: answers `OK version=N`, or `CONFLICT version=N`.

use std::ffi::OsString;

use xorum_node::api::{Expected, Swap, Version};

use super::bytes;
use crate::{output::Answer, store::Store};

/// Writes a value if the key's version is the expected one.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Cas {
    /// The key: up to 1 KiB of any bytes
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: OsString,
    /// The version that the key must have; `absent` (or 0) if there must be no such key
    #[arg(value_name = "EXPECTED", allow_hyphen_values = true, value_parser = expected)]
    pub(crate) expected: Expected,
    /// The value: up to 1 MiB of any bytes; may be empty
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) value: OsString,
}

impl Cas {
    pub(crate) async fn run(self, store: &impl Store) -> Answer {
        match store.compare_and_swap(bytes(self.key), self.expected, bytes(self.value)).await {
            Ok(Swap::Done(version)) => Answer::Written(version),
            Ok(Swap::Conflict(version)) => Answer::Conflict(version),
            Err(error) => error.into(),
        }
    }
}

/// Version 0 is how a conflict tells that there is no such key.
fn expected(word: &str) -> Result<Expected, &'static str> {
    match word {
        "absent" => Ok(Expected::Absent),
        _ if word.bytes().all(|byte| byte.is_ascii_digit()) => match word.parse() {
            Ok(0) => Ok(Expected::Absent),
            Ok(version) => Ok(Expected::Version(Version(version))),
            Err(_) => Err("neither a version nor `absent`"),
        },
        _ => Err("neither a version nor `absent`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_or_absent_is_expected_and_nothing_else() {
        assert_eq!(expected("absent"), Ok(Expected::Absent));
        assert_eq!(expected("0"), Ok(Expected::Absent));
        assert_eq!(expected("18446744073709551615"), Ok(Expected::Version(Version(u64::MAX))));
        for bad in ["", "-1", "+1", "1.0", "18446744073709551616", "Absent"] {
            assert!(expected(bad).is_err(), "{bad}");
        }
    }
}
