//! DefaultPreemption: evicts less important pods for a pod that fits nowhere
//! (pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go@v1.37.2).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::config::args::DefaultPreemptionArgs;
use crate::framework::event::{Action, Change, ClusterEvent, Resource};
use crate::framework::fit_error::FitError;
use crate::framework::plugin::{Nomination, Plugin, Point, PostFilterView};
use crate::framework::state::CycleState;
use crate::framework::status::{Code, Outcome, Status};
use crate::handle::{Handle, Listers};
use crate::pod_info::PodInfo;
use crate::preemption::candidates::{self, Budget};
use crate::preemption::executor::Executor;

pub(crate) const NAME: &str = "DefaultPreemption";

pub(crate) struct DefaultPreemption {
    listers: Listers,
    executor: Executor,
    args: DefaultPreemptionArgs,
}

/// A pod that is going because a scheduler evicted it.
fn is_going_by_preemption(pod: &PodInfo) -> bool {
    let conditions = pod.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let target = conditions.into_iter().find(|condition| condition.type_ == crate::pod_status::DISRUPTION_TARGET);
    let by_scheduler = |c: &k8s_openapi::api::core::v1::PodCondition| {
        c.status == "True" && c.reason.as_deref() == Some("PreemptionByScheduler")
    };
    pod.is_terminating() && target.is_some_and(by_scheduler)
}

impl DefaultPreemption {
    pub(crate) fn new(handle: &Handle, args: &DefaultPreemptionArgs) -> Self {
        DefaultPreemption { listers: handle.listers.clone(), executor: Executor::new(handle), args: args.clone() }
    }

    /// Why the pod may not evict others (again).
    fn not_eligible(view: &PostFilterView<'_>, pod: &PodInfo) -> Option<&'static str> {
        if pod.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
            return Some("not eligible due to preemptionPolicy=Never.");
        }
        let node = view.snapshot.position(pod.nominated_node())?;
        if view.statuses.get(Some(node)).code == Code::UnschedulableAndUnresolvable {
            return None;
        }
        let mut pods = view.snapshot.nodes()[node].pods.iter();
        let waits = pods.any(|other| other.priority < pod.priority && is_going_by_preemption(other));
        waits.then_some("not eligible due to a terminating pod on the nominated node.")
    }

    /// How many candidates are enough.
    fn enough(&self, nodes: usize) -> usize {
        let nodes = nodes as i64;
        let share = nodes * self.args.min_candidate_nodes_percentage / 100;
        share.max(self.args.min_candidate_nodes_absolute).min(nodes) as usize
    }

    fn preempt(
        &self,
        view: &PostFilterView<'_>,
        state: &CycleState,
        pod: &Arc<PodInfo>,
    ) -> (Nomination, Outcome<String>) {
        let Some(object) = self.listers.pods.get(pod.namespace(), pod.name()) else {
            return (Nomination::Keep, Err(Status::error(format!("pod {:?} not found", pod.name()))));
        };
        let pod = Arc::new(PodInfo::new(object));
        if let Some(reason) = Self::not_eligible(view, &pod) {
            return (Nomination::Keep, Err(Status::unschedulable(reason)));
        }
        let all = view.snapshot.nodes().len();
        let nodes = view.statuses.with_code(Code::Unschedulable, all);
        let budgets: Vec<Budget> = self.listers.budgets.list().into_iter().filter_map(Budget::compile).collect();
        let found = candidates::find(view, state, &pod, &nodes, &budgets, self.enough(nodes.len()));
        let (candidates, statuses) = match found {
            Ok(found) => found,
            Err(status) => return (Nomination::Keep, Err(status)),
        };
        let Some(best) = candidates::best(candidates) else {
            let mut error = FitError { all_nodes: all, statuses, ..FitError::default() };
            error.statuses.set_absent(Status::unresolvable("Preemption is not helpful for scheduling"));
            return (Nomination::Set(String::new()), Err(Status::unschedulable(error.message())));
        };
        let (node, count) = (best.node.to_string(), best.victims.len());
        self.executor.start(pod, best);
        let message = format!("found a potential placement for pod on node {node}, preempting {count} victims");
        (Nomination::Set(node), Ok(message))
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreEnqueue, Point::PostFilter]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(Resource::AssignedPod, Action::DELETE)]
    }

    /// The plugin that found no room decides when to try again; this one only opens its gate.
    fn may_help(&self, _: &PodInfo, _: ClusterEvent, _: &Change) -> bool {
        false
    }

    fn pre_enqueue(&self, pod: &Pod) -> Outcome {
        if self.executor.is_running(pod.metadata.uid.as_deref().unwrap_or_default()) {
            return Err(Status::unresolvable("waiting for the preemption for this pod to be finished"));
        }
        Ok(())
    }

    fn post_filter(
        &self,
        view: &PostFilterView<'_>,
        state: &CycleState,
        pod: &Arc<PodInfo>,
    ) -> (Nomination, Outcome<String>) {
        let prefixed = |text: String| format!("preemption: {text}");
        let (nomination, outcome) = self.preempt(view, state, pod);
        let outcome = outcome.map(prefixed).map_err(|status| {
            let message = prefixed(status.message());
            Status::new(status.code, vec![message.into()])
        });
        (nomination, outcome)
    }
}

#[cfg(test)]
mod tests;
