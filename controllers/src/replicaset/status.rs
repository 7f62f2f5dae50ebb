//! The status of a ReplicaSet, from its pods (pkg/controller/replicaset/replica_set_utils.go@v1.37.2).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::common::pods;
use crate::common::selector::{Labels, has_all};
use crate::error::Error;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status to write. `failure` is what went wrong while creating or deleting pods.
pub(crate) fn calculate(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: Option<usize>,
    failure: Option<&Error>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = set.spec.clone();
    let labels: Labels = spec.template.and_then(|template| template.metadata?.labels).unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let count = |test: &dyn Fn(&Pod) -> bool| some_count(active.iter().filter(|pod| test(pod)).count());
    let old = set.status.clone().unwrap_or_default();
    ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: count(&|pod| has_all(&labels, pod.metadata.labels.as_ref())),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|pod| pods::is_available(pod, min_ready, now)),
        terminating_replicas: terminating.map(|count| count as i32),
        observed_generation: set.metadata.generation,
        conditions: conditions(
            old.conditions,
            active.len() as i64 - i64::from(spec.replicas.unwrap_or(1)),
            failure,
            now,
        ),
    }
}

/// A count as the API server stores it: 0 is left out.
fn some_count(count: usize) -> Option<i32> {
    (count > 0).then_some(count as i32)
}

fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    surplus: i64,
    failure: Option<&Error>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut all = old.unwrap_or_default();
    let present = all.iter().position(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE));
    match (failure, present) {
        (Some(error), None) => all.push(ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.into()),
            status: Some("True".into()),
            reason: match surplus {
                ..0 => Some("FailedCreate".into()),
                1.. => Some("FailedDelete".into()),
                0 => None,
            },
            message: Some(error.to_string()),
            last_transition_time: Some(Time(now)),
        }),
        (None, Some(index)) => drop(all.remove(index)),
        _ => {}
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(labels: &str, ready_since: Option<&str>) -> Arc<Pod> {
        let conditions = match ready_since {
            Some(since) => serde_json::json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]),
            None => serde_json::json!([]),
        };
        let value = serde_json::json!({"metadata": {"labels": {"a": labels}}, "status": {"phase": "Running", "conditions": conditions}});
        Arc::new(serde_json::from_value(value).expect("pod"))
    }

    #[test]
    fn counts_and_conditions() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("time");
        let set: ReplicaSet = serde_json::from_value(serde_json::json!({
            "metadata": {"generation": 3},
            "spec": {"replicas": 3, "minReadySeconds": 30, "selector": {}, "template": {"metadata": {"labels": {"a": "b"}}}},
        }))
        .expect("set");
        let pods = [pod("b", Some("2026-01-01T00:00:30Z")), pod("b", Some("2026-01-01T00:00:45Z")), pod("other", None)];
        let status = calculate(&set, &pods, Some(0), None, now);
        let expected = ReplicaSetStatus {
            replicas: 3,
            fully_labeled_replicas: Some(2),
            ready_replicas: Some(2),
            available_replicas: Some(1),
            terminating_replicas: Some(0),
            observed_generation: Some(3),
            conditions: None,
        };
        assert_eq!(status, expected);

        let error = Error::other("quota");
        let failed = calculate(&set, &pods[..1], None, Some(&error), now);
        let condition = failed.conditions.clone().expect("one").remove(0);
        assert_eq!((condition.reason.as_deref(), condition.message.as_deref()), (Some("FailedCreate"), Some("quota")));
        let set = ReplicaSet { status: Some(failed.clone()), ..set };
        let again = calculate(&set, &pods[..1], None, Some(&Error::other("other text")), now);
        assert_eq!(again.conditions, failed.conditions, "a present failure stays as it is");
        assert_eq!(calculate(&set, &pods, None, None, now).conditions, None, "removed when it works again");
    }
}
