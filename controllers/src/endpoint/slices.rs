//! endpointslice-controller: watches and writes what [`super::reconcile`] decides
//! (pkg/controller/endpointslice/endpointslice_controller.go@v1.37.2).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;

use super::pods::{selects, spec};
use super::reconcile::{CONTROLLER, MANAGED_BY, Plan, SERVICE_NAME, reconcile};
use super::trigger::{ANNOTATION, Tracker};
use crate::Context;
use crate::error::{Error, Result, is_namespace_terminating, is_not_found, text};

const NAME: &str = "endpointslice-controller";
/// --concurrent-service-endpoint-syncs
const WORKERS: usize = 5;
/// Slices changed by others are looked at after this (upstream: endpointSliceChangeMinSyncDelay).
const FOREIGN_CHANGE_DELAY: Duration = Duration::from_secs(1);
/// Index of slices by `namespace/service`.
const BY_SERVICE: &str = "service";

pub(crate) fn start(context: &Context) {
    let client = context.client(NAME);
    let all = Arc::new(Controller {
        recorder: context.recorder(client.clone(), NAME),
        services: context.informers.of::<Service>(),
        pods: context.informers.of::<Pod>(),
        nodes: context.informers.of::<Node>(),
        slices: context.informers.of::<EndpointSlice>(),
        trigger: Tracker::default(),
        written: Written::default(),
        client,
    });
    all.slices.add_index(BY_SERVICE, |slice: &EndpointSlice| {
        service_of(slice).filter(|_| is_managed(slice)).map(|key| key.to_string()).into_iter().collect()
    });
    let queue: Queue<Key> = Queue::new();
    super::follow(&all.services, &all.pods, &queue);
    let (watch, to) = (all.clone(), queue.clone());
    all.slices.on_change(move |old, new| {
        let keys = watch.on_slice(old.map(|slice| &**slice), new.map(|slice| &**slice));
        keys.into_iter().for_each(|key| to.add_after(key, FOREIGN_CHANGE_DELAY));
    });
    let caches = (all.services.clone(), all.pods.clone(), all.nodes.clone(), all.slices.clone());
    context.controller(NAME, queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(key).await.map(|()| None) }
    });
}

fn is_managed(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref().and_then(|all| all.get(MANAGED_BY)).map(String::as_str) == Some(CONTROLLER)
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
    Some(Key::new(slice.metadata.namespace.clone()?, name.clone()))
}

/// What we wrote and the cache may not show yet: generations by uid, `None` for deleted
/// (k8s.io/endpointslice/util/endpointslice_tracker.go@v0.37.2).
#[derive(Default)]
pub(super) struct Written {
    services: Mutex<HashMap<Key, HashMap<String, Option<i64>>>>,
}

impl Written {
    pub(super) fn note(&self, service: &Key, slice: &EndpointSlice, deleted: bool) {
        let generation = if deleted { None } else { Some(slice.metadata.generation.unwrap_or(0)) };
        let uid = slice.metadata.uid.clone().unwrap_or_default();
        self.services.lock().entry(service.clone()).or_default().insert(uid, generation);
    }

    /// True when the cache does not show what we wrote.
    pub(super) fn is_stale(&self, service: &Key, slices: &[Arc<EndpointSlice>]) -> bool {
        let services = self.services.lock();
        let Some(written) = services.get(service) else { return false };
        let uid = |slice: &Arc<EndpointSlice>| slice.metadata.uid.clone().unwrap_or_default();
        let behind = slices.iter().any(|slice| match written.get(&uid(slice)) {
            Some(None) => true,
            Some(Some(generation)) => *generation > slice.metadata.generation.unwrap_or(0),
            None => false,
        });
        let present: Vec<String> = slices.iter().map(uid).collect();
        behind || written.iter().any(|(uid, generation)| generation.is_some() && !present.contains(uid))
    }

    /// True when the slice is newer than what we wrote: somebody else changed it.
    pub(super) fn is_foreign(&self, service: &Key, slice: &EndpointSlice) -> bool {
        let uid = slice.metadata.uid.clone().unwrap_or_default();
        match self.services.lock().get(service).and_then(|written| written.get(&uid)) {
            Some(Some(generation)) => slice.metadata.generation.unwrap_or(0) > *generation,
            Some(None) => false,
            None => true,
        }
    }

    /// Forgets all of a service's slices.
    pub(super) fn forget(&self, service: &Key) {
        self.services.lock().remove(service);
    }

    /// Forgets a slice that is gone; true when we did not delete it.
    pub(super) fn gone(&self, service: &Key, slice: &EndpointSlice) -> bool {
        let uid = slice.metadata.uid.clone().unwrap_or_default();
        let mut services = self.services.lock();
        services
            .get_mut(service)
            .and_then(|written| written.remove(&uid))
            .is_some_and(|generation| generation.is_some())
    }
}

struct Controller {
    client: Client,
    recorder: Recorder,
    services: Cache<Service>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    slices: Cache<EndpointSlice>,
    trigger: Tracker,
    written: Written,
}

impl Controller {
    /// The Services to look at because a slice changed.
    fn on_slice(&self, old: Option<&EndpointSlice>, new: Option<&EndpointSlice>) -> Vec<Key> {
        let (before, after) = (old.and_then(service_of), new.and_then(service_of));
        match (old, new) {
            (Some(old), None) => {
                before.filter(|key| is_managed(old) && self.written.gone(key, old)).into_iter().collect()
            }
            (Some(old), Some(_)) if before != after => {
                let _ = old;
                before.into_iter().chain(after).collect()
            }
            (Some(old), Some(new)) if is_managed(old) != is_managed(new) => after.into_iter().collect(),
            (_, Some(new)) if is_managed(new) => {
                after.filter(|key| self.written.is_foreign(key, new)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    async fn sync(&self, key: Key) -> Result<()> {
        let Some(service) = self.services.by_key(&key) else {
            self.trigger.forget(&key);
            self.written.forget(&key);
            return Ok(());
        };
        let details = spec(&service);
        if details.type_.as_deref() == Some("ExternalName") || details.selector.is_none() {
            return Ok(());
        }
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|pod| selects(&service, pod));
        let mut slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        slices.retain(|slice| slice.metadata.deletion_timestamp.is_none());
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        if self.written.is_stale(&key, &slices) {
            return Err(Error::other("EndpointSlice informer cache is out of date"));
        }
        let changed_at = self.trigger.observe(&key, &service, &pods);
        let plan = reconcile(&service, &pods, |name| self.nodes.get("", name), &slices);
        let outcome = self.execute(&key, &service, plan, changed_at).await;
        if let Err(error) = &outcome {
            let message = format!("Error updating Endpoint Slices for Service {key}: {error}");
            self.recorder.event(&*service, "Warning", "FailedToUpdateEndpointSlices", message);
        }
        outcome
    }

    async fn execute(&self, key: &Key, service: &Service, plan: Plan, changed_at: Option<Timestamp>) -> Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let creates = if service.metadata.deletion_timestamp.is_none() { plan.create } else { Vec::new() };
        for mut slice in creates {
            annotate(&mut slice, changed_at);
            match api.create(&PostParams::default(), &slice).await {
                Ok(created) => self.written.note(key, &created, false),
                Err(error) if is_namespace_terminating(&error) => return Ok(()),
                Err(error) => return Err(failed("create EndpointSlice", key, &error)),
            }
        }
        for mut slice in plan.update {
            annotate(&mut slice, changed_at);
            let name = slice.metadata.name.clone().unwrap_or_default();
            match api.replace(&name, &PostParams::default(), &slice).await {
                Ok(updated) => self.written.note(key, &updated, false),
                Err(error) => return Err(failed(&format!("update {name} EndpointSlice"), key, &error)),
            }
        }
        for slice in plan.delete {
            let name = slice.metadata.name.clone().unwrap_or_default();
            match api.delete(&name, &DeleteParams::default()).await {
                Err(error) if !is_not_found(&error) => {
                    return Err(failed(&format!("delete {name} EndpointSlice"), key, &error));
                }
                _ => self.written.note(key, &slice, true),
            }
        }
        Error::all(plan.errors.into_iter().map(Error::Other).collect())
    }
}

fn failed(what: &str, key: &Key, error: &kube::Error) -> Error {
    Error::other(format!("failed to {what} for Service {key}: {}", text(error)))
}

fn annotate(slice: &mut EndpointSlice, changed_at: Option<Timestamp>) {
    let annotations = slice.metadata.annotations.get_or_insert_default();
    annotations.remove(ANNOTATION);
    annotations.extend(changed_at.map(|at| (ANNOTATION.into(), at.to_string())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_lags_behind_our_writes_is_noticed() {
        let slice = |uid: &str, generation: i64| {
            let mut slice = EndpointSlice::default();
            slice.metadata.uid = Some(uid.into());
            slice.metadata.generation = Some(generation);
            Arc::new(slice)
        };
        let (written, key) = (Written::default(), Key::new("ns", "s"));
        assert!(!written.is_stale(&key, &[]));
        written.note(&key, &slice("a", 2), false);
        assert!(written.is_stale(&key, &[]), "created, not seen");
        assert!(written.is_stale(&key, &[slice("a", 1)]), "updated, not seen");
        assert!(!written.is_stale(&key, &[slice("a", 2)]));
        assert!(!written.is_foreign(&key, &slice("a", 2)));
        assert!(written.is_foreign(&key, &slice("a", 3)));
        written.note(&key, &slice("a", 2), true);
        assert!(written.is_stale(&key, &[slice("a", 2)]), "deleted, still seen");
        assert!(!written.gone(&key, &slice("a", 2)), "ours");
        assert!(!written.is_stale(&key, &[]));
        written.note(&key, &slice("b", 1), false);
        assert!(written.gone(&key, &slice("b", 1)), "deleted by another");
    }
}
