//! SchedulingGates: a pod with gates is not tried
//! (pkg/scheduler/framework/plugins/schedulinggates/scheduling_gates.go@v1.37.2).

use k8s_openapi::api::core::v1::Pod;

use crate::framework::event::{Action, ClusterEvent, Resource};
use crate::framework::plugin::{Plugin, Point};
use crate::framework::status::{Outcome, Status};

pub(crate) const NAME: &str = "SchedulingGates";

pub(crate) struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreEnqueue]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(Resource::TargetPod, Action::POD_GATES_ELIMINATED)]
    }

    fn pre_enqueue(&self, pod: &Pod) -> Outcome {
        let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
        if gates.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Err(Status::unresolvable(format!("waiting for scheduling gates: [{}]", names.join(" "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn gates_are_named() {
        let refusal = SchedulingGates.pre_enqueue(&pod(r#"{"spec":{"schedulingGates":[{"name":"a"},{"name":"b"}]}}"#));
        assert_eq!(refusal.unwrap_err().message(), "waiting for scheduling gates: [a b]");
        assert!(SchedulingGates.pre_enqueue(&pod("{}")).is_ok());
    }
}
