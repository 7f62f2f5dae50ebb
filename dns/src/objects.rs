//! The cluster's objects as DNS looks at them: a few lookups, each answered by an index.
//!
//! Invariant: results are ordered by name, so equal caches give equal answers. Non-goal: records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use client::informer::{Cache, Informers};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const BY_SERVICE: &str = "service";
const BY_IP: &str = "ip";

pub(crate) trait Objects: Send + Sync + 'static {
    fn has_namespace(&self, name: &str) -> bool;
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    /// The slices of a Service.
    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>>;
    /// The Services that have the cluster IP.
    fn services_of_ip(&self, ip: &str) -> Vec<Arc<Service>>;
    /// The slices that have a ready endpoint of the address.
    fn slices_of_ip(&self, ip: &str) -> Vec<Arc<EndpointSlice>>;
    fn synced(&self) -> bool;
    /// When the objects last changed, in seconds since 1970.
    fn modified(&self) -> u32;
}

/// The objects in informers' caches.
#[derive(Clone)]
pub(crate) struct Caches {
    namespaces: Cache<Namespace>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    modified: Arc<AtomicU32>,
}

impl Caches {
    pub(crate) fn new(informers: &Informers) -> Self {
        let caches = Caches {
            namespaces: informers.of(),
            services: informers.of(),
            slices: informers.of(),
            modified: Arc::new(AtomicU32::new(now())),
        };
        caches.services.add_index(BY_IP, cluster_ips);
        caches.slices.add_index(BY_IP, ready_ips);
        caches.slices.add_index(BY_SERVICE, |slice| {
            let key = |service| format!("{}/{service}", slice.metadata.namespace.as_deref().unwrap_or(""));
            service_of(slice).map(key).into_iter().collect()
        });
        let modified = caches.modified.clone();
        caches.services.on_change(move |_, _| modified.store(now(), Ordering::Relaxed));
        let modified = caches.modified.clone();
        caches.slices.on_change(move |_, _| modified.store(now(), Ordering::Relaxed));
        caches
    }
}

impl Caches {
    /// Returns once the first complete lists are there.
    pub(crate) async fn filled(&self) {
        tokio::join!(self.namespaces.synced(), self.services.synced(), self.slices.synced());
    }
}

impl Objects for Caches {
    fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.get("", name).is_some()
    }

    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(namespace, name)
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        sorted(self.slices.by_index(BY_SERVICE, &format!("{namespace}/{service}")), |slice| &slice.metadata)
    }

    fn services_of_ip(&self, ip: &str) -> Vec<Arc<Service>> {
        sorted(self.services.by_index(BY_IP, ip), |service| &service.metadata)
    }

    fn slices_of_ip(&self, ip: &str) -> Vec<Arc<EndpointSlice>> {
        sorted(self.slices.by_index(BY_IP, ip), |slice| &slice.metadata)
    }

    fn synced(&self) -> bool {
        self.namespaces.is_synced() && self.services.is_synced() && self.slices.is_synced()
    }

    fn modified(&self) -> u32 {
        self.modified.load(Ordering::Relaxed)
    }
}

fn sorted<K>(mut objects: Vec<Arc<K>>, meta: fn(&K) -> &ObjectMeta) -> Vec<Arc<K>> {
    objects.sort_by(|a, b| {
        let key = |object| (&meta(object).namespace, &meta(object).name);
        key(a).cmp(&key(b))
    });
    objects
}

fn now() -> u32 {
    // The SOA serial is 32 bits wide and may wrap.
    Timestamp::now().as_second() as u32
}

/// The Service that a slice belongs to.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL).map(String::as_str)
}

/// The cluster IPs of a Service (`None` for a headless one), at least one.
pub(crate) fn cluster_ips(service: &Service) -> Vec<String> {
    let Some(spec) = &service.spec else { return Vec::new() };
    match spec.cluster_ips.as_ref().filter(|ips| !ips.is_empty()) {
        Some(ips) => ips.clone(),
        None => spec.cluster_ip.iter().cloned().collect(),
    }
}

/// The addresses of a slice that answers are made from. A Service that publishes addresses that
/// are not ready has them marked ready in its slices.
pub(crate) fn ready_ips(slice: &EndpointSlice) -> Vec<String> {
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint));
    ready.flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect()
}

pub(crate) fn is_ready(endpoint: &k8s_openapi::api::discovery::v1::Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}
