//! How long a Job waits before it replaces failed pods (pkg/controller/job/backoff_utils.go@v1.37.2).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::common::pods::{condition, seconds};

/// Delay after the first failure; doubles with each (upstream: DefaultJobPodFailureBackOff).
const FIRST: Duration = Duration::from_secs(10);
/// upstream: MaxJobPodFailureBackOff
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Failures since the last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) failures: i32,
    pub(super) last: Option<Timestamp>,
}

impl Record {
    /// The record after these pods finished.
    pub(super) fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let times = |pods: &[Arc<Pod>]| -> Vec<Timestamp> { pods.iter().filter_map(|pod| finished_at(pod)).collect() };
        let failed = times(failed);
        match times(succeeded).into_iter().max() {
            None if failed.is_empty() => self,
            None => Record { failures: self.failures + failed.len() as i32, last: failed.into_iter().max() },
            Some(success) => {
                let later: Vec<Timestamp> = failed.into_iter().filter(|at| *at > success).collect();
                Record { failures: later.len() as i32, last: later.into_iter().max() }
            }
        }
    }

    /// How long to wait still; zero when pods may be made.
    pub(super) fn remaining(self, now: Timestamp) -> Duration {
        let Some(last) = self.last.filter(|_| self.failures > 0) else { return Duration::ZERO };
        let doublings = u32::try_from(self.failures - 1).unwrap_or(0).min(16);
        let delay = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        let due = last + seconds(delay.as_secs() as i64);
        Duration::try_from(due.duration_since(now)).unwrap_or_default()
    }
}

/// When a pod finished: by its containers, its condition Ready, its deletion, at last its creation.
pub(super) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let unready = || {
        let ready = condition(pod, "Ready").filter(|ready| ready.status == "False")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    };
    let deleted = || {
        let at = pod.metadata.deletion_timestamp.as_ref()?.0;
        Some(at - seconds(pod.metadata.deletion_grace_period_seconds.unwrap_or(0)))
    };
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    by_containers(pod).or_else(unready).or_else(deleted).or_else(created)
}

/// The end of the last container, `None` while one has not ended. Sidecars end last.
fn by_containers(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let sidecar = |status: &&ContainerStatus| {
        let all = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        all.into_iter().any(|c| c.name == status.name && c.restart_policy.as_deref() == Some("Always"))
    };
    let sidecars = status.init_container_statuses.iter().flatten().filter(sidecar);
    let mut latest = None;
    for status in status.container_statuses.iter().flatten().chain(sidecars) {
        let ended = status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0;
        latest = latest.max(Some(ended));
    }
    latest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("time")
    }

    fn pod(second: i64) -> Arc<Pod> {
        let at = time(second).to_string();
        let status = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "finishedAt": at}}});
        Arc::new(serde_json::from_value(json!({"status": {"containerStatuses": [status]}})).expect("pod"))
    }

    #[test]
    fn failures_since_the_last_success_count() {
        let old = Record { failures: 2, last: Some(time(5)) };
        for (succeeded, failed, expected) in [
            (vec![], vec![], old),
            (vec![], vec![10, 20], Record { failures: 4, last: Some(time(20)) }),
            (vec![10], vec![], Record::default()),
            (vec![15], vec![10, 20], Record { failures: 1, last: Some(time(20)) }),
            (vec![25], vec![10, 20], Record::default()),
        ] {
            let pods = |seconds: &[i64]| seconds.iter().map(|second| pod(*second)).collect::<Vec<_>>();
            assert_eq!(old.after(&pods(&succeeded), &pods(&failed)), expected, "{succeeded:?} {failed:?}");
        }
    }

    #[test]
    fn delays_double_up_to_a_limit() {
        for (failures, elapsed, expected) in
            [(0, 0, 0), (1, 0, 10), (1, 4, 6), (1, 11, 0), (2, 0, 20), (3, 0, 40), (7, 0, 600), (90, 0, 600)]
        {
            let record = Record { failures, last: Some(time(100)) };
            assert_eq!(record.remaining(time(100 + elapsed)).as_secs(), expected, "{failures} after {elapsed}");
        }
    }

    #[test]
    fn when_a_pod_finished() {
        let parse = |value| -> Pod { serde_json::from_value(value).expect("pod") };
        for (value, expected) in [
            (json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:01Z"}}), 1),
            (
                json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:01Z", "deletionTimestamp": "1970-01-01T00:00:40Z",
                "deletionGracePeriodSeconds": 30}}),
                10,
            ),
            (
                json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:40Z"}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:00:05Z"}]}}),
                5,
            ),
        ] {
            assert_eq!(finished_at(&parse(value.clone())), Some(time(expected)), "{value}");
        }
        assert_eq!(finished_at(&pod(7)), Some(time(7)));
    }
}
