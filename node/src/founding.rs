//! What a network is made of, and what a later start may say of it.

use xorum_behaviours::wire::{Access, Bounds, Genesis};

use crate::{
    config::{Config, DEFAULT_REPLICAS, DEFAULT_SPLIT_BYTES, Profile},
    error::StartError,
};

/// The genesis record of a network that this configuration founds.
///
/// # Errors
/// When it could not be served.
pub(crate) fn genesis(config: &Config) -> Result<Genesis, StartError> {
    let mut timings = config.profile.unwrap_or(Profile::Lan).timings();
    if let Some(replace_after) = config.replace_after {
        timings.placement.replace_after_ms = replace_after.as_millis() as u64;
    }
    if let Some(settle_after) = config.settle_after {
        timings.placement.settle_after_ms = settle_after.as_millis() as u64;
    }
    let genesis = Genesis {
        nonce: rand::random(),
        label: config.network.clone().unwrap_or_default(),
        access: Access::Open,
        replication_factor: config.replicas.unwrap_or(DEFAULT_REPLICAS),
        split_bytes: config.split_bytes.unwrap_or(DEFAULT_SPLIT_BYTES),
        timings,
        bounds: Bounds::default(),
    };
    genesis.check()?;
    Ok(genesis)
}

/// Refuses a setting that was given and is not what the network has. What was not given is no setting.
///
/// # Errors
/// Names the first that differs.
pub(crate) fn check_settings(config: &Config, genesis: &Genesis) -> Result<(), StartError> {
    let placement = genesis.timings.placement;
    let quoted = |label: &String| format!("{label:?}");
    same("--network", config.network.as_ref().map(quoted).as_ref(), &quoted(&genesis.label))?;
    same("--replicas", config.replicas.as_ref(), &genesis.replication_factor)?;
    same("--split-bytes", config.split_bytes.as_ref(), &genesis.split_bytes)?;
    same_ms("--replace-after", config.replace_after, placement.replace_after_ms)?;
    same_ms("--settle-after", config.settle_after, placement.settle_after_ms)?;
    match config.profile {
        Some(profile) if profile.timings().raft != genesis.timings.raft => Err(StartError::DiffersFromGenesis {
            setting: "--profile",
            given: format!("{profile:?}").to_lowercase(),
            network: "timings".into(),
        }),
        _ => Ok(()),
    }
}

fn same<T: PartialEq + ToString>(setting: &'static str, given: Option<&T>, network: &T) -> Result<(), StartError> {
    match given {
        Some(given) if given != network => {
            Err(StartError::DiffersFromGenesis { setting, given: given.to_string(), network: network.to_string() })
        }
        _ => Ok(()),
    }
}

fn same_ms(setting: &'static str, given: Option<std::time::Duration>, network: u64) -> Result<(), StartError> {
    let given = given.map(|given| humantime::format_duration(given).to_string());
    same(setting, given.as_ref(), &humantime::format_duration(std::time::Duration::from_millis(network)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    fn config() -> Config {
        Config::new(Role::Client)
    }

    #[test]
    fn only_settings_that_were_given_are_compared() {
        let mut founder = config();
        (founder.replicas, founder.network) = (Some(3), Some("home".into()));
        let genesis = genesis(&founder).expect("it can be served");
        assert!(check_settings(&config(), &genesis).is_ok());
        assert!(check_settings(&founder, &genesis).is_ok());
        let mut other = config();
        other.replicas = Some(5);
        assert!(matches!(
            check_settings(&other, &genesis),
            Err(StartError::DiffersFromGenesis { setting: "--replicas", .. })
        ));
        let mut other = config();
        other.profile = Some(Profile::Wan);
        assert!(matches!(
            check_settings(&other, &genesis),
            Err(StartError::DiffersFromGenesis { setting: "--profile", .. })
        ));
    }

    #[test]
    fn two_networks_of_one_configuration_are_two() {
        let id = || genesis(&config()).expect("it can be served").network_id().expect("encodable");
        assert_ne!(id(), id());
    }
}
