//! The plugin trait: one method an extension point, each defaulted, and the set of points a plugin
//! takes part in.
//!
//! Invariant: `points()` names exactly the methods that a plugin overrides; a test holds that each
//! built-in plugin appears at upstream's points. Methods before PreBind are pure: they read the
//! snapshot and the cycle state and touch nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;

use super::event::{Change, ClusterEvent};
use super::fit_error::NodeStatuses;
use super::profile::Profile;
use super::state::CycleState;
use super::status::{Outcome, Status};
use crate::node_info::NodeInfo;
use crate::nominator::Nominated;
use crate::pod_info::PodInfo;
use crate::queue::queued::Queued;
use crate::snapshot::Snapshot;

/// The best and the worst a node can score at one plugin, after normalizing.
pub(crate) const MAX_NODE_SCORE: i64 = 100;

/// A named extension point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Point {
    /// All points, in the order in which a pod passes them.
    pub(crate) const ALL: [Point; 12] = [
        Point::PreEnqueue,
        Point::QueueSort,
        Point::PreFilter,
        Point::Filter,
        Point::PostFilter,
        Point::PreScore,
        Point::Score,
        Point::Reserve,
        Point::Permit,
        Point::PreBind,
        Point::Bind,
        Point::PostBind,
    ];

    /// The name of the point in a configuration file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Point::PreEnqueue => "preEnqueue",
            Point::QueueSort => "queueSort",
            Point::PreFilter => "preFilter",
            Point::Filter => "filter",
            Point::PostFilter => "postFilter",
            Point::PreScore => "preScore",
            Point::Score => "score",
            Point::Reserve => "reserve",
            Point::Permit => "permit",
            Point::PreBind => "preBind",
            Point::Bind => "bind",
            Point::PostBind => "postBind",
        }
    }
}

/// Names of nodes.
pub(crate) type NodeNames = BTreeSet<String>;

/// What PostFilter says about the pod's nomination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nomination {
    /// Leave it as it is.
    Keep,
    /// Set it; empty clears it.
    Set(String),
}

/// What a PostFilter plugin works with.
pub(crate) struct PostFilterView<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) nominated: &'a Nominated,
    pub(crate) statuses: &'a NodeStatuses,
    /// A random number of this cycle.
    pub(crate) random: u64,
}

/// A member of the framework.
pub(crate) trait Plugin: Send + Sync {
    fn name(&self) -> &'static str;

    /// The points this plugin takes part in.
    fn points(&self) -> &'static [Point];

    /// The events that may make a pod schedulable which this plugin has refused.
    fn events(&self) -> Vec<ClusterEvent> {
        Vec::new()
    }

    /// False when this very change cannot make the refused pod schedulable.
    fn may_help(&self, _pod: &PodInfo, _event: ClusterEvent, _change: &Change) -> bool {
        true
    }

    /// Keeps a pod out of the active queue.
    fn pre_enqueue(&self, _pod: &Pod) -> Outcome {
        Ok(())
    }

    /// True when `a` is to be scheduled before `b`.
    fn less(&self, _a: &Queued, _b: &Queued) -> bool {
        false
    }

    /// Computes what Filter needs; may narrow the nodes to look at.
    fn pre_filter(&self, _state: &mut CycleState, _pod: &PodInfo, _all: &Snapshot) -> Outcome<Option<NodeNames>> {
        Ok(None)
    }

    /// Corrects what PreFilter computed for `other` being on `node` in addition (sign +1) or no
    /// longer (-1); for what-if questions.
    fn adjust(&self, _state: &mut CycleState, _pod: &PodInfo, _other: &PodInfo, _node: &NodeInfo, _sign: i64) {}

    /// Refuses a node.
    fn filter(&self, _state: &CycleState, _pod: &PodInfo, _node: &NodeInfo) -> Outcome {
        Ok(())
    }

    /// Runs when no node fits; may make room.
    fn post_filter(
        &self,
        _view: &PostFilterView<'_>,
        _state: &CycleState,
        _pod: &Arc<PodInfo>,
    ) -> (Nomination, Outcome<String>) {
        (Nomination::Keep, Err(Status::skip()))
    }

    /// Computes what Score needs, knowing the nodes that fit.
    fn pre_score(&self, _state: &mut CycleState, _pod: &PodInfo, _nodes: &[Arc<NodeInfo>], _all: &Snapshot) -> Outcome {
        Ok(())
    }

    /// How good the node is, in the plugin's own measure.
    fn score(&self, _state: &CycleState, _pod: &PodInfo, _node: &NodeInfo) -> i64 {
        0
    }

    /// Brings the scores of all nodes into 0..=[`MAX_NODE_SCORE`].
    fn normalize(&self, _state: &CycleState, _nodes: &[Arc<NodeInfo>], _scores: &mut [i64]) {}

    /// Books what the pod needs on the node.
    fn reserve(&self, _state: &CycleState, _pod: &PodInfo, _node: &str) -> Outcome {
        Ok(())
    }

    /// Gives back what `reserve` booked; also called when it booked nothing.
    fn unreserve(&self, _state: &CycleState, _pod: &PodInfo, _node: &str) {}

    /// The last veto before binding.
    fn permit(&self, _state: &CycleState, _pod: &PodInfo, _node: &str) -> Outcome {
        Ok(())
    }

    /// Does what must be done before the pod is bound.
    fn pre_bind<'a>(&'a self, _state: &'a CycleState, _pod: &'a PodInfo, _node: &'a str) -> BoxFuture<'a, Outcome> {
        Box::pin(async { Ok(()) })
    }

    /// Binds the pod; `Skip` leaves it to the next plugin.
    fn bind<'a>(&'a self, _state: &'a CycleState, _pod: &'a PodInfo, _node: &'a str) -> BoxFuture<'a, Outcome> {
        Box::pin(async { Err(Status::skip()) })
    }

    /// Told of a bound pod.
    fn post_bind(&self, _state: &CycleState, _pod: &PodInfo, _node: &str) {}
}

/// Scales scores to 0..=[`MAX_NODE_SCORE`] by the highest; `reverse` makes the highest the worst
/// (pkg/scheduler/framework/plugins/helper/normalize_score.go@v1.37.2).
pub(crate) fn normalize_by_highest(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0).max(0);
    for score in scores {
        let scaled = if highest == 0 { 0 } else { MAX_NODE_SCORE * *score / highest };
        *score = if reverse {
            MAX_NODE_SCORE - scaled
        } else if highest == 0 {
            *score
        } else {
            scaled
        };
    }
}
