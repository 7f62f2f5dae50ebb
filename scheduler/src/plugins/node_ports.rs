//! NodePorts: two pods cannot have the same host port on one node
//! (pkg/scheduler/framework/plugins/nodeports/node_ports.go@v1.37.2).

use std::sync::Arc;

use crate::framework::event::{Action, Change, ClusterEvent, Resource, holds_place};
use crate::framework::plugin::{NodeNames, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::node_info::NodeInfo;
use crate::pod_info::{HostPort, PodInfo};
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "NodePorts";

pub(crate) struct NodePorts;

fn conflict(wanted: &[HostPort], used: &[HostPort]) -> bool {
    wanted.iter().any(|wanted| used.iter().any(|used| wanted.conflicts(used)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(Resource::AssignedPod, Action::DELETE), ClusterEvent::new(Resource::Node, Action::ADD)]
    }

    fn may_help(&self, pod: &PodInfo, _: ClusterEvent, change: &Change) -> bool {
        let Change::Pod(Some(deleted), _) = change else { return true };
        holds_place(deleted) && conflict(&pod.host_ports, &PodInfo::new(Arc::clone(deleted)).host_ports)
    }

    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Outcome<Option<NodeNames>> {
        if pod.host_ports.is_empty() { Err(Status::skip()) } else { Ok(None) }
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        if conflict(&pod.host_ports, &node.used_ports) {
            return Err(Status::unschedulable("node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::verdicts;
    use crate::testing::{pod_info, snapshot};

    fn using(ports: &str) -> String {
        format!(r#"{{"spec":{{"nodeName":"n","containers":[{{"name":"c","ports":{ports}}}]}}}}"#)
    }

    #[test]
    fn used_ports_refuse() {
        let refused = "Unschedulable: node(s) didn't have free ports for the requested pod ports";
        let used = using(r#"[{"containerPort":1,"hostPort":80,"hostIP":"10.0.0.1"}]"#);
        for (ports, expected) in [
            (r#"[{"containerPort":80}]"#, ""),
            (r#"[{"containerPort":1,"hostPort":80}]"#, refused),
            (r#"[{"containerPort":1,"hostPort":80,"hostIP":"10.0.0.2"}]"#, ""),
            (r#"[{"containerPort":1,"hostPort":80,"protocol":"UDP"}]"#, ""),
            (r#"[{"containerPort":1,"hostPort":81}]"#, ""),
        ] {
            let all = snapshot(&[(r#"{"metadata":{"name":"n"}}"#, &[used.as_str()])]);
            assert_eq!(verdicts(&NodePorts, &pod_info(&using(ports)), &all), [expected], "{ports}");
        }
    }
}
