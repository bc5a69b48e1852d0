//! What fuzzing starts from, and what it has found, stays harmless.
#![allow(missing_docs)]

use std::{collections::BTreeMap, fs, path::PathBuf, sync::LazyLock};

use anyhow::{Context, Result};
use proptest::prelude::*;
use xorum_behaviours::admission;
use xorum_tests::fuzz::{
    TARGETS, run,
    seeds::{self, Seed},
};

static SEEDS: LazyLock<Vec<Seed>> = LazyLock::new(|| seeds::all().expect("they can be encoded"));

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn targets_in_manifest() -> Result<Vec<String>> {
    let manifest = fs::read_to_string(corpus().join("../Cargo.toml"))?;
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    Ok(paths.filter_map(|path| path.strip_suffix(".rs\"")).map(str::to_owned).collect())
}

#[test]
fn every_input_of_every_corpus_passes_its_target() -> Result<()> {
    for (target, run) in TARGETS {
        let folder = corpus().join(target);
        let mut inputs = 0;
        for file in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = file?.path();
            // Shown only when the target panics.
            println!("{}", path.display());
            run(&fs::read(path)?);
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }
    Ok(())
}

#[test]
fn every_target_is_one_of_the_fuzzer_and_has_seeds() -> Result<()> {
    let mut seeded: BTreeMap<&str, usize> = BTreeMap::new();
    for (target, _) in SEEDS.iter() {
        *seeded.entry(*target).or_default() += 1;
    }
    let mut in_manifest = targets_in_manifest()?;
    in_manifest.sort();
    let mut targets: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
    targets.sort_unstable();
    assert_eq!(in_manifest, targets);
    assert_eq!(seeded.into_keys().collect::<Vec<_>>(), targets);
    Ok(())
}

#[test]
fn the_hello_among_the_seeds_is_one_to_the_handshake() {
    let hello = SEEDS.iter().find(|(target, bytes)| *target == "admission" && bytes.first() == Some(&1));
    let bytes = hello.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
    assert_eq!(admission::recode(&bytes), Ok(bytes));
}

#[test]
#[ignore = "writes fuzz/corpus anew, where message types have changed"]
fn write_seeds() -> Result<()> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (target, bytes) in SEEDS.iter() {
        let number = count.entry(*target).or_default();
        let folder = corpus().join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{number:02}")), bytes)?;
        *number += 1;
    }
    Ok(())
}

proptest! {
    #[test]
    fn seeds_with_bytes_changed_cut_or_put_in_pass_their_targets(
        which: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..6),
    ) {
        let (target, mut bytes) = which.get(&SEEDS).clone();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => if let Some(there) = bytes.get_mut(at) { *there = byte },
            }
        }
        run(target, &bytes);
    }
}
