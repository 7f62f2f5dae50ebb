//! What one scheduling cycle sees of the cluster: a copy that does not change under it.
//!
//! Invariant: after [`crate::cache::Cache::update_snapshot`] it equals the cache; only nodes that
//! changed since the last cycle are replaced, and a replacement shares the cache's memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// Known nodes in visiting order, and indexes over them.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    nodes: Vec<Arc<NodeInfo>>,
    index: HashMap<Arc<str>, usize>,
    with_affinity: BTreeSet<usize>,
    with_anti_affinity: BTreeSet<usize>,
    with_wide_anti_affinity: BTreeSet<usize>,
    /// How many pods use a claim, by `namespace/name`.
    claim_users: HashMap<String, usize>,
}

impl Snapshot {
    /// A snapshot of exactly these nodes, in this order.
    pub(crate) fn of(nodes: Vec<Arc<NodeInfo>>) -> Self {
        let mut snapshot = Snapshot::default();
        for (at, node) in nodes.into_iter().enumerate() {
            snapshot.index.insert(node.name.clone(), at);
            snapshot.nodes.push(node);
            snapshot.file(at);
        }
        snapshot
    }

    /// Replaces one node by its new state; false when the snapshot has no such node.
    pub(crate) fn replace(&mut self, node: &Arc<NodeInfo>) -> bool {
        let Some(&at) = self.index.get(&node.name) else { return false };
        let old = std::mem::replace(&mut self.nodes[at], node.clone());
        for key in old.pods.iter().flat_map(|pod| claim_keys(pod)) {
            if let Some(users) = self.claim_users.get_mut(&key) {
                *users -= 1;
                if *users == 0 {
                    self.claim_users.remove(&key);
                }
            }
        }
        self.file(at);
        true
    }

    fn file(&mut self, at: usize) {
        let node = &self.nodes[at];
        for (set, member) in [
            (&mut self.with_affinity, !node.pods_with_affinity.is_empty()),
            (&mut self.with_anti_affinity, !node.pods_with_required_anti_affinity.is_empty()),
            (&mut self.with_wide_anti_affinity, node.has_wide_anti_affinity()),
        ] {
            if member {
                set.insert(at);
            } else {
                set.remove(&at);
            }
        }
        for key in node.pods.iter().flat_map(|pod| claim_keys(pod)) {
            *self.claim_users.entry(key).or_default() += 1;
        }
    }

    pub(crate) fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.position(name).map(|at| &self.nodes[at])
    }

    /// Where the node is in [`Snapshot::nodes`].
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Nodes with pods that have any pod affinity or anti-affinity.
    pub(crate) fn with_affinity(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.with_affinity.iter().map(|&at| &self.nodes[at])
    }

    /// Nodes with pods that keep others out of a domain wider than the node.
    pub(crate) fn with_wide_anti_affinity(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.with_wide_anti_affinity.iter().map(|&at| &self.nodes[at])
    }

    /// True when some pod has required anti-affinity.
    pub(crate) fn has_anti_affinity(&self) -> bool {
        !self.with_anti_affinity.is_empty()
    }

    /// True when a pod on a known node uses the claim.
    pub(crate) fn is_claim_used(&self, namespace: &str, name: &str) -> bool {
        self.claim_users.contains_key(&format!("{namespace}/{name}"))
    }
}

fn claim_keys(pod: &PodInfo) -> impl Iterator<Item = String> + '_ {
    pod.claims.iter().map(|claim| format!("{}/{claim}", pod.namespace()))
}
