//! PodTopologySpread: pods that a selector picks are spread over domains of nodes
//! (pkg/scheduler/framework/plugins/podtopologyspread/*.go@v1.37.2).
//!
//! Pods without constraints of their own get the profile's defaults, with the selector of the
//! services and the controller they belong to. Counting is incremental: see `counts`.

mod constraint;
mod counts;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};

use crate::config::args::{DefaultingType, PodTopologySpreadArgs};
use crate::framework::event::{Action, Change, ClusterEvent, Resource, holds_place, taints};
use crate::framework::plugin::{MAX_NODE_SCORE, NodeNames, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::handle::{Handle, Listers};
use crate::node_info::NodeInfo;
use crate::pod_info::{HOSTNAME_LABEL, PodInfo, namespace};
use crate::selector::{Labels, RequiredNodeAffinity, labels};
use crate::snapshot::Snapshot;
use constraint::{Constraint, DO_NOT_SCHEDULE, SCHEDULE_ANYWAY, compile, default_selector};
use counts::Counts;

pub(crate) const NAME: &str = "PodTopologySpread";

const NO_MATCH: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

pub(crate) struct PodTopologySpread {
    defaults: Vec<TopologySpreadConstraint>,
    /// The defaults are the built-in ones: nodes without a zone still count.
    system_defaults: bool,
    listers: Listers,
    counts: Counts,
}

/// Matching pods by domain, constraint by constraint.
#[derive(Clone)]
struct Hard {
    constraints: Arc<Vec<Constraint>>,
    required: Arc<RequiredNodeAffinity>,
    pods: Vec<HashMap<Arc<str>, i64>>,
    /// The fewest pods of any domain, by constraint.
    fewest: Vec<i64>,
}

/// What scoring needs.
#[derive(Clone)]
struct Soft {
    constraints: Arc<Vec<Constraint>>,
    /// Nodes that lack a label and get no score.
    ignored: HashSet<Arc<str>>,
    pods: Vec<HashMap<Arc<str>, i64>>,
    /// Pods on the node itself, for constraints by host, by node.
    on_node: Vec<HashMap<Arc<str>, i64>>,
    weights: Vec<f64>,
}

impl PodTopologySpread {
    pub(crate) fn new(handle: &Handle, args: &PodTopologySpreadArgs) -> Self {
        let system_defaults = args.defaulting_type == DefaultingType::System;
        let system = || vec![soft(HOSTNAME_LABEL, 3), soft("topology.kubernetes.io/zone", 5)];
        PodTopologySpread {
            defaults: if system_defaults { system() } else { args.default_constraints.clone() },
            system_defaults,
            listers: handle.listers.clone(),
            counts: Counts::default(),
        }
    }

    /// The constraints of one kind that hold for the pod.
    fn constraints(&self, pod: &Pod, action: &str) -> Result<Vec<Constraint>, String> {
        let own = pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default();
        if !own.is_empty() {
            return compile(own, labels(&pod.metadata), action);
        }
        let mut defaults = compile(&self.defaults, labels(&pod.metadata), action)?;
        if defaults.is_empty() {
            return Ok(defaults);
        }
        let selector = default_selector(pod, &self.listers);
        if selector.is_empty() {
            return Ok(Vec::new());
        }
        for constraint in &mut defaults {
            constraint.selector = selector.clone();
        }
        Ok(defaults)
    }

    fn count_hard(&self, pod: &PodInfo, constraints: Vec<Constraint>, all: &Snapshot) -> Hard {
        let required = RequiredNodeAffinity::of(&pod.pod);
        let mut pods: Vec<HashMap<Arc<str>, i64>> = vec![HashMap::new(); constraints.len()];
        for (constraint, domains) in constraints.iter().zip(&mut pods) {
            let counted = self.counts.of(pod.namespace(), &constraint.selector, all);
            for (node, count) in all.nodes().iter().zip(&counted) {
                let has_all = constraints.iter().all(|c| node.labels().contains_key(&c.topology_key));
                if has_all && constraint.counts(pod, node.node(), &required) {
                    add(domains, &node.labels()[&constraint.topology_key], *count);
                }
            }
        }
        let mut hard = Hard { constraints: Arc::new(constraints), required: Arc::new(required), pods, fewest: vec![] };
        hard.find_fewest();
        hard
    }
}

fn soft(topology_key: &str, max_skew: i32) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        topology_key: topology_key.into(),
        max_skew,
        when_unsatisfiable: SCHEDULE_ANYWAY.into(),
        ..TopologySpreadConstraint::default()
    }
}

fn add(domains: &mut HashMap<Arc<str>, i64>, domain: &str, count: i64) {
    match domains.get_mut(domain) {
        Some(sum) => *sum += count,
        None => drop(domains.insert(domain.into(), count)),
    }
}

impl Hard {
    fn find_fewest(&mut self) {
        let fewest = |domains: &HashMap<_, i64>| domains.values().min().copied().unwrap_or(i64::from(i32::MAX));
        self.fewest = self.pods.iter().map(fewest).collect();
    }

    /// The fewest pods of any domain; 0 while there are fewer domains than asked for.
    fn global_minimum(&self, at: usize) -> i64 {
        let enough = self.pods[at].len() as i64 >= i64::from(self.constraints[at].min_domains);
        if enough { self.fewest[at] } else { 0 }
    }
}

/// True when the pod matches one constraint before but not after, or the other way round.
fn matching_changed(constraints: &[Constraint], old: &Labels, new: &Labels) -> bool {
    constraints.iter().any(|constraint| constraint.selector.matches(old) != constraint.selector.matches(new))
}

impl PodTopologySpread {
    fn pod_may_help(&self, pod: &PodInfo, event: ClusterEvent, change: &Change) -> bool {
        let Ok(constraints) = self.constraints(&pod.pod, DO_NOT_SCHEDULE) else { return true };
        let (old, new) = change.pods();
        if event.resource == Resource::TargetPod {
            let (Some(old), Some(new)) = (old, new) else { return true };
            let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
            let tolerant = tolerations(old) != tolerations(new) && constraints.iter().any(|c| c.honors_taints);
            return tolerant || matching_changed(&constraints, labels(&old.metadata), labels(&new.metadata));
        }
        let involved = |other: &Pod| holds_place(other) && namespace(other) == pod.namespace();
        if [old, new].into_iter().flatten().any(|other| !involved(other)) {
            return false;
        }
        match (old, new) {
            (Some(old), Some(new)) => matching_changed(&constraints, labels(&old.metadata), labels(&new.metadata)),
            (Some(one), None) | (None, Some(one)) => {
                constraints.iter().any(|constraint| constraint.selector.matches(labels(&one.metadata)))
            }
            (None, None) => true,
        }
    }

    fn node_may_help(&self, pod: &PodInfo, change: &Change) -> bool {
        let Ok(constraints) = self.constraints(&pod.pod, DO_NOT_SCHEDULE) else { return true };
        let has_all = |labels: &Labels| constraints.iter().all(|c| labels.contains_key(&c.topology_key));
        match change.nodes() {
            (Some(old), Some(new)) => {
                let (before, after) = (labels(&old.metadata), labels(&new.metadata));
                let moved = constraints.iter().any(|c| before.get(&c.topology_key) != after.get(&c.topology_key));
                has_all(before) != has_all(after) || (has_all(after) && (moved || taints(old) != taints(new)))
            }
            (Some(one), None) | (None, Some(one)) => has_all(labels(&one.metadata)),
            (None, None) => true,
        }
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        let node = Action::ADD.or(Action::DELETE).or(Action::NODE_LABEL).or(Action::NODE_TAINT);
        vec![
            ClusterEvent::new(Resource::AssignedPod, Action::ADD.or(Action::DELETE).or(Action::POD_LABEL)),
            ClusterEvent::new(Resource::TargetPod, Action::POD_TOLERATION.or(Action::POD_LABEL)),
            ClusterEvent::new(Resource::Node, node),
        ]
    }

    fn may_help(&self, pod: &PodInfo, event: ClusterEvent, change: &Change) -> bool {
        match change {
            Change::Node(..) => self.node_may_help(pod, change),
            _ => self.pod_may_help(pod, event, change),
        }
    }

    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, all: &Snapshot) -> Outcome<Option<NodeNames>> {
        let constraints = self.constraints(&pod.pod, DO_NOT_SCHEDULE).map_err(Status::error)?;
        if constraints.is_empty() {
            return Err(Status::skip());
        }
        state.put(self.count_hard(pod, constraints, all));
        Ok(None)
    }

    fn adjust(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, sign: i64) {
        let Some(hard) = state.get_mut::<Hard>().filter(|_| other.namespace() == pod.namespace()) else { return };
        let constraints = hard.constraints.clone();
        if !constraints.iter().all(|constraint| node.labels().contains_key(&constraint.topology_key)) {
            return;
        }
        for (constraint, domains) in constraints.iter().zip(&mut hard.pods) {
            let counts = constraint.counts(pod, node.node(), &hard.required);
            if counts && constraint.selector.matches(other.labels()) {
                add(domains, &node.labels()[&constraint.topology_key], sign);
            }
        }
        hard.find_fewest();
    }

    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        let Some(hard) = state.get::<Hard>() else { return Ok(()) };
        for (at, constraint) in hard.constraints.iter().enumerate() {
            let Some(domain) = node.labels().get(&constraint.topology_key) else {
                return Err(Status::unresolvable(NO_LABEL));
            };
            let own = i64::from(constraint.selector.matches(pod.labels()));
            let there = hard.pods[at].get(domain.as_str()).copied().unwrap_or(0);
            if there + own - hard.global_minimum(at) > i64::from(constraint.max_skew) {
                return Err(Status::unschedulable(NO_MATCH));
            }
        }
        Ok(())
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, nodes: &[Arc<NodeInfo>], all: &Snapshot) -> Outcome {
        let constraints = self.constraints(&pod.pod, SCHEDULE_ANYWAY).map_err(Status::error)?;
        if constraints.is_empty() || all.nodes().is_empty() {
            return Err(Status::skip());
        }
        let own = pod.pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_deref());
        let need_all = own.is_some_and(|own| !own.is_empty()) || !self.system_defaults;
        state.put(self.count_soft(pod, constraints, need_all, nodes, all));
        Ok(())
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(soft) = state.get::<Soft>().filter(|soft| !soft.ignored.contains(&node.name)) else { return 0 };
        let mut score = 0.0;
        for (at, constraint) in soft.constraints.iter().enumerate() {
            let Some(domain) = node.labels().get(&constraint.topology_key) else { continue };
            let by_host = constraint.topology_key == HOSTNAME_LABEL;
            let count = if by_host { soft.on_node[at].get(&node.name) } else { soft.pods[at].get(domain.as_str()) };
            let count = count.copied().unwrap_or(0);
            score += count as f64 * soft.weights[at] + f64::from(constraint.max_skew - 1);
        }
        score.round() as i64
    }

    fn normalize(&self, state: &CycleState, nodes: &[Arc<NodeInfo>], scores: &mut [i64]) {
        let Some(soft) = state.get::<Soft>() else { return };
        let counted = |at: usize| !soft.ignored.contains(&nodes[at].name);
        let valid = scores.iter().enumerate().filter(|(at, _)| counted(*at)).map(|(_, score)| *score);
        let (lowest, highest) = valid.fold((i64::MAX, 0), |(low, high), s| (low.min(s), high.max(s)));
        for (at, score) in scores.iter_mut().enumerate() {
            *score = match highest {
                _ if !counted(at) => 0,
                0 => MAX_NODE_SCORE,
                _ => MAX_NODE_SCORE * (highest + lowest - *score) / highest,
            };
        }
    }
}

impl PodTopologySpread {
    fn count_soft(
        &self,
        pod: &PodInfo,
        constraints: Vec<Constraint>,
        need_all: bool,
        nodes: &[Arc<NodeInfo>],
        all: &Snapshot,
    ) -> Soft {
        let lacks =
            |node: &NodeInfo| need_all && !constraints.iter().all(|c| node.labels().contains_key(&c.topology_key));
        let ignored: HashSet<Arc<str>> =
            nodes.iter().filter(|node| lacks(node)).map(|node| node.name.clone()).collect();
        let required = RequiredNodeAffinity::of(&pod.pod);
        let (mut pods, mut on_node, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for constraint in &constraints {
            let by_host = constraint.topology_key == HOSTNAME_LABEL;
            let counted = self.counts.of(pod.namespace(), &constraint.selector, all);
            let usable = nodes.iter().filter(|node| !ignored.contains(&node.name));
            let mut domains: HashMap<Arc<str>, i64> = HashMap::new();
            let mut by_node: HashMap<Arc<str>, i64> = HashMap::new();
            if by_host {
                let places = usable.filter_map(|node| Some((node.name.clone(), all.position(&node.name)?)));
                by_node = places.map(|(name, at)| (name, counted[at])).collect();
                weights.push(((nodes.len() - ignored.len() + 2) as f64).ln());
            } else {
                for node in usable {
                    add(&mut domains, node.labels().get(&constraint.topology_key).map_or("", String::as_str), 0);
                }
                weights.push(((domains.len() + 2) as f64).ln());
                for (node, count) in all.nodes().iter().zip(&counted) {
                    let domain = node.labels().get(&constraint.topology_key).map_or("", String::as_str);
                    let known = *count != 0 && domains.contains_key(domain) && !lacks(node);
                    if known && constraint.counts(pod, node.node(), &required) {
                        add(&mut domains, domain, *count);
                    }
                }
            }
            pods.push(domains);
            on_node.push(by_node);
        }
        Soft { constraints: Arc::new(constraints), ignored, pods, on_node, weights }
    }
}

#[cfg(test)]
mod tests;
