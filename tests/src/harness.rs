//! One cluster in a directory that goes with it.
//!
//! Invariant: with fake nodes nothing outside that directory is touched (home, kubeconfig and state are in
//! it), ports are free ones of 127.0.0.1, and the process is gone when the [`Cluster`] is; what a real node
//! makes on the machine is taken away by `keelson reset`. The process runs in the foreground, so that killing
//! it kills every component, as a power cut would; containers go on.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{Condition, await_condition};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, ResourceExt};
use tokio::process::{Child, Command};

/// How long a cluster may take to start on a machine that builds at the same time.
const START_LIMIT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(5);
/// How long a condition may take to come true.
pub const CONDITION_LIMIT: Duration = Duration::from_secs(60);

/// The binary under test: $KEELSON_BIN, or the release or debug build.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KEELSON_BIN") {
        return Ok(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let builds = ["release", "debug"].map(|profile| target.join(profile).join("keelson"));
    let built = builds.into_iter().find(|path| path.exists());
    built.with_context(|| format!("no keelson below {}; run `cargo build --release`", target.display()))
}

/// What the pods of a cluster run on.
#[derive(Clone, Debug)]
pub enum Nodes {
    Fake(u32),
    /// This machine, with the image archives of a directory.
    Real(PathBuf),
}

impl Nodes {
    fn count(&self) -> u32 {
        match self {
            Nodes::Fake(count) => *count,
            Nodes::Real(_) => 1,
        }
    }
}

/// A running cluster.
pub struct Cluster {
    place: Place,
    child: Child,
    client: Client,
}

/// Where it is, and on which nodes; undone when dropped.
struct Place {
    dir: tempfile::TempDir,
    port: u16,
    nodes: Nodes,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Nodes::Real(_) = self.nodes
            && let Err(error) = self.reset()
        {
            eprintln!("keelson reset: {error:#}");
        }
    }
}

impl Cluster {
    /// Starts a cluster and returns when a pod can run on it.
    pub async fn start(nodes: Nodes) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("keelson-tests-").tempdir()?;
        let place = Place { dir, port: free_port()?, nodes };
        let (child, client) = place.launch().await?;
        Ok(Cluster { place, child, client })
    }

    /// A client with the administrator's certificate.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.place.dir.path().join("data/admin.kubeconfig")
    }

    /// Kills the process without warning.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("kill -9")
    }

    /// Starts it again on what it left and returns how long it took until a pod can run.
    pub async fn restart(&mut self) -> Result<Duration> {
        let start = Instant::now();
        (self.child, self.client) = self.place.launch().await?;
        Ok(start.elapsed())
    }

    /// Stops it and removes everything that it made.
    pub fn reset(mut self) -> Result<()> {
        self.place.reset()?;
        // Nothing is left to undo.
        self.place.nodes = Nodes::Fake(0);
        Ok(())
    }
}

/// A port of 127.0.0.1 that nothing listens on now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

impl Place {
    async fn launch(&self) -> Result<(Child, Client)> {
        let dir = self.dir.path();
        let mut child = self.up()?.spawn().context("cannot start keelson")?;
        let ready = async {
            let client = answering(&dir.join("data/admin.kubeconfig")).await;
            ready_nodes(&client, self.nodes.count()).await?;
            let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
            until(&accounts, "default", |account: Option<&ServiceAccount>| account.is_some()).await?;
            Ok(client)
        };
        let started = tokio::select! {
            started = tokio::time::timeout(START_LIMIT, ready) => started.context("not ready in time").flatten(),
            status = child.wait() => Err(anyhow::anyhow!("keelson ended: {}", status?)),
        };
        match started {
            Ok(client) => Ok((child, client)),
            Err(error) => Err(error.context(log_end(dir))),
        }
    }

    fn up(&self) -> Result<Command> {
        let dir = self.dir.path();
        let log = File::options().create(true).append(true).open(dir.join("keelson.log"))?;
        let mut command = Command::from(self.keelson("up")?);
        command.args(["--foreground", "--api-port", &self.port.to_string()]);
        match &self.nodes {
            Nodes::Fake(count) => command.args(["--fake-nodes", &count.to_string()]),
            Nodes::Real(images) => command.args(["--nodes", "1", "--images"]).arg(images),
        };
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        Ok(command)
    }

    fn reset(&self) -> Result<()> {
        let output = self.keelson("reset")?.arg("--yes").output().context("keelson reset")?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// A command on this cluster.
    fn keelson(&self, subcommand: &str) -> Result<std::process::Command> {
        let dir = self.dir.path();
        let mut command = std::process::Command::new(binary()?);
        command.args([subcommand, "--name", &format!("tests-{}", self.port)]).arg("--data-dir").arg(dir.join("data"));
        command.env("HOME", dir).env("KUBECONFIG", dir.join("kubeconfig")).env("XDG_STATE_HOME", dir.join("state"));
        command.env_remove("SUDO_UID").env_remove("SUDO_USER");
        Ok(command)
    }
}

/// The end of the log, for the message of a test that fails.
fn log_end(dir: &Path) -> String {
    const LINES: usize = 30;
    let text = std::fs::read_to_string(dir.join("keelson.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// A client as soon as the kubeconfig is there and /readyz says so. Neither has an event to wait for.
async fn answering(kubeconfig: &Path) -> Client {
    loop {
        if let Ok(client) = connect(kubeconfig).await {
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a constant path");
            if client.request_text(request).await.is_ok() {
                return client;
            }
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

async fn connect(kubeconfig: &Path) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Waits until `count` nodes are Ready.
async fn ready_nodes(client: &Client, count: u32) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut ready = BTreeSet::new();
    let mut changes = pin!(watcher(nodes, watcher::Config::default()).default_backoff().applied_objects());
    while ready.len() < count as usize {
        // A watch that fails is tried again, by its back-off.
        match changes.next().await.context("the watch of nodes ended")? {
            Ok(node) if is_ready(&node) => drop(ready.insert(node.name_any())),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until an object is as `condition` says.
pub async fn until<K>(api: &Api<K>, name: &str, condition: impl Condition<K>) -> Result<Option<K>>
where
    K: Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + kube::Resource + 'static,
{
    let wait = await_condition(api.clone(), name, condition);
    match tokio::time::timeout(CONDITION_LIMIT, wait).await {
        Ok(object) => Ok(object?),
        Err(_) => bail!("{name} is not as expected after {CONDITION_LIMIT:?}: {:?}", api.get_opt(name).await?),
    }
}
