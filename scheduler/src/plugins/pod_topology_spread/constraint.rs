//! Compiled spread constraints, and the selector of pods that have none of their own
//! (pkg/scheduler/framework/plugins/{podtopologyspread/common,helper/spread}.go@v1.37.2).

use k8s_openapi::api::core::v1::{Node, Pod, TopologySpreadConstraint};

use crate::handle::Listers;
use crate::pod_info::{PodInfo, namespace};
use crate::selector::{Labels, RequiredNodeAffinity, Selector, labels};
use crate::tolerations::has_untolerated;

pub(super) const DO_NOT_SCHEDULE: &str = "DoNotSchedule";
pub(super) const SCHEDULE_ANYWAY: &str = "ScheduleAnyway";
const HONOR: &str = "Honor";

#[derive(Clone, Debug)]
pub(super) struct Constraint {
    pub(super) max_skew: i32,
    pub(super) topology_key: String,
    pub(super) selector: Selector,
    pub(super) min_domains: i32,
    honors_affinity: bool,
    pub(super) honors_taints: bool,
}

impl Constraint {
    /// True when the pods on the node count: it is one the pod could go to, as far as that matters.
    pub(super) fn counts(&self, pod: &PodInfo, node: &Node, required: &RequiredNodeAffinity) -> bool {
        (!self.honors_affinity || required.matches(node))
            && (!self.honors_taints || !has_untolerated(node, pod.tolerations()))
    }
}

/// Compiles those constraints that say `action` when they cannot be met.
pub(super) fn compile(
    constraints: &[TopologySpreadConstraint],
    pod_labels: &Labels,
    action: &str,
) -> Result<Vec<Constraint>, String> {
    let chosen = constraints.iter().filter(|constraint| constraint.when_unsatisfiable == action);
    chosen.map(|constraint| compile_one(constraint, pod_labels)).collect()
}

fn compile_one(constraint: &TopologySpreadConstraint, pod_labels: &Labels) -> Result<Constraint, String> {
    let mut selector = Selector::compile(constraint.label_selector.as_ref())?;
    for key in constraint.match_label_keys.iter().flatten() {
        if let Some(value) = pod_labels.get(key) {
            selector = selector.and_label(key, value);
        }
    }
    let honors = |policy: &Option<String>, default: bool| policy.as_deref().map_or(default, |policy| policy == HONOR);
    Ok(Constraint {
        max_skew: constraint.max_skew,
        topology_key: constraint.topology_key.clone(),
        selector,
        min_domains: constraint.min_domains.unwrap_or(1),
        honors_affinity: honors(&constraint.node_affinity_policy, true),
        honors_taints: honors(&constraint.node_taints_policy, false),
    })
}

/// Selects the pods of the same services and the same controller as the pod; empty when it has none.
pub(super) fn default_selector(pod: &Pod, listers: &Listers) -> Selector {
    let pod_labels = labels(&pod.metadata);
    let mut merged = Labels::new();
    for service in listers.services.list_namespace(namespace(pod)) {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        if let Some(selector) = selector.filter(|selector| Selector::of_labels(*selector).matches(pod_labels)) {
            merged.extend(selector.clone());
        }
    }
    let owners = pod.metadata.owner_references.iter().flatten();
    let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else {
        return Selector::of_labels(&merged);
    };
    let (here, name) = (namespace(pod), owner.name.as_str());
    let more = match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("v1", "ReplicationController") => {
            let controller = listers.replication_controllers.get(here, name);
            let selector = controller.and_then(|controller| controller.spec.clone()).and_then(|spec| spec.selector);
            merged.extend(selector.unwrap_or_default());
            None
        }
        ("apps/v1", "ReplicaSet") => {
            let set = listers.replica_sets.get(here, name);
            set.and_then(|set| Selector::compile(Some(&set.spec.selector)).ok())
        }
        ("apps/v1", "StatefulSet") => {
            let set = listers.stateful_sets.get(here, name);
            set.and_then(|set| Selector::compile(Some(&set.spec.selector)).ok())
        }
        _ => None,
    };
    let base = Selector::of_labels(&merged);
    more.into_iter().fold(base, Selector::and_all)
}
