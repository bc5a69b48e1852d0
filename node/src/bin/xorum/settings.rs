//! Settings: flags win over the environment, the environment over the file, the file over the defaults.
//!
//! One structure of options serves as flags (`--replace-after 10s`), as environment (`XORUM_REPLACE_AFTER=10s`, lists
//! separated by commas, empty means not set) and as the TOML file that `--config` names (`replace-after = "10s"`).
//! What stays `None` takes the default, which is not written here but where it is used, for a default is no value:
//! a network's own setting is not contradicted by it.

use std::{
    ffi::OsString,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;
use etcetera::BaseStrategy;
use serde::{Deserialize, Deserializer, de};
use xorum_node::{
    Multiaddr,
    api::{DEFAULT_TIMEOUT, MAX_TIMEOUT},
    config::{Config, Profile, Role},
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For machines: a JSON object a line
    Json,
}

/// All settings; each is `None` (or empty) until something sets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Settings {
    /// Where this peer keeps its identity and its data [default: `xorum` in the platform's data directory]
    ///
    /// It is made if it is absent. A copy of it must not be used: see `xorum reset-identity`.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Listen here; may be repeated [default: TCP and QUIC on a port that is kept]
    ///
    /// The default is on loopback or, with --open, on all interfaces, on a port that the system chooses at the first
    /// start. A port of 0 given here is chosen anew at each start.
    #[arg(long, value_name = "MULTIADDR", value_parser = multiaddr)]
    pub(crate) listen: Vec<Multiaddr>,
    /// Join by this peer; may be repeated [default: found a network, or rejoin the one known]
    ///
    /// As another peer prints it: `/ip4/192.0.2.1/tcp/4001/p2p/<PeerId>`. A data directory that has joined once finds
    /// its network again without.
    #[arg(long, value_name = "MULTIADDR", value_parser = multiaddr)]
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Listen beyond loopback, where whoever reaches this peer can read and write [default: false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true)]
    pub(crate) open: Option<bool>,
    /// The network's label, of up to 64 bytes; fixed at founding
    ///
    /// A value that differs from what the network has is refused at start; without one, what the network has is taken.
    #[arg(long, value_name = "LABEL")]
    pub(crate) network: Option<String>,
    /// Voters wanted in each group; fixed at founding [default: 5]
    #[arg(long, value_name = "3|5|7", value_parser = replicas)]
    #[serde(deserialize_with = "checked_replicas")]
    pub(crate) replicas: Option<u8>,
    /// All timings together; fixed at founding [default: lan]
    ///
    /// `lan` is for peers within a few milliseconds of each other, `wan` for up to some hundred milliseconds.
    #[arg(long, value_name = "lan|wan", value_parser = profile)]
    pub(crate) profile: Option<Profile>,
    /// A group with more data than this splits; fixed at founding [default: 64MiB]
    ///
    /// Too small makes many groups, each with its own heartbeats; too large makes restoring a replica slow.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    #[serde(deserialize_with = "from_text")]
    pub(crate) split_bytes: Option<ByteSize>,
    /// A voter silent for this long, such as 10s, is dead; fixed at founding [default: by --profile]
    ///
    /// Too short replaces peers that only restart; too long leaves a group with fewer voters than wanted.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(deserialize_with = "from_duration")]
    pub(crate) replace_after: Option<Duration>,
    /// A closer newcomer takes a seat after this long, such as 30s; fixed at founding [default: by --profile]
    ///
    /// Too short moves data for every peer that comes and goes; too long leaves seats with peers farther away.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(deserialize_with = "from_duration")]
    pub(crate) settle_after: Option<Duration>,
    /// Memory for the storage engine's cache [default: 4MiB]
    ///
    /// Too small reads the disk more often; too large takes memory from others.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    #[serde(deserialize_with = "from_text")]
    pub(crate) cache_bytes: Option<ByteSize>,
    /// Threads that serve, beside the storage's own [default: half the processors]
    ///
    /// More let one peer use a larger machine; fewer wake each other less, which is faster where peers share one.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Give an operation up after this long, such as 500ms; at most 10m [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    #[serde(deserialize_with = "from_timeout")]
    pub(crate) timeout: Option<Duration>,
    /// How log lines are written to stderr [default: text]
    ///
    /// RUST_LOG says which lines, such as `info` or `xorum_node=debug`; without it there are hardly any.
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Ignore stdin: no prompt, no commands [default: false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true)]
    pub(crate) no_repl: Option<bool>,
}

/// Why settings cannot be used. All are wrong usage.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The environment has text that its setting does not take.
    #[error("environment variable {name}: {text:?}: {reason}")]
    Environment { name: &'static str, text: String, reason: String },
    /// The file cannot be read.
    #[error("configuration file {}: {source}; give another with --config", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The file is not what it should be.
    #[error("configuration file {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    /// The platform has no place for data.
    #[error("no data directory is known here ({0}): give one with --data-dir")]
    NoDataDir(String),
}

impl Settings {
    /// What the flags leave open is taken from the environment, then from the file.
    pub(crate) fn gather(
        flags: Self,
        config: Option<PathBuf>,
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingsError> {
        let environment = Self::from_environment(&var)?;
        let config = config.or_else(|| var("XORUM_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
        let file = config.map(|path| Self::from_file(&path)).transpose()?.unwrap_or_default();
        Ok(flags.or(environment).or(file))
    }

    fn from_file(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            let line =
                error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            SettingsError::File { path: path.to_owned(), reason: format!("line {line}: {}", error.message()) }
        })
    }

    fn from_environment(var: &impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let env = Environment { var };
        Ok(Self {
            data_dir: env.read("XORUM_DATA_DIR", |text| Ok::<_, String>(PathBuf::from(text)))?,
            listen: env.list("XORUM_LISTEN", multiaddr)?,
            bootstrap: env.list("XORUM_BOOTSTRAP", multiaddr)?,
            open: env.read("XORUM_OPEN", boolean)?,
            network: env.read("XORUM_NETWORK", |text| Ok::<_, String>(text.to_owned()))?,
            replicas: env.read("XORUM_REPLICAS", replicas)?,
            profile: env.read("XORUM_PROFILE", profile)?,
            split_bytes: env.read("XORUM_SPLIT_BYTES", size)?,
            replace_after: env.read("XORUM_REPLACE_AFTER", duration)?,
            settle_after: env.read("XORUM_SETTLE_AFTER", duration)?,
            cache_bytes: env.read("XORUM_CACHE_BYTES", size)?,
            threads: env.read("XORUM_THREADS", |text| text.parse().map_err(|_| "not a number above 0"))?,
            timeout: env.read("XORUM_TIMEOUT", timeout)?,
            log_format: env.read("XORUM_LOG_FORMAT", |text| {
                <LogFormat as clap::ValueEnum>::from_str(text, false).map_err(|_| "neither `text` nor `json`")
            })?,
            no_repl: env.read("XORUM_NO_REPL", boolean)?,
        })
    }

    /// These settings, and where they say nothing, `lower`'s.
    fn or(self, lower: Self) -> Self {
        let list = |own: Vec<_>, lower| if own.is_empty() { lower } else { own };
        Self {
            data_dir: self.data_dir.or(lower.data_dir),
            listen: list(self.listen, lower.listen),
            bootstrap: list(self.bootstrap, lower.bootstrap),
            open: self.open.or(lower.open),
            network: self.network.or(lower.network),
            replicas: self.replicas.or(lower.replicas),
            profile: self.profile.or(lower.profile),
            split_bytes: self.split_bytes.or(lower.split_bytes),
            replace_after: self.replace_after.or(lower.replace_after),
            settle_after: self.settle_after.or(lower.settle_after),
            cache_bytes: self.cache_bytes.or(lower.cache_bytes),
            threads: self.threads.or(lower.threads),
            timeout: self.timeout.or(lower.timeout),
            log_format: self.log_format.or(lower.log_format),
            no_repl: self.no_repl.or(lower.no_repl),
        }
    }

    /// The threads that were set, or half the processors.
    pub(crate) fn threads(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(|| processors().div_ceil(2), NonZeroUsize::get)
    }

    /// The data directory that was set, or the platform's.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, SettingsError> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        let base = etcetera::choose_base_strategy().map_err(|error| SettingsError::NoDataDir(error.to_string()))?;
        Ok(base.data_dir().join("xorum"))
    }

    /// The deadline of operations.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// For a peer.
    pub(crate) fn peer(&self) -> Result<Config, SettingsError> {
        Ok(self.config(Role::Peer { data_dir: self.data_dir()? }))
    }

    /// For a client, which listens nowhere and keeps nothing.
    pub(crate) fn client(&self) -> Config {
        let listen = Vec::new();
        Config { listen, ..self.config(Role::Client) }
    }

    fn config(&self, role: Role) -> Config {
        let defaults = Config::new(role);
        Config {
            listen: self.listen.clone(),
            bootstrap: self.bootstrap.clone(),
            open: self.open.unwrap_or(defaults.open),
            network: self.network.clone(),
            replicas: self.replicas,
            profile: self.profile,
            split_bytes: self.split_bytes.map(|size| size.as_u64()),
            replace_after: self.replace_after,
            settle_after: self.settle_after,
            cache_bytes: self.cache_bytes.map_or(defaults.cache_bytes, |size| size.as_u64()),
            ..defaults
        }
    }
}

struct Environment<'a, F> {
    var: &'a F,
}

impl<F: Fn(&str) -> Option<OsString>> Environment<'_, F> {
    fn read<T, E: ToString>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, SettingsError> {
        let Some(text) = (self.var)(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let error =
            |reason: String| SettingsError::Environment { name, text: text.to_string_lossy().into_owned(), reason };
        let text = text.to_str().ok_or_else(|| error("not UTF-8".to_owned()))?;
        parse(text).map(Some).map_err(|reason| error(reason.to_string()))
    }

    fn list<T, E: ToString>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, SettingsError> {
        let parts = |text: &str| {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(&parse).collect::<Result<_, _>>()
        };
        Ok(self.read(name, parts)?.unwrap_or_default())
    }
}

/// Reads a multiaddr.
pub(crate) fn multiaddr(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|error| format!("no multiaddr ({error}); one looks like /ip4/192.0.2.1/tcp/4001/p2p/<PeerId>"))
}

/// Reads the deadline of an operation.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a deadline must be longer than 0".to_owned()),
        timeout if timeout > MAX_TIMEOUT => Err("longer than the longest deadline, 10m".to_owned()),
        timeout => Ok(timeout),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("no duration ({error}); one looks like 500ms or 5s"))
}

fn size(text: &str) -> Result<ByteSize, String> {
    ByteSize::from_str(text).map_err(|_| "no size; one looks like 64MiB".to_owned())
}

fn replicas(text: &str) -> Result<u8, &'static str> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        "7" => Ok(7),
        _ => Err("must be 3, 5 or 7"),
    }
}

fn profile(text: &str) -> Result<Profile, &'static str> {
    match text {
        "lan" => Ok(Profile::Lan),
        "wan" => Ok(Profile::Wan),
        _ => Err("neither `lan` nor `wan`"),
    }
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        _ => Err("neither `true` nor `false`"),
    }
}

fn checked_replicas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let number = u8::deserialize(deserializer)?;
    replicas(&number.to_string()).map(Some).map_err(de::Error::custom)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    ByteSize::deserialize(deserializer).map(Some)
}

fn from_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

fn from_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    timeout(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ADDR: &str = "/ip4/127.0.0.1/tcp/4001";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn gather(flags: Settings, env: &[(&str, &str)], text: &str) -> Result<Settings, String> {
        let file = file(text);
        let var = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        Settings::gather(flags, Some(file.path().to_owned()), var)
            .map_err(|error| error.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let text = "replicas = 3\nprofile = \"wan\"\nnetwork = \"file\"\ntimeout = \"1s\"";
        let env = [("XORUM_REPLICAS", "5"), ("XORUM_NETWORK", "environment")];
        let flags = Settings { replicas: Some(7), ..Settings::default() };
        let settings = gather(flags, &env, text).expect("good settings");
        assert_eq!(settings.replicas, Some(7));
        assert_eq!(settings.network.as_deref(), Some("environment"));
        assert_eq!(settings.profile, Some(Profile::Wan));
        assert_eq!(settings.timeout(), Duration::from_secs(1));
        assert_eq!(settings.settle_after, None);
        assert_eq!(settings.client().connect_timeout, Config::new(Role::Client).connect_timeout);
    }

    #[test]
    fn a_flag_can_take_back_what_the_file_switches_on() {
        let flags = Settings { open: Some(false), ..Settings::default() };
        let settings = gather(flags, &[("XORUM_OPEN", "true")], "open = true\nno-repl = true").expect("good settings");
        assert!(!settings.client().open);
        assert_eq!(settings.no_repl, Some(true));
    }

    #[test]
    fn an_empty_variable_is_not_set_and_a_list_is_separated_by_commas() {
        let env =
            [("XORUM_REPLICAS", ""), ("XORUM_BOOTSTRAP", "/ip4/127.0.0.1/tcp/4001, /ip4/127.0.0.1/udp/1/quic-v1")];
        let settings =
            gather(Settings::default(), &env, "bootstrap = [\"/ip4/10.0.0.1/tcp/1\"]").expect("good settings");
        assert_eq!(settings.replicas, None);
        assert_eq!(settings.bootstrap.len(), 2);
        assert_eq!(settings.bootstrap[0].to_string(), ADDR);
    }

    #[test]
    fn every_setting_can_stand_in_the_file() {
        let text = r#"
            data-dir = "d"
            listen = ["/ip4/127.0.0.1/tcp/4001"]
            bootstrap = ["/ip4/127.0.0.1/tcp/4001"]
            open = true
            network = "n"
            replicas = 3
            profile = "lan"
            split-bytes = "1MiB"
            replace-after = "5s"
            settle-after = "6s"
            cache-bytes = "8MiB"
            timeout = "500ms"
            log-format = "json"
            no-repl = false
        "#;
        let settings = gather(Settings::default(), &[], text).expect("good settings");
        let addr: Multiaddr = ADDR.parse().expect("a multiaddr");
        let expected = Config {
            listen: vec![addr.clone()],
            bootstrap: vec![addr],
            open: true,
            network: Some("n".into()),
            replicas: Some(3),
            profile: Some(Profile::Lan),
            split_bytes: Some(1 << 20),
            replace_after: Some(Duration::from_secs(5)),
            settle_after: Some(Duration::from_secs(6)),
            cache_bytes: 8 << 20,
            ..Config::new(Role::Peer { data_dir: "d".into() })
        };
        assert_eq!(settings.peer().expect("a data directory"), expected);
        assert_eq!(settings.log_format, Some(LogFormat::Json));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let refused = |env: &[(&str, &str)], text| gather(Settings::default(), env, text).expect_err("a bad setting");
        assert_eq!(
            refused(&[("XORUM_REPLICAS", "4")], ""),
            "environment variable XORUM_REPLICAS: \"4\": must be 3, 5 or 7"
        );
        assert!(refused(&[("XORUM_LISTEN", "here")], "").contains("XORUM_LISTEN: \"here\": no multiaddr"));
        assert!(refused(&[("XORUM_TIMEOUT", "11m")], "").contains("longest deadline"));
        assert!(refused(&[], "open = true\nreplicas = 4").starts_with("configuration file FILE: line 2: must be 3"));
        assert!(refused(&[], "# one\nshards = 4").contains("line 2: unknown field `shards`"));
        assert!(refused(&[], "timeout = \"0s\"").contains("longer than 0"));
        assert!(refused(&[], "timeout = \"soon\"").contains("500ms"));
    }
}
