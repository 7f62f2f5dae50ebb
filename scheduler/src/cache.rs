//! What the scheduler believes the cluster looks like: nodes, the pods on them, and the pods it has
//! just placed itself but not yet seen bound ("assumed").
//!
//! Invariant: a pod is on at most one node; an assumed pod stays until it is confirmed by the API
//! server, forgotten after a failed bind, or deleted (pkg/scheduler/backend/cache/cache.go@v1.37.2).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::node_info::{Image, Images, NodeInfo};
use crate::node_tree::{NodeTree, zone_of};
use crate::pod_info::{PodInfo, Uid, node_name};
use crate::snapshot::Snapshot;

struct PodState {
    info: Arc<PodInfo>,
    node: Arc<str>,
    assumed: bool,
}

/// The cache; the caller locks.
#[derive(Default)]
pub(crate) struct Cache {
    nodes: HashMap<Arc<str>, Arc<NodeInfo>>,
    pods: HashMap<Uid, PodState>,
    tree: NodeTree,
    images: Images,
    /// Nodes that changed since the last snapshot.
    changed: BTreeSet<Arc<str>>,
    /// Nodes came, went or moved since the last snapshot.
    reordered: bool,
}

impl Cache {
    /// Takes a pod that is about to be bound to `node` as running there; false when it is known already.
    pub(crate) fn assume(&mut self, pod: &Arc<PodInfo>, node: &str) -> bool {
        if self.pods.contains_key(&pod.uid) {
            return false;
        }
        self.put(pod.clone(), node, true);
        true
    }

    /// Takes back an assumption; false when the pod is not assumed (any more).
    pub(crate) fn forget(&mut self, uid: &str) -> bool {
        self.is_assumed(uid) && self.take(uid)
    }

    pub(crate) fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|state| state.assumed)
    }

    /// The node an assumed pod is taken to run on.
    pub(crate) fn assumed_node(&self, uid: &str) -> Option<Arc<str>> {
        self.pods.get(uid).filter(|state| state.assumed).map(|state| state.node.clone())
    }

    /// Records a pod that the API server says is assigned, be it new, changed or assumed before.
    pub(crate) fn set_pod(&mut self, pod: &Arc<Pod>) {
        let info = Arc::new(PodInfo::new(pod.clone()));
        self.take(&info.uid);
        self.put(info, node_name(pod), false);
    }

    pub(crate) fn remove_pod(&mut self, uid: &str) -> bool {
        self.take(uid)
    }

    fn put(&mut self, info: Arc<PodInfo>, node: &str, assumed: bool) {
        let entry = self.entry(node);
        entry.add_pod(info.clone());
        let node = entry.name.clone();
        self.pods.insert(info.uid.clone(), PodState { info, node, assumed });
    }

    fn take(&mut self, uid: &str) -> bool {
        let Some(state) = self.pods.remove(uid) else { return false };
        self.entry(&state.node).remove_pod(&state.info.uid);
        self.drop_if_unused(&state.node);
        true
    }

    /// The node's state for changing; a node not known yet is made up.
    fn entry(&mut self, name: &str) -> &mut NodeInfo {
        let name = match self.nodes.get_key_value(name) {
            Some((known, _)) => known.clone(),
            None => Arc::from(name),
        };
        self.changed.insert(name.clone());
        let info = self.nodes.entry(name).or_insert_with_key(|name| Arc::new(NodeInfo::new(name)));
        Arc::make_mut(info)
    }

    fn drop_if_unused(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(|info| !info.is_known() && info.pods.is_empty()) {
            self.nodes.remove(name);
        }
    }

    /// Records a new or changed node.
    pub(crate) fn set_node(&mut self, node: &Arc<Node>) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let old = self.nodes.get(name).and_then(|info| info.object().cloned());
        let zone = zone_of(node);
        let old_zone = old.as_deref().map(zone_of);
        if old_zone.as_ref() != Some(&zone) {
            if let Some(old_zone) = old_zone {
                self.tree.remove(name, &old_zone);
            }
            self.tree.add(name, &zone);
            self.reordered = true;
        }
        let images = self.take_images(name, node);
        let entry = self.entry(name);
        entry.set_node(node.clone());
        if let Some(images) = images {
            entry.set_images(images);
        }
    }

    /// Forgets a node; its pods stay until they are seen to go.
    pub(crate) fn remove_node(&mut self, node: &Node) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let Some(old) = self.nodes.get(name).and_then(|info| info.object().cloned()) else { return };
        self.tree.remove(name, &zone_of(&old));
        self.reordered = true;
        self.release_images(name);
        self.entry(name).remove_node();
        self.drop_if_unused(name);
    }

    /// The images of the node, counted; `None` when they are the same as before.
    fn take_images(&mut self, name: &str, node: &Node) -> Option<Images> {
        let listed = |node: &Node| node.status.as_ref().and_then(|status| status.images.clone()).unwrap_or_default();
        let old = self.nodes.get(name).and_then(|info| info.object().cloned());
        let new = listed(node);
        if old.is_some_and(|old| listed(&old) == new) {
            return None;
        }
        self.release_images(name);
        let mut images = Images::new();
        for image in new {
            let size = image.size_bytes.unwrap_or(0);
            for tag in image.names.into_iter().flatten() {
                let fresh = || Arc::new(Image { size, nodes: AtomicUsize::new(0) });
                let shared = self.images.entry(tag.clone()).or_insert_with(fresh).clone();
                if images.insert(tag, shared.clone()).is_none() {
                    shared.nodes.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Some(images)
    }

    fn release_images(&mut self, name: &str) {
        let Some(images) = self.nodes.get(name).map(|info| info.images.clone()) else { return };
        for (tag, image) in images.iter() {
            if image.nodes.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.images.remove(tag);
            }
        }
    }

    /// Brings the snapshot up to date.
    pub(crate) fn update_snapshot(&mut self, snapshot: &mut Snapshot) {
        if std::mem::take(&mut self.reordered) {
            self.changed.clear();
            let known = self.tree.list().into_iter().filter_map(|name| self.nodes.get(name));
            *snapshot = Snapshot::of(known.cloned().collect());
            return;
        }
        for name in std::mem::take(&mut self.changed) {
            if let Some(info) = self.nodes.get(&name).filter(|info| info.is_known()) {
                snapshot.replace(info);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    fn cluster() -> Cache {
        let mut cache = Cache::default();
        for name in ["n1", "n2"] {
            cache.set_node(&Arc::new(node(&format!(
                r#"{{"metadata":{{"name":"{name}"}},"status":{{"allocatable":{{"cpu":"2"}},
                "images":[{{"names":["web:1"],"sizeBytes":7}}]}}}}"#
            ))));
        }
        cache
    }

    fn one(uid: &str, node: &str) -> Arc<Pod> {
        Arc::new(pod(&format!(
            r#"{{"metadata":{{"uid":"{uid}","name":"{uid}","namespace":"d"}},"spec":{{"nodeName":"{node}",
            "containers":[{{"name":"c","resources":{{"requests":{{"cpu":"1"}}}}}}]}}}}"#
        )))
    }

    fn used(snapshot: &Snapshot) -> Vec<(String, i64)> {
        snapshot.nodes().iter().map(|n| (n.name.to_string(), n.requested.milli_cpu)).collect()
    }

    fn sees(cache: &mut Cache, snapshot: &mut Snapshot, expected: &[(&str, i64)]) {
        cache.update_snapshot(snapshot);
        let expected: Vec<_> = expected.iter().map(|(name, cpu)| (name.to_string(), *cpu)).collect();
        assert_eq!(used(snapshot), expected);
    }

    #[test]
    fn an_assumed_pod_counts_until_it_is_forgotten_or_confirmed() {
        let (mut cache, mut snapshot) = (cluster(), Snapshot::default());
        let info = Arc::new(PodInfo::new(one("p", "")));
        assert!(cache.assume(&info, "n1") && !cache.assume(&info, "n2"));
        sees(&mut cache, &mut snapshot, &[("n1", 1000), ("n2", 0)]);
        assert!(cache.forget("p") && !cache.forget("p"));
        sees(&mut cache, &mut snapshot, &[("n1", 0), ("n2", 0)]);
        cache.assume(&info, "n1");
        cache.set_pod(&one("p", "n2"));
        assert!(!cache.is_assumed("p") && !cache.forget("p"));
        sees(&mut cache, &mut snapshot, &[("n1", 0), ("n2", 1000)]);
        assert!(cache.remove_pod("p"));
        sees(&mut cache, &mut snapshot, &[("n1", 0), ("n2", 0)]);
    }

    #[test]
    fn a_snapshot_does_not_change_and_an_update_copies_only_what_changed() {
        let (mut cache, mut snapshot) = (cluster(), Snapshot::default());
        cache.update_snapshot(&mut snapshot);
        let before = snapshot.clone();
        cache.set_pod(&one("p", "n2"));
        assert_eq!(used(&snapshot), used(&before));
        cache.update_snapshot(&mut snapshot);
        assert!(Arc::ptr_eq(&snapshot.nodes()[0], &before.nodes()[0]));
        assert!(!Arc::ptr_eq(&snapshot.nodes()[1], &before.nodes()[1]));
    }

    #[test]
    fn pods_may_come_before_their_node_and_stay_after_it() {
        let (mut cache, mut snapshot) = (Cache::default(), Snapshot::default());
        cache.set_pod(&one("p", "n1"));
        sees(&mut cache, &mut snapshot, &[]);
        let node = Arc::new(node(r#"{"metadata":{"name":"n1"}}"#));
        cache.set_node(&node);
        sees(&mut cache, &mut snapshot, &[("n1", 1000)]);
        cache.remove_node(&node);
        sees(&mut cache, &mut snapshot, &[]);
        cache.remove_pod("p");
        assert!(cache.nodes.is_empty());
    }

    #[test]
    fn images_are_counted_over_nodes() {
        let mut cache = cluster();
        assert_eq!(cache.images["web:1"].nodes.load(Ordering::Relaxed), 2);
        cache.set_node(&Arc::new(node(r#"{"metadata":{"name":"n1"}}"#)));
        assert_eq!(cache.images["web:1"].nodes.load(Ordering::Relaxed), 1);
        cache.remove_node(&node(r#"{"metadata":{"name":"n2"}}"#));
        assert!(cache.images.is_empty());
    }
}
