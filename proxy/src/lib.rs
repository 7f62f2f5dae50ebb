//! kube-proxy: makes the node's kernel lead traffic for Services to their endpoints, by nftables.
//!
//! Services and EndpointSlices (informers) -> maps (`engine`) -> `render` -> a complete ruleset
//! (`ruleset`) -> a transaction (`transaction`) -> nft (`apply`). All before `apply` is pure.
//! Must not know: any other component, any store, how endpoints come about.

mod apply;
mod base;
pub mod config;
mod conntrack;
mod endpoint;
mod engine;
mod family;
mod health;
mod http;
mod metrics;
mod names;
mod netlink;
mod netns;
mod node;
mod pending;
mod proxier;
mod render;
mod ruleset;
mod service;
mod service_health;
#[cfg(test)]
mod testing;
mod topology;
#[cfg(test)]
mod traffic;
mod transaction;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::connector::Connector;
use client::events::Recorder;
use client::informer::Informers;
use client::task::{OnError, Tasks};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference};

use crate::apply::Nft;
use crate::config::Config;
use crate::endpoint::service_of;
use crate::family::Family;
use crate::health::{ProxyHealth, health_handler, metrics_handler};
use crate::metrics::Metrics;
use crate::node::NodeFacts;
use crate::pending::Pending;
use crate::proxier::{BY_SERVICE, Inputs, Proxier, Shared};
use crate::service_health::ServiceHealth;
use crate::watch::TableWatcher;

/// Services that somebody else proxies are none of ours.
const NOT_PROXIED_BY_OTHERS: &str = "!service.kubernetes.io/service-proxy-name";
const NOT_HEADLESS: &str = "!service.kubernetes.io/headless";
/// Unhealthy is who takes more than this many sync periods to program a change.
const HEALTH_TIMEOUT_PERIODS: u32 = 2;
/// How long to wait before the table is watched again when watching failed.
const WATCH_RETRY_PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Config(String),
    #[error("cannot run nft (Debian package nftables): {0}")]
    NftMissing(#[source] io::Error),
    #[error("nft: {0}")]
    Nft(String),
    #[error("failed to start proxy {what} on {address}: {source}")]
    Listen { what: &'static str, address: SocketAddr, source: io::Error },
}

/// Starts a proxy on `tasks` and returns; the rules follow as soon as Services and EndpointSlices
/// are known. Errors: with bind_address_hard_fail, a health or metrics port that is taken.
pub async fn run(config: Config, connector: Connector, tasks: Tasks) -> Result<(), Error> {
    let config = Arc::new(config);
    let metrics = Metrics::new();
    let health = Arc::new(ProxyHealth::new(config.sync_period * HEALTH_TIMEOUT_PERIODS));
    let health_handler = health_handler(health.clone(), metrics.clone());
    serve(&config, &tasks, "healthz", config.healthz_bind_address, health_handler)?;
    serve(&config, &tasks, "metrics", config.metrics_bind_address, metrics_handler(metrics.clone()))?;
    let client = connector.client();
    let informers = Informers::new(client.clone(), tasks.clone());
    let inputs = Inputs {
        services: informers.with_labels(NOT_PROXIED_BY_OTHERS),
        slices: informers.with_labels(NOT_HEADLESS),
        nodes: informers.with_fields(&format!("metadata.name={}", config.node_name)),
        cidrs: informers.of(),
    };
    let recorder = Recorder::new(&tasks, client, "kube-proxy", Some(&config.node_name));
    recorder.about(node_reference(&config.node_name), "Normal", "Starting", "");
    let nft = Nft { netns: config.netns.clone(), ..Nft::default() };
    start_loops(Shared { config, inputs, nft, metrics, health, recorder }, &tasks);
    Ok(())
}

/// Removes the proxy's tables; what is not there is no error.
pub async fn cleanup(config: &Config) -> Result<(), Error> {
    let nft = Nft { netns: config.netns.clone(), ..Nft::default() };
    for family in Family::ALL {
        nft.delete_table(family, &config.table).await?;
    }
    Ok(())
}

fn serve(
    config: &Config,
    tasks: &Tasks,
    what: &'static str,
    address: Option<SocketAddr>,
    handler: crate::http::Handler,
) -> Result<(), Error> {
    let Some(address) = address else { return Ok(()) };
    if config.bind_address_hard_fail {
        let listener = netns::listen(address, config.netns.as_deref());
        let listener = listener.map_err(|source| Error::Listen { what, address, source })?;
        tasks.spawn(what, OnError::Shutdown, crate::http::serve(listener, tasks.clone(), handler));
    } else {
        tasks.run(what, crate::http::serve_at(address, config.netns.clone(), tasks.clone(), handler));
    }
    Ok(())
}

fn start_loops(shared: Shared, tasks: &Tasks) {
    shared.inputs.slices.add_index(BY_SERVICE, |slice| {
        service_of(slice).map(|(namespace, name)| format!("{namespace}/{name}")).into_iter().collect()
    });
    let started = Timestamp::now();
    let pending = Family::ALL
        .map(|family| Arc::new(Pending::new(family, shared.metrics.clone(), shared.health.clone(), started)));
    for pending in &pending {
        connect(&shared.inputs, pending);
        let netns = shared.config.netns.clone();
        let service_health = ServiceHealth::new(tasks.clone(), netns, shared.health.clone());
        tasks.run("proxier", Proxier::new(shared.clone(), pending.clone(), service_health).run());
    }
    let (config, health) = (shared.config.clone(), shared.health.clone());
    shared.inputs.nodes.on_change(move |_, node| health.note_node(NodeFacts::of(node.map(|n| &**n), &config).eligible));
    tasks.run("table watcher", watch_table(shared, pending));
}

/// Lets changes of the caches reach the loop of one family.
fn connect(inputs: &Inputs, pending: &Arc<Pending>) {
    let to = pending.clone();
    inputs.services.on_change(move |old, new| to.service_changed(old, new));
    let to = pending.clone();
    inputs.slices.on_change(move |old, new| to.slice_changed(old, new));
    let to = pending.clone();
    inputs.cidrs.on_change(move |old, new| {
        if old.map(|cidr| &cidr.spec) != new.map(|cidr| &cidr.spec) {
            to.wake();
        }
    });
    let to = pending.clone();
    inputs.nodes.on_change(move |old, new| {
        let relevant = |node: &Node| (node.spec.clone(), node.metadata.labels.clone(), addresses(node));
        if old.map(|node| relevant(node)) != new.map(|node| relevant(node)) {
            to.wake();
        }
    });
}

fn addresses(node: &Node) -> Vec<String> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    addresses.into_iter().flatten().map(|address| address.address.clone()).collect()
}

/// Tells the loops when somebody else touched our table. Never ends.
async fn watch_table(shared: Shared, pending: [Arc<Pending>; 2]) {
    let Shared { config, nft, .. } = &shared;
    loop {
        let changed = |family: Family| {
            tracing::warn!(%family, table = config.table, "somebody changed our nftables table, writing it again");
            pending.iter().filter(|pending| pending.family == family).for_each(|pending| pending.table_touched());
        };
        let ended = match TableWatcher::open(config.netns.as_deref()) {
            Ok(watcher) => watcher.run(&config.table, &nft.own, changed).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "cannot watch our nftables table, will retry");
        }
        tokio::time::sleep(WATCH_RETRY_PERIOD).await;
        // What happened meanwhile is unknown.
        pending.iter().for_each(|pending| pending.table_touched());
    }
}

fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        name: Some(name.into()),
        uid: Some(name.into()),
        ..ObjectReference::default()
    }
}
