//! Pods for which preemption has made room on a node that they are not bound to yet.
//!
//! Invariant: a pod is nominated to at most one node
//! (pkg/scheduler/backend/queue/nominator.go@v1.37.2).

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use crate::framework::plugin::Nomination;
use crate::pod_info::{PodInfo, Uid, nominated_node};

/// The nominations as one cycle sees them: pods by node.
#[derive(Clone, Default)]
pub(crate) struct Nominated(Arc<HashMap<String, Vec<Arc<PodInfo>>>>);

impl Nominated {
    /// The pods nominated to the node.
    pub(crate) fn on(&self, node: &str) -> &[Arc<PodInfo>] {
        if self.0.is_empty() {
            return &[];
        }
        self.0.get(node).map_or(&[], Vec::as_slice)
    }
}

#[derive(Default)]
struct State {
    pods: Arc<HashMap<String, Vec<Arc<PodInfo>>>>,
    node_of: HashMap<Uid, String>,
}

/// All nominations.
#[derive(Default)]
pub(crate) struct Nominator {
    state: Mutex<State>,
}

impl Nominator {
    /// The nominations now; later changes do not show in it.
    pub(crate) fn view(&self) -> Nominated {
        Nominated(self.state.lock().pods.clone())
    }

    /// Records the pod under its nomination, or takes it away when it has none (any more).
    pub(crate) fn add(&self, pod: &Arc<PodInfo>, nomination: &Nomination) {
        let mut state = self.state.lock();
        state.remove(&pod.uid);
        let node = match nomination {
            Nomination::Keep => nominated_node(&pod.pod),
            Nomination::Set(node) => node,
        };
        if !node.is_empty() {
            state.insert(pod.clone(), node);
        }
    }

    pub(crate) fn remove(&self, uid: &str) {
        self.state.lock().remove(uid);
    }

    /// Follows a change of the pod object. A nomination that the API server does not know of yet stays.
    pub(crate) fn update(&self, old: &Pod, new: &Arc<PodInfo>) {
        let mut state = self.state.lock();
        let mut node = nominated_node(&new.pod).to_string();
        if nominated_node(old).is_empty() && node.is_empty() {
            node = state.node_of.get(&new.uid).cloned().unwrap_or_default();
        }
        state.remove(&new.uid);
        if !node.is_empty() {
            state.insert(new.clone(), &node);
        }
    }
}

impl State {
    fn insert(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.node_of.insert(pod.uid.clone(), node.into());
        Arc::make_mut(&mut self.pods).entry(node.into()).or_default().push(pod);
    }

    fn remove(&mut self, uid: &str) {
        let Some(node) = self.node_of.remove(uid) else { return };
        let pods = Arc::make_mut(&mut self.pods);
        if let Some(list) = pods.get_mut(&node) {
            list.retain(|pod| &*pod.uid != uid);
            if list.is_empty() {
                pods.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod_info;

    fn names(nominator: &Nominator, node: &str) -> Vec<String> {
        nominator.view().on(node).iter().map(|pod| pod.uid.to_string()).collect()
    }

    #[test]
    fn a_pod_is_nominated_to_one_node() {
        let nominator = Nominator::default();
        let pod = pod_info(r#"{"metadata":{"uid":"p"}}"#);
        nominator.add(&pod, &Nomination::Set("n1".into()));
        nominator.add(&pod, &Nomination::Set("n2".into()));
        assert_eq!((names(&nominator, "n1"), names(&nominator, "n2")), (vec![], vec!["p".to_string()]));
        // The API server's object has no nomination yet: ours is newer.
        nominator.update(&pod.pod, &pod_info(r#"{"metadata":{"uid":"p","labels":{"a":"b"}}}"#));
        assert_eq!(names(&nominator, "n2"), ["p"]);
        let set = pod_info(r#"{"metadata":{"uid":"p"},"status":{"nominatedNodeName":"n2"}}"#);
        nominator.update(&pod.pod, &set);
        nominator.update(&set.pod, &pod);
        assert!(names(&nominator, "n2").is_empty(), "cleared at the API server");
    }
}
