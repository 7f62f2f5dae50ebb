//! The node agent: it makes pods of this node run and tells the API how they are.
//!
//! Must not know: any store, any other component, any container runtime but through `cri`.
//! A real node and a fake one differ only in the runtime that is handed in.

mod access;
mod cgroup;
pub mod config;
mod env;
mod fields;
mod gc;
mod hash;
mod hosts;
mod images;
mod kubelet;
mod logs;
mod monitor;
mod node;
mod objects;
mod pleg;
mod pod;
mod probe;
mod resources;
pub mod server;
mod source;
#[cfg(test)]
mod testing;
mod tokens;
mod volumes;

use std::net::IpAddr;
use std::sync::Arc;

use client::connector::Connector;
use client::events::Recorder;
use client::informer::Informers;
use client::task::Tasks;
use k8s_openapi::api::core::v1::NodeStatus;
use parking_lot::{Mutex, RwLock};

use config::Config;
use kubelet::Kubelet;
use node::facts::Facts;
use node::state::NodeState;

/// What can keep a kubelet from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Config(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error(transparent)]
    Runtime(#[from] cri::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Serving(#[from] serving::Error),
}

/// Runs one kubelet until `tasks` is cancelled. Containers outlive it: the next kubelet with the same
/// configuration finds and keeps them.
pub async fn run(config: Config, connector: Connector, runtime: cri::RuntimeHandle, tasks: Tasks) -> Result<(), Error> {
    let kubelet = assemble(config, &connector, runtime, &tasks)?;
    if let Some(bound) = server::bind(&kubelet).await? {
        tasks.run("server", server::run(bound));
    }
    kubelet.recorder.about(kubelet.node_reference(), "Normal", "Starting", "Starting kubelet.");
    monitor::look(&kubelet).await;
    tasks.run("runtime monitor", monitor::run(kubelet.clone()));
    let has_events = pleg::has_events(&kubelet).await;
    tasks.run("pleg", pleg::relist(kubelet.clone(), has_events));
    let (read, files) = tokio::sync::oneshot::channel();
    tasks.run("static pods", source::from_files(kubelet.clone(), read));
    tasks.run("container logs", logs::run(kubelet.clone()));
    tasks.run("node", with_api(kubelet, tasks.clone(), files));
    tasks.token().cancelled().await;
    Ok(())
}

/// What needs the API server: it may come and go, and static pods run meanwhile.
async fn with_api(kubelet: Arc<Kubelet>, tasks: Tasks, files: tokio::sync::oneshot::Receiver<()>) {
    if kubelet.config.register_node {
        node::register::run(&kubelet).await;
    }
    tasks.run("node follower", monitor::follow_node(kubelet.clone()));
    tasks.run("node status", node::status::run(kubelet.clone()));
    tasks.run("node lease", node::lease::run(kubelet.clone()));
    tasks.run("pod status", pod::report::run(kubelet.clone()));
    let (listed, pods) = tokio::sync::oneshot::channel();
    tasks.run("pods", source::from_api(kubelet.clone(), listed));
    // Before every source has spoken every pod would look like an orphan.
    if files.await.is_ok() && pods.await.is_ok() {
        gc::run(kubelet).await;
    }
}

fn assemble(
    config: Config,
    connector: &Connector,
    runtime: cri::RuntimeHandle,
    tasks: &Tasks,
) -> Result<Arc<Kubelet>, Error> {
    let fake = runtime.is_fake();
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Io { what, source }
    };
    if !fake {
        for folder in config.directories() {
            std::fs::create_dir_all(&folder).map_err(io(&folder.display().to_string()))?;
        }
    }
    let facts = if fake { Facts::claim(&config) } else { Facts::measure(&config) };
    let allocatable = node::status::allocatable(&config, &facts);
    let cgroups = cgroups(&config, fake, &facts).map_err(io("cgroups"))?;
    let mut node = node::register::initial(&config);
    let capacity = node::status::capacity(&config, &facts);
    node.status =
        Some(NodeStatus { capacity: Some(capacity), allocatable: Some(allocatable.clone()), ..NodeStatus::default() });
    let client = connector.client();
    let host_dns = std::fs::read_to_string(&config.resolv_conf).unwrap_or_default();
    let recorder = Recorder::new(tasks, client.clone(), "kubelet", Some(&config.node_name));
    let informers = Informers::new(client.clone(), tasks.clone());
    // The objects wake workers, and the workers are made with the objects.
    let kick: Arc<Mutex<Option<std::sync::Weak<Kubelet>>>> = Arc::default();
    let woken = kick.clone();
    let notify = Arc::new(move |uid: &str| {
        if let Some(kubelet) = woken.lock().as_ref().and_then(std::sync::Weak::upgrade) {
            kubelet.workers.kick(uid);
        }
    });
    let kubelet = Arc::new(Kubelet {
        services: informers.of(),
        objects: objects::Objects::new(&client, tasks, notify),
        tokens: tokens::Tokens::new(client.clone()),
        images: images::Images::new(runtime.clone(), recorder.clone(), &config),
        restarts: pod::backoff::Backoff::new(pod::backoff::INITIAL, config.max_container_restart_period),
        node: NodeState::new(facts, addresses(&config)?, node),
        host_dns: hosts::parse_resolv_conf(&host_dns),
        prober: probe::Prober::default(),
        reporter: pod::report::Reporter::default(),
        workers: pod::workers::Workers::default(),
        written: volumes::Written::default(),
        mirrors: RwLock::default(),
        started: k8s_openapi::jiff::Timestamp::now(),
        tasks: tasks.clone(),
        allocatable,
        cgroups,
        client,
        config,
        informers,
        recorder,
        runtime,
    });
    *kick.lock() = Some(Arc::downgrade(&kubelet));
    Ok(kubelet)
}

fn cgroups(config: &Config, fake: bool, facts: &Facts) -> std::io::Result<Option<cgroup::Cgroups>> {
    if fake || !config.cgroups_per_qos {
        return Ok(None);
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let cgroups = cgroup::Cgroups::detect(&mounts, &config.cgroup_root, config)?;
    cgroups.ensure_root(&node::status::allocatable_amounts(config, facts))?;
    Ok(Some(cgroups))
}

fn addresses(config: &Config) -> Result<Vec<IpAddr>, Error> {
    if !config.node_ips.is_empty() {
        return Ok(config.node_ips.clone());
    }
    let found = config.hostname().parse().ok().or_else(node::facts::default_address);
    let missing = || Error::Config(format!("can't get ip address of node {}", config.node_name));
    Ok(vec![found.ok_or_else(missing)?])
}
