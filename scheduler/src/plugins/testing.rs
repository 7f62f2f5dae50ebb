//! What plugin tests share: a profile of the default plugins and the run of one plugin on one node.

use crate::config::{Config, profiles};
use crate::framework::fit_error::FitError;
use crate::framework::plugin::{Plugin, Point};
use crate::framework::profile::Profile;
use crate::framework::state::CycleState;
use crate::framework::status::{Code, Status};
use crate::handle::Handle;
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub(crate) fn default_profile() -> Profile {
    profile_with(&Handle::for_test())
}

/// The default profile over the objects of a handle.
pub(crate) fn profile_with(handle: &Handle) -> Profile {
    let mut made = profiles::make(&Config::default(), handle).expect("the default configuration is valid");
    made.remove("default-scheduler").expect("it has the default profile")
}

/// PreFilter and Filter of one plugin, node by node: the reasons, or "" where the pod fits.
pub(crate) fn verdicts(plugin: &dyn Plugin, pod: &PodInfo, all: &Snapshot) -> Vec<String> {
    let mut state = CycleState::default();
    let told = |status: &Status| format!("{:?}: {}", status.code, status.message());
    let names = match plugin.pre_filter(&mut state, pod, all) {
        Err(status) if status.code == Code::Skip => return vec![String::new(); all.nodes().len()],
        Err(status) => return vec![told(&status); all.nodes().len()],
        Ok(names) => names,
    };
    let verdict = |node: &NodeInfo| match plugin.filter(&state, pod, node) {
        _ if names.as_ref().is_some_and(|names| !names.contains(&*node.name)) => "not looked at".into(),
        Ok(()) => String::new(),
        Err(status) => told(&status),
    };
    all.nodes().iter().map(|node| verdict(node)).collect()
}

/// The normalized scores of one plugin, node by node.
pub(crate) fn scores(plugin: &dyn Plugin, pod: &PodInfo, all: &Snapshot) -> Vec<i64> {
    let mut state = CycleState::default();
    if plugin.points().contains(&Point::PreScore) && plugin.pre_score(&mut state, pod, all.nodes(), all).is_err() {
        return vec![0; all.nodes().len()];
    }
    let mut scores: Vec<i64> = all.nodes().iter().map(|node| plugin.score(&state, pod, node)).collect();
    plugin.normalize(&state, all.nodes(), &mut scores);
    scores
}

/// What the whole default profile says about a pod, as the pod's condition would.
pub(crate) fn why_not(profile: &Profile, pod: &PodInfo, all: &Snapshot) -> String {
    let mut state = CycleState::default();
    let mut error = FitError { all_nodes: all.nodes().len(), ..FitError::default() };
    let (_, outcome) = profile.pre_filter(&mut state, pod, all);
    if let Err(status) = outcome {
        error.pre_filter_message = status.message();
        return error.message();
    }
    for (at, node) in all.nodes().iter().enumerate() {
        if let Err(status) = profile.filter(&state, pod, node) {
            error.statuses.set(at, status);
        }
    }
    error.message()
}

/// Upstream's points, but for two: NodeUnschedulable and TaintToleration have an idle PreFilter there
/// (for an alpha feature), ImageLocality has no PreScore (it counts the nodes again for each node).
#[test]
fn each_plugin_is_at_upstreams_points() {
    let profile = default_profile();
    let at = |point: Point| profile.at(point).map(|(name, _)| name).collect::<Vec<_>>().join(" ");
    for (point, expected) in [
        (Point::PreEnqueue, "SchedulingGates DefaultPreemption"),
        (Point::QueueSort, "PrioritySort"),
        (
            Point::PreFilter,
            "NodeAffinity NodePorts NodeResourcesFit VolumeRestrictions NodeVolumeLimits VolumeBinding VolumeZone \
             PodTopologySpread InterPodAffinity",
        ),
        (
            Point::Filter,
            "NodeName NodeUnschedulable TaintToleration NodeAffinity NodePorts NodeResourcesFit VolumeRestrictions \
             NodeVolumeLimits VolumeBinding VolumeZone PodTopologySpread InterPodAffinity",
        ),
        (Point::PostFilter, "DefaultPreemption"),
        (
            Point::PreScore,
            "TaintToleration NodeAffinity NodeResourcesFit PodTopologySpread InterPodAffinity \
             NodeResourcesBalancedAllocation ImageLocality",
        ),
        (
            Point::Score,
            "TaintToleration NodeAffinity NodeResourcesFit PodTopologySpread InterPodAffinity \
             NodeResourcesBalancedAllocation ImageLocality",
        ),
        (Point::Bind, "DefaultBinder"),
    ] {
        assert_eq!(at(point), expected, "{point:?}");
    }
    let weights: Vec<i64> = profile.at(Point::Score).map(|(_, weight)| weight).collect();
    assert_eq!(weights, [3, 2, 1, 2, 2, 1, 1]);
}
