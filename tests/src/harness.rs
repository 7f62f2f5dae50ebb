//! One cluster with fake nodes, in a directory that goes with it.
//!
//! Invariant: nothing outside that directory is touched (home, kubeconfig and state are in it), ports
//! are free ones of 127.0.0.1, and the process is gone when the [`Cluster`] is. It runs in the
//! foreground, so that killing it kills the whole cluster, as a power cut would.

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

/// A running cluster.
pub struct Cluster {
    dir: tempfile::TempDir,
    port: u16,
    fake_nodes: u32,
    child: Child,
    client: Client,
}

impl Cluster {
    /// Starts a cluster and returns when a pod can run on it.
    pub async fn start(fake_nodes: u32) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("keelson-tests-").tempdir()?;
        let port = free_port()?;
        let (child, client) = launch(dir.path(), port, fake_nodes).await?;
        Ok(Cluster { dir, port, fake_nodes, child, client })
    }

    /// A client with the administrator's certificate.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Kills the process without warning.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("kill -9")
    }

    /// Starts it again on what it left and returns how long it took until a pod can run.
    pub async fn restart(&mut self) -> Result<Duration> {
        let start = Instant::now();
        (self.child, self.client) = launch(self.dir.path(), self.port, self.fake_nodes).await?;
        Ok(start.elapsed())
    }
}

/// A port of 127.0.0.1 that nothing listens on now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

async fn launch(dir: &Path, port: u16, fake_nodes: u32) -> Result<(Child, Client)> {
    let mut child = command(dir, port, fake_nodes)?.spawn().context("cannot start keelson")?;
    let ready = async {
        let client = answering(&dir.join("data/admin.kubeconfig")).await;
        ready_nodes(&client, fake_nodes).await?;
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

fn command(dir: &Path, port: u16, fake_nodes: u32) -> Result<Command> {
    let log = File::options().create(true).append(true).open(dir.join("keelson.log"))?;
    let mut command = Command::new(binary()?);
    command.args(["up", "--foreground", "--api-port", &port.to_string(), "--fake-nodes", &fake_nodes.to_string()]);
    command.args(["--name", &format!("tests-{port}")]).arg("--data-dir").arg(dir.join("data"));
    command.env("HOME", dir).env("KUBECONFIG", dir.join("kubeconfig")).env("XDG_STATE_HOME", dir.join("state"));
    command.env_remove("SUDO_UID").env_remove("SUDO_USER");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    Ok(command)
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
