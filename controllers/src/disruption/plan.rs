//! The status of a PodDisruptionBudget: pure functions of it and its pods (pkg/controller/disruption@v1.37.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use crate::common::pods::{condition, is_ready, is_terminal, seconds};
use crate::common::selector::scaled;
use crate::error::Result;

/// How long after its eviction was allowed a pod may take to be deleted, in seconds (upstream: DeletionTimeout).
const DELETION_TIMEOUT: i64 = 2 * 60;
/// How long a pod that is not being deleted keeps its DisruptionTarget condition, in seconds.
const STALE_DISRUPTION: i64 = 2 * 60;
const ALLOWED: &str = "DisruptionAllowed";
const TARGET: &str = "DisruptionTarget";

type Disrupted = BTreeMap<String, Time>;

/// How many pods there should be, and how many of them must be healthy. `scale` is what the pods' controllers ask
/// for, computed only where it matters.
pub(super) fn expected(spec: &PodDisruptionBudgetSpec, pods: usize, scale: Option<i32>) -> Result<(i32, i32)> {
    let count = scale.unwrap_or(pods as i32);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => Ok((count, (count - scaled(most, count, true)?).max(0))),
        (None, Some(least)) => Ok((count, scaled(least, count, true)?)),
        (None, None) => Ok((0, 0)),
    }
}

/// True when the pods' controllers say how many there should be.
pub(super) fn needs_scale(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// The pods whose eviction was allowed and whose deletion is still to come, until when the first of them may take,
/// and the pods that took too long.
pub(super) fn disrupted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (Disrupted, Option<Duration>, Vec<Arc<Pod>>) {
    let known = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let (mut waiting, mut again, mut late) = (Disrupted::new(), None, Vec::new());
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = pod.metadata.name.as_deref().unwrap_or("");
        let Some(since) = known.and_then(|known| known.get(name)) else { continue };
        let due = since.0 + seconds(DELETION_TIMEOUT);
        if due < now {
            late.push(pod.clone());
            continue;
        }
        let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
        again = again.into_iter().chain([left]).min();
        waiting.insert(name.into(), since.clone());
    }
    (waiting, again, late)
}

/// Ready pods that nothing is about to take away.
fn healthy(pods: &[Arc<Pod>], disrupted: &Disrupted) -> i32 {
    let counts = |pod: &&Arc<Pod>| {
        let name = pod.metadata.name.as_deref().unwrap_or("");
        pod.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(name) && is_ready(pod)
    };
    pods.iter().filter(counts).count() as i32
}

/// The status to write, `None` when the budget has it already.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    disrupted: Disrupted,
    (expected, desired): (i32, i32),
    now: Timestamp,
) -> Option<PodDisruptionBudgetStatus> {
    let current = healthy(pods, &disrupted);
    // Without pods nothing is allowed: the first may come before this controller looks again.
    let allowed = if expected > 0 { (current - desired).max(0) } else { 0 };
    let generation = budget.metadata.generation;
    let old = budget.status.clone().unwrap_or_default();
    let (wanted, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let listed = old.conditions.iter().flatten().find(|condition| condition.type_ == ALLOWED);
    let same = listed.is_some_and(|condition| condition.status == wanted && condition.reason == reason)
        && old.observed_generation == generation
        && (old.current_healthy, old.desired_healthy, old.expected_pods, old.disruptions_allowed)
            == (Some(current), Some(desired), Some(expected), Some(allowed))
        && old.disrupted_pods.clone().unwrap_or_default() == disrupted;
    if same {
        return None;
    }
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(current),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        observed_generation: generation,
        conditions: old.conditions,
    };
    set_condition(&mut status, wanted, reason, "", now);
    Some(status)
}

/// What is written when the rest cannot be computed: no disruption is allowed.
pub(super) fn fail_safe(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    set_condition(&mut status, "False", "SyncFailed", why, now);
    status
}

/// k8s.io/apimachinery/pkg/api/meta@v0.37.2, SetStatusCondition
fn set_condition(status: &mut PodDisruptionBudgetStatus, value: &str, reason: &str, message: &str, now: Timestamp) {
    let observed_generation = status.observed_generation;
    let conditions = status.conditions.get_or_insert_default();
    let mut wanted = Condition {
        type_: ALLOWED.into(),
        status: value.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == ALLOWED) {
        Some(existing) => {
            if existing.status == value {
                wanted.last_transition_time = existing.last_transition_time.clone();
            }
            *existing = wanted;
        }
        None => conditions.push(wanted),
    }
}

/// How long until the DisruptionTarget condition of a pod that is not being deleted is stale; `None` when it has none
/// that can be. The kubelet's own may last.
pub(super) fn stale_in(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let target = condition(pod, TARGET)?;
    let theirs = target.reason.as_deref() == Some("TerminationByKubelet");
    if pod.metadata.deletion_timestamp.is_some() || target.status != "True" || theirs || is_terminal(pod) {
        return None;
    }
    let since = target.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let left = (since + seconds(STALE_DISRUPTION)).duration_since(now);
    Some(Duration::try_from(left).unwrap_or_default())
}

/// The pod with its stale condition set to False.
pub(super) fn without_disruption(pod: &Pod, now: Timestamp) -> Pod {
    let mut changed = pod.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    for existing in conditions.iter_mut().filter(|existing| existing.type_ == TARGET) {
        *existing = PodCondition {
            type_: TARGET.into(),
            status: "False".into(),
            observed_generation: existing.observed_generation.and(pod.metadata.generation),
            last_transition_time: Some(Time(now)),
            ..PodCondition::default()
        };
    }
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T00:10:00Z";

    fn now() -> Timestamp {
        NOW.parse().expect("time")
    }

    /// `NAME [ready] [deleting]`
    fn pod(text: &str) -> Arc<Pod> {
        let words: Vec<&str> = text.split(' ').collect();
        let ready = if words.contains(&"ready") { "True" } else { "False" };
        let deleting = words.contains(&"deleting").then_some(NOW);
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": words[0], "deletionTimestamp": deleting},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
            .expect("pod"),
        )
    }

    #[track_caller]
    fn check(spec: Value, status: Value, pods: &[&str], scale: i32, expected_status: &str) {
        let budget: PodDisruptionBudget =
            serde_json::from_value(json!({"metadata": {"name": "b", "generation": 1}, "spec": spec, "status": status}))
                .expect("budget");
        let pods: Vec<Arc<Pod>> = pods.iter().map(|text| pod(text)).collect();
        let details = budget.spec.clone().expect("spec");
        let scale = needs_scale(&details).then_some(scale);
        let counts = expected(&details, pods.len(), scale).expect("counts");
        let (waiting, again, late) = disrupted(&budget, &pods, now());
        let said = self::status(&budget, &pods, waiting, counts, now()).map_or("same".into(), |status| {
            let counts =
                [status.current_healthy, status.desired_healthy, status.expected_pods, status.disruptions_allowed]
                    .map(|count| count.unwrap_or(-1));
            let reason = status.conditions.into_iter().flatten().map(|condition| condition.reason).collect::<String>();
            format!(
                "{}/{} of {} allow {} {reason} {}",
                counts[0],
                counts[1],
                counts[2],
                counts[3],
                status.disrupted_pods.map_or(0, |pods| pods.len())
            )
        });
        let rest = again.map(|wait| format!(", again {}", wait.as_secs())).unwrap_or_default();
        let late = if late.is_empty() { "" } else { ", late" };
        assert_eq!(format!("{said}{rest}{late}"), expected_status, "{spec} {status}");
    }

    #[test]
    fn budgets() {
        let three = ["a ready", "b ready", "c ready"];
        check(json!({"minAvailable": 2}), json!({}), &three, 9, "3/2 of 3 allow 1 SufficientPods 0");
        check(json!({"minAvailable": 3}), json!({}), &three, 9, "3/3 of 3 allow 0 InsufficientPods 0");
        check(json!({"minAvailable": 0}), json!({}), &[], 0, "0/0 of 0 allow 0 InsufficientPods 0");
        check(json!({"minAvailable": "50%"}), json!({}), &three, 5, "3/3 of 5 allow 0 InsufficientPods 0");
        check(json!({"maxUnavailable": 1}), json!({}), &three, 3, "3/2 of 3 allow 1 SufficientPods 0");
        check(json!({"maxUnavailable": "34%"}), json!({}), &three, 3, "3/1 of 3 allow 2 SufficientPods 0");
        check(json!({"maxUnavailable": 5}), json!({}), &three, 3, "3/0 of 3 allow 3 SufficientPods 0");
        check(
            json!({"minAvailable": 1}),
            json!({}),
            &["a ready", "b", "c ready deleting"],
            0,
            "1/1 of 3 allow 0 InsufficientPods 0",
        );
        let same = json!({"currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3, "disruptionsAllowed": 1, "observedGeneration": 1,
            "conditions": [{"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods", "message": "", "lastTransitionTime": NOW}]});
        check(json!({"minAvailable": 2}), same, &three, 0, "same");
    }

    #[test]
    fn evicted_pods_are_waited_for() {
        let pods = ["a ready", "b ready"];
        let status = |time: &str| {
            json!({"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0, "disruptionsAllowed": 0,
            "disruptedPods": {"a": time, "gone": time}})
        };
        let one = || json!({"minAvailable": 1});
        check(one(), status("2026-01-01T00:09:00Z"), &pods, 0, "1/1 of 2 allow 0 InsufficientPods 1, again 60");
        check(one(), status("2026-01-01T00:07:00Z"), &pods, 0, "2/1 of 2 allow 1 SufficientPods 0, late");
    }

    #[test]
    fn stale_conditions() {
        let pod = |status: &str, reason: &str, since: &str, phase: &str| -> Pod {
            serde_json::from_value(
                json!({"status": {"phase": phase, "conditions": [{"type": "DisruptionTarget", "status": status,
                "reason": reason, "lastTransitionTime": since}]}}),
            )
            .expect("pod")
        };
        for (pod, expected) in [
            (pod("True", "EvictionByEvictionAPI", "2026-01-01T00:09:00Z", "Running"), Some(60)),
            (pod("True", "EvictionByEvictionAPI", "2026-01-01T00:01:00Z", "Running"), Some(0)),
            (pod("True", "TerminationByKubelet", "2026-01-01T00:01:00Z", "Running"), None),
            (pod("False", "", "2026-01-01T00:01:00Z", "Running"), None),
            (pod("True", "EvictionByEvictionAPI", "2026-01-01T00:01:00Z", "Failed"), None),
        ] {
            assert_eq!(stale_in(&pod, now()).map(|left| left.as_secs()), expected, "{pod:?}");
        }
        let changed = without_disruption(&pod("True", "x", NOW, "Running"), now());
        assert_eq!(
            condition(&changed, TARGET).map(|c| (c.status.as_str(), c.reason.as_deref())),
            Some(("False", None))
        );
    }
}
