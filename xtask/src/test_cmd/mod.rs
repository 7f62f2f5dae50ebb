//! Upstream's kubectl integration cases (hack/make-rules/test-cmd.sh of k8s.io/kubernetes), run unchanged with
//! upstream's kubectl, controller manager and etcd on one side's API server.
//!
//! The script starts what it tests itself; here are only the tree that it expects and programs instead of builds.
//! Non-goal: cases alone that the script cannot run alone; its `WHAT` knows only names that end in `_tests`.

mod report;
mod tree;

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::plane::Side;
use crate::{cluster, paths, process, upstream};

const MODULE: &str = "k8s.io/kubernetes";
/// What the script runs: of upstream, whichever side is tested.
const PROGRAMS: [&str; 4] = ["etcd", "kubectl", "kubectl-convert", "kube-controller-manager"];
const APISERVER: &str = "kube-apiserver";
/// Where the script waits for the controller manager, which it gives no port.
const CONTROLLER_MANAGER_PORT: u16 = 10257;
/// Cases that fail, and why: `case | reason` a line.
const REASONS: &str = "test-cmd.txt";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Whose API server the cases run against
    #[arg(long, value_enum, default_value = "keelson")]
    side: Side,
    /// Cases by their names (default: all)
    cases: Vec<String>,
}

/// Runs the cases and tells of those that failed; whether all of them are known to.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let module = upstream::module(".", MODULE)?;
    let script = module.join("test/cmd/legacy-script.sh");
    let script = std::fs::read_to_string(&script).with_context(|| script.display().to_string())?;
    let wanted = wanted(&report::cases(&script), &options.cases)?;
    let reasons = report::Reasons::read(&paths::conformance().join(REASONS))?;
    let dir = tempfile::Builder::new().prefix("keelson-test-cmd-").tempdir()?;
    // The script's own name of where it is has no links in it.
    let root = dir.path().canonicalize()?.join("kubernetes");
    tree::copy(&module, &root)?;
    programs(options.side, &root)?;
    let logs = paths::target().join("test-cmd");
    std::fs::create_dir_all(&logs)?;
    let log = logs.join(format!("{}.log", options.side.name()));
    println!("{} cases on {}; the log is {}", wanted.len(), options.side.name(), log.display());
    let start = Instant::now();
    let what = if options.cases.is_empty() { &[][..] } else { &wanted };
    let mut script = command(dir.path(), &root, what, &log)?;
    if options.side == Side::Keelson {
        // Our version is upstream's with our name behind it, from which kubectl's differs.
        script.env("ALLOW_SKEW", "true");
    }
    let ended = script.status().context("cannot run bash")?.success();
    let text = std::fs::read(&log).with_context(|| log.display().to_string())?;
    let outcomes = report::read(&String::from_utf8_lossy(&text));
    let report = report::Report::new(&wanted, &outcomes, &reasons);
    print!("{report}");
    println!("{:.0} s", start.elapsed().as_secs_f64());
    println!("{} passed, {} failed", report.passed, report.failed);
    ensure!(ended || report.failed > 0, "the script failed, but none of its cases; see {}", log.display());
    Ok(report.unknown == 0)
}

/// The names of the cases that are asked for, with or without what all names have around them.
fn wanted(all: &[String], asked: &[String]) -> Result<Vec<String>> {
    if asked.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| {
        let full = format!("run_{}_tests", short(name));
        if all.contains(&full) {
            Ok(full)
        } else {
            bail!("no case {name} that runs alone; there are {}", all.join(", "))
        }
    };
    asked.iter().map(find).collect()
}

/// The name that the script's `WHAT` knows.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("run_").unwrap_or(name);
    name.strip_suffix("_tests").unwrap_or(name)
}

/// Links where the script looks for what it would build, for etcd and for make, which has nothing to do.
fn programs(side: Side, root: &Path) -> Result<()> {
    upstream::build(&PROGRAMS)?;
    let apiserver = match side {
        Side::Upstream => {
            upstream::build(&[APISERVER])?;
            paths::upstream(APISERVER)
        }
        Side::Keelson => {
            cluster::build_keelson()?;
            std::path::absolute(paths::keelson())?
        }
    };
    let bin = root.join("_output/bin");
    std::fs::create_dir_all(&bin)?;
    let link = |program: &Path, name: &str| {
        std::os::unix::fs::symlink(program, bin.join(name)).with_context(|| name.to_owned())
    };
    PROGRAMS.iter().try_for_each(|name| link(&paths::upstream(name), name))?;
    link(&apiserver, APISERVER)?;
    link(Path::new("/bin/true"), "make")
}

/// The script, with what it prints in `log`.
fn command(dir: &Path, root: &Path, what: &[String], log: &Path) -> Result<Command> {
    TcpListener::bind(("127.0.0.1", CONTROLLER_MANAGER_PORT))
        .with_context(|| format!("port {CONTROLLER_MANAGER_PORT}, which the controller manager needs"))?;
    let [etcd, api] = process::free_ports()?;
    let temporary = dir.join("tmp");
    std::fs::create_dir(&temporary)?;
    let output = File::create(log).with_context(|| log.display().to_string())?;
    let mut script = Command::new("bash");
    script.arg("hack/make-rules/test-cmd.sh").current_dir(root).stdin(Stdio::null());
    script.stdout(output.try_clone()?).stderr(output);
    script.env("TMPDIR", &temporary).env("SERVICE_ACCOUNT_KEY", dir.join("service-account.key"));
    script.env("KUBE_JUNIT_REPORT_DIR", dir.join("junit")).env_remove("KUBECONFIG").env_remove("ARTIFACTS");
    script.env("ETCD_PORT", etcd.to_string()).env("SECURE_API_PORT", api.to_string());
    // The terminal's colours are asked for by name, and failures tell where they are only from this verbosity on.
    script.env("TERM", "xterm").env("KUBE_VERBOSE", "4");
    let short: Vec<&str> = what.iter().map(|name| short(name)).collect();
    script.env("WHAT", short.join(" "));
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_asked_for_by_any_of_their_names() {
        let all = ["run_pod_tests", "run_secrets_test"].map(String::from);
        let check = |asked: &str| wanted(&all, &[asked.to_owned()]).ok();
        for name in ["pod", "run_pod_tests", "pod_tests"] {
            assert_eq!(check(name), Some(vec!["run_pod_tests".to_owned()]), "{name}");
        }
        assert_eq!(check("secrets_test"), None, "the script cannot run it alone");
        assert_eq!(wanted(&all, &[]).unwrap(), all);
    }
}
