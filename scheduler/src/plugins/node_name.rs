//! NodeName: a pod that names a node goes there or nowhere
//! (pkg/scheduler/framework/plugins/nodename/node_name.go@v1.37.2).

use crate::framework::event::{Action, ClusterEvent, Resource};
use crate::framework::plugin::{Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::node_info::NodeInfo;
use crate::pod_info::{PodInfo, node_name};

pub(crate) const NAME: &str = "NodeName";

pub(crate) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(Resource::Node, Action::ADD)]
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        let wanted = node_name(&pod.pod);
        if wanted.is_empty() || wanted == &*node.name {
            return Ok(());
        }
        Err(Status::unresolvable("node(s) didn't match the requested node name"))
    }
}
