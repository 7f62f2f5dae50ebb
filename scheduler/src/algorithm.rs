//! Chooses a node for one pod: the part of scheduling that touches nothing but its own snapshot.
//!
//! Invariant: same snapshot, same seed, same start: same choice
//! (pkg/scheduler/schedule_one.go@v1.37.2, schedulePod and what it calls). Filtering runs on one
//! thread; a cycle over 1,000 nodes takes well under a millisecond.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::framework::fit_error::FitError;
use crate::framework::plugin::{Nomination, Point, PostFilterView};
use crate::framework::profile::Profile;
use crate::framework::state::CycleState;
use crate::framework::status::{Code, Outcome, Status};
use crate::node_info::NodeInfo;
use crate::nominator::Nominated;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

/// At least so many feasible nodes are looked for.
const FEASIBLE_NODES_MIN: usize = 100;
/// At least so many percent of the nodes are looked for.
const FEASIBLE_PERCENTAGE_MIN: usize = 5;
/// The percentage that a small cluster starts with, and how many nodes lower it by one.
const FEASIBLE_PERCENTAGE_START: usize = 50;
const NODES_PER_PERCENT: usize = 125;

/// Why no node was chosen.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The cluster has no nodes.
    NoNodes,
    /// No node fits.
    Fit(Box<FitError>),
    /// Something went wrong.
    Error(Status),
}

/// The algorithm with what it carries from pod to pod.
pub(crate) struct Algorithm {
    pub(crate) snapshot: Snapshot,
    /// Where the next search starts, so that all nodes get their turn.
    next_start: usize,
    percentage: i32,
    random: StdRng,
}

impl Algorithm {
    pub(crate) fn new(percentage: i32, seed: Option<u64>) -> Self {
        let random = seed.map_or_else(|| StdRng::from_rng(&mut rand::rng()), StdRng::seed_from_u64);
        Algorithm { snapshot: Snapshot::default(), next_start: 0, percentage, random }
    }

    /// The best node for the pod.
    pub(crate) fn schedule(
        &mut self,
        profile: &Profile,
        nominated: &Nominated,
        state: &mut CycleState,
        pod: &PodInfo,
    ) -> Result<Arc<str>, Failure> {
        if self.snapshot.nodes().is_empty() {
            return Err(Failure::NoNodes);
        }
        let mut error = FitError { all_nodes: self.snapshot.nodes().len(), ..FitError::default() };
        let feasible = self.feasible(profile, nominated, state, pod, &mut error).map_err(Failure::Error)?;
        match feasible.as_slice() {
            [] => Err(Failure::Fit(Box::new(error))),
            [one] => Ok(one.name.clone()),
            many => {
                let scores = profile.score(state, pod, many, &self.snapshot).map_err(Failure::Error)?;
                Ok(many[self.pick(&scores)].name.clone())
            }
        }
    }

    /// Runs PostFilter for a pod that fits nowhere: the nomination and a message.
    pub(crate) fn post_filter(
        &mut self,
        profile: &Profile,
        nominated: &Nominated,
        state: &CycleState,
        pod: &Arc<PodInfo>,
        error: &FitError,
    ) -> (Nomination, String) {
        let random = self.random.next_u64();
        let view = PostFilterView { profile, snapshot: &self.snapshot, nominated, statuses: &error.statuses, random };
        profile.post_filter(&view, state, pod)
    }

    fn feasible(
        &mut self,
        profile: &Profile,
        nominated: &Nominated,
        state: &mut CycleState,
        pod: &PodInfo,
        error: &mut FitError,
    ) -> Outcome<Vec<Arc<NodeInfo>>> {
        let (found, outcome) = profile.pre_filter(state, pod, &self.snapshot);
        error.unschedulable_plugins.extend(&found.narrowed_by);
        if let Err(status) = outcome {
            if !status.is_rejected() {
                return Err(status);
            }
            error.pre_filter_message = status.message();
            error.note(&status);
            error.statuses.set_absent(status);
            return Ok(Vec::new());
        }
        if let Some(node) = self.nominated_fits(profile, nominated, state, pod) {
            return Ok(vec![node]);
        }
        let nodes: Vec<usize> = match &found.nodes {
            None => (0..self.snapshot.nodes().len()).collect(),
            Some(names) => {
                let plugins: Vec<_> = found.narrowed_by.iter().copied().collect();
                let reason = format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "));
                error.statuses.set_absent(Status::unresolvable(reason));
                names.iter().filter_map(|name| self.snapshot.position(name)).collect()
            }
        };
        let feasible = self.passing(profile, nominated, state, pod, &nodes, error)?;
        let looked_at = feasible.len() + error.statuses.len();
        self.next_start = (self.next_start + looked_at) % self.snapshot.nodes().len();
        Ok(feasible)
    }

    /// The node nominated for the pod, if it fits there: room was made for it, so it is tried first.
    fn nominated_fits(
        &self,
        profile: &Profile,
        nominated: &Nominated,
        state: &CycleState,
        pod: &PodInfo,
    ) -> Option<Arc<NodeInfo>> {
        let node = self.snapshot.get(Some(pod.nominated_node()).filter(|name| !name.is_empty())?)?;
        profile.filter_with_nominated(state, pod, node, nominated).is_ok().then(|| node.clone())
    }

    fn passing(
        &self,
        profile: &Profile,
        nominated: &Nominated,
        state: &CycleState,
        pod: &PodInfo,
        nodes: &[usize],
        error: &mut FitError,
    ) -> Outcome<Vec<Arc<NodeInfo>>> {
        let percentage = profile.percentage_of_nodes_to_score.unwrap_or(self.percentage);
        let enough = if profile.has(Point::Score) { feasible_nodes_to_find(nodes.len(), percentage) } else { 1 };
        let mut feasible = Vec::new();
        for i in 0..nodes.len() {
            let at = nodes[(self.next_start + i) % nodes.len()];
            let node = &self.snapshot.nodes()[at];
            match profile.filter_with_nominated(state, pod, node, nominated) {
                Ok(()) => feasible.push(node.clone()),
                Err(status) if status.code == Code::Error => return Err(status),
                Err(status) => {
                    error.note(&status);
                    error.statuses.set(at, status);
                }
            }
            if feasible.len() >= enough {
                break;
            }
        }
        Ok(feasible)
    }

    /// The place of the highest score; a random one of several.
    fn pick(&mut self, scores: &[i64]) -> usize {
        let highest = scores.iter().max().copied().unwrap_or(0);
        let best: Vec<usize> = (0..scores.len()).filter(|at| scores[*at] == highest).collect();
        best[self.random.random_range(0..best.len())]
    }
}

/// How many feasible nodes are enough.
fn feasible_nodes_to_find(nodes: usize, percentage: i32) -> usize {
    if nodes < FEASIBLE_NODES_MIN {
        return nodes;
    }
    let percentage = match usize::try_from(percentage) {
        Ok(0) | Err(_) => {
            FEASIBLE_PERCENTAGE_START.saturating_sub(nodes / NODES_PER_PERCENT).max(FEASIBLE_PERCENTAGE_MIN)
        }
        Ok(percentage) => percentage,
    };
    (nodes * percentage / 100).max(FEASIBLE_NODES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{default_profile, why_not};
    use crate::testing::{pod_info, snapshot};

    #[test]
    fn the_share_of_nodes_shrinks_with_the_cluster() {
        for (nodes, percentage, expected) in [
            (10, 0, 10),
            (99, 0, 99),
            (100, 0, 100),
            (1000, 0, 420),
            (6000, 0, 300),
            (10_000, 0, 500),
            (1000, 40, 400),
            (1000, 1, 100),
            (1000, 100, 1000),
        ] {
            assert_eq!(feasible_nodes_to_find(nodes, percentage), expected, "{nodes} {percentage}");
        }
    }

    fn choose(algorithm: &mut Algorithm, pod: &PodInfo) -> Result<Arc<str>, Failure> {
        algorithm.schedule(&default_profile(), &Nominated::default(), &mut CycleState::default(), pod)
    }

    fn cluster(seed: u64) -> Algorithm {
        let node = |name: &str| {
            let status = r#"{"allocatable":{"cpu":"4","memory":"8Gi","pods":"10"}}"#;
            format!(r#"{{"metadata":{{"name":"{name}"}},"status":{status}}}"#)
        };
        let nodes: Vec<String> = ["a", "b", "c"].iter().map(|name| node(name)).collect();
        let mut algorithm = Algorithm::new(0, Some(seed));
        algorithm.snapshot = snapshot(&nodes.iter().map(|node| (node.as_str(), &[][..])).collect::<Vec<_>>());
        algorithm
    }

    #[test]
    fn ties_are_broken_by_the_seed_and_reach_every_node() {
        let pod = pod_info("{}");
        let picks = |seed| -> Vec<_> {
            let mut algorithm = cluster(seed);
            (0..30).map(|_| choose(&mut algorithm, &pod).unwrap().to_string()).collect()
        };
        assert_eq!(picks(7), picks(7));
        let reached: std::collections::BTreeSet<_> = picks(7).into_iter().collect();
        assert_eq!(reached.len(), 3);
    }

    #[test]
    fn the_reasons_of_all_nodes_are_told() {
        let pod = pod_info(r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"9"}}}]}}"#);
        let Err(Failure::Fit(error)) = choose(&mut cluster(1), &pod) else { panic!("it cannot fit") };
        assert_eq!(error.message(), "0/3 nodes are available: 3 Insufficient cpu.");
        assert_eq!(error.unschedulable_plugins.iter().copied().collect::<Vec<_>>(), ["NodeResourcesFit"]);
        assert_eq!(why_not(&default_profile(), &pod, &cluster(1).snapshot), error.message());
    }

    #[test]
    fn the_nominated_node_comes_first_and_room_for_others_is_kept() {
        let ask = r#""spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"3"}}}]}"#;
        let nominated =
            pod_info(&format!(r#"{{"metadata":{{"uid":"n"}},"status":{{"nominatedNodeName":"b"}},{ask}}}"#));
        assert_eq!(&*choose(&mut cluster(1), &nominated).unwrap(), "b");
        let nominator = crate::nominator::Nominator::default();
        for (uid, node) in [("x", "a"), ("y", "b")] {
            let other = pod_info(&format!(r#"{{"metadata":{{"uid":"{uid}"}},{ask}}}"#));
            nominator.add(&other, &Nomination::Set(node.into()));
        }
        let pod = pod_info(&format!(r#"{{"metadata":{{"uid":"p"}},{ask}}}"#));
        let (profile, mut state) = (default_profile(), CycleState::default());
        let chosen = cluster(1).schedule(&profile, &nominator.view(), &mut state, &pod);
        assert_eq!(&*chosen.unwrap(), "c");
    }

    #[test]
    fn a_cluster_without_nodes_is_its_own_failure() {
        let mut algorithm = Algorithm::new(0, Some(1));
        assert!(matches!(choose(&mut algorithm, &pod_info("{}")), Err(Failure::NoNodes)));
    }
}
