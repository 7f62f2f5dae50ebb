//! NodeAffinity: node selector and node affinity of the pod, and the affinity that the profile adds
//! (pkg/scheduler/framework/plugins/nodeaffinity/node_affinity.go@v1.37.2).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Affinity, NodeSelectorTerm, PreferredSchedulingTerm};

use crate::config::args::NodeAffinityArgs;
use crate::framework::event::{Action, Change, ClusterEvent, Resource};
use crate::framework::plugin::{NodeNames, Plugin, Point, normalize_by_highest};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::selector::{NodeTerms, PreferredNodes, RequiredNodeAffinity, required_node_selector};
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "NodeAffinity";

pub(crate) struct NodeAffinity {
    added_required: Option<NodeTerms>,
    added_preferred: Option<PreferredNodes>,
}

#[derive(Clone)]
struct Required(Arc<RequiredNodeAffinity>);

#[derive(Clone)]
struct Preferred(Option<Arc<PreferredNodes>>);

impl NodeAffinity {
    pub(crate) fn new(args: &NodeAffinityArgs) -> Self {
        let added = args.added_affinity.as_ref();
        let required = added.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred = added.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
        NodeAffinity {
            added_required: required.map(NodeTerms::compile),
            added_preferred: preferred.filter(|t| !t.is_empty()).map(|terms| PreferredNodes::compile(terms)),
        }
    }
}

fn affinity(pod: &PodInfo) -> Option<&Affinity> {
    pod.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref())
}

fn preferred(pod: &PodInfo) -> Option<&Vec<PreferredSchedulingTerm>> {
    affinity(pod)?.node_affinity.as_ref()?.preferred_during_scheduling_ignored_during_execution.as_ref()
}

/// The nodes that a term names; `None` when it names none, and so allows all.
fn named_by(term: &NodeSelectorTerm) -> Option<NodeNames> {
    let fields = term.match_fields.iter().flatten();
    let named = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    let sets = named.map(|field| field.values.iter().flatten().cloned().collect::<NodeNames>());
    sets.reduce(|a, b| a.intersection(&b).cloned().collect())
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(Resource::Node, Action::ADD.or(Action::NODE_LABEL))]
    }

    fn may_help(&self, pod: &PodInfo, _: ClusterEvent, change: &Change) -> bool {
        let (old, Some(new)) = change.nodes() else { return true };
        if self.added_required.as_ref().is_some_and(|terms| !terms.matches(new)) {
            return false;
        }
        let required = RequiredNodeAffinity::of(&pod.pod);
        required.matches(new) && old.is_none_or(|old| !required.matches(old))
    }

    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Outcome<Option<NodeNames>> {
        let required = required_node_selector(affinity(pod));
        let selects = pod.pod.spec.as_ref().is_some_and(|spec| spec.node_selector.is_some());
        if required.is_none() && self.added_required.is_none() && !selects {
            return Err(Status::skip());
        }
        state.put(Required(Arc::new(RequiredNodeAffinity::of(&pod.pod))));
        let terms = required.map_or(&[][..], |selector| &selector.node_selector_terms);
        let named: Option<Vec<NodeNames>> = terms.iter().map(named_by).collect();
        let Some(names) = named.filter(|_| !terms.is_empty()) else { return Ok(None) };
        let names: NodeNames = names.into_iter().flatten().collect();
        if names.is_empty() {
            return Err(Status::unresolvable("pod affinity terms conflict"));
        }
        Ok(Some(names))
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Outcome {
        if self.added_required.as_ref().is_some_and(|terms| !terms.matches(node.node())) {
            return Err(Status::unresolvable("node(s) didn't match scheduler-enforced node affinity"));
        }
        if state.get::<Required>().is_some_and(|required| !required.0.matches(node.node())) {
            return Err(Status::unresolvable("node(s) didn't match Pod's node affinity/selector"));
        }
        Ok(())
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], _: &Snapshot) -> Outcome {
        let preferred = preferred(pod);
        if preferred.is_none() && self.added_preferred.is_none() {
            return Err(Status::skip());
        }
        state.put(Preferred(preferred.map(|terms| Arc::new(PreferredNodes::compile(terms)))));
        Ok(())
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let of = |wishes: Option<&PreferredNodes>| wishes.map_or(0, |wishes| wishes.score(node.node()));
        let own = state.get::<Preferred>().and_then(|preferred| preferred.0.as_deref());
        of(self.added_preferred.as_ref()) + of(own)
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) {
        normalize_by_highest(scores, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{scores, verdicts};
    use crate::testing::{object, pod_info, snapshot};

    fn nodes() -> Snapshot {
        snapshot(&[
            (r#"{"metadata":{"name":"n1","labels":{"disk":"ssd","zone":"a"}}}"#, &[]),
            (r#"{"metadata":{"name":"n2","labels":{"disk":"hdd","zone":"b"}}}"#, &[]),
        ])
    }

    fn with_affinity(affinity: &str) -> Arc<PodInfo> {
        pod_info(&format!(r#"{{"spec":{{"affinity":{{"nodeAffinity":{affinity}}}}}}}"#))
    }

    const REFUSED: &str = "UnschedulableAndUnresolvable: node(s) didn't match Pod's node affinity/selector";

    #[test]
    fn required_terms_refuse() {
        let plugin = NodeAffinity::new(&NodeAffinityArgs::default());
        let required = |terms: &str| {
            let terms = format!(r#"{{"nodeSelectorTerms":{terms}}}"#);
            with_affinity(&format!(r#"{{"requiredDuringSchedulingIgnoredDuringExecution":{terms}}}"#))
        };
        let named = |name: &str| {
            format!(r#"{{"matchFields":[{{"key":"metadata.name","operator":"In","values":["{name}"]}}]}}"#)
        };
        let conflict = "UnschedulableAndUnresolvable: pod affinity terms conflict";
        let both = format!(
            r#"[{{"matchFields":[{{"key":"metadata.name","operator":"In","values":["n1"]}},
            {{"key":"metadata.name","operator":"In","values":["n2"]}}]}}]"#
        );
        for (pod, expected) in [
            (pod_info("{}"), ["", ""]),
            (pod_info(r#"{"spec":{"nodeSelector":{"disk":"ssd"}}}"#), ["", REFUSED]),
            (required(r#"[{"matchExpressions":[{"key":"zone","operator":"In","values":["b"]}]}]"#), [REFUSED, ""]),
            (required(&format!("[{}]", named("n2"))), ["not looked at", ""]),
            (required(&format!("[{},{}]", named("n1"), named("n2"))), ["", ""]),
            (required(&both), [conflict, conflict]),
            (required("[]"), [REFUSED, REFUSED]),
        ] {
            assert_eq!(verdicts(&plugin, &pod, &nodes()), expected);
        }
    }

    #[test]
    fn preferred_terms_score() {
        let plugin = NodeAffinity::new(&NodeAffinityArgs::default());
        let pod = with_affinity(
            r#"{"preferredDuringSchedulingIgnoredDuringExecution":[
            {"weight":20,"preference":{"matchExpressions":[{"key":"disk","operator":"In","values":["ssd"]}]}},
            {"weight":5,"preference":{"matchExpressions":[{"key":"zone","operator":"Exists"}]}}]}"#,
        );
        assert_eq!(scores(&plugin, &pod, &nodes()), [100, 20]);
    }

    #[test]
    fn the_profile_can_add_affinity() {
        let added = r#"{"addedAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
            {"matchExpressions":[{"key":"disk","operator":"In","values":["ssd"]}]}]}}}"#;
        let plugin = NodeAffinity::new(&object(added));
        let refused = "UnschedulableAndUnresolvable: node(s) didn't match scheduler-enforced node affinity";
        assert_eq!(verdicts(&plugin, &pod_info("{}"), &nodes()), ["", refused]);
    }
}
