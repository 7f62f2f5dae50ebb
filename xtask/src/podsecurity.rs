//! Upstream's fixtures of the Pod Security Standards, each sent to Keelson's API server as a pod and as a template, in
//! namespaces of each level and version: conformance/podsecurity, unchanged and with auth on.
//!
//! Non-goal: the texts of refusals; the tests of apiserver/src/admission/pod_security hold those.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cluster, paths, plane, process, upstream};

/// Upstream's programs that this needs.
pub(crate) const PROGRAMS: &[&str] = &["kubectl", "podsecurity.test"];

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Run against this server, which must let the user do anything, instead of starting one
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Runs every fixture and returns how many groups of them passed and how many did not.
pub(crate) fn run(options: &Options) -> Result<(u64, u64)> {
    upstream::build(PROGRAMS)?;
    if let Some(kubeconfig) = &options.kubeconfig {
        return suite(&kubeconfig.canonicalize().with_context(|| kubeconfig.display().to_string())?);
    }
    cluster::build_keelson()?;
    let dir = tempfile::Builder::new().prefix("keelson-podsecurity-").tempdir()?;
    plane::certificates(dir.path())?;
    let [port] = process::free_ports()?;
    let mut server = plane::keelson(dir.path(), port)?;
    let kubeconfig = plane::kubeconfig(dir.path(), "admin", port)?;
    plane::ready(&mut server, dir.path(), &kubeconfig)?;
    suite(&kubeconfig).with_context(|| server.log_end())
}

fn suite(kubeconfig: &Path) -> Result<(u64, u64)> {
    let mut command = Command::new(paths::upstream("podsecurity.test"));
    command.arg("-test.v").arg("-kubeconfig").arg(kubeconfig).stderr(Stdio::inherit());
    let output = command.output().context("cannot run podsecurity.test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (tally, told) = read(&text);
    told.iter().for_each(|line| println!("{line}"));
    // A binary that ended otherwise than by its tests has told of none that failed.
    if output.status.success() != (tally.1 == 0) || tally == (0, 0) {
        bail!("podsecurity.test: {}", output.status);
    }
    Ok(tally)
}

/// How many tests of a verbose run passed and did not, and what it told beside that; a test left out did not pass.
fn read(text: &str) -> ((u64, u64), Vec<&str>) {
    let (mut tally, mut told) = ((0, 0), Vec::new());
    for line in text.lines() {
        match line.trim_start() {
            own if own.starts_with("--- PASS: ") => tally.0 += 1,
            own if own.starts_with("--- ") => {
                tally.1 += 1;
                told.push(line);
            }
            own if own.starts_with("=== ") => {}
            _ => told.push(line),
        }
    }
    (tally, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verbose_run_is_counted() {
        let text = "=== RUN   TestPodSecurity\n=== RUN   TestPodSecurity/a\n    run.go:1: 0: expected error\n\
                    --- FAIL: TestPodSecurity (1.00s)\n    --- FAIL: TestPodSecurity/a (0.01s)\n    \
                    --- PASS: TestPodSecurity/b (0.01s)\n    --- SKIP: TestPodSecurity/c (0.00s)\nFAIL\n";
        let (tally, told) = read(text);
        assert_eq!(tally, (1, 3));
        assert_eq!(told[0], "    run.go:1: 0: expected error");
    }
}
