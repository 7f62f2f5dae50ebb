//! Fuzzing of what parses bytes: builds the targets of fuzz/ with coverage counters and runs each with libFuzzer.
//!
//! Seeds are upstream's testdata and fuzz/seeds; what covers more is kept in fuzz/corpus, what fails in fuzz/findings.
//! Non-goal: what must hold, which fuzz/src says.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{paths, process, upstream};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// What libFuzzer needs of a program: counters of its edges and of what it compares.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];
/// Targets that start from upstream's testdata, with the ending of their files.
const TESTDATA: &[(&str, &str)] = &[("json", "json"), ("objects", "json"), ("protobuf", "pb"), ("yaml", "yaml")];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Targets (default: all)
    names: Vec<String>,
    /// How long each runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs the targets one after the other; (targets without a finding, targets with one).
pub(crate) fn run(options: &Options) -> Result<(u64, u64)> {
    let dir = paths::root().join("fuzz");
    let all = targets(&dir)?;
    let names = if options.names.is_empty() { all.clone() } else { options.names.clone() };
    ensure!(names.iter().all(|name| all.contains(name)), "the targets are {}", all.join(", "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--release", "--locked", "--target", TRIPLE];
    process::run(Command::new(cargo).current_dir(&dir).env("RUSTFLAGS", FLAGS.join(" ")).args(build))?;
    let mut held = 0;
    for name in &names {
        held += u64::from(fuzz(&dir, name, options.seconds)?);
    }
    Ok((held, names.len() as u64 - held))
}

/// Each file of src/bin is one.
fn targets(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.join("src/bin"))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn fuzz(dir: &Path, name: &str, seconds: u64) -> Result<bool> {
    let (corpus, findings) = (dir.join("corpus").join(name), dir.join("findings"));
    for made in [&corpus, &findings] {
        std::fs::create_dir_all(made).with_context(|| made.display().to_string())?;
    }
    let mut command = Command::new(dir.join("target").join(TRIPLE).join("release").join(name));
    command.arg(format!("-max_total_time={seconds}")).args(["-timeout=10", "-rss_limit_mb=1024", "-verbosity=0"]);
    command.args(["-print_final_stats=1", "-max_len=65536"]);
    command.arg(format!("-artifact_prefix={}/{name}-", findings.display())).arg(&corpus);
    let own = dir.join("seeds").join(name);
    command.args(own.is_dir().then_some(own)).args(testdata(dir, name)?);
    let held = command.status().with_context(|| name.to_owned())?.success();
    println!("{name}: {}", if held { "nothing found" } else { "see fuzz/findings" });
    Ok(held)
}

/// A directory of links to upstream's files of the target's format.
fn testdata(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    let Some((_, ending)) = TESTDATA.iter().find(|(target, _)| *target == name) else { return Ok(None) };
    let links = dir.join("target/testdata").join(name);
    std::fs::create_dir_all(&links)?;
    for entry in std::fs::read_dir(upstream::module("", "k8s.io/api")?.join("testdata/HEAD"))? {
        let path = entry?.path();
        let link = links.join(path.file_name().unwrap_or_default());
        if path.extension().is_some_and(|is| is == *ending) && !link.exists() {
            std::os::unix::fs::symlink(&path, &link)?;
        }
    }
    Ok(Some(links))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_function_and_seeds_have_theirs() {
        let dir = paths::root().join("fuzz");
        let sources = std::fs::read_dir(dir.join("src")).expect("sources").map(|file| file.expect("a file").path());
        let sources = sources.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).expect("text"));
        let properties: String = sources.collect();
        let names = targets(&dir).expect("targets");
        assert!(!names.is_empty());
        for name in &names {
            assert!(properties.contains(&format!("pub fn {name}(data: &[u8])")), "{name}");
            let seeded = TESTDATA.iter().any(|(target, _)| target == name) || dir.join("seeds").join(name).is_dir();
            assert!(seeded, "{name} has no seeds");
        }
    }
}
