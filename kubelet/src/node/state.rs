//! What the node knows about itself right now, shared by the tasks that report it.
//!
//! Invariant: each fact has one writer; whoever changes what the Ready condition says wakes the
//! status task.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::facts::Facts;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Health {
    /// Why containers cannot be run; `None` when they can.
    pub(crate) runtime: Option<String>,
    /// Why pods have no network.
    pub(crate) network: Option<String>,
    /// Why the view of the containers is stale.
    pub(crate) pleg: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
    pub(crate) pids: bool,
}

pub(crate) struct NodeState {
    pub(crate) facts: Facts,
    pub(crate) ips: Vec<IpAddr>,
    health: RwLock<Health>,
    runtime: RwLock<(String, String)>,
    node: RwLock<Arc<Node>>,
    pub(crate) changed: Notify,
}

impl NodeState {
    /// `node` is what the Node object will be, until the API server has told what it is.
    pub(crate) fn new(facts: Facts, ips: Vec<IpAddr>, node: Node) -> Self {
        let unknown = "container runtime status check may not have completed yet".to_owned();
        let health = Health { runtime: Some(unknown), network: None, pleg: None };
        NodeState {
            facts,
            ips,
            health: RwLock::new(health),
            runtime: RwLock::new(("unknown".into(), "Unknown".into())),
            node: RwLock::new(Arc::new(node)),
            changed: Notify::new(),
        }
    }

    pub(crate) fn host_ips(&self) -> Vec<String> {
        self.ips.iter().map(IpAddr::to_string).collect()
    }

    pub(crate) fn health(&self) -> Health {
        self.health.read().clone()
    }

    pub(crate) fn update_health(&self, change: impl FnOnce(&mut Health)) {
        let mut health = self.health.write();
        let before = health.clone();
        change(&mut health);
        if *health != before {
            self.changed.notify_one();
        }
    }

    /// The runtime's name and version.
    pub(crate) fn runtime(&self) -> (String, String) {
        self.runtime.read().clone()
    }

    pub(crate) fn runtime_name(&self) -> String {
        self.runtime.read().0.clone()
    }

    pub(crate) fn learn_runtime(&self, name: String, version: String) {
        *self.runtime.write() = (name, version);
    }

    /// The Node object as last seen.
    pub(crate) fn node(&self) -> Arc<Node> {
        self.node.read().clone()
    }

    /// Takes over a newer Node object; the watch may be behind our own last write.
    pub(crate) fn learn_node(&self, node: Arc<Node>) {
        let version = |node: &Node| node.metadata.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok());
        let mut known = self.node.write();
        if known.metadata.uid != node.metadata.uid || version(&known) <= version(&node) {
            *known = node;
        }
    }
}
