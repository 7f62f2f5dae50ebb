//! A node with the sums over its pods, kept up to date pod by pod.
//!
//! Invariant: the sums equal those over `pods`; every change gives a new generation, never used
//! before by any node (pkg/scheduler/framework/types.go@v1.37.2, NodeInfo).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Node;

use crate::pod_info::{HOSTNAME_LABEL, HostPort, PodInfo};
use crate::quantity;
use crate::resources::Resource;
use crate::selector::{Labels, labels};

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// An image in the cluster, shared by the nodes that have it.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// Bytes.
    pub(crate) size: i64,
    /// How many nodes have the image.
    pub(crate) nodes: AtomicUsize,
}

pub(crate) type Images = HashMap<String, Arc<Image>>;

/// A node and what its pods take of it.
#[derive(Clone, Debug)]
pub(crate) struct NodeInfo {
    pub(crate) name: Arc<str>,
    /// `None` when the node is not (or no longer) known but pods on it are.
    node: Option<Arc<Node>>,
    pub(crate) pods: Vec<Arc<PodInfo>>,
    pub(crate) pods_with_affinity: Vec<Arc<PodInfo>>,
    pub(crate) pods_with_required_anti_affinity: Vec<Arc<PodInfo>>,
    pub(crate) used_ports: Vec<HostPort>,
    pub(crate) requested: Resource,
    /// Thousandths of a CPU, missing requests counted with the default.
    pub(crate) non_zero_cpu: i64,
    /// Bytes, missing requests counted with the default.
    pub(crate) non_zero_memory: i64,
    pub(crate) allocatable: Resource,
    pub(crate) images: Arc<Images>,
    pub(crate) generation: u64,
}

impl NodeInfo {
    pub(crate) fn new(name: &str) -> Self {
        NodeInfo {
            name: name.into(),
            node: None,
            pods: Vec::new(),
            pods_with_affinity: Vec::new(),
            pods_with_required_anti_affinity: Vec::new(),
            used_ports: Vec::new(),
            requested: Resource::default(),
            non_zero_cpu: 0,
            non_zero_memory: 0,
            allocatable: Resource::default(),
            images: Arc::default(),
            generation: next_generation(),
        }
    }

    /// A node without pods.
    pub(crate) fn of(node: &Arc<Node>) -> Self {
        let mut info = NodeInfo::new(node.metadata.name.as_deref().unwrap_or_default());
        info.set_node(node.clone());
        info
    }

    pub(crate) fn is_known(&self) -> bool {
        self.node.is_some()
    }

    /// The node object. Snapshots hold known nodes only.
    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("a snapshot holds known nodes only")
    }

    pub(crate) fn object(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    pub(crate) fn labels(&self) -> &Labels {
        labels(&self.node().metadata)
    }

    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        self.allocatable = Resource::of(&quantity::list(allocatable));
        self.node = Some(node);
        self.generation = next_generation();
    }

    pub(crate) fn set_images(&mut self, images: Images) {
        self.images = Arc::new(images);
        self.generation = next_generation();
    }

    pub(crate) fn remove_node(&mut self) {
        self.node = None;
        self.generation = next_generation();
    }

    pub(crate) fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.count(&pod, 1);
        self.used_ports.extend(pod.host_ports.iter().cloned());
        if pod.has_affinity() {
            self.pods_with_affinity.push(pod.clone());
        }
        if !pod.required_anti_affinity.is_empty() {
            self.pods_with_required_anti_affinity.push(pod.clone());
        }
        self.pods.push(pod);
    }

    /// Takes the pod with this uid away; false when there is none.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(pod) = take(&mut self.pods, uid) else { return false };
        take(&mut self.pods_with_affinity, uid);
        take(&mut self.pods_with_required_anti_affinity, uid);
        for port in &pod.host_ports {
            if let Some(at) = self.used_ports.iter().position(|used| used == port) {
                self.used_ports.swap_remove(at);
            }
        }
        self.count(&pod, -1);
        true
    }

    fn count(&mut self, pod: &PodInfo, sign: i64) {
        self.requested.add(&pod.requests, sign);
        self.non_zero_cpu += sign * pod.non_zero_cpu;
        self.non_zero_memory += sign * pod.non_zero_memory;
        self.generation = next_generation();
    }

    /// True when a pod here keeps others out of a domain wider than this node.
    pub(crate) fn has_wide_anti_affinity(&self) -> bool {
        let terms = self.pods_with_required_anti_affinity.iter().flat_map(|pod| &pod.required_anti_affinity);
        terms.into_iter().any(|term| term.topology_key != HOSTNAME_LABEL)
    }
}

fn take(pods: &mut Vec<Arc<PodInfo>>, uid: &str) -> Option<Arc<PodInfo>> {
    let at = pods.iter().position(|pod| &*pod.uid == uid)?;
    Some(pods.swap_remove(at))
}

fn next_generation() -> u64 {
    GENERATION.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod_info};

    #[test]
    fn removing_a_pod_undoes_adding_it() {
        let node = Arc::new(node(r#"{"metadata":{"name":"n"},"status":{"allocatable":{"cpu":"4","pods":"10"}}}"#));
        let mut info = NodeInfo::of(&node);
        let stays = pod_info(
            r#"{"metadata":{"uid":"1"},"spec":{"containers":[{"name":"a",
            "resources":{"requests":{"cpu":"1","example.com/gpu":"2"}},"ports":[{"containerPort":1,"hostPort":80}]}]}}"#,
        );
        info.add_pod(stays.clone());
        let before = info.clone();
        let goes = pod_info(
            r#"{"metadata":{"uid":"2"},"spec":{"affinity":{"podAntiAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"zone","labelSelector":{}}]}},
            "containers":[{"name":"a","resources":{"requests":{"cpu":"500m","example.com/gpu":"1"}},
            "ports":[{"containerPort":1,"hostPort":81}]}]}}"#,
        );
        info.add_pod(goes);
        assert_eq!((info.requested.milli_cpu, info.requested.get("example.com/gpu")), (1500, 3));
        assert!(info.has_wide_anti_affinity() && info.generation > before.generation);
        assert!(info.remove_pod("2") && !info.remove_pod("2"));
        assert_eq!(info.requested, before.requested);
        assert_eq!((info.non_zero_cpu, info.non_zero_memory), (before.non_zero_cpu, before.non_zero_memory));
        assert_eq!(info.used_ports, before.used_ports);
        assert!(info.pods_with_required_anti_affinity.is_empty() && info.pods_with_affinity.is_empty());
        assert_eq!(info.allocatable.allowed_pods, 10);
    }
}
