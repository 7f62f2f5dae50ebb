//! A profile: the plugins that run at each point for pods that ask for one scheduler name.
//!
//! Invariant: plugins run in the configured order; the first refusal of a node ends its filtering;
//! statuses carry the plugin's name (pkg/scheduler/framework/runtime/framework.go@v1.37.2).

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::event::{Change, ClusterEvent};
use super::plugin::{NodeNames, Nomination, Plugin, Point, PostFilterView};
use super::state::CycleState;
use super::status::{Code, Outcome, Status};
use crate::node_info::NodeInfo;
use crate::nominator::Nominated;
use crate::pod_info::PodInfo;
use crate::queue::queued::Queued;
use crate::snapshot::Snapshot;

/// The most plugins a profile can have: one bit each in the skip sets of the cycle state.
pub(crate) const PLUGINS_MAX: usize = 64;

/// A plugin at a point, by its place in the profile.
#[derive(Clone, Copy)]
struct Slot {
    plugin: usize,
    weight: i64,
}

/// Plugins by point.
pub(crate) struct Profile {
    /// Overrides the percentage of all profiles.
    pub(crate) percentage_of_nodes_to_score: Option<i32>,
    plugins: Vec<Arc<dyn Plugin>>,
    /// By place in [`Point::ALL`].
    points: [Vec<Slot>; Point::ALL.len()],
    /// The events each plugin registered, by its place.
    events: Vec<Vec<ClusterEvent>>,
}

/// What PreFilter found.
#[derive(Default)]
pub(crate) struct PreFiltered {
    /// The nodes worth looking at; `None` for all.
    pub(crate) nodes: Option<NodeNames>,
    /// The plugins that narrowed them.
    pub(crate) narrowed_by: BTreeSet<&'static str>,
}

impl Profile {
    /// A profile without plugins at any point.
    pub(crate) fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        assert!(plugins.len() <= PLUGINS_MAX, "at most {PLUGINS_MAX} plugins a profile");
        let events = plugins.iter().map(|plugin| plugin.events()).collect();
        Profile { percentage_of_nodes_to_score: None, plugins, points: Default::default(), events }
    }

    /// Appends the plugin of that name at a point; false when the profile has no such plugin.
    pub(crate) fn enable(&mut self, point: Point, name: &str, weight: i64) -> bool {
        let Some(plugin) = self.plugins.iter().position(|plugin| plugin.name() == name) else { return false };
        self.points[point as usize].push(Slot { plugin, weight });
        true
    }

    pub(crate) fn has(&self, point: Point) -> bool {
        !self.points[point as usize].is_empty()
    }

    /// Names and weights of the plugins at a point, in order.
    pub(crate) fn at(&self, point: Point) -> impl Iterator<Item = (&'static str, i64)> {
        self.points[point as usize].iter().map(|slot| (self.plugins[slot.plugin].name(), slot.weight))
    }

    fn each(&self, point: Point) -> impl DoubleEndedIterator<Item = (usize, &Arc<dyn Plugin>)> {
        self.points[point as usize].iter().map(|slot| (slot.plugin, &self.plugins[slot.plugin]))
    }

    /// True when a plugin of this profile registered an event that matches.
    pub(crate) fn is_interested(&self, event: ClusterEvent) -> bool {
        self.events.iter().flatten().any(|registered| registered.matches(event))
    }

    /// True when the named plugin registered the event and the change may help the pod.
    pub(crate) fn may_help(&self, plugin: &str, pod: &PodInfo, event: ClusterEvent, change: &Change) -> bool {
        let named = self.plugins.iter().zip(&self.events).filter(|(known, _)| known.name() == plugin);
        let mut hearing = named.filter(|(_, events)| events.iter().any(|registered| registered.matches(event)));
        hearing.any(|(plugin, _)| plugin.may_help(pod, event, change))
    }

    /// True when the named plugin registered the event.
    pub(crate) fn hears(&self, plugin: &str, event: ClusterEvent) -> bool {
        let mut named = self.plugins.iter().zip(&self.events).filter(|(known, _)| known.name() == plugin);
        named.any(|(_, events)| events.iter().any(|registered| registered.matches(event)))
    }

    /// The plugin that keeps the pod out of the active queue, if any.
    pub(crate) fn gate(&self, pod: &Pod) -> Option<&'static str> {
        let refused = |plugin: &Arc<dyn Plugin>| plugin.pre_enqueue(pod).is_err().then(|| plugin.name());
        self.each(Point::PreEnqueue).find_map(|(_, plugin)| refused(plugin))
    }

    pub(crate) fn less(&self, a: &Queued, b: &Queued) -> bool {
        self.each(Point::QueueSort).next().is_some_and(|(_, plugin)| plugin.less(a, b))
    }

    /// Runs PreFilter; a refusal is for all nodes.
    pub(crate) fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, all: &Snapshot) -> (PreFiltered, Outcome) {
        let mut found = PreFiltered::default();
        let outcome = self.pre_filter_into(&mut found, state, pod, all);
        (found, outcome)
    }

    fn pre_filter_into(
        &self,
        found: &mut PreFiltered,
        state: &mut CycleState,
        pod: &PodInfo,
        all: &Snapshot,
    ) -> Outcome {
        let mut refusal = None;
        for (place, plugin) in self.each(Point::PreFilter) {
            let narrowed = match plugin.pre_filter(state, pod, all) {
                Ok(narrowed) => narrowed,
                Err(status) if status.code == Code::Skip => {
                    state.skip_filter |= 1 << place;
                    continue;
                }
                // Room may still be made for the pod, which needs what the other plugins compute.
                Err(status) if status.code == Code::Unschedulable => {
                    refusal = Some(status.by(plugin.name()));
                    continue;
                }
                Err(status) if status.is_rejected() => return Err(status.by(plugin.name())),
                Err(status) => return Err(failed("PreFilter", plugin.name(), &status)),
            };
            found.narrow(plugin.name(), narrowed);
            if found.nodes.as_ref().is_some_and(BTreeSet::is_empty) {
                return Err(found.refusal());
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Tells the plugins that `other` is on (sign +1) or off (-1) the node in a what-if question.
    pub(crate) fn adjust(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, sign: i64) {
        for (place, plugin) in self.each(Point::PreFilter) {
            if state.skip_filter & (1 << place) == 0 {
                plugin.adjust(state, pod, other, node, sign);
            }
        }
    }

    /// Runs Filter for one node.
    pub(crate) fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        for (place, plugin) in self.each(Point::Filter) {
            if state.skip_filter & (1 << place) != 0 {
                continue;
            }
            if let Err(status) = plugin.filter(state, pod, node) {
                let rejected = status.is_rejected();
                return Err(if rejected { status.by(plugin.name()) } else { failed("Filter", plugin.name(), &status) });
            }
        }
        Ok(())
    }

    /// Runs Filter for one node, with and without the pods of at least this priority nominated to it.
    pub(crate) fn filter_with_nominated(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
        nominated: &Nominated,
    ) -> Outcome {
        let before = |other: &&Arc<PodInfo>| other.priority >= pod.priority && other.uid != pod.uid;
        let mut others = nominated.on(&node.name).iter().filter(before).peekable();
        if others.peek().is_some() {
            let (mut crowded, mut state) = (node.clone(), state.clone());
            for other in others {
                crowded.add_pod(other.clone());
                self.adjust(&mut state, pod, other, &crowded, 1);
            }
            self.filter(&state, pod, &crowded)?;
        }
        self.filter(state, pod, node)
    }

    /// Runs PostFilter: the nomination and the message for the pod's condition.
    pub(crate) fn post_filter(
        &self,
        view: &PostFilterView<'_>,
        state: &CycleState,
        pod: &Arc<PodInfo>,
    ) -> (Nomination, String) {
        let mut result = Nomination::Keep;
        let mut reasons = Vec::new();
        for (_, plugin) in self.each(Point::PostFilter) {
            let (nomination, outcome) = plugin.post_filter(view, state, pod);
            match outcome {
                Ok(message) => return (nomination, message),
                Err(status) if status.code == Code::Unschedulable => {
                    if nomination != Nomination::Keep {
                        result = nomination;
                    }
                    reasons.extend(status.reasons);
                }
                Err(status) if status.code == Code::UnschedulableAndUnresolvable => {
                    return (nomination, status.message());
                }
                Err(status) => return (Nomination::Keep, status.message()),
            }
        }
        (result, reasons.join(", "))
    }

    /// The weighted sum of all plugins' scores, node by node.
    pub(crate) fn score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
        all: &Snapshot,
    ) -> Outcome<Vec<i64>> {
        for (place, plugin) in self.each(Point::PreScore) {
            match plugin.pre_score(state, pod, nodes, all) {
                Ok(()) => {}
                Err(status) if status.code == Code::Skip => state.skip_score |= 1 << place,
                Err(status) => return Err(failed("PreScore", plugin.name(), &status)),
            }
        }
        let mut totals = vec![0; nodes.len()];
        let mut scores = vec![0; nodes.len()];
        for slot in &self.points[Point::Score as usize] {
            if state.skip_score & (1 << slot.plugin) != 0 {
                continue;
            }
            let plugin = &self.plugins[slot.plugin];
            for (score, node) in scores.iter_mut().zip(nodes) {
                *score = plugin.score(state, pod, node);
            }
            plugin.normalize(state, nodes, &mut scores);
            for (total, score) in totals.iter_mut().zip(&scores) {
                *total += score * slot.weight;
            }
        }
        Ok(totals)
    }

    pub(crate) fn reserve(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Outcome {
        let reserved = |plugin: &Arc<dyn Plugin>| plugin.reserve(state, pod, node).map_err(|s| s.by(plugin.name()));
        let outcome = self.each(Point::Reserve).try_for_each(|(_, plugin)| reserved(plugin));
        outcome.inspect_err(|_| self.unreserve(state, pod, node))
    }

    pub(crate) fn unreserve(&self, state: &CycleState, pod: &PodInfo, node: &str) {
        for (_, plugin) in self.each(Point::Reserve).rev() {
            plugin.unreserve(state, pod, node);
        }
    }

    pub(crate) fn permit(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Outcome {
        let permitted = |plugin: &Arc<dyn Plugin>| plugin.permit(state, pod, node).map_err(|s| s.by(plugin.name()));
        self.each(Point::Permit).try_for_each(|(_, plugin)| permitted(plugin))
    }

    /// Runs PreBind, Bind and PostBind.
    pub(crate) async fn bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Outcome {
        for (_, plugin) in self.each(Point::PreBind) {
            let outcome = plugin.pre_bind(state, pod, node).await;
            outcome.map_err(|status| failed("PreBind", plugin.name(), &status))?;
        }
        self.bind_by_first(state, pod, node).await?;
        for (_, plugin) in self.each(Point::PostBind) {
            plugin.post_bind(state, pod, node);
        }
        Ok(())
    }

    async fn bind_by_first(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Outcome {
        for (_, plugin) in self.each(Point::Bind) {
            match plugin.bind(state, pod, node).await {
                Err(status) if status.code == Code::Skip => {}
                outcome => return outcome.map_err(|status| failed("Bind", plugin.name(), &status)),
            }
        }
        Err(Status::error("no Bind plugin handled the pod"))
    }
}

impl PreFiltered {
    fn narrow(&mut self, plugin: &'static str, narrowed: Option<NodeNames>) {
        let Some(names) = narrowed else { return };
        self.narrowed_by.insert(plugin);
        self.nodes = Some(match self.nodes.take() {
            Some(known) => known.intersection(&names).cloned().collect(),
            None => names,
        });
    }

    fn refusal(&self) -> Status {
        let names: Vec<_> = self.narrowed_by.iter().copied().collect();
        Status::unresolvable(match names.as_slice() {
            [one] => format!("node(s) didn't satisfy plugin {one}"),
            all => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", all.join(" ")),
        })
    }
}

fn failed(point: &str, plugin: &'static str, status: &Status) -> Status {
    Status::error(format!("running {point} plugin {plugin:?}: {}", status.message())).by(plugin)
}
