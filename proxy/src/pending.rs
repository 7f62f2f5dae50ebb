//! Changes seen but not yet programmed: which Services are dirty, and since when.
//!
//! Invariant: a change of a Service or EndpointSlice that cannot matter to the rules wakes nobody.
//! Filled by informer handlers, which must only note; emptied by the sync loop of one family.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use client::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::endpoint::{is_of_family, service_of, trigger_time};
use crate::family::Family;
use crate::health::ProxyHealth;
use crate::metrics::Metrics;
use crate::service::ports_of;

pub(crate) struct Pending {
    pub(crate) family: Family,
    started: Timestamp,
    metrics: Metrics,
    health: Arc<ProxyHealth>,
    changes: Mutex<Changes>,
    wake: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) services: BTreeSet<Key>,
    /// When the changes of EndpointSlices were triggered, by Service.
    pub(crate) trigger_times: BTreeMap<Key, Vec<Timestamp>>,
    /// True if the kernel's table may not be what we wrote.
    pub(crate) table_touched: bool,
}

impl Pending {
    pub(crate) fn new(family: Family, metrics: Metrics, health: Arc<ProxyHealth>, started: Timestamp) -> Self {
        Pending { family, started, metrics, health, changes: Mutex::default(), wake: Notify::new() }
    }

    pub(crate) fn service_changed(&self, old: Option<&Arc<Service>>, new: Option<&Arc<Service>>) {
        self.metrics.service_changes_total.inc();
        let ports = |service: Option<&Arc<Service>>| service.map(|s| ports_of(s, self.family)).unwrap_or_default();
        if let Some(service) = new.or(old)
            && ports(old) != ports(new)
        {
            self.metrics.service_changes_pending.inc();
            self.changes.lock().services.insert(Key::of(&**service));
            self.wake();
        }
    }

    pub(crate) fn slice_changed(&self, old: Option<&Arc<EndpointSlice>>, new: Option<&Arc<EndpointSlice>>) {
        let ours = [old, new].into_iter().flatten().filter(|slice| is_of_family(slice, self.family));
        let services: BTreeSet<Key> = ours.filter_map(|s| service_of(s)).map(|(ns, name)| Key::new(ns, name)).collect();
        if services.is_empty() {
            return;
        }
        self.metrics.endpoint_changes_total.inc();
        if let (Some(old), Some(new)) = (old, new)
            && (&old.endpoints, &old.ports, &old.metadata.labels) == (&new.endpoints, &new.ports, &new.metadata.labels)
        {
            return;
        }
        self.metrics.endpoint_changes_pending.inc();
        let mut changes = self.changes.lock();
        for service in services {
            match new.and_then(|slice| trigger_time(slice)).filter(|time| *time > self.started) {
                Some(time) => changes.trigger_times.entry(service.clone()).or_default().push(time),
                // The time noted in a deleted slice is that of an earlier change.
                None if new.is_none() => drop(changes.trigger_times.remove(&service)),
                None => {}
            }
            changes.services.insert(service);
        }
        drop(changes);
        self.wake();
    }

    pub(crate) fn table_touched(&self) {
        self.changes.lock().table_touched = true;
        self.wake();
    }

    /// Asks for a sync.
    pub(crate) fn wake(&self) {
        self.health.queued(self.family, Instant::now());
        let now = Timestamp::now().as_duration().as_secs_f64();
        self.metrics.last_queued_timestamp.with_label_values(&[self.family.name()]).set(now);
        self.wake.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn take(&self) -> Changes {
        self.metrics.service_changes_pending.set(0.0);
        self.metrics.endpoint_changes_pending.set(0.0);
        std::mem::take(&mut self.changes.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn pending() -> Pending {
        let health = Arc::new(ProxyHealth::new(Duration::from_secs(60)));
        Pending::new(Family::IPv4, Metrics::new(), health, "2026-01-01T00:00:00Z".parse().expect("a time"))
    }

    fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).expect("an object"))
    }

    fn service(port: u16, label: &str) -> Arc<Service> {
        let spec = json!({"clusterIP": "172.30.0.1", "ports": [{"name": "p", "port": port}]});
        object(json!({"metadata": {"namespace": "ns", "name": "web", "labels": {"l": label}}, "spec": spec}))
    }

    fn slice(kind: &str, address: &str, time: &str, version: &str) -> Arc<EndpointSlice> {
        let metadata = json!({
            "namespace": "ns", "name": "a", "resourceVersion": version,
            "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": time},
        });
        object(json!({"metadata": metadata, "addressType": kind, "endpoints": [{"addresses": [address]}]}))
    }

    #[test]
    fn only_changes_of_ports_count() {
        let pending = pending();
        pending.service_changed(None, Some(&service(80, "a")));
        assert_eq!(pending.take().services, [Key::new("ns", "web")].into());
        pending.service_changed(Some(&service(80, "a")), Some(&service(80, "b")));
        assert!(pending.take().services.is_empty(), "a label");
        pending.service_changed(Some(&service(80, "b")), Some(&service(81, "b")));
        assert_eq!(pending.take().services.len(), 1);
        pending.service_changed(Some(&service(81, "b")), None);
        assert_eq!(pending.take().services.len(), 1);
    }

    #[test]
    fn trigger_times_before_the_start_do_not_count() {
        let pending = pending();
        let old = slice("IPv4", "10.0.0.1", "2025-12-31T00:00:00Z", "1");
        let new = slice("IPv4", "10.0.0.2", "2026-01-02T00:00:00Z", "2");
        pending.slice_changed(None, Some(&old));
        assert!(pending.take().trigger_times.is_empty());
        pending.slice_changed(Some(&old), Some(&new));
        pending.slice_changed(Some(&new), Some(&slice("IPv4", "10.0.0.2", "2026-01-02T00:00:00Z", "3")));
        assert_eq!(pending.take().trigger_times[&Key::new("ns", "web")].len(), 1, "an equal slice is no change");
        pending.slice_changed(None, Some(&slice("IPv6", "fd00::1", "2026-01-02T00:00:00Z", "1")));
        assert!(pending.take().services.is_empty(), "another family");
        pending.slice_changed(None, Some(&new));
        pending.slice_changed(Some(&new), None);
        let changes = pending.take();
        assert!(changes.trigger_times.is_empty() && changes.services.len() == 1, "deleted");
    }
}
