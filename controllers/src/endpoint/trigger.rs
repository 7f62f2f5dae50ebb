//! When the change happened that an update of endpoints shows, for latency measurements
//! (k8s.io/endpointslice/util/trigger_time_tracker.go@v0.37.2).

use std::collections::HashMap;
use std::sync::Arc;

use client::Key;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use crate::common::pods::condition;

pub(super) const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

#[derive(Default)]
pub(super) struct Tracker {
    services: Mutex<HashMap<Key, Seen>>,
}

#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

impl Tracker {
    /// The earliest change not yet seen, `None` when nothing that has a time changed.
    pub(super) fn observe(&self, key: &Key, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let times: HashMap<String, Timestamp> = pods
            .iter()
            .filter_map(|pod| {
                let at = condition(pod, "Ready")?.last_transition_time.as_ref()?.0;
                Some((pod.metadata.name.clone()?, at))
            })
            .collect();
        let mut services = self.services.lock();
        let Some(seen) = services.get_mut(key) else {
            services.insert(key.clone(), Seen { service: created, pods: times });
            return created;
        };
        let newer = |(name, at): &(&String, &Timestamp)| seen.pods.get(*name).is_none_or(|before| *at > before);
        let pods_changed = times.iter().filter(newer).map(|(_, at)| *at).min();
        let service_changed = created.filter(|_| created > seen.service);
        let earliest = pods_changed.into_iter().chain(service_changed).min();
        *seen = Seen { service: created, pods: times };
        earliest
    }

    pub(super) fn forget(&self, key: &Key) {
        self.services.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_new_change_counts_once() {
        let (tracker, key) = (Tracker::default(), Key::new("ns", "s"));
        let service: Service =
            serde_json::from_value(serde_json::json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}))
                .expect("service");
        let pod = |name: &str, at: &str| -> Arc<Pod> {
            let conditions = [serde_json::json!({"type": "Ready", "status": "True", "lastTransitionTime": at})];
            let value = serde_json::json!({"metadata": {"name": name}, "status": {"conditions": conditions}});
            Arc::new(serde_json::from_value(value).expect("pod"))
        };
        let seen = |pods: &[Arc<Pod>]| tracker.observe(&key, &service, pods).map(|at| at.to_string());
        assert_eq!(seen(&[]).as_deref(), Some("2026-01-01T00:00:00Z"), "unknown before");
        assert_eq!(seen(&[]), None);
        let (a, b) = (pod("a", "2026-01-01T00:00:09Z"), pod("b", "2026-01-01T00:00:08Z"));
        assert_eq!(seen(&[a.clone(), b.clone()]).as_deref(), Some("2026-01-01T00:00:08Z"));
        assert_eq!(seen(&[a, b]), None);
    }
}
