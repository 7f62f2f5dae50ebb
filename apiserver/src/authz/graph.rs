//! What runs where, and what it needs: the view that the Node authorizer decides on.
//!
//! Upstream keeps a general graph and walks it; here every question has its map. A pod, and so each object that it
//! names, leads to one node; a volume leads through its claim; a secret may lead through a volume. Counts (not sets)
//! of pods per object and node make removal exact.
//!
//! Invariant: after any sequence of changes the maps are what the present objects alone would make, and nothing else.
//!
//! Upstream: `plugin/pkg/auth/authorizer/node/{graph,graph_populator}.go@v1.37.2`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};

use super::references;

/// Marks the pods that a kubelet itself made visible. They must not give it access to anything.
const MIRROR_POD_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The kinds of objects that a node may read only when they concern it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    ConfigMap,
    ResourceSlice,
    Pod,
    PersistentVolumeClaim,
    PersistentVolume,
    ResourceClaim,
    Secret,
    VolumeAttachment,
    ServiceAccount,
    PodCertificateRequest,
}

/// An object: kind, namespace (empty when it has none) and name.
type Key = (Kind, String, String);

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

#[derive(Debug, PartialEq, Eq)]
struct BoundPod {
    node: Arc<str>,
    uid: String,
    references: Vec<Key>,
}

#[derive(Debug, PartialEq, Eq)]
struct BoundVolume {
    claim: Key,
    secrets: Vec<Key>,
}

/// The relations between objects and nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeGraph {
    pods: Map<Key, BoundPod>,
    volumes: Map<String, BoundVolume>,
    /// How many pods of each node name the object; for volume attachments, resource slices and pod certificate
    /// requests, the one node of the object itself.
    nodes: Map<Key, Map<Arc<str>, u32>>,
    /// The volumes that need the secret.
    volumes_by_secret: Map<Key, BTreeSet<String>>,
}

impl NodeGraph {
    /// Adds or updates a pod; one that no node was chosen for is nobody's.
    pub(crate) fn set_pod(&mut self, pod: &Pod) {
        let (namespace, name) = names(&pod.metadata.namespace, &pod.metadata.name);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        if node.is_empty() {
            return;
        }
        let mirror = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR_POD_ANNOTATION));
        let mut references: Vec<Key> = if mirror {
            Vec::new()
        } else {
            references::of_pod(pod).into_iter().map(|(kind, name)| (kind, namespace.clone(), name)).collect()
        };
        references.sort_unstable_by(|a, b| (a.0 as u8, &a.2).cmp(&(b.0 as u8, &b.2)));
        references.dedup();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let bound = BoundPod { node: node.into(), uid, references };
        let key = (Kind::Pod, namespace, name);
        if self.pods.get(&key) == Some(&bound) {
            return;
        }
        self.remove_key(&key);
        for reference in &bound.references {
            self.connect(reference.clone(), bound.node.clone());
        }
        self.pods.insert(key, bound);
    }

    /// Removes a pod.
    pub(crate) fn remove_pod(&mut self, namespace: &str, name: &str) {
        self.remove_key(&(Kind::Pod, namespace.to_owned(), name.to_owned()));
    }

    fn remove_key(&mut self, key: &Key) {
        let Some(bound) = self.pods.remove(key) else { return };
        for reference in &bound.references {
            self.disconnect(reference, &bound.node);
        }
    }

    fn connect(&mut self, key: Key, node: Arc<str>) {
        *self.nodes.entry(key).or_default().entry(node).or_default() += 1;
    }

    fn disconnect(&mut self, key: &Key, node: &Arc<str>) {
        let Some(nodes) = self.nodes.get_mut(key) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.nodes.remove(key);
        }
    }

    /// Adds or updates a volume; one that is not claimed is nobody's.
    pub(crate) fn set_volume(&mut self, volume: &PersistentVolume) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        self.remove_volume(&name);
        let Some(claim) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return };
        let (claim_namespace, claim_name) = names(&claim.namespace, &claim.name);
        let secrets = references::secrets_of_volume(volume).into_iter();
        let secrets: Vec<Key> = secrets.map(|(namespace, name)| (Kind::Secret, namespace, name)).collect();
        for secret in &secrets {
            self.volumes_by_secret.entry(secret.clone()).or_default().insert(name.clone());
        }
        let claim = (Kind::PersistentVolumeClaim, claim_namespace, claim_name);
        self.volumes.insert(name, BoundVolume { claim, secrets });
    }

    /// Removes a volume.
    pub(crate) fn remove_volume(&mut self, name: &str) {
        let Some(bound) = self.volumes.remove(name) else { return };
        for secret in &bound.secrets {
            let emptied = self.volumes_by_secret.get_mut(secret).is_some_and(|volumes| {
                volumes.remove(name);
                volumes.is_empty()
            });
            if emptied {
                self.volumes_by_secret.remove(secret);
            }
        }
    }

    /// Tells the node of a volume attachment, a resource slice or a pod certificate request (`spec.nodeName`; empty
    /// for a slice of no node).
    pub(crate) fn set_node(&mut self, kind: Kind, namespace: &str, name: &str, node: &str) {
        self.remove_node(kind, namespace, name);
        if !node.is_empty() {
            self.connect((kind, namespace.to_owned(), name.to_owned()), node.into());
        }
    }

    /// Removes a volume attachment, a resource slice or a pod certificate request.
    pub(crate) fn remove_node(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.nodes.remove(&(kind, namespace.to_owned(), name.to_owned()));
    }

    /// Whether the object concerns the node.
    pub(super) fn concerns(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let key = (kind, namespace.to_owned(), name.to_owned());
        match kind {
            Kind::Pod => self.pods.get(&key).is_some_and(|pod| &*pod.node == node),
            Kind::PersistentVolume => self.volume_concerns(node, name),
            Kind::Secret => {
                let mut volumes = self.volumes_by_secret.get(&key).into_iter().flatten();
                self.leads_to(&key, node) || volumes.any(|volume| self.volume_concerns(node, volume))
            }
            _ => self.leads_to(&key, node),
        }
    }

    fn leads_to(&self, key: &Key, node: &str) -> bool {
        self.nodes.get(key).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_concerns(&self, node: &str, name: &str) -> bool {
        self.volumes.get(name).is_some_and(|volume| self.leads_to(&volume.claim, node))
    }
}

fn names(namespace: &Option<String>, name: &Option<String>) -> (String, String) {
    (namespace.clone().unwrap_or_default(), name.clone().unwrap_or_default())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A pod with a secret, a config map, an account, a claim and a resource claim, all named after it, and a shared
    /// secret and config map.
    pub(in super::super) fn pod(name: &str, node: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {
                "nodeName": node,
                "serviceAccountName": format!("account-{name}"),
                "containers": [{"name": "c", "envFrom": [{"secretRef": {"name": format!("secret-{name}")}}]}],
                "imagePullSecrets": [{"name": "secret-shared"}],
                "volumes": [
                    {"name": "a", "configMap": {"name": format!("config-{name}")}},
                    {"name": "b", "configMap": {"name": "config-shared"}},
                    {"name": "c", "persistentVolumeClaim": {"claimName": format!("claim-{name}")}},
                ],
                "resourceClaims": [{"name": "r", "resourceClaimName": format!("device-{name}")}],
            },
        }))
        .unwrap()
    }

    /// A volume bound to the claim of a pod, with a secret of its own.
    pub(in super::super) fn volume(pod: &str) -> PersistentVolume {
        serde_json::from_value(json!({
            "metadata": {"name": format!("volume-{pod}")},
            "spec": {
                "claimRef": {"namespace": "ns", "name": format!("claim-{pod}")},
                "flexVolume": {"driver": "d", "secretRef": {"name": format!("secret-volume-{pod}")}},
            },
        }))
        .unwrap()
    }

    fn graph() -> NodeGraph {
        let mut graph = NodeGraph::default();
        for (name, node) in [("a", "n1"), ("b", "n1"), ("c", "n2")] {
            graph.set_pod(&pod(name, node));
            graph.set_volume(&volume(name));
        }
        graph.set_node(Kind::VolumeAttachment, "", "attached", "n1");
        graph
    }

    fn nodes(graph: &NodeGraph, kind: Kind, name: &str) -> String {
        let namespace = if matches!(kind, Kind::PersistentVolume | Kind::VolumeAttachment) { "" } else { "ns" };
        let nodes = ["n1", "n2", "n3"].into_iter().filter(|n| graph.concerns(n, kind, namespace, name));
        nodes.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn objects_lead_to_nodes() {
        let graph = graph();
        for (kind, name, want) in [
            (Kind::Pod, "a", "n1"),
            (Kind::Pod, "c", "n2"),
            (Kind::Pod, "z", ""),
            (Kind::Secret, "secret-a", "n1"),
            (Kind::Secret, "secret-shared", "n1 n2"),
            (Kind::Secret, "secret-volume-c", "n2"),
            (Kind::ConfigMap, "config-b", "n1"),
            (Kind::ConfigMap, "config-shared", "n1 n2"),
            (Kind::ConfigMap, "secret-a", ""),
            (Kind::ServiceAccount, "account-c", "n2"),
            (Kind::PersistentVolumeClaim, "claim-a", "n1"),
            (Kind::PersistentVolume, "volume-a", "n1"),
            (Kind::ResourceClaim, "device-c", "n2"),
            (Kind::VolumeAttachment, "attached", "n1"),
        ] {
            assert_eq!(nodes(&graph, kind, name), want, "{kind:?} {name}");
        }
    }

    #[test]
    fn changes_are_followed_and_undone() {
        let mut graph = graph();
        graph.remove_pod("ns", "a");
        assert_eq!(nodes(&graph, Kind::ConfigMap, "config-shared"), "n1 n2", "pod b is still there");
        assert_eq!(nodes(&graph, Kind::PersistentVolume, "volume-a"), "", "nobody uses the claim");
        graph.remove_pod("ns", "b");
        assert_eq!(nodes(&graph, Kind::ConfigMap, "config-shared"), "n2");
        graph.set_pod(&pod("a", "n3"));
        assert_eq!(nodes(&graph, Kind::Secret, "secret-volume-a"), "n3", "the volume was bound before the pod came");
        graph.set_pod(&pod("a", "n2"));
        assert_eq!(
            nodes(&graph, Kind::ConfigMap, "config-shared"),
            "n2",
            "a pod of the same name replaces the old one"
        );
        graph.set_node(Kind::VolumeAttachment, "", "attached", "n2");
        assert_eq!(nodes(&graph, Kind::VolumeAttachment, "attached"), "n2");
        for name in ["a", "c"] {
            graph.remove_pod("ns", name);
        }
        for name in ["a", "b", "c"] {
            graph.remove_volume(&format!("volume-{name}"));
        }
        graph.remove_node(Kind::VolumeAttachment, "", "attached");
        assert_eq!(graph, NodeGraph::default(), "nothing is left behind");
    }

    #[test]
    fn ephemeral_containers_and_mirror_pods() {
        let mut graph = NodeGraph::default();
        let mut changed = pod("a", "n1");
        graph.set_pod(&changed);
        changed.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(json!([
            {"name": "debug", "envFrom": [{"secretRef": {"name": "secret-debug"}}]}
        ]))
        .unwrap();
        graph.set_pod(&changed);
        assert_eq!(nodes(&graph, Kind::Secret, "secret-debug"), "n1");
        changed.metadata.annotations = Some([(MIRROR_POD_ANNOTATION.to_owned(), "x".to_owned())].into());
        graph.set_pod(&changed);
        assert_eq!(nodes(&graph, Kind::Secret, "secret-a"), "");
        assert_eq!(nodes(&graph, Kind::Pod, "a"), "n1");
        let mut graph = NodeGraph::default();
        graph.set_pod(&pod("waiting", ""));
        assert_eq!(graph, NodeGraph::default());
    }
}
