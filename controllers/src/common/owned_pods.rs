//! From pods to the objects that control or select them, and back: what every workload controller
//! follows in the same way (the pod handlers of pkg/controller/{replicaset,daemon,job,statefulset}@v1.37.2).

use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::informer::{Cache, Object};
use client::queue::Queue;
use k8s_openapi::api::core::v1::Pod;
use kube::core::Selector;

use super::expectations::Expectations;
use super::owner::{controller_of, controller_ref};
use super::pods::{self, BY_OWNER, owner_index_key};
use super::selector;

/// The owners of one kind, their pods, and the queue that pods' changes put owners into.
pub(crate) struct Owners<K> {
    pub(crate) cache: Cache<K>,
    pub(crate) pods: Cache<Pod>,
    pub(crate) queue: Queue<Key>,
    pub(crate) expectations: Expectations,
    /// An owner's selector, `None` for one that selects nothing.
    selector: fn(&K) -> Option<Selector>,
    /// How long changes of pods and of an owner's status are gathered before a sync.
    gather: Duration,
}

impl<K: Object> Owners<K> {
    pub(crate) fn new(cache: Cache<K>, pods: Cache<Pod>, selector: fn(&K) -> Option<Selector>) -> Arc<Self> {
        Owners::gathering(cache, pods, selector, Queue::new(), Duration::ZERO)
    }

    /// With a queue of its own, and syncs `gather` after what pods do.
    pub(crate) fn gathering(
        cache: Cache<K>,
        pods: Cache<Pod>,
        selector: fn(&K) -> Option<Selector>,
        queue: Queue<Key>,
        gather: Duration,
    ) -> Arc<Self> {
        let expectations = Expectations::default();
        let owners = Arc::new(Owners { cache, pods, queue, expectations, selector, gather });
        pods::index_by_owner(&owners.pods);
        let watch = owners.clone();
        owners.cache.on_change(move |old, new| watch.on_owner(old.map(|owner| &**owner), new.map(|owner| &**owner)));
        let watch = owners.clone();
        owners.pods.on_change(move |old, new| watch.on_pod(old.map(|pod| &**pod), new.map(|pod| &**pod)));
        owners
    }

    fn on_owner(&self, old: Option<&K>, new: Option<&K>) {
        let Some(owner) = new.or(old) else { return };
        let key = Key::of(owner);
        let uid = |owner: &K| owner.meta().uid.clone();
        if old.is_some() && old.map(uid) != new.map(uid) {
            self.expectations.forget(&key);
        }
        let generation = |owner: &K| owner.meta().generation;
        let same = old.is_some() && old.map(generation) == new.map(generation);
        self.queue.add_after(key, if same { self.gather } else { Duration::ZERO });
    }

    fn on_pod(&self, old: Option<&Pod>, new: Option<&Pod>) {
        let Some(pod) = new else {
            return old.into_iter().for_each(|old| self.pod_gone(old));
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return self.pod_gone(pod);
        }
        let labels_changed = old.is_some_and(|old| old.metadata.labels != pod.metadata.labels);
        let owner = controller_of(&pod.metadata);
        let owner_changed = old.is_some_and(|old| controller_of(&old.metadata) != owner);
        if owner_changed && let Some(previous) = old.and_then(|old| self.resolve(old)) {
            self.queue.add_after(previous, self.gather);
        }
        if owner.is_some() {
            if let Some(key) = self.resolve(pod) {
                if old.is_none() {
                    self.expectations.creation_observed(&key);
                }
                self.queue.add_after(key, self.gather);
            }
        } else if old.is_none() || labels_changed || owner_changed {
            self.selecting(pod).into_iter().for_each(|key| self.queue.add_after(key, self.gather));
        }
    }

    fn pod_gone(&self, pod: &Pod) {
        if let Some(key) = self.resolve(pod) {
            self.expectations.deletion_observed(&key, &Key::of(pod));
            self.queue.add_after(key, self.gather);
        }
    }

    /// The owner of this kind that controls the pod.
    pub(crate) fn resolve(&self, pod: &Pod) -> Option<Key> {
        let reference = controller_of(&pod.metadata).filter(|reference| reference.kind == K::kind(&()))?;
        let owner = self.cache.get(pod.metadata.namespace.as_deref().unwrap_or(""), &reference.name)?;
        (owner.meta().uid.as_ref() == Some(&reference.uid)).then(|| Key::of(&*owner))
    }

    /// The owners whose selectors select an orphan pod.
    fn selecting(&self, pod: &Pod) -> Vec<Key> {
        let owners = self.cache.list_namespace(pod.metadata.namespace.as_deref().unwrap_or(""));
        let selects = |owner: &K| {
            let selector = (self.selector)(owner).filter(|selector| !selector.selects_all());
            selector.is_some_and(|selector| selector::matches(&selector, pod.metadata.labels.as_ref()))
        };
        owners.iter().filter(|owner| selects(owner)).map(|owner| Key::of(&**owner)).collect()
    }

    /// The pods that the owner controls, and the orphans of its namespace, by name.
    pub(crate) fn pods_of(&self, key: &Key, owner: &K) -> Vec<Arc<Pod>> {
        let reference = controller_ref(owner);
        let mut all = self.pods.by_index(BY_OWNER, &owner_index_key(&key.namespace, Some(&reference)));
        all.extend(self.pods.by_index(BY_OWNER, &owner_index_key(&key.namespace, None)));
        all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        all
    }
}
