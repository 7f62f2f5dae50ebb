//! Which daemon pods to make and to delete, and the status: pure functions of a view
//! (pkg/controller/daemon/{daemon_controller,update}.go@v1.37.2).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;

use super::template::{is_updated, pod_spec, should_run};
use crate::common::pods::{is_available, is_ready, is_terminal, node_name, phase};
use crate::common::selector::scaled;
use crate::error::Result;

/// Delays between replacements of failed pods on one node.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);

/// What is looked at.
pub(super) struct View<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    /// Claimed pods by the node they run on or are meant for; finished ones being deleted are left out.
    pub(super) pods: BTreeMap<String, Vec<Arc<Pod>>>,
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
}

/// What to do: nodes that get a pod, pods that go.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// (type, reason, message) of events.
    pub(super) events: Vec<(&'static str, &'static str, String)>,
    pub(super) again: Option<Duration>,
}

/// How long failed pods on each node are left alone; doubles with each replacement.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    nodes: HashMap<String, (Duration, Timestamp)>,
}

impl Backoff {
    /// `None` when a failed pod may be replaced now (which counts), else how long to wait.
    fn wait(&mut self, key: String, now: Timestamp) -> Option<Duration> {
        let (delay, since) = self.nodes.get(&key).copied().unwrap_or((Duration::ZERO, now));
        let waited = now.duration_since(since).unsigned_abs();
        if waited < delay {
            return Some(delay - waited);
        }
        let next = if waited > 2 * BACKOFF_MAX { BACKOFF_MIN } else { (delay * 2).clamp(BACKOFF_MIN, BACKOFF_MAX) };
        self.nodes.insert(key, (next, now));
        None
    }
}

impl View<'_> {
    fn available(&self, pod: &Pod) -> bool {
        is_available(pod, self.set.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    fn pods_on(&self, node: &str) -> &[Arc<Pod>] {
        self.pods.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// maxSurge and maxUnavailable for a number of nodes.
    fn limits(&self, desired: i32) -> Result<(i32, i32)> {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.filter(|strategy| strategy.type_.as_deref() == Some("RollingUpdate"));
        let rolling = rolling.and_then(|strategy| strategy.rolling_update.as_ref());
        let count = |value: Option<_>| value.map_or(Ok(0), |value| scaled(value, desired, true));
        let unavailable = count(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()))?;
        let surge = count(rolling.and_then(|rolling| rolling.max_surge.as_ref()))?;
        Ok(if desired > 0 && unavailable == 0 && surge == 0 { (0, 1) } else { (surge, unavailable) })
    }

    fn allows_surge(&self) -> bool {
        self.limits(1).is_ok_and(|(surge, _)| surge > 0)
    }
}

/// Pods on running nodes first, then the oldest.
fn oldest_first(pods: &mut [Arc<Pod>]) {
    pods.sort_by_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (node_name(pod).is_empty(), created, pod.metadata.name.clone())
    });
}

/// One pod on each node that should have one.
pub(super) fn manage(view: &View<'_>, backoff: &mut Backoff) -> Changes {
    let mut changes = Changes::default();
    let spec = pod_spec(view.set);
    for node in view.nodes {
        let name = node.metadata.name.as_deref().unwrap_or("");
        let (should, may) = should_run(&spec, node);
        let pods = view.pods_on(name);
        if should && pods.is_empty() {
            changes.create.push(name.into());
        } else if may {
            keep_one(view, name, should, backoff, &mut changes);
        } else {
            let alive = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            changes.delete.extend(alive.cloned());
        }
    }
    let known = |name: &String| view.nodes.iter().any(|node| node.metadata.name.as_ref() == Some(name));
    for (_, pods) in view.pods.iter().filter(|(name, _)| !known(name)) {
        changes.delete.extend(pods.iter().filter(|pod| node_name(pod).is_empty()).cloned());
    }
    changes
}

/// Removes finished and surplus pods of a node.
fn keep_one(view: &View<'_>, node: &str, should: bool, backoff: &mut Backoff, changes: &mut Changes) {
    let mut running: Vec<Arc<Pod>> = Vec::new();
    for pod in view.pods_on(node).iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = format!(
            "{}/{}",
            pod.metadata.namespace.as_deref().unwrap_or(""),
            pod.metadata.name.as_deref().unwrap_or("")
        );
        match phase(pod) {
            "Failed" => {
                let generation = view.set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
                let key = format!("{}/{generation}/{node}", view.set.metadata.uid.as_deref().unwrap_or(""));
                if let Some(wait) = backoff.wait(key, view.now) {
                    changes.again = changes.again.into_iter().chain([wait]).min();
                    continue;
                }
                let text = format!("Found failed daemon pod {name} on node {node}, will try to kill it");
                changes.events.push(("Warning", "FailedDaemonPod", text));
                changes.delete.push(pod.clone());
            }
            "Succeeded" => {
                let text = format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
                changes.events.push(("Normal", "SucceededDaemonPod", text));
                changes.delete.push(pod.clone());
            }
            _ => running.push(pod.clone()),
        }
    }
    oldest_first(&mut running);
    if !view.allows_surge() {
        changes.delete.extend(running.into_iter().skip(1));
        return;
    }
    if running.is_empty() && should {
        changes.create.push(node.into());
    }
    if running.len() > 1 {
        keep_one_of_each(view, running, changes);
    }
}

/// While surging, an old and a new pod may run side by side.
fn keep_one_of_each(view: &View<'_>, running: Vec<Arc<Pod>>, changes: &mut Changes) {
    let (mut new, mut old): (Option<Arc<Pod>>, Option<Arc<Pod>>) = (None, None);
    for pod in running {
        let kept = if is_updated(view.set, &pod, view.hash) { &mut new } else { &mut old };
        if kept.is_none() { *kept = Some(pod) } else { changes.delete.push(pod) }
    }
    if let (Some(new), Some(old)) = (new, old)
        && (!is_ready(&old) || view.available(&new))
    {
        changes.delete.push(old);
    }
}

type MaybePod = Option<Arc<Pod>>;

/// The pod of this template and the one of another on a node; `None` when there are two of one sort.
fn updated_and_old(view: &View<'_>, pods: &[Arc<Pod>]) -> Option<(MaybePod, MaybePod)> {
    let (mut new, mut old) = (None, None);
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let slot = if is_updated(view.set, pod, view.hash) { &mut new } else { &mut old };
        if slot.replace(pod.clone()).is_some() {
            return None;
        }
    }
    Some((new, old))
}

/// The next step of a rolling update.
pub(super) fn rolling(view: &View<'_>) -> Result<Changes> {
    let spec = pod_spec(view.set);
    let wanted: Vec<&str> = view
        .nodes
        .iter()
        .filter(|node| should_run(&spec, node).0)
        .filter_map(|node| node.metadata.name.as_deref())
        .collect();
    let desired = wanted.len() as i32;
    let (surge, unavailable) = view.limits(desired)?;
    let mut nodes: Vec<&str> = view.pods.keys().map(String::as_str).chain(wanted.iter().copied()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Ok(if surge == 0 { replace_pods(view, &nodes, unavailable) } else { surge_pods(view, &nodes, &wanted, surge) })
}

/// Deletes old pods: those that do not work, and as many others as may be unavailable.
fn replace_pods(view: &View<'_>, nodes: &[&str], max_unavailable: i32) -> Changes {
    let (mut broken, mut candidates, mut unavailable) = (Vec::new(), Vec::new(), 0);
    for node in nodes {
        match updated_and_old(view, view.pods_on(node)) {
            None | Some((None, None) | (Some(_), Some(_))) => unavailable += 1,
            Some((Some(new), None)) => unavailable += i32::from(!view.available(&new)),
            Some((None, Some(old))) if !view.available(&old) => {
                broken.push(old);
                unavailable += 1;
            }
            Some((None, Some(old))) => candidates.push(old),
        }
    }
    let budget = usize::try_from(max_unavailable - unavailable).unwrap_or(0);
    broken.extend(candidates.into_iter().take(budget));
    Changes { delete: broken, ..Changes::default() }
}

/// Adds new pods beside old ones, and deletes old ones whose successors are available.
fn surge_pods(view: &View<'_>, nodes: &[&str], wanted: &[&str], max_surge: i32) -> Changes {
    let mut changes = Changes::default();
    let (mut candidates, mut leaving, mut surging, mut available) = (Vec::new(), Vec::new(), 0, 0);
    for &node in nodes {
        let Some((new, old)) = updated_and_old(view, view.pods_on(node)) else {
            surging += 1;
            continue;
        };
        available += old.as_ref().or(new.as_ref()).map_or(0, |pod| i32::from(view.available(pod)));
        let Some(old) = old else { continue };
        let (works, stays) = (view.available(&old), wanted.contains(&node));
        match new {
            Some(new) if view.available(&new) => changes.delete.push(old),
            Some(_) => surging += 1,
            None if !works && !stays => changes.delete.push(old),
            None if !works => changes.create.push(node.into()),
            None if !stays => leaving.push(old),
            None => candidates.push(node.to_owned()),
        }
    }
    let spare = usize::try_from(available - wanted.len() as i32).unwrap_or(0);
    changes.delete.extend(leaving.into_iter().take(spare));
    let budget = usize::try_from(max_surge - surging).unwrap_or(0);
    changes.create.extend(candidates.into_iter().take(budget));
    changes
}

/// The status. `observed` is false while earlier writes are not yet seen.
pub(super) fn status(view: &View<'_>, observed: bool) -> DaemonSetStatus {
    let spec = pod_spec(view.set);
    let old = view.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        collision_count: old.collision_count,
        conditions: old.conditions,
        observed_generation: if observed { view.set.metadata.generation } else { old.observed_generation },
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for node in view.nodes {
        let mut pods = view.pods_on(node.metadata.name.as_deref().unwrap_or("")).to_vec();
        if !should_run(&spec, node).0 {
            status.number_misscheduled += i32::from(!pods.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        oldest_first(&mut pods);
        let Some(pod) = pods.first() else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(is_ready(pod));
        available += i32::from(view.available(pod));
        updated += i32::from(is_updated(view.set, pod, view.hash));
    }
    let some = |count: i32| (count != 0).then_some(count);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status.updated_number_scheduled = some(updated);
    status
}

/// Files pods by node, without finished ones that are being deleted.
pub(super) fn by_node(pods: &[Arc<Pod>]) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut all: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !(is_terminal(pod) && pod.metadata.deletion_timestamp.is_some())) {
        if let Some(node) = super::template::target(pod) {
            all.entry(node.into()).or_default().push(pod.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(strategy: serde_json::Value) -> DaemonSet {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "d", "uid": "d", "generation": 2},
            "spec": {"selector": {}, "template": {"spec": {"containers": [], "nodeSelector": {"a": "b"}}}, "updateStrategy": strategy}})).expect("set")
    }

    fn rolling_update(surge: i32, unavailable: i32) -> serde_json::Value {
        serde_json::json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    }

    fn nodes(count: usize) -> Vec<Arc<Node>> {
        let node = |number| serde_json::json!({"metadata": {"name": format!("n{number}"), "labels": {"a": "b"}}});
        (0..count).map(|number| Arc::new(serde_json::from_value(node(number)).expect("node"))).collect()
    }

    fn pod(name: &str, node: &str, hash: &str, state: &str) -> Arc<Pod> {
        let (phase, ready) = match state {
            "ready" => ("Running", "True"),
            "unready" => ("Running", "False"),
            other => (other, "False"),
        };
        Arc::new(serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {"controller-revision-hash": hash}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        })).expect("pod"))
    }

    fn view<'a>(set: &'a DaemonSet, nodes: &'a [Arc<Node>], pods: &[Arc<Pod>]) -> View<'a> {
        View { set, nodes, pods: by_node(pods), hash: "new", now: "2026-01-02T00:00:00Z".parse().expect("time") }
    }

    fn short(changes: &Changes) -> String {
        let deleted = changes.delete.iter().map(|pod| format!("-{}", pod.metadata.name.as_deref().unwrap_or("")));
        let created = changes.create.iter().map(|node| format!("+{node}"));
        created.chain(deleted).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_pod_on_each_fitting_node() {
        let set = set(rolling_update(0, 1));
        let mut all = nodes(4);
        let tainted = |taint: &str, effect: &str| -> Arc<Node> {
            Arc::new(serde_json::from_value(serde_json::json!({"metadata": {"name": "n3", "labels": {"a": "b"}}, "spec": {"taints": [{"key": taint, "effect": effect}]}})).expect("node"))
        };
        for (node, pods, expected) in [
            (all[3].clone(), vec![pod("a", "n0", "new", "ready")], "+n1 +n2 +n3"),
            (all[3].clone(), vec![pod("a", "n0", "new", "ready"), pod("b", "n0", "new", "ready")], "+n1 +n2 +n3 -b"),
            (
                all[3].clone(),
                vec![pod("a", "n1", "new", "Failed"), pod("b", "n2", "new", "Succeeded")],
                "+n0 +n3 -a -b",
            ),
            (tainted("x", "NoSchedule"), vec![pod("c", "n3", "new", "ready")], "+n0 +n1 +n2"),
            (tainted("x", "NoExecute"), vec![pod("c", "n3", "new", "ready")], "+n0 +n1 +n2 -c"),
            (tainted(crate::common::taints::UNSCHEDULABLE, "NoSchedule"), vec![], "+n0 +n1 +n2 +n3"),
        ] {
            all[3] = node;
            assert_eq!(short(&manage(&view(&set, &all, &pods), &mut Backoff::default())), expected);
        }
    }

    #[test]
    fn failed_pods_are_replaced_ever_more_slowly() {
        let mut backoff = Backoff::default();
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let key = || "k".to_owned();
        assert_eq!(backoff.wait(key(), at(0)), None);
        assert_eq!(backoff.wait(key(), at(0)), Some(Duration::from_secs(1)));
        assert_eq!(backoff.wait(key(), at(1)), None);
        assert_eq!(backoff.wait(key(), at(2)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn rolling_updates() {
        let all = nodes(3);
        let old = |node: &str, state: &str| pod(&format!("old-{node}"), node, "old", state);
        let new = |node: &str, state: &str| pod(&format!("new-{node}"), node, "new", state);
        for (strategy, pods, expected) in [
            (rolling_update(0, 1), vec![old("n0", "ready"), old("n1", "ready"), old("n2", "ready")], "-old-n0"),
            (rolling_update(0, 2), vec![new("n0", "unready"), old("n1", "ready"), old("n2", "ready")], "-old-n1"),
            (rolling_update(0, 1), vec![new("n0", "unready"), old("n1", "ready"), old("n2", "unready")], "-old-n2"),
            (rolling_update(0, 1), vec![new("n0", "ready"), new("n1", "ready"), new("n2", "ready")], ""),
            (rolling_update(1, 0), vec![old("n0", "ready"), old("n1", "ready"), old("n2", "ready")], "+n0"),
            (
                rolling_update(1, 0),
                vec![old("n0", "ready"), new("n0", "ready"), old("n1", "ready"), old("n2", "ready")],
                "+n1 -old-n0",
            ),
            (
                rolling_update(1, 0),
                vec![old("n0", "ready"), new("n0", "unready"), old("n1", "ready"), old("n2", "unready")],
                "+n2",
            ),
        ] {
            let set = set(strategy);
            assert_eq!(short(&rolling(&view(&set, &all, &pods)).expect("plan")), expected, "{pods:?}");
        }
    }

    #[test]
    fn counts() {
        let (set, all) = (set(rolling_update(0, 1)), nodes(3));
        let counted =
            status(&view(&set, &all, &[pod("a", "n0", "new", "ready"), pod("b", "n1", "old", "unready")]), true);
        let expected = DaemonSetStatus {
            desired_number_scheduled: 3,
            current_number_scheduled: 2,
            number_ready: 1,
            number_available: Some(1),
            number_unavailable: Some(2),
            updated_number_scheduled: Some(1),
            observed_generation: Some(2),
            ..DaemonSetStatus::default()
        };
        assert_eq!(counted, expected);
    }
}
