//! TaintToleration: taints keep pods away that do not tolerate them, or make a node less wanted
//! (pkg/scheduler/framework/plugins/tainttoleration/taint_toleration.go@v1.37.2).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Toleration;

use crate::framework::event::{Action, Change, ClusterEvent, Resource, became_tolerable, taints};
use crate::framework::plugin::{Plugin, Point, normalize_by_highest};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;
use crate::tolerations::{PREFER_NO_SCHEDULE, has_untolerated, tolerated};

pub(crate) const NAME: &str = "TaintToleration";

pub(crate) struct TaintToleration;

/// The tolerations of the pod that can cover a PreferNoSchedule taint.
#[derive(Clone)]
struct Preferring(Vec<Toleration>);

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter, Point::PreScore, Point::Score]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(Resource::Node, Action::ADD.or(Action::NODE_TAINT)),
            ClusterEvent::new(Resource::TargetPod, Action::POD_TOLERATION),
        ]
    }

    fn may_help(&self, pod: &PodInfo, _: ClusterEvent, change: &Change) -> bool {
        match change.nodes() {
            (old, Some(new)) => became_tolerable(old, new, pod.tolerations()),
            _ => true,
        }
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        if has_untolerated(node.node(), pod.tolerations()) {
            return Err(Status::unresolvable("node(s) had untolerated taint(s)"));
        }
        Ok(())
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], _: &Snapshot) -> Outcome {
        let may_cover = |toleration: &&Toleration| {
            toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == PREFER_NO_SCHEDULE)
        };
        state.put(Preferring(pod.tolerations().iter().filter(may_cover).cloned().collect()));
        Ok(())
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let tolerations = state.get::<Preferring>().map_or(&[][..], |preferring| &preferring.0);
        let unwanted = taints(node.node()).iter().filter(|taint| taint.effect == PREFER_NO_SCHEDULE);
        unwanted.filter(|taint| !tolerated(tolerations, taint)).count() as i64
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) {
        normalize_by_highest(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{scores, verdicts};
    use crate::testing::{node, pod_info, snapshot};

    const TAINTED: &str = r#"{"metadata":{"name":"t"},"spec":{"taints":[
        {"key":"gpu","value":"yes","effect":"NoSchedule"}]}}"#;
    const SOFT: &str = r#"{"metadata":{"name":"s"},"spec":{"taints":[
        {"key":"a","effect":"PreferNoSchedule"},{"key":"b","effect":"PreferNoSchedule"}]}}"#;

    #[test]
    fn untolerated_taints_refuse() {
        let refused = "UnschedulableAndUnresolvable: node(s) had untolerated taint(s)";
        for (tolerations, expected) in [
            ("[]", refused),
            (r#"[{"operator":"Exists"}]"#, ""),
            (r#"[{"key":"gpu","operator":"Exists"}]"#, ""),
            (r#"[{"key":"gpu","value":"yes","effect":"NoSchedule"}]"#, ""),
            (r#"[{"key":"gpu","operator":"Equal","value":"no"}]"#, refused),
            (r#"[{"key":"gpu","value":"yes","effect":"NoExecute"}]"#, refused),
        ] {
            let pod = pod_info(&format!(r#"{{"spec":{{"tolerations":{tolerations}}}}}"#));
            let all = snapshot(&[(TAINTED, &[]), (SOFT, &[])]);
            assert_eq!(verdicts(&TaintToleration, &pod, &all), [expected, ""], "{tolerations}");
        }
    }

    #[test]
    fn soft_taints_lower_the_score() {
        let half = r#"{"metadata":{"name":"h"},"spec":{"taints":[{"key":"a","effect":"PreferNoSchedule"}]}}"#;
        let all = snapshot(&[(SOFT, &[]), (half, &[]), (r#"{"metadata":{"name":"f"}}"#, &[])]);
        assert_eq!(scores(&TaintToleration, &pod_info("{}"), &all), [0, 50, 100]);
        let tolerant = pod_info(r#"{"spec":{"tolerations":[{"key":"a","operator":"Exists"}]}}"#);
        assert_eq!(scores(&TaintToleration, &tolerant, &all), [0, 100, 100]);
    }

    #[test]
    fn only_a_taint_that_goes_away_helps() {
        let (tainted, free) = (Arc::new(node(TAINTED)), Arc::new(node(r#"{"metadata":{"name":"t"}}"#)));
        let event = ClusterEvent::new(Resource::Node, Action::NODE_TAINT);
        let helps = |old: &Arc<k8s_openapi::api::core::v1::Node>, new: &Arc<k8s_openapi::api::core::v1::Node>| {
            TaintToleration.may_help(&pod_info("{}"), event, &Change::Node(Some(old.clone()), Some(new.clone())))
        };
        assert!(helps(&tainted, &free));
        assert!(!helps(&free, &tainted) && !helps(&free, &free));
    }
}
