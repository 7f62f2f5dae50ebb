//! NodeUnschedulable: a cordoned node takes only pods that tolerate it
//! (pkg/scheduler/framework/plugins/nodeunschedulable/node_unschedulable.go@v1.37.2).

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

use crate::framework::event::{Action, Change, ClusterEvent, Resource};
use crate::framework::plugin::{Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::tolerations::{NO_SCHEDULE, tolerated};

pub(crate) const NAME: &str = "NodeUnschedulable";

pub(crate) struct NodeUnschedulable;

fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

fn tolerates(tolerations: &[Toleration]) -> bool {
    let key = "node.kubernetes.io/unschedulable".into();
    tolerated(tolerations, &Taint { key, effect: NO_SCHEDULE.into(), ..Taint::default() })
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(Resource::Node, Action::ADD.or(Action::NODE_TAINT)),
            ClusterEvent::new(Resource::TargetPod, Action::POD_TOLERATION),
        ]
    }

    fn may_help(&self, _: &PodInfo, _: ClusterEvent, change: &Change) -> bool {
        if let (_, Some(pod)) = change.pods() {
            return tolerates(pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default());
        }
        let (old, new) = change.nodes();
        new.is_some_and(|new| !is_unschedulable(new) && old.is_none_or(is_unschedulable))
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        if !is_unschedulable(node.node()) || tolerates(pod.tolerations()) {
            return Ok(());
        }
        Err(Status::unresolvable("node(s) were unschedulable"))
    }
}
