//! InterPodAffinity: pods that want to be, or must not be, in one domain with other pods
//! (pkg/scheduler/framework/plugins/interpodaffinity/*.go@v1.37.2).
//!
//! Invariant: terms over single hosts are checked on the host itself; only wider terms need counts
//! over the cluster.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};

use crate::config::args::InterPodAffinityArgs;
use crate::framework::event::{Action, Change, ClusterEvent, Resource, holds_place};
use crate::framework::plugin::{MAX_NODE_SCORE, NodeNames, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::handle::Handle;
use crate::lister::Lister;
use crate::node_info::NodeInfo;
use crate::pod_info::{AffinityTerm, HOSTNAME_LABEL, PodInfo, WeightedTerm};
use crate::selector::{Labels, Selector, labels};
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "InterPodAffinity";

pub(crate) struct InterPodAffinity {
    namespaces: Lister<Namespace>,
    hard_weight: i64,
    ignore_wishes_of_others: bool,
}

/// Matches by topology key and value.
type Counts = HashMap<(String, String), i64>;

/// The terms of the pod being scheduled; their namespace selectors are resolved to names.
struct Terms {
    affinity: Vec<AffinityTerm>,
    /// All affinity terms are over hosts.
    affinity_is_local: bool,
    anti_affinity: Vec<AffinityTerm>,
    namespace_labels: Labels,
}

#[derive(Clone)]
struct Required {
    terms: Arc<Terms>,
    /// Domains in which an existing pod does not want this one.
    unwelcome: Counts,
    /// Domains with pods that match all affinity terms.
    wanted: Counts,
    /// Domains with pods that match an anti-affinity term.
    avoided: Counts,
    /// Pods anywhere that match all affinity terms, when those are over hosts.
    matching: i64,
}

/// The sum of wishes by topology key and value.
#[derive(Clone)]
struct Preferred(Arc<HashMap<String, HashMap<String, i64>>>);

fn nobody() -> &'static Labels {
    static NONE: Labels = Labels::new();
    &NONE
}

fn matches_all(terms: &[AffinityTerm], pod: &Pod) -> bool {
    !terms.is_empty() && terms.iter().all(|term| term.matches(pod, nobody()))
}

fn matches_any(terms: &[AffinityTerm], pod: &Pod) -> bool {
    terms.iter().any(|term| term.matches(pod, nobody()))
}

fn is_local(term: &AffinityTerm) -> bool {
    term.topology_key == HOSTNAME_LABEL
}

fn count(counts: &mut Counts, node: &NodeInfo, key: &str, by: i64) {
    let Some(value) = node.labels().get(key) else { return };
    let pair = (key.to_string(), value.clone());
    let sum = counts.entry(pair.clone()).or_default();
    *sum += by;
    if *sum == 0 {
        counts.remove(&pair);
    }
}

fn counted(counts: &Counts, node: &NodeInfo, key: &str) -> Option<i64> {
    let value = node.labels().get(key)?;
    Some(counts.get(&(key.to_string(), value.clone())).copied().unwrap_or(0))
}

impl Required {
    /// Counts `other`, on `node`, `sign` times.
    fn count(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, sign: i64) {
        self.count_unwelcome(pod, other, node, sign);
        self.count_own(other, node, sign);
    }

    fn count_unwelcome(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, sign: i64) {
        for term in other.required_anti_affinity.iter().filter(|term| !is_local(term)) {
            if term.matches(&pod.pod, &self.terms.namespace_labels) {
                count(&mut self.unwelcome, node, &term.topology_key, sign);
            }
        }
    }

    fn count_own(&mut self, other: &PodInfo, node: &NodeInfo, sign: i64) {
        let terms = self.terms.clone();
        if matches_all(&terms.affinity, &other.pod) {
            if terms.affinity_is_local {
                self.matching += sign;
            } else {
                terms.affinity.iter().for_each(|term| count(&mut self.wanted, node, &term.topology_key, sign));
            }
        }
        for term in terms.anti_affinity.iter().filter(|term| !is_local(term)) {
            if term.matches(&other.pod, nobody()) {
                count(&mut self.avoided, node, &term.topology_key, sign);
            }
        }
    }

    fn has_wanted(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let terms = &self.terms.affinity;
        if terms.is_empty() {
            return true;
        }
        if !terms.iter().all(|term| node.labels().contains_key(&term.topology_key)) {
            return false;
        }
        if self.terms.affinity_is_local {
            let here = node.pods.iter().any(|other| matches_all(terms, &other.pod));
            return here || (self.matching <= 0 && matches_all(terms, &pod.pod));
        }
        let there = terms.iter().all(|term| counted(&self.wanted, node, &term.topology_key).unwrap_or(0) > 0);
        // The first pod of a group that wants to be together matches itself.
        there || (self.wanted.is_empty() && matches_all(terms, &pod.pod))
    }

    fn has_avoided(&self, node: &NodeInfo) -> bool {
        let terms = &self.terms.anti_affinity;
        let wide = terms.iter().filter(|term| !is_local(term));
        if wide.into_iter().any(|term| counted(&self.avoided, node, &term.topology_key).unwrap_or(0) > 0) {
            return true;
        }
        let mut local = terms.iter().filter(|term| is_local(term)).peekable();
        local.peek().is_some()
            && node.labels().contains_key(HOSTNAME_LABEL)
            && local.any(|term| node.pods.iter().any(|other| term.matches(&other.pod, nobody())))
    }

    fn is_unwelcome(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let in_domain = |(key, value): &(&String, &String)| {
            self.unwelcome.get(&((*key).clone(), (*value).clone())).is_some_and(|count| *count > 0)
        };
        if !self.unwelcome.is_empty() && node.labels().iter().any(|label| in_domain(&label)) {
            return true;
        }
        let others = node.pods_with_required_anti_affinity.iter().flat_map(|other| &other.required_anti_affinity);
        node.labels().contains_key(HOSTNAME_LABEL)
            && others.filter(|term| is_local(term)).any(|t| t.matches(&pod.pod, &self.terms.namespace_labels))
    }
}

impl InterPodAffinity {
    pub(crate) fn new(handle: &Handle, args: &InterPodAffinityArgs) -> Self {
        InterPodAffinity {
            namespaces: handle.listers.namespaces.clone(),
            hard_weight: i64::from(args.hard_pod_affinity_weight),
            ignore_wishes_of_others: args.ignore_preferred_terms_of_existing_pods,
        }
    }

    fn labels_of(&self, namespace: &str) -> Labels {
        self.namespaces.get("", namespace).map(|object| labels(&object.metadata).clone()).unwrap_or_default()
    }

    /// The term with its namespace selector turned into names; an empty selector stays: it means all.
    fn resolved(&self, term: &AffinityTerm) -> AffinityTerm {
        let mut term = term.clone();
        if !term.namespace_selector.is_empty() {
            if term.namespace_selector != Selector::Nothing {
                let all = self.namespaces.list();
                let chosen = all.iter().filter(|n| term.namespace_selector.matches(labels(&n.metadata)));
                term.namespaces.extend(chosen.filter_map(|namespace| namespace.metadata.name.clone()));
            }
            term.namespace_selector = Selector::Nothing;
        }
        term
    }

    fn required(&self, pod: &PodInfo, all: &Snapshot) -> Required {
        let resolve = |terms: &[AffinityTerm]| -> Vec<_> { terms.iter().map(|term| self.resolved(term)).collect() };
        let terms = Terms {
            affinity: resolve(&pod.required_affinity),
            affinity_is_local: pod.required_affinity.iter().all(is_local),
            anti_affinity: resolve(&pod.required_anti_affinity),
            namespace_labels: self.labels_of(pod.namespace()),
        };
        let must_look = !terms.affinity.is_empty() || terms.anti_affinity.iter().any(|term| !is_local(term));
        let mut required = Required {
            terms: Arc::new(terms),
            unwelcome: Counts::new(),
            wanted: Counts::new(),
            avoided: Counts::new(),
            matching: 0,
        };
        for node in all.with_wide_anti_affinity() {
            for other in &node.pods_with_required_anti_affinity {
                required.count_unwelcome(pod, other, node, 1);
            }
        }
        for node in all.nodes().iter().filter(|_| must_look) {
            for other in &node.pods {
                required.count_own(other, node, 1);
            }
        }
        required
    }

    fn node_may_help(pod: &PodInfo, old: Option<&Node>, new: &Node) -> bool {
        let Some(old) = old else {
            let has = |term: &AffinityTerm| labels(&new.metadata).contains_key(&term.topology_key);
            return pod.required_affinity.iter().any(has) || !pod.required_anti_affinity.is_empty();
        };
        let values = |term: &AffinityTerm| {
            (labels(&old.metadata).get(&term.topology_key), labels(&new.metadata).get(&term.topology_key))
        };
        let gained = |term: &AffinityTerm| matches!(values(term), (before, Some(after)) if before != Some(after));
        let lost = |term: &AffinityTerm| matches!(values(term), (Some(before), after) if after != Some(before));
        pod.required_affinity.iter().any(gained) || pod.required_anti_affinity.iter().any(lost)
    }

    fn pod_may_help(pod: &PodInfo, change: &Change) -> bool {
        let (old, new) = change.pods();
        if [old, new].into_iter().flatten().any(|other| !holds_place(other)) {
            return false;
        }
        let (terms, anti) = (&pod.required_affinity, &pod.required_anti_affinity);
        match (change, old, new) {
            (_, Some(old), Some(new)) => {
                (!matches_all(terms, old) && matches_all(terms, new))
                    || (matches_any(anti, old) && !matches_any(anti, new))
            }
            (_, None, Some(new)) => matches_all(terms, new),
            (Change::Pod(Some(gone), None), Some(old), None) => {
                let theirs = PodInfo::new(gone.clone());
                matches_any(anti, old) || matches_any(&theirs.required_anti_affinity, &pod.pod)
            }
            _ => true,
        }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(Resource::AssignedPod, Action::ADD.or(Action::DELETE).or(Action::POD_LABEL)),
            ClusterEvent::new(Resource::TargetPod, Action::POD_LABEL),
            ClusterEvent::new(Resource::Node, Action::ADD.or(Action::NODE_LABEL)),
        ]
    }

    fn may_help(&self, pod: &PodInfo, event: ClusterEvent, change: &Change) -> bool {
        match change.nodes() {
            (old, Some(new)) => Self::node_may_help(pod, old, new),
            _ if event.resource == Resource::AssignedPod => Self::pod_may_help(pod, change),
            _ => true,
        }
    }

    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, all: &Snapshot) -> Outcome<Option<NodeNames>> {
        if let Some(error) = &pod.invalid {
            return Err(Status::unresolvable(format!("parsing pod: {error}")));
        }
        let asks = !pod.required_affinity.is_empty() || !pod.required_anti_affinity.is_empty();
        if !asks && !all.has_anti_affinity() {
            return Err(Status::skip());
        }
        state.put(self.required(pod, all));
        Ok(None)
    }

    fn adjust(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, sign: i64) {
        if let Some(required) = state.get_mut::<Required>() {
            required.count(pod, other, node, sign);
        }
    }

    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        let Some(required) = state.get::<Required>() else { return Ok(()) };
        if !required.has_wanted(pod, node) {
            return Err(Status::unresolvable("node(s) didn't match pod affinity rules"));
        }
        if required.has_avoided(node) {
            return Err(Status::unschedulable("node(s) didn't match pod anti-affinity rules"));
        }
        if required.is_unwelcome(pod, node) {
            return Err(Status::unschedulable("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], all: &Snapshot) -> Outcome {
        let wishes = !pod.preferred_affinity.is_empty() || !pod.preferred_anti_affinity.is_empty();
        if !wishes && self.ignore_wishes_of_others {
            return Err(Status::skip());
        }
        let resolve = |terms: &[WeightedTerm]| -> Vec<WeightedTerm> {
            terms.iter().map(|wish| WeightedTerm { term: self.resolved(&wish.term), weight: wish.weight }).collect()
        };
        let mut sums = Sums {
            pod,
            likes: resolve(&pod.preferred_affinity),
            dislikes: resolve(&pod.preferred_anti_affinity),
            namespace_labels: None,
            hard_weight: self.hard_weight,
            by_key: HashMap::new(),
        };
        if wishes {
            sums.namespace_labels = Some(self.labels_of(pod.namespace()));
            for node in all.nodes() {
                node.pods.iter().for_each(|other| sums.add(other, node));
            }
        } else {
            for node in all.with_affinity() {
                sums.namespace_labels.get_or_insert_with(|| self.labels_of(pod.namespace()));
                node.pods_with_affinity.iter().for_each(|other| sums.add(other, node));
            }
        }
        if sums.by_key.is_empty() {
            return Err(Status::skip());
        }
        state.put(Preferred(Arc::new(sums.by_key)));
        Ok(())
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Preferred(sums)) = state.get() else { return 0 };
        let there = sums.iter().filter_map(|(key, values)| values.get(node.labels().get(key)?));
        there.sum()
    }

    fn normalize(&self, state: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) {
        if state.get::<Preferred>().is_none() {
            return;
        }
        let lowest = scores.iter().copied().min().unwrap_or(0);
        let range = scores.iter().copied().max().unwrap_or(0) - lowest;
        for score in scores {
            let part = if range > 0 { (*score - lowest) as f64 / range as f64 } else { 0.0 };
            *score = (MAX_NODE_SCORE as f64 * part) as i64;
        }
    }
}

/// Sums up the wishes of the pod and of the others about it.
struct Sums<'a> {
    pod: &'a PodInfo,
    likes: Vec<WeightedTerm>,
    dislikes: Vec<WeightedTerm>,
    namespace_labels: Option<Labels>,
    hard_weight: i64,
    by_key: HashMap<String, HashMap<String, i64>>,
}

impl Sums<'_> {
    fn add(&mut self, other: &PodInfo, node: &NodeInfo) {
        let here = self.namespace_labels.as_ref().unwrap_or(nobody());
        let mine = self.likes.iter().map(|wish| (wish, 1)).chain(self.dislikes.iter().map(|wish| (wish, -1)));
        let mine = mine.filter(|(wish, _)| wish.term.matches(&other.pod, nobody()));
        let theirs = other.preferred_affinity.iter().map(|wish| (wish, 1));
        let theirs = theirs.chain(other.preferred_anti_affinity.iter().map(|wish| (wish, -1)));
        let theirs = theirs.filter(|(wish, _)| wish.term.matches(&self.pod.pod, here));
        let found: Vec<(&AffinityTerm, i64)> = mine.chain(theirs).map(|(w, sign)| (&w.term, sign * w.weight)).collect();
        let needed = other.required_affinity.iter().filter(|term| term.matches(&self.pod.pod, here));
        let needed = needed.filter(|_| self.hard_weight > 0).map(|term| (term, self.hard_weight));
        for (term, weight) in found.into_iter().chain(needed) {
            if let Some(value) = node.labels().get(&term.topology_key) {
                let values = self.by_key.entry(term.topology_key.clone()).or_default();
                *values.entry(value.clone()).or_default() += weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{scores, verdicts};
    use crate::testing::{object, pod_info, snapshot};

    const DB: &str = r#"{"metadata":{"namespace":"d","labels":{"app":"db"}}}"#;
    const HATES_WEB: &str = r#"{"metadata":{"namespace":"d","labels":{"app":"db"}},"spec":{"affinity":{"podAntiAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"zone","labelSelector":
        {"matchLabels":{"app":"web"}}}]}}}}"#;

    fn plugin(handle: &Handle) -> InterPodAffinity {
        InterPodAffinity::new(handle, &InterPodAffinityArgs::default())
    }

    fn node(name: &str, zone: &str) -> String {
        let labels = format!(r#"{{"kubernetes.io/hostname":"{name}","zone":"{zone}"}}"#);
        format!(r#"{{"metadata":{{"name":"{name}","labels":{labels}}}}}"#)
    }

    /// a1 (with the given pod) and a2 in zone a, b1 in zone b.
    fn cluster(pod: &str) -> Snapshot {
        let nodes = [node("a1", "a"), node("a2", "a"), node("b1", "b")];
        snapshot(&[(&nodes[0], &[pod]), (&nodes[1], &[]), (&nodes[2], &[])])
    }

    fn web(kind: &str, term: &str) -> Arc<PodInfo> {
        let affinity = format!(r#"{{"{kind}":{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}}}"#);
        let meta = r#"{"namespace":"d","labels":{"app":"web"}}"#;
        pod_info(&format!(r#"{{"metadata":{meta},"spec":{{"affinity":{affinity}}}}}"#))
    }

    fn near(app: &str, key: &str) -> String {
        format!(r#"{{"topologyKey":"{key}","labelSelector":{{"matchLabels":{{"app":"{app}"}}}}}}"#)
    }

    #[test]
    fn required_rules_refuse() {
        let no = "UnschedulableAndUnresolvable: node(s) didn't match pod affinity rules";
        let anti = "Unschedulable: node(s) didn't match pod anti-affinity rules";
        let unwelcome = "Unschedulable: node(s) didn't satisfy existing pods anti-affinity rules";
        let (host, zone) = (HOSTNAME_LABEL, "zone");
        let elsewhere = r#"{"metadata":{"namespace":"other","labels":{"app":"db"}}}"#;
        for (what, pod, existing, expected) in [
            ("no rules", pod_info(DB), DB, ["", "", ""]),
            ("zone affinity", web("podAffinity", &near("db", zone)), DB, ["", "", no]),
            ("host affinity", web("podAffinity", &near("db", host)), DB, ["", no, no]),
            ("first of its kind", web("podAffinity", &near("web", zone)), DB, ["", "", ""]),
            ("first of its kind, by host", web("podAffinity", &near("web", host)), DB, ["", "", ""]),
            ("nothing to be near to", web("podAffinity", &near("cache", zone)), DB, [no, no, no]),
            ("another namespace", web("podAffinity", &near("db", zone)), elsewhere, [no, no, no]),
            ("no such label", web("podAffinity", &near("db", "rack")), DB, [no, no, no]),
            ("zone anti-affinity", web("podAntiAffinity", &near("db", zone)), DB, [anti, anti, ""]),
            ("host anti-affinity", web("podAntiAffinity", &near("db", host)), DB, [anti, "", ""]),
            ("unwelcome", web("podAffinity", &near("web", zone)), HATES_WEB, [unwelcome, unwelcome, ""]),
            ("welcome", pod_info(DB), HATES_WEB, ["", "", ""]),
        ] {
            let handle = Handle::for_test();
            assert_eq!(verdicts(&plugin(&handle), &pod, &cluster(existing)), expected, "{what}");
        }
    }

    #[test]
    fn namespace_selectors_are_resolved() {
        let handle = Handle::for_test();
        handle.listers.namespaces.insert(Arc::new(object(r#"{"metadata":{"name":"other","labels":{"team":"x"}}}"#)));
        let elsewhere = r#"{"metadata":{"namespace":"other","labels":{"app":"db"}}}"#;
        let near = r#"{"topologyKey":"zone","labelSelector":{},"namespaceSelector":{"matchLabels":{"team":"x"}}}"#;
        let no = "UnschedulableAndUnresolvable: node(s) didn't match pod affinity rules";
        let pod = web("podAffinity", near);
        assert_eq!(verdicts(&plugin(&handle), &pod, &cluster(elsewhere)), ["", "", no]);
    }

    #[test]
    fn a_what_if_changes_the_counts() {
        let handle = Handle::for_test();
        for (pod, existing) in
            [(web("podAntiAffinity", &near("db", "zone")), DB), (web("podAffinity", &near("web", "zone")), HATES_WEB)]
        {
            let (plugin, all, mut state) = (plugin(&handle), cluster(existing), CycleState::default());
            plugin.pre_filter(&mut state, &pod, &all).unwrap();
            let (full, empty) = (&all.nodes()[0], &all.nodes()[1]);
            assert!(plugin.filter(&state, &pod, empty).is_err());
            plugin.adjust(&mut state, &pod, &full.pods[0], full, -1);
            assert!(plugin.filter(&state, &pod, empty).is_ok());
        }
    }

    #[test]
    fn wishes_score() {
        let handle = Handle::for_test();
        let wish = |kind: &str| {
            let term = near("db", "zone");
            let wish = format!(r#"{{"weight":10,"podAffinityTerm":{term}}}"#);
            let affinity = format!(r#"{{"{kind}":{{"preferredDuringSchedulingIgnoredDuringExecution":[{wish}]}}}}"#);
            pod_info(&format!(r#"{{"metadata":{{"namespace":"d"}},"spec":{{"affinity":{affinity}}}}}"#))
        };
        assert_eq!(scores(&plugin(&handle), &wish("podAffinity"), &cluster(DB)), [100, 100, 0]);
        assert_eq!(scores(&plugin(&handle), &wish("podAntiAffinity"), &cluster(DB)), [0, 0, 100]);
        // An existing pod that needs this one counts with the hard weight.
        let needs = HATES_WEB.replace("podAntiAffinity", "podAffinity");
        let web = pod_info(r#"{"metadata":{"namespace":"d","labels":{"app":"web"}}}"#);
        assert_eq!(scores(&plugin(&handle), &web, &cluster(&needs)), [100, 100, 0]);
    }
}
