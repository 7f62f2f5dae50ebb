//! controller-runtime's suites that start an API server and an etcd of their own (sigs.k8s.io/controller-runtime), run
//! unchanged from its module on our binary under both names, or on upstream's programs.
//!
//! Non-goal: packages of it that start none, and subtests that download older programs.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::plane::Side;
use crate::{cluster, paths, process, upstream};

const MODULE: &str = "sigs.k8s.io/controller-runtime";
/// What a suite of these packages imports.
const ENVTEST: &str = "sigs.k8s.io/controller-runtime/pkg/envtest";
/// The programs that envtest starts, and kubectl, which some suites run.
const SERVERS: [&str; 2] = ["etcd", "kube-apiserver"];
/// Subtests that download the programs of v1.28, to switch off there what later versions have for good.
const DOWNLOADING: &str = "aggregatedDiscovery=false";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Whose programs the suites start
    #[arg(long, value_enum, default_value = "keelson")]
    side: Side,
    /// Packages, by the end of their paths (default: all)
    packages: Vec<String>,
    /// Only tests whose names match this (of Ginkgo's suites)
    #[arg(long)]
    focus: Option<String>,
}

/// Runs the suites and returns how many packages passed and how many did not.
pub(crate) fn run(options: &Options) -> Result<(u64, u64)> {
    let dir = tempfile::Builder::new().prefix("keelson-envtest-").tempdir()?;
    assets(options.side, dir.path())?;
    let module = upstream::module("envtest", MODULE)?;
    let packages = packages(&module, &options.packages)?;
    let mut test = go(&module);
    // One after the other: each starts servers, and many of its tests wait for a fixed time.
    test.args(["test", "-count=1", "-p=1", "-vet=off", "-skip", DOWNLOADING]).args(&packages);
    test.args(options.focus.iter().map(|focus| format!("-ginkgo.focus={focus}")));
    test.env("KUBEBUILDER_ASSETS", dir.path()).stderr(Stdio::inherit());
    let output = test.output().context("cannot run go")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let tally = read(&text);
    ensure!(tally.0 + tally.1 == packages.len() as u64, "{} packages, but {tally:?} ended", packages.len());
    Ok(tally)
}

/// Links to the programs under the names that envtest looks for.
fn assets(side: Side, dir: &Path) -> Result<()> {
    upstream::build(&["kubectl"])?;
    match side {
        Side::Upstream => upstream::build(&SERVERS)?,
        Side::Keelson => cluster::build_keelson()?,
    }
    for name in SERVERS {
        let program = match side {
            Side::Upstream => paths::upstream(name),
            Side::Keelson => std::path::absolute(paths::keelson())?,
        };
        symlink(program, dir.join(name))?;
    }
    Ok(symlink(paths::upstream("kubectl"), dir.join("kubectl"))?)
}

fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(module).env("GOFLAGS", "-mod=readonly -buildvcs=false").env("GOWORK", "off");
    command
}

/// The packages whose tests import envtest, and its own.
fn packages(module: &Path, wanted: &[String]) -> Result<Vec<String>> {
    let format = "{{.ImportPath}} {{join .TestImports \" \"}} {{join .XTestImports \" \"}}";
    let listed = process::output(go(module).args(["list", "-f", format, "./pkg/..."]))?;
    let all: Vec<&str> = listed.lines().filter_map(starts_servers).collect();
    let is_wanted = |package: &&str| wanted.is_empty() || wanted.iter().any(|end| package.ends_with(end.as_str()));
    let chosen: Vec<String> = all.iter().copied().filter(is_wanted).map(Into::into).collect();
    if chosen.is_empty() {
        bail!("no such package; there are {}", all.join(", "));
    }
    Ok(chosen)
}

/// The package of a line of `go list`, when its tests import envtest or it is envtest.
fn starts_servers(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let package = words.next()?;
    (package == ENVTEST || words.any(|import| import == ENVTEST)).then_some(package)
}

/// How many packages passed and how many did not.
fn read(text: &str) -> (u64, u64) {
    let lines_with = |start| text.lines().filter(|line| line.starts_with(start)).count() as u64;
    (lines_with("ok  \t"), lines_with("FAIL\t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_start_servers() {
        assert_eq!(starts_servers("m/a fmt sigs.k8s.io/controller-runtime/pkg/envtest os"), Some("m/a"));
        assert_eq!(starts_servers("m/b fmt sigs.k8s.io/controller-runtime/pkg/envtest/komega"), None);
        assert_eq!(starts_servers(&format!("{ENVTEST} os")), Some(ENVTEST));
        assert_eq!(starts_servers(""), None);
    }

    #[test]
    fn packages_are_counted() {
        let text = "ok  \tm/a\t3.1s\n--- FAIL: TestX (0.1s)\nFAIL\nFAIL\tm/b\t0.1s\nFAIL\tm/c [build failed]\n";
        assert_eq!(read(text), (1, 2));
    }
}
