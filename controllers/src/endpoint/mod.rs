//! endpoints-controller and endpointslice-controller: which pods are behind a Service; also
//! endpointslice-mirroring-controller ([`mirror`]).
//!
//! The first two follow Services and pods in the same way ([`follow`]); one file each says what they write.

mod endpoints;
mod hints;
mod mirror;
mod pods;
mod reconcile;
mod repack;
mod slices;
mod trigger;

pub(crate) use endpoints::start as start_endpoints;
pub(crate) use mirror::start as start_mirroring;
pub(crate) use slices::start as start_slices;

use client::Key;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{Pod, Service};

/// Index of Services by namespace: a pod's Services are among those of its namespace.
fn services_of(cache: &Cache<Service>, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let services = cache.list_namespace(namespace);
    services.iter().filter(|service| pods::selects(service, pod)).map(|service| Key::of(&**service)).collect()
}

/// Puts a Service into `queue` when it changes, and when a pod that it selects (or did) changes in a
/// way that endpoints show.
fn follow(services: &Cache<Service>, cache: &Cache<Pod>, queue: &Queue<Key>) {
    let to = queue.clone();
    services.on_change(move |old, new| new.or(old).into_iter().for_each(|service| to.add(Key::of(&**service))));
    let (to, services) = (queue.clone(), services.clone());
    cache.on_change(move |old, new| {
        let change = pods::change(old.map(|pod| &**pod), new.map(|pod| &**pod));
        let of = |pod: Option<&std::sync::Arc<Pod>>| pod.map(|pod| services_of(&services, pod)).unwrap_or_default();
        let keys = match change {
            pods::Change::None => return,
            pods::Change::Pod => of(new.or(old)),
            pods::Change::Both => [of(old), of(new)].concat(),
            pods::Change::Labels => {
                let (before, after) = (of(old), of(new));
                let only = |a: &[Key], b: &[Key]| a.iter().filter(|key| !b.contains(key)).cloned().collect::<Vec<_>>();
                [only(&before, &after), only(&after, &before)].concat()
            }
        };
        keys.into_iter().for_each(|key| to.add(key));
    });
}
