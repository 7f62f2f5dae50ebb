//! A Keelson cluster with fake nodes for one run: `keelson up`, and `keelson down` when dropped.
//!
//! Invariant: nothing of the user's is touched; home, kubeconfig and state are in the run's directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{paths, process};

/// Images that upstream's tests expect no node to be able to pull.
const ABSENT_IMAGES: &str = "webserver:404,foo:non-existent";

/// Brings the release build up to date, unless $KEELSON_BIN names another binary.
pub(crate) fn build_keelson() -> Result<()> {
    if std::env::var_os("KEELSON_BIN").is_some() {
        return Ok(());
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    process::run(cargo.current_dir(paths::root()).args(["build", "--release"]))
}

pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    name: String,
}

impl Cluster {
    /// Starts a cluster and returns when the first pod can run.
    pub(crate) fn up(fake_nodes: u32) -> Result<Self> {
        build_keelson()?;
        let dir = tempfile::Builder::new().prefix("keelson-conformance-").tempdir()?;
        let cluster = Cluster { dir, name: format!("conformance-{}", std::process::id()) };
        let [port] = process::free_ports()?;
        let mut up = cluster.command("up");
        up.args(["--api-port", &port.to_string(), "--fake-nodes", &fake_nodes.to_string()]);
        up.args(["--fake-absent-images", ABSENT_IMAGES]);
        process::run(&mut up).context("the cluster did not start")?;
        Ok(cluster)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data().join("admin.kubeconfig")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, verb: &str) -> Command {
        let home: &Path = self.dir.path();
        let mut command = Command::new(paths::keelson());
        command.arg(verb).args(["--name", &self.name]).arg("--data-dir").arg(self.data());
        command.env("HOME", home).env("KUBECONFIG", home.join("kubeconfig")).env("XDG_STATE_HOME", home.join("state"));
        // With sudo the kubeconfig of the invoking user would be merged into.
        command.env_remove("SUDO_UID").env_remove("SUDO_USER");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = process::run(&mut self.command("down")) {
            eprintln!("warning: {error:#}");
        }
    }
}
