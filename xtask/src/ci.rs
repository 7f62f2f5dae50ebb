//! Everything that must hold before a change is merged, in one command. The last line is
//! `N passed, N failed`; the exit code is 0 only when nothing failed.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{conformance, paths, podsecurity, swap, tidy, upstream};

/// Upstream's programs that tests need: the store's suite runs on a real etcd, tests compare with a
/// real kube-apiserver, and the rest runs the conformance tests.
const PROGRAMS: &[&str] =
    &["load", "etcd", "kube-apiserver", "kubectl", "ginkgo", "e2e.test", "helm", "kwok", "kwokctl"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out upstream's programs and the conformance tests
    #[arg(long)]
    quick: bool,
    /// Conformance tests at a time
    #[arg(long, default_value_t = 4)]
    procs: u32,
}

/// Numbers of checks and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

type Step = fn(&Options) -> Result<Tally>;

const STEPS: &[(&str, Step)] = &[
    ("tidy", |_| tidy_step()),
    ("generated facts", |_| crate::generate::run(true).map(one)),
    ("build keelson", |_| cargo(&["build", "--release", "--locked"])),
    ("build upstream", |options| {
        if options.quick { Ok(Tally::default()) } else { upstream::build(PROGRAMS).map(|()| one(true)) }
    }),
    ("cargo test", |_| cargo_test()),
    ("swap", swap_step),
    ("pod security", pod_security_step),
    ("conformance", conformance_step),
];

pub(crate) fn run(options: &Options) -> Result<bool> {
    let start = Instant::now();
    let mut total = Tally::default();
    for (name, step) in STEPS {
        println!("== {name} (after {})", minutes(start.elapsed()));
        // A step that cannot be done is a failure; the others are still worth knowing.
        let tally = step(options).unwrap_or_else(|error| {
            println!("error: {name}: {error:#}");
            one(false)
        });
        total.add(tally);
    }
    println!("== done in {}", minutes(start.elapsed()));
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.failed == 0)
}

fn minutes(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

fn one(ok: bool) -> Tally {
    Tally { passed: ok.into(), failed: (!ok).into() }
}

fn tidy_step() -> Result<Tally> {
    let mut tally = Tally::default();
    for (check, problems) in tidy::check_all()? {
        tally.add(one(problems.is_empty()));
        for problem in problems {
            println!("{check}: {problem}");
        }
    }
    Ok(tally)
}

fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root()).args(arguments);
    command
}

fn cargo(arguments: &[&str]) -> Result<Tally> {
    let status = cargo_command(arguments).status().context("cannot run cargo")?;
    Ok(one(status.success()))
}

fn cargo_test() -> Result<Tally> {
    let mut child = cargo_command(&["test", "--workspace", "--no-fail-fast", "--locked"])
        .env("KEELSON_BIN", paths::keelson())
        .env("PATH", path_with_upstream()?)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        tally.add(counted(&line).unwrap_or_default());
    }
    // A crate that does not compile has no result line.
    if !child.wait()?.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Tests find etcd and upstream's components by name.
fn path_with_upstream() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::iter::once(paths::conformance().join("bin"));
    Ok(std::env::join_paths(own.chain(std::env::split_paths(&path)))?)
}

/// The numbers of a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; ...`; an ignored
/// test counts as failed, because none may be.
fn counted(line: &str) -> Option<Tally> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    let number = |word: &str| {
        let part = rest.split([';', '.']).find(|part| part.trim_end().ends_with(word))?;
        part.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Tally { passed: number("passed")?, failed: number("failed")? + number("ignored")? })
}

fn swap_step(options: &Options) -> Result<Tally> {
    if options.quick {
        return Ok(Tally::default());
    }
    let (passed, failed) = swap::run()?;
    Ok(Tally { passed, failed })
}

fn pod_security_step(options: &Options) -> Result<Tally> {
    if options.quick {
        return Ok(Tally::default());
    }
    let (passed, failed) = podsecurity::run(&podsecurity::Options::default())?;
    Ok(Tally { passed, failed })
}

fn conformance_step(options: &Options) -> Result<Tally> {
    if options.quick {
        return Ok(Tally::default());
    }
    let outcome = conformance::run(&conformance::Options::green(options.procs))?;
    Ok(Tally { passed: outcome.passed.len() as u64, failed: (outcome.failed.len() + outcome.missing.len()) as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_counted() {
        let ok = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(counted(ok), Some(Tally { passed: 12, failed: 0 }));
        let bad = "test result: FAILED. 1 passed; 2 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(counted(bad), Some(Tally { passed: 1, failed: 6 }));
        assert_eq!(counted("test store::x ... ok"), None);
    }
}
