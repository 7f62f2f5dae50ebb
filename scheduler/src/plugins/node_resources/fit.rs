//! NodeResourcesFit: the node must have what the pod asks for; of those that have, the emptier (or
//! fuller) one is better (pkg/scheduler/framework/plugins/noderesources/fit.go@v1.37.2 and the
//! scoring strategies beside it).

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use super::{Amounts, amounts, asked};
use crate::config::args::{NodeResourcesFitArgs, ResourceSpec, ScoringStrategyType, ShapePoint};
use crate::framework::event::{Action, Change, ClusterEvent, Resource as Kind, holds_place};
use crate::framework::plugin::{MAX_NODE_SCORE, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Code, Outcome, Status};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::resources::{self, CPU, EPHEMERAL_STORAGE, MEMORY, RequestOptions, Resource};
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "NodeResourcesFit";

/// Use of a resource in percent at which it is full.
const FULL: i64 = 100;
/// The best score a shape in the configuration can give.
const SHAPE_SCORE_MAX: i64 = 10;

pub(crate) struct Fit {
    ignored: BTreeSet<String>,
    ignored_groups: BTreeSet<String>,
    strategy: ScoringStrategyType,
    specs: Vec<ResourceSpec>,
    shape: Vec<ShapePoint>,
}

/// What the pod asks of the resources that are scored.
#[derive(Clone)]
struct Asked(Vec<i64>);

/// A resource that the node does not have enough of.
struct Shortage {
    reason: String,
    /// True when the node would not have enough even if it were empty.
    forever: bool,
}

impl Fit {
    pub(crate) fn new(args: &NodeResourcesFitArgs) -> Self {
        Fit {
            ignored: args.ignored_resources.iter().cloned().collect(),
            ignored_groups: args.ignored_resource_groups.iter().cloned().collect(),
            strategy: args.scoring_strategy.type_,
            specs: args.scoring_strategy.resources.clone(),
            shape: args.scoring_strategy.requested_to_capacity_ratio.shape.clone(),
        }
    }

    fn shortages(&self, request: &Resource, node: &NodeInfo) -> Vec<Shortage> {
        let mut shortages = Vec::new();
        if node.pods.len() as i64 + 1 > node.allocatable.allowed_pods {
            shortages.push(Shortage { reason: "Too many pods".into(), forever: false });
        }
        if request.is_empty() {
            return shortages;
        }
        let scalar = request.scalar.keys().map(String::as_str).filter(|name| !self.is_ignored(name));
        for name in [CPU, MEMORY, EPHEMERAL_STORAGE].into_iter().chain(scalar) {
            let (asked, has) = (request.get(name), node.allocatable.get(name));
            if asked > 0 && asked > has - node.requested.get(name) {
                shortages.push(Shortage { reason: format!("Insufficient {name}"), forever: asked > has });
            }
        }
        shortages
    }

    fn is_ignored(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        resources::is_extended(name) && (self.ignored.contains(name) || self.ignored_groups.contains(group))
    }

    /// The score of one resource.
    fn score_one(&self, amounts: &Amounts) -> i64 {
        let Amounts { requested, allocatable, .. } = *amounts;
        match self.strategy {
            ScoringStrategyType::LeastAllocated if requested > allocatable => 0,
            ScoringStrategyType::LeastAllocated => scaled(allocatable - requested, allocatable),
            ScoringStrategyType::MostAllocated => scaled(requested.min(allocatable), allocatable),
            ScoringStrategyType::RequestedToCapacityRatio if requested > allocatable => self.on_shape(FULL),
            ScoringStrategyType::RequestedToCapacityRatio => self.on_shape(scaled(requested, allocatable)),
        }
    }

    /// The score that the configured shape gives for a use in percent.
    fn on_shape(&self, used: i64) -> i64 {
        let value = |point: &ShapePoint| i64::from(point.score) * (MAX_NODE_SCORE / SHAPE_SCORE_MAX);
        let at = |point: &ShapePoint| i64::from(point.utilization);
        let Some(next) = self.shape.iter().position(|point| used <= at(point)) else {
            return self.shape.last().map_or(0, value);
        };
        let (Some(before), right) = (next.checked_sub(1).map(|i| &self.shape[i]), &self.shape[next]) else {
            return value(&self.shape[next]);
        };
        value(before) + (value(right) - value(before)) * (used - at(before)) / (at(right) - at(before))
    }
}

fn scaled(part: i64, whole: i64) -> i64 {
    (i128::from(part) * i128::from(MAX_NODE_SCORE) / i128::from(whole)) as i64
}

/// What the pod counts for in scoring: missing requests with their defaults, pod-level requests left
/// out, as upstream's scorer does.
fn scoring_request(pod: &PodInfo) -> Resource {
    if resources::has_pod_level_requests(&pod.pod) {
        let options =
            RequestOptions { default_cpu: true, default_memory: true, skip_pod_level: true, ..Default::default() };
        return Resource::of(&resources::pod_requests(&pod.pod, options));
    }
    Resource { milli_cpu: pod.non_zero_cpu, memory: pod.non_zero_memory, ..pod.requests.clone() }
}

/// True when the update gave the node more of something that the pod asks for.
fn grew(request: &Resource, old: &Resource, new: &Resource) -> bool {
    let scalar = request.scalar.keys().map(String::as_str);
    let mut names = [CPU, MEMORY, EPHEMERAL_STORAGE].into_iter().chain(scalar);
    new.allowed_pods > old.allowed_pods || names.any(|name| request.get(name) > 0 && new.get(name) > old.get(name))
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(Kind::AssignedPod, Action::DELETE),
            ClusterEvent::new(Kind::Node, Action::ADD.or(Action::NODE_ALLOCATABLE)),
            ClusterEvent::new(Kind::AssignedPod, Action::POD_SCALE_DOWN),
            ClusterEvent::new(Kind::TargetPod, Action::POD_SCALE_DOWN),
        ]
    }

    fn may_help(&self, pod: &PodInfo, event: ClusterEvent, change: &Change) -> bool {
        match change {
            Change::Node(old, Some(new)) => {
                let info = |node: &Arc<Node>| NodeInfo::of(node);
                let new = info(new);
                let fits = self.shortages(&pod.requests, &new).is_empty();
                fits && old.as_ref().is_none_or(|old| grew(&pod.requests, &info(old).allocatable, &new.allocatable))
            }
            Change::Pod(Some(deleted), None) => holds_place(deleted),
            Change::Pod(Some(old), Some(new)) if event.resource == Kind::AssignedPod => {
                let of = |pod: &Arc<_>| PodInfo::new(Arc::clone(pod)).requests.clone();
                grew(&pod.requests, &of(new), &of(old))
            }
            _ => true,
        }
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        let shortages = self.shortages(&pod.requests, node);
        if shortages.is_empty() {
            return Ok(());
        }
        let forever = shortages.iter().any(|shortage| shortage.forever);
        let code = if forever { Code::UnschedulableAndUnresolvable } else { Code::Unschedulable };
        Err(Status::new(code, shortages.into_iter().map(|shortage| shortage.reason.into()).collect()))
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], _: &Snapshot) -> Outcome {
        state.put(Asked(asked(&scoring_request(pod), &self.specs)));
        Ok(())
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Asked(asked)) = state.get() else { return 0 };
        let ratio = self.strategy == ScoringStrategyType::RequestedToCapacityRatio;
        let (mut sum, mut weights) = (0, 0);
        for amounts in amounts(node, &self.specs, asked, true) {
            let score = self.score_one(&amounts);
            if !ratio || score > 0 {
                sum += score * amounts.weight;
                weights += amounts.weight;
            }
        }
        match weights {
            0 => 0,
            _ if ratio => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{scores, verdicts};
    use crate::testing::{node, object, pod_info, snapshot};

    fn asking(requests: &str) -> String {
        format!(r#"{{"spec":{{"containers":[{{"name":"c","resources":{{"requests":{requests}}}}}]}}}}"#)
    }

    fn having(name: &str, allocatable: &str) -> String {
        format!(r#"{{"metadata":{{"name":"{name}"}},"status":{{"allocatable":{allocatable}}}}}"#)
    }

    fn fit(args: &str) -> Fit {
        Fit::new(&object(args))
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let here = having("n", r#"{"cpu":"4","memory":"8Gi","pods":"2","example.com/gpu":"2"}"#);
        let taken = asking(r#"{"cpu":"3","example.com/gpu":"1"}"#);
        let one = [taken.as_str()];
        let two = [taken.as_str(), "{}"];
        for (requests, pods, expected) in [
            (r#"{"cpu":"1","memory":"8Gi"}"#, &one[..], ""),
            (r#"{"cpu":"1001m"}"#, &one, "Unschedulable: Insufficient cpu"),
            (r#"{"cpu":"5"}"#, &one, "UnschedulableAndUnresolvable: Insufficient cpu"),
            (
                r#"{"cpu":"2","memory":"9Gi"}"#,
                &one,
                "UnschedulableAndUnresolvable: Insufficient cpu, Insufficient memory",
            ),
            (r#"{"example.com/gpu":"1"}"#, &one, ""),
            (r#"{"example.com/gpu":"2"}"#, &one, "Unschedulable: Insufficient example.com/gpu"),
            (r#"{"example.com/fpga":"1"}"#, &one, "UnschedulableAndUnresolvable: Insufficient example.com/fpga"),
            (r#"{"ephemeral-storage":"1"}"#, &one, "UnschedulableAndUnresolvable: Insufficient ephemeral-storage"),
            ("{}", &two, "Unschedulable: Too many pods"),
        ] {
            let all = snapshot(&[(&here, pods)]);
            assert_eq!(verdicts(&fit("{}"), &pod_info(&asking(requests)), &all), [expected], "{requests}");
        }
    }

    #[test]
    fn ignored_resources_are_not_looked_at() {
        let all = snapshot(&[(&having("n", r#"{"pods":"9"}"#), &[])]);
        for (args, expected) in [
            (r#"{"ignoredResources":["example.com/gpu"]}"#, ""),
            (r#"{"ignoredResourceGroups":["example.com"]}"#, ""),
            (r#"{"ignoredResources":["example.com/x"]}"#, "UnschedulableAndUnresolvable: Insufficient example.com/gpu"),
        ] {
            let pod = pod_info(&asking(r#"{"example.com/gpu":"1"}"#));
            assert_eq!(verdicts(&fit(args), &pod, &all), [expected], "{args}");
        }
    }

    #[test]
    fn strategies() {
        let (empty, half) =
            (having("e", r#"{"cpu":"4","memory":"8Gi"}"#), having("h", r#"{"cpu":"4","memory":"8Gi"}"#));
        let taken = asking(r#"{"cpu":"2","memory":"4Gi"}"#);
        let all = snapshot(&[(&empty, &[]), (&half, &[&taken])]);
        let pod = pod_info(&asking(r#"{"cpu":"1","memory":"2Gi"}"#));
        let ratio = r#"{"scoringStrategy":{"type":"RequestedToCapacityRatio","requestedToCapacityRatio":
            {"shape":[{"utilization":0,"score":0},{"utilization":50,"score":10},{"utilization":100,"score":0}]}}}"#;
        for (args, expected) in [
            ("{}", [75, 25]),
            (r#"{"scoringStrategy":{"type":"MostAllocated"}}"#, [25, 75]),
            (r#"{"scoringStrategy":{"type":"LeastAllocated","resources":[{"name":"cpu","weight":3}]}}"#, [75, 25]),
            (ratio, [50, 50]),
        ] {
            assert_eq!(scores(&fit(args), &pod, &all), expected, "{args}");
        }
    }

    #[test]
    fn a_node_helps_when_it_is_large_enough_and_has_grown() {
        let plugin = fit("{}");
        let pod = pod_info(&asking(r#"{"cpu":"2"}"#));
        let with = |cpu: &str, label: &str| {
            let status = format!(r#"{{"allocatable":{{"cpu":"{cpu}","pods":"9"}}}}"#);
            let text = format!(r#"{{"metadata":{{"name":"n","labels":{{"l":"{label}"}}}},"status":{status}}}"#);
            Arc::new(node(&text))
        };
        let helps = |old: Option<Arc<Node>>, new: Arc<Node>| {
            let event = ClusterEvent::new(Kind::Node, Action::NODE_ALLOCATABLE);
            plugin.may_help(&pod, event, &Change::Node(old, Some(new)))
        };
        assert!(helps(None, with("2", "a")) && helps(Some(with("1", "a")), with("2", "a")));
        assert!(!helps(None, with("1", "a")) && !helps(Some(with("4", "a")), with("3", "a")));
    }
}
