//! Runs a choice of upstream's e2e suite, unchanged and with auth on, and holds the outcome against
//! the ratchet conformance/known-green.txt: a test in it must pass; tests that newly pass are listed,
//! and added with --update. Nothing leaves the list but by an edit that says why.
//!
//! Tests marked [Serial] run afterwards in one process, as upstream's own jobs run them.

mod choice;
mod ratchet;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cluster::{CONTROL, Cluster};
use crate::plane::Side;
use crate::{paths, process, upstream};
use choice::{Choice, Table};
use ratchet::{Outcome, Ratchet};
use report::Ran;

/// Nodes of the cluster that is started; the suite wants two at least.
const FAKE_NODES: u32 = 2;
const SERIAL: &str = "[Serial]";
/// The slice of `cargo xtask ci` must fit an hour with everything else.
const CI_TIMEOUT: &str = "20m";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Classes of conformance/classes.tsv (A, or A,B1) or a regular expression on test names
    choice: Option<String>,
    /// The known-green tests
    #[arg(long, conflicts_with = "choice")]
    green: bool,
    /// Every conformance test
    #[arg(long, conflicts_with_all = ["choice", "green"])]
    all: bool,
    /// Tests at a time
    #[arg(long, default_value_t = 4)]
    procs: u32,
    /// Run against this cluster instead of starting one
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Whose controller manager and scheduler stand beside the API server that is started
    #[arg(long, value_enum, default_value_t = Side::Keelson, conflicts_with = "kubeconfig")]
    control: Side,
    /// Add tests that newly pass to conformance/known-green.txt; only on a cluster that is started here
    #[arg(long, conflicts_with = "kubeconfig")]
    update: bool,
    /// Give up after this long, as Go writes durations
    #[arg(long, default_value = "3h")]
    timeout: String,
}

impl Options {
    /// The run that `cargo xtask ci` makes.
    pub(crate) fn green(procs: u32) -> Self {
        Options {
            choice: None,
            green: true,
            all: false,
            procs,
            kubeconfig: None,
            control: Side::Keelson,
            update: false,
            timeout: CI_TIMEOUT.into(),
        }
    }

    fn choice(&self) -> Result<Choice> {
        match &self.choice {
            Some(text) => Choice::parse(text),
            None if self.green => Ok(Choice::Green),
            None if self.all => Ok(Choice::All),
            None => bail!("name a class, a regular expression, --green or --all"),
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let choice = options.choice()?;
    let table = Table::read(&paths::conformance().join("classes.tsv"))?;
    let mut ratchet = Ratchet::read(&paths::conformance().join("known-green.txt"))?;
    let chosen = choice.names(&table, ratchet.names())?;
    if chosen.is_empty() {
        println!("conformance: nothing to run");
        return Ok(Outcome::default());
    }
    upstream::build(&["e2e.test", "ginkgo", "kubectl"])?;
    if options.control == Side::Upstream {
        upstream::build(&CONTROL.map(|(component, _)| component))?;
    }
    let cluster = match &options.kubeconfig {
        None => Some(Cluster::up(FAKE_NODES, options.control)?),
        Some(_) => None,
    };
    let kubeconfig = match (&options.kubeconfig, &cluster) {
        (Some(path), _) => path.canonicalize().with_context(|| path.display().to_string())?,
        (None, Some(cluster)) => cluster.kubeconfig(),
        (None, None) => bail!("no cluster"),
    };
    let (output, nodeless) = (output_dir()?, table.nodeless(&chosen));
    let suite = Suite { kubeconfig, output, nodeless, timeout: options.timeout.clone() };
    let start = Instant::now();
    let ran = suite.run(&chosen, options.procs)?;
    drop(cluster);
    let outcome = ratchet.compare(&chosen, &ran);
    outcome.print(&suite.output, start.elapsed());
    if options.update {
        ratchet.add(&outcome)?;
    }
    Ok(outcome)
}

fn output_dir() -> Result<PathBuf> {
    let dir = paths::target().join("conformance");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// How the suite is called.
struct Suite {
    kubeconfig: PathBuf,
    output: PathBuf,
    /// No test chosen needs a node, so none is waited for.
    nodeless: bool,
    timeout: String,
}

impl Suite {
    fn run(&self, chosen: &[String], procs: u32) -> Result<Vec<Ran>> {
        let (serial, parallel): (Vec<_>, Vec<_>) = chosen.iter().partition(|name| name.contains(SERIAL));
        let mut ran = Vec::new();
        for (part, names, procs) in [("parallel", parallel, procs), ("serial", serial, 1)] {
            if !names.is_empty() {
                eprintln!("conformance: {} {part} tests, {procs} at a time ...", names.len());
                ran.extend(self.run_part(part, &names, procs)?);
            }
        }
        Ok(ran)
    }

    fn run_part(&self, part: &str, names: &[&String], procs: u32) -> Result<Vec<Ran>> {
        let json = format!("{part}.json");
        let report = self.output.join(&json);
        if report.exists() {
            std::fs::remove_file(&report)?;
        }
        let log = self.output.join(format!("{part}.log"));
        let file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(paths::upstream("ginkgo"));
        command.args([
            "--no-color",
            "--keep-going",
            &format!("--timeout={}", self.timeout),
            &format!("--procs={procs}"),
        ]);
        command.arg(format!("--output-dir={}", self.output.display())).arg(format!("--json-report={json}"));
        command.arg(format!("--focus={}", choice::focus(names)));
        command.arg(paths::upstream("e2e.test")).arg("--").args(self.suite_flags());
        command.env("GINKGO_NO_COLOR", "true").stdout(file.try_clone()?).stderr(file);
        let status = command.status().context("cannot run ginkgo")?;
        // Ginkgo's own exit code says only that some test failed; the report says which.
        if !report.exists() {
            bail!("ginkgo made no report: {status}\n{}", process::tail(&log));
        }
        report::read(&report).with_context(|| log.display().to_string())
    }

    fn suite_flags(&self) -> Vec<String> {
        let path = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let mut flags = vec![
            "--provider=skeleton".into(),
            path("kubeconfig", &self.kubeconfig),
            path("kubectl-path", &paths::upstream("kubectl")),
            "--disable-log-dump".into(),
        ];
        if self.nodeless {
            flags.extend(["--allowed-not-ready-nodes=-1".into(), format!("--num-nodes={FAKE_NODES}")]);
        }
        flags
    }
}
