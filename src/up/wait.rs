//! Waiting for what the API says, by watches.

use std::collections::BTreeSet;
use std::pin::pin;

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

/// Returns once pods can be made in the namespace `default`.
pub(crate) async fn default_service_account(client: &Client) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let there = |account: Option<&ServiceAccount>| account.is_some();
    await_condition(accounts, "default", there).await.context("the default ServiceAccount")?;
    Ok(())
}

/// Returns once all of these nodes are Ready.
pub(crate) async fn nodes_ready(client: &Client, names: &[String]) -> Result<()> {
    let mut missing: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let nodes: Api<Node> = Api::all(client.clone());
    let mut changes = pin!(watcher(nodes, watcher::Config::default()).default_backoff().applied_objects());
    while !missing.is_empty() {
        match changes.next().await.context("the watch of nodes ended")? {
            Ok(node) if is_ready(&node) => drop(missing.remove(node.name_any().as_str())),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the watch of nodes is made again"),
        }
    }
    Ok(())
}

pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The pod range of a node, once it has one.
pub(crate) async fn pod_range(client: &Client, name: &str) -> Result<String> {
    let range = |node: &Node| node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone());
    let nodes: Api<Node> = Api::all(client.clone());
    let node = await_condition(nodes, name, |node: Option<&Node>| node.and_then(range).is_some()).await;
    node.context("the node's pod range")?.as_ref().and_then(range).context("the node was deleted")
}
