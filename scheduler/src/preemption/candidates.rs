//! Which pods to evict on which node.

use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;

use crate::framework::fit_error::NodeStatuses;
use crate::framework::plugin::PostFilterView;
use crate::framework::state::CycleState;
use crate::framework::status::{Code, Outcome, Status};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::selector::Selector;

/// A node and the pods that would have to go from it, the most important first.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) node: Arc<str>,
    pub(crate) victims: Vec<Arc<PodInfo>>,
    /// How many victims a disruption budget protects.
    pub(crate) violations: usize,
}

/// A disruption budget, compiled.
pub(crate) struct Budget {
    object: Arc<PodDisruptionBudget>,
    selector: Selector,
    allowed: i32,
}

impl Budget {
    /// `None` for a budget that protects nothing.
    pub(crate) fn compile(object: Arc<PodDisruptionBudget>) -> Option<Self> {
        let spec = object.spec.as_ref()?;
        let selector = Selector::compile(spec.selector.as_ref()).ok().filter(|selector| !selector.is_empty())?;
        let allowed = object.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0);
        Some(Budget { object, selector, allowed })
    }

    fn protects(&self, pod: &PodInfo) -> bool {
        let disrupted = self.object.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
        self.object.metadata.namespace.as_deref() == Some(pod.namespace())
            && !pod.labels().is_empty()
            && self.selector.matches(pod.labels())
            && !disrupted.is_some_and(|pods| pods.contains_key(pod.name()))
    }
}

/// When the pod started; a pod that has not is the youngest.
fn started(pod: &PodInfo) -> Timestamp {
    let start = pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    start.map_or(Timestamp::MAX, |time| time.0)
}

fn by_importance(pods: &mut [Arc<PodInfo>]) {
    pods.sort_by_key(|pod| (std::cmp::Reverse(pod.priority), started(pod)));
}

/// Tries nodes from a random one on until there are enough candidates; what the others said.
pub(crate) fn find(
    view: &PostFilterView<'_>,
    state: &CycleState,
    pod: &Arc<PodInfo>,
    nodes: &[usize],
    budgets: &[Budget],
    enough: usize,
) -> Outcome<(Vec<Candidate>, NodeStatuses)> {
    let (mut free, mut violating) = (Vec::new(), Vec::new());
    let (mut statuses, mut failure) = (NodeStatuses::default(), None);
    let offset = (view.random % nodes.len().max(1) as u64) as usize;
    for &at in nodes.iter().cycle().skip(offset).take(nodes.len()) {
        match victims_on(view, state, pod, &view.snapshot.nodes()[at], budgets) {
            Ok(candidate) if candidate.violations == 0 => free.push(candidate),
            Ok(candidate) => violating.push(candidate),
            Err(status) => {
                if status.code == Code::Error {
                    failure.get_or_insert_with(|| status.clone());
                }
                statuses.set(at, status);
            }
        }
        if !free.is_empty() && free.len() + violating.len() >= enough {
            break;
        }
    }
    free.append(&mut violating);
    match failure.filter(|_| free.is_empty()) {
        Some(failure) => Err(failure),
        None => Ok((free, statuses)),
    }
}

/// A node on which pods are taken away and put back to see what fits.
struct WhatIf<'a> {
    view: &'a PostFilterView<'a>,
    pod: &'a PodInfo,
    node: NodeInfo,
    state: CycleState,
}

impl WhatIf<'_> {
    fn remove(&mut self, victim: &PodInfo) {
        self.node.remove_pod(&victim.uid);
        self.view.profile.adjust(&mut self.state, self.pod, victim, &self.node, -1);
    }

    fn add(&mut self, victim: &Arc<PodInfo>) {
        self.node.add_pod(victim.clone());
        self.view.profile.adjust(&mut self.state, self.pod, victim, &self.node, 1);
    }

    fn fits(&self) -> Outcome {
        self.view.profile.filter_with_nominated(&self.state, self.pod, &self.node, self.view.nominated)
    }

    /// Lets the pod stay if the newcomer still fits.
    fn spare(&mut self, victim: &Arc<PodInfo>) -> bool {
        self.add(victim);
        let fits = self.fits().is_ok();
        if !fits {
            self.remove(victim);
        }
        fits
    }
}

/// The fewest and least important pods to take from one node.
fn victims_on(
    view: &PostFilterView<'_>,
    state: &CycleState,
    pod: &PodInfo,
    node: &NodeInfo,
    budgets: &[Budget],
) -> Outcome<Candidate> {
    let mut possible: Vec<_> = node.pods.iter().filter(|other| other.priority < pod.priority).cloned().collect();
    if possible.is_empty() {
        return Err(Status::unresolvable("No preemption victims found for incoming pod"));
    }
    let mut what_if = WhatIf { view, pod, node: node.clone(), state: state.clone() };
    possible.iter().for_each(|victim| what_if.remove(victim));
    what_if.fits()?;
    by_importance(&mut possible);
    let (protected, others) = split(&possible, budgets);
    let mut victims: Vec<_> = protected.iter().filter(|victim| !what_if.spare(victim)).cloned().collect();
    let violations = victims.len();
    victims.extend(others.into_iter().filter(|victim| !what_if.spare(victim)));
    by_importance(&mut victims);
    if victims.is_empty() {
        return Err(Status::error(format!("expected at least one victim pod on node {:?}", &*node.name)));
    }
    Ok(Candidate { node: node.name.clone(), victims, violations })
}

/// Pods whose eviction would break a budget, and the others.
fn split(pods: &[Arc<PodInfo>], budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<i32> = budgets.iter().map(|budget| budget.allowed).collect();
    let mut breaks = |pod: &PodInfo| {
        for (budget, left) in budgets.iter().zip(&mut left).filter(|(budget, _)| budget.protects(pod)) {
            let _ = budget;
            *left -= 1;
            if *left < 0 {
                return true;
            }
        }
        false
    };
    pods.iter().cloned().partition(|pod| breaks(pod))
}

/// The candidate that does the least harm.
pub(crate) fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    let harm = |candidate: &Candidate| {
        let victims = &candidate.victims;
        let highest = victims.first().map_or(i32::MIN, |victim| victim.priority);
        // All priorities count as positive, or two negative ones would do less harm than one.
        let lifted = |victim: &Arc<PodInfo>| i64::from(victim.priority) + i64::from(i32::MAX) + 1;
        let sum: i64 = victims.iter().map(lifted).sum();
        let first = victims.iter().filter(|victim| victim.priority == highest).map(|victim| started(victim)).min();
        (candidate.violations, highest, sum, victims.len(), std::cmp::Reverse(first))
    };
    candidates.into_iter().min_by_key(harm)
}
