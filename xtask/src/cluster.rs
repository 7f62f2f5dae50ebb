//! A Keelson cluster with fake nodes for one run: `keelson up`, and `keelson down` when dropped.
//!
//! Invariant: nothing of the user's is touched; home, kubeconfig and state are in the run's directory.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::plane::{self, Side};
use crate::process::Server;
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

/// How long the API server may take to be there for upstream's components.
const READY_LIMIT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(50);
/// Upstream's components that can stand beside our API server and nodes, and the kubeconfig that `up` makes for each.
pub(crate) const CONTROL: [(&str, &str); 2] =
    [("kube-controller-manager", "controller-manager.conf"), ("kube-scheduler", "scheduler.conf")];

pub(crate) struct Cluster {
    // Dropped before the cluster is stopped.
    control: Vec<Server>,
    dir: tempfile::TempDir,
    name: String,
}

impl Cluster {
    /// Starts a cluster and returns when the first pod can run. `control` says whose controller manager and scheduler
    /// it has.
    pub(crate) fn up(fake_nodes: u32, control: Side) -> Result<Self> {
        build_keelson()?;
        let dir = tempfile::Builder::new().prefix("keelson-conformance-").tempdir()?;
        let mut cluster = Cluster { control: Vec::new(), dir, name: format!("conformance-{}", std::process::id()) };
        let [port] = process::free_ports()?;
        let mut up = cluster.command("up");
        up.args(["--api-port", &port.to_string(), "--fake-nodes", &fake_nodes.to_string()]);
        up.args(["--fake-absent-images", ABSENT_IMAGES]);
        if control == Side::Upstream {
            up.args(["--components", "kube-apiserver,kubelet"]);
            // It ends when the first pod can run, for which upstream's components have to be there.
            let mut starting = up.spawn().context("the cluster did not start")?;
            cluster.start_control(&mut starting)?;
            ensure!(starting.wait()?.success(), "the cluster did not start");
        } else {
            process::run(&mut up).context("the cluster did not start")?;
        }
        Ok(cluster)
    }

    /// Starts upstream's controller manager and scheduler as soon as the API server of `starting` answers.
    fn start_control(&mut self, starting: &mut Child) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        while !self.is_ready()? {
            ensure!(starting.try_wait()?.is_none_or(|status| status.success()), "the cluster did not start");
            ensure!(Instant::now() < deadline, "the API server is not ready in time");
            process::sleep(READY_POLL);
        }
        for (component, kubeconfig) in CONTROL {
            let [port] = process::free_ports()?;
            let (pki, kubeconfig) = (self.data().join("pki"), self.data().join(kubeconfig));
            let mut command = Side::Upstream.program(component);
            command.args(plane::component_flags(component, &pki, &kubeconfig, port));
            self.control.push(Server::start(component, &mut command, self.dir.path())?);
        }
        Ok(())
    }

    fn is_ready(&self) -> Result<bool> {
        let kubeconfig = self.kubeconfig();
        if !kubeconfig.exists() {
            return Ok(false);
        }
        let mut ask = plane::kubectl(self.dir.path(), &kubeconfig);
        Ok(ask.args(["get", "--raw", "/readyz"]).output()?.status.success())
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
        self.control.clear();
        if let Err(error) = process::run(&mut self.command("down")) {
            eprintln!("warning: {error:#}");
        }
    }
}
