//! Changes in the cluster, as far as they can make a rejected pod schedulable.
//!
//! Invariant: an event is as specific as the change allows, so that a plugin that waits for a label
//! is not woken by a condition (pkg/scheduler/framework/events.go@v1.37.2).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};

use crate::pod_info;
use crate::quantity;
use crate::resources::{self, RequestOptions};
use crate::selector::labels;
use crate::tolerations;

/// The kind of object that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A pod that has a node (or is nominated to one).
    AssignedPod,
    /// The rejected pod itself.
    TargetPod,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    CsiNode,
    VolumeAttachment,
    /// Any kind: the event is for every pod.
    WildCard,
}

/// What happened, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action(u32);

impl Action {
    pub(crate) const ADD: Action = Action(1);
    pub(crate) const DELETE: Action = Action(1 << 1);
    pub(crate) const NODE_ALLOCATABLE: Action = Action(1 << 2);
    pub(crate) const NODE_LABEL: Action = Action(1 << 3);
    pub(crate) const NODE_TAINT: Action = Action(1 << 4);
    pub(crate) const NODE_CONDITION: Action = Action(1 << 5);
    pub(crate) const NODE_ANNOTATION: Action = Action(1 << 6);
    pub(crate) const POD_LABEL: Action = Action(1 << 7);
    pub(crate) const POD_SCALE_DOWN: Action = Action(1 << 8);
    pub(crate) const POD_SCALE_UP: Action = Action(1 << 9);
    pub(crate) const POD_TOLERATION: Action = Action(1 << 10);
    pub(crate) const POD_GATES_ELIMINATED: Action = Action(1 << 11);
    /// Any change; also a change that none of the above describes.
    pub(crate) const UPDATE: Action = Action((1 << 12) - 1 - 3);
    pub(crate) const ALL: Action = Action((1 << 12) - 1);

    pub(crate) const fn or(self, other: Action) -> Action {
        Action(self.0 | other.0)
    }

    /// True when everything in `self` is in `other`.
    fn is_within(self, other: Action) -> bool {
        self.0 & !other.0 == 0
    }
}

/// A kind and what happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterEvent {
    pub(crate) resource: Resource,
    pub(crate) action: Action,
}

impl ClusterEvent {
    pub(crate) const ASSIGNED_POD_ADD: ClusterEvent = ClusterEvent::new(Resource::AssignedPod, Action::ADD);
    pub(crate) const ASSIGNED_POD_DELETE: ClusterEvent = ClusterEvent::new(Resource::AssignedPod, Action::DELETE);
    /// A pod has been unschedulable for too long, or is forced back.
    pub(crate) const ANY: ClusterEvent = ClusterEvent::new(Resource::WildCard, Action::ALL);

    pub(crate) const fn new(resource: Resource, action: Action) -> Self {
        ClusterEvent { resource, action }
    }

    /// True when a plugin that registered `self` wants to hear of `incoming`.
    pub(crate) fn matches(self, incoming: ClusterEvent) -> bool {
        self.resource == incoming.resource && incoming.action.is_within(self.action)
    }
}

/// The objects of an event, old and new; absent for created and deleted ones.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Pod(Option<Arc<Pod>>, Option<Arc<Pod>>),
    Node(Option<Arc<Node>>, Option<Arc<Node>>),
    /// The new claim only: no plugin compares.
    Claim(Option<Arc<PersistentVolumeClaim>>),
    /// The new class only: no plugin compares.
    StorageClass(Option<Arc<StorageClass>>),
    CsiNode(Option<Arc<CSINode>>, Option<Arc<CSINode>>),
    /// Objects that no plugin looks at.
    None,
}

impl Change {
    /// Old and new pod of a pod event.
    pub(crate) fn pods(&self) -> (Option<&Pod>, Option<&Pod>) {
        match self {
            Change::Pod(old, new) => (old.as_deref(), new.as_deref()),
            _ => (None, None),
        }
    }

    /// Old and new node of a node event.
    pub(crate) fn nodes(&self) -> (Option<&Node>, Option<&Node>) {
        match self {
            Change::Node(old, new) => (old.as_deref(), new.as_deref()),
            _ => (None, None),
        }
    }
}

/// The events that a change of a pod stands for.
pub(crate) fn pod_update(old: &Pod, new: &Pod, resource: Resource) -> Vec<ClusterEvent> {
    let mut actions = Vec::new();
    if labels(&old.metadata) != labels(&new.metadata) {
        actions.push(Action::POD_LABEL);
    }
    let options = RequestOptions { use_status: true, ..RequestOptions::default() };
    if old.spec != new.spec || old.status != new.status {
        let (before, after) = (resources::pod_requests(old, options), resources::pod_requests(new, options));
        let shrunk = |name: &str, old: &quantity::Quantity| after.get(name).is_none_or(|new| new < old);
        let grown = |name: &str, new: &quantity::Quantity| before.get(name).is_none_or(|old| old < new);
        if before.iter().any(|(name, old)| shrunk(name, old)) {
            actions.push(Action::POD_SCALE_DOWN);
        }
        if after.iter().any(|(name, new)| grown(name, new)) {
            actions.push(Action::POD_SCALE_UP);
        }
    }
    let gates = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.scheduling_gates.as_ref()).map_or(0, Vec::len);
    if gates(new) == 0 && gates(old) != 0 {
        actions.push(Action::POD_GATES_ELIMINATED);
    }
    let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.tolerations.as_ref()).map_or(0, Vec::len);
    if tolerations(new) != tolerations(old) {
        actions.push(Action::POD_TOLERATION);
    }
    if actions.is_empty() {
        actions.push(Action::UPDATE);
    }
    actions.into_iter().map(|action| ClusterEvent::new(resource, action)).collect()
}

/// The events that a change of a node stands for; none when it cannot matter.
pub(crate) fn node_update(old: &Node, new: &Node) -> Vec<ClusterEvent> {
    let mut actions = Vec::new();
    let unschedulable = |node: &Node| node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
    if unschedulable(old) && !unschedulable(new) {
        actions.push(Action::NODE_TAINT);
    }
    if allocatable(old) != allocatable(new) {
        actions.push(Action::NODE_ALLOCATABLE);
    }
    if labels(&old.metadata) != labels(&new.metadata) {
        actions.push(Action::NODE_LABEL);
    }
    if taints(old) != taints(new) {
        actions.push(Action::NODE_TAINT);
    }
    if conditions(old) != conditions(new) {
        actions.push(Action::NODE_CONDITION);
    }
    if old.metadata.annotations.iter().flatten().ne(new.metadata.annotations.iter().flatten()) {
        actions.push(Action::NODE_ANNOTATION);
    }
    actions.into_iter().map(|action| ClusterEvent::new(Resource::Node, action)).collect()
}

fn allocatable(node: &Node) -> quantity::ResourceList {
    quantity::list(node.status.as_ref().and_then(|status| status.allocatable.as_ref()))
}

/// The taints of a node.
pub(crate) fn taints(node: &Node) -> &[k8s_openapi::api::core::v1::Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn conditions(node: &Node) -> std::collections::BTreeMap<&str, &str> {
    let all = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    all.map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect()
}

/// True when the pod holds a place on a node, by binding or by nomination.
pub(crate) fn holds_place(pod: &Pod) -> bool {
    !pod_info::node_name(pod).is_empty() || !pod_info::nominated_node(pod).is_empty()
}

/// True when the change of the node takes away the taint that kept the pod out.
pub(crate) fn became_tolerable(
    old: Option<&Node>,
    new: &Node,
    tolerations: &[k8s_openapi::api::core::v1::Toleration],
) -> bool {
    let was_untolerated = old.is_none_or(|old| tolerations::has_untolerated(old, tolerations));
    was_untolerated && !tolerations::has_untolerated(new, tolerations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    #[test]
    fn node_changes_are_told_apart() {
        let base = r#"{"metadata":{"name":"n"},"status":{"allocatable":{"cpu":"1"},
            "conditions":[{"type":"Ready","status":"True"}]}}"#;
        let heartbeat = r#"{"metadata":{"name":"n","resourceVersion":"2"},"status":{"allocatable":{"cpu":"1000m"},
            "conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"2026-01-01T00:00:00Z"}]}}"#;
        assert_eq!(node_update(&node(base), &node(heartbeat)), []);
        for (change, action) in [
            (
                r#"{"metadata":{"labels":{"a":"b"}},"status":{"allocatable":{"cpu":"1"},
                "conditions":[{"type":"Ready","status":"True"}]}}"#,
                Action::NODE_LABEL,
            ),
            (
                r#"{"metadata":{},"status":{"allocatable":{"cpu":"2"},
                "conditions":[{"type":"Ready","status":"True"}]}}"#,
                Action::NODE_ALLOCATABLE,
            ),
            (
                r#"{"metadata":{},"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]},
                "status":{"allocatable":{"cpu":"1"},"conditions":[{"type":"Ready","status":"True"}]}}"#,
                Action::NODE_TAINT,
            ),
            (
                r#"{"metadata":{},"status":{"allocatable":{"cpu":"1"},
                "conditions":[{"type":"Ready","status":"False"}]}}"#,
                Action::NODE_CONDITION,
            ),
        ] {
            assert_eq!(node_update(&node(base), &node(change)), [ClusterEvent::new(Resource::Node, action)]);
        }
    }

    #[test]
    fn pod_changes_are_told_apart() {
        let actions = |old: &str, new: &str| -> Vec<Action> {
            pod_update(&pod(old), &pod(new), Resource::TargetPod).iter().map(|event| event.action).collect()
        };
        let with_cpu = |cpu: &str| {
            format!(r#"{{"spec":{{"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#)
        };
        assert_eq!(actions(&with_cpu("1"), &with_cpu("2")), [Action::POD_SCALE_UP]);
        assert_eq!(actions(&with_cpu("2"), &with_cpu("1")), [Action::POD_SCALE_DOWN]);
        assert_eq!(actions("{}", r#"{"metadata":{"labels":{"a":"b"}}}"#), [Action::POD_LABEL]);
        assert_eq!(actions("{}", r#"{"spec":{"tolerations":[{"operator":"Exists"}]}}"#), [Action::POD_TOLERATION]);
        assert_eq!(actions(r#"{"spec":{"schedulingGates":[{"name":"g"}]}}"#, "{}"), [Action::POD_GATES_ELIMINATED]);
        assert_eq!(actions("{}", r#"{"metadata":{"annotations":{"a":"b"}}}"#), [Action::UPDATE]);
    }

    #[test]
    fn a_registered_event_hears_of_what_is_within_it() {
        let registered = ClusterEvent::new(Resource::Node, Action::ADD.or(Action::NODE_LABEL));
        for (resource, action, expected) in [
            (Resource::Node, Action::ADD, true),
            (Resource::Node, Action::NODE_LABEL, true),
            (Resource::Node, Action::NODE_TAINT, false),
            (Resource::Node, Action::UPDATE, false),
            (Resource::AssignedPod, Action::ADD, false),
        ] {
            assert_eq!(registered.matches(ClusterEvent::new(resource, action)), expected, "{resource:?} {action:?}");
        }
    }
}
