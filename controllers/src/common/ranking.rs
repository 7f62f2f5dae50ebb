//! In which order pods are deleted when there are too many
//! (pkg/controller/controller_utils.go@v1.37.2, ActivePodsWithRanks).

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::pods::{is_active, is_ready, node_name, phase, ready_since};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` of `pods` that go first. `related` are the pods of all sets with the same controller:
/// nodes that hold more of them lose pods first.
pub(crate) fn pods_to_delete(pods: Vec<Arc<Pod>>, related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    if count >= pods.len() {
        return pods;
    }
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| is_active(pod)) {
        *on_node.entry(node_name(pod)).or_default() += 1;
    }
    let mut ranked: Vec<(Arc<Pod>, usize)> = pods
        .into_iter()
        .map(|pod| {
            let rank = on_node.get(node_name(&pod)).copied().unwrap_or(0);
            (pod, rank)
        })
        .collect();
    ranked.sort_by(|(a, rank_a), (b, rank_b)| order(a, *rank_a, b, *rank_b, now));
    ranked.into_iter().take(count).map(|(pod, _)| pod).collect()
}

/// `Less` when `a` is to be deleted before `b`.
fn order(a: &Pod, rank_a: usize, b: &Pod, rank_b: usize, now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| !node_name(pod).is_empty();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_ordinal(a).cmp(&phase_ordinal(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| younger_first(a, b, ready_since(a), ready_since(b), now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger_first(a, b, created(a), created(b), now))
}

/// `Less` when `a` is to be deleted before `b`, by what the pods are alone (ActivePods).
pub(crate) fn active_order(a: &Pod, b: &Pod) -> Ordering {
    let assigned = |pod: &Pod| !node_name(pod).is_empty();
    // None sorts first, then what is later.
    let latest = |a: Option<Timestamp>, b: Option<Timestamp>| match (a, b) {
        (Some(a), Some(b)) => b.cmp(&a),
        (a, b) => a.cmp(&b),
    };
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_ordinal(a).cmp(&phase_ordinal(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| latest(ready_since(a), ready_since(b)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| latest(created(a), created(b)))
}

fn phase_ordinal(pod: &Pod) -> u8 {
    match phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

/// The annotated cost; what does not parse counts as 0 (pkg/apis/core/helper@v1.37.2).
fn deletion_cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|all| all.get(DELETION_COST));
    let canonical = |text: &&String| !text.starts_with('+') && (text.len() == 1 || !text.starts_with('0'));
    text.filter(canonical).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// Younger pods first, but ages are compared by their logarithm, so that pods of about the same age
/// are taken in an order that nobody can rely on.
fn younger_first(a: &Pod, b: &Pod, time_a: Option<Timestamp>, time_b: Option<Timestamp>, now: Timestamp) -> Ordering {
    match (time_a, time_b) {
        _ if time_a == time_b => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(time_a), Some(time_b)) => {
            log_age(time_a, now).cmp(&log_age(time_b, now)).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
        }
    }
}

fn log_age(time: Timestamp, now: Timestamp) -> i32 {
    let nanoseconds = now.duration_since(time).as_nanos();
    if nanoseconds > 0 { nanoseconds.ilog2() as i32 } else { -1 }
}

/// The most restarts of a regular container, then of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let status = pod.status.as_ref();
    let regular = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    let sidecars: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let init = status.and_then(|s| s.init_container_statuses.as_ref()).into_iter().flatten();
    let init = init.filter(|status| sidecars.contains(&status.name.as_str()));
    (
        regular.map(|status| status.restart_count).max().unwrap_or(0),
        init.map(|status| status.restart_count).max().unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-02T00:00:00Z";

    fn pod(name: &str, rest: &str) -> Arc<Pod> {
        let mut value: serde_json::Value = serde_json::from_str(rest).expect(name);
        value["metadata"]["name"] = name.into();
        value["metadata"]["uid"] = name.into();
        Arc::new(serde_json::from_value(value).expect(name))
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap_or("")).collect()
    }

    #[test]
    fn the_least_valuable_pods_go_first() {
        let ready = |since: &str| {
            format!(r#""conditions":[{{"type":"Ready","status":"True","lastTransitionTime":"{since}"}}]"#)
        };
        let running = |node: &str, more: &str| {
            format!(
                r#"{{"metadata":{{"creationTimestamp":"2026-01-01T00:00:00Z"}},"spec":{{"nodeName":"{node}","containers":[]}},"status":{{"phase":"Running",{more}}}}}"#
            )
        };
        let old = ready("2026-01-01T00:00:00Z");
        let all = vec![
            pod("old", &running("n1", &old)),
            pod("young", &running("n2", &ready("2026-01-01T23:00:00Z"))),
            pod("crowded", &running("n3", &old)),
            pod(
                "cheap",
                r#"{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"-5"},"creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"nodeName":"n4","containers":[]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#,
            ),
            pod("unready", &running("n5", r#""conditions":[]"#)),
            pod("pending", r#"{"spec":{"nodeName":"n6","containers":[]},"status":{"phase":"Pending"}}"#),
            pod("unassigned", r#"{"spec":{"containers":[]},"status":{"phase":"Pending"}}"#),
        ];
        let mut related = all.clone();
        related.push(pod("neighbour", &running("n3", &old)));
        let order = pods_to_delete(all, &related, 6, NOW.parse().expect("time"));
        assert_eq!(names(&order), ["unassigned", "pending", "unready", "cheap", "crowded", "young"]);
    }
}
