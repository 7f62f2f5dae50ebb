//! From changes in the cluster to the cache and the queue (pkg/scheduler/eventhandlers.go@v1.37.2).
//!
//! Invariant: the cache knows of a change before pods are woken by it.

use std::sync::Arc;

use client::informer::{Cache as Informer, Informers, Object};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;

use crate::framework::event::{Action, Change, ClusterEvent, Resource, node_update, pod_update};
use crate::handle::LIVE_PODS;
use crate::pod_info::{PodInfo, node_name, nominated_node, priority, scheduler_name};
use crate::scheduler::{Scheduler, on_node};

fn everyone(_: &PodInfo) -> bool {
    true
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn is_assigned(pod: &Pod) -> bool {
    !node_name(pod).is_empty()
}

/// Starts to hear of everything that matters. The listers must follow already.
pub(crate) fn register(scheduler: &Arc<Scheduler>, informers: &Informers) {
    let this = scheduler.clone();
    informers.of::<Node>().on_change(move |old, new| this.on_node(old, new));
    wake(scheduler, &informers.of(), Resource::PersistentVolumeClaim, |_, new| Change::Claim(new));
    wake(scheduler, &informers.of::<PersistentVolume>(), Resource::PersistentVolume, |_, _| Change::None);
    wake(scheduler, &informers.of(), Resource::StorageClass, |_, new| Change::StorageClass(new));
    wake(scheduler, &informers.of(), Resource::CsiNode, Change::CsiNode);
    wake(scheduler, &informers.of::<VolumeAttachment>(), Resource::VolumeAttachment, |_, _| Change::None);
    let this = scheduler.clone();
    informers.with_fields::<Pod>(LIVE_PODS).on_change(move |old, new| this.on_pod(old, new));
}

/// Wakes pods by changes of a kind that the cache does not keep.
fn wake<K: Object>(
    scheduler: &Arc<Scheduler>,
    informer: &Informer<K>,
    resource: Resource,
    change: fn(Option<Arc<K>>, Option<Arc<K>>) -> Change,
) {
    let this = scheduler.clone();
    informer.on_change(move |old, new| {
        let action = match (old, new) {
            (None, _) => Action::ADD,
            (_, None) => Action::DELETE,
            _ => Action::UPDATE,
        };
        let change = change(old.cloned(), new.cloned());
        this.queue.on_event(ClusterEvent::new(resource, action), &change, &everyone);
    });
}

impl Scheduler {
    pub(crate) fn on_node(&self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) {
        let change = Change::Node(old.cloned(), new.cloned());
        let event = |action| ClusterEvent::new(Resource::Node, action);
        match (old, new) {
            (None, Some(new)) => {
                self.cache.lock().set_node(new);
                self.queue.on_event(event(Action::ADD), &change, &everyone);
            }
            (Some(old), Some(new)) => {
                self.cache.lock().set_node(new);
                for event in node_update(old, new) {
                    self.queue.on_event(event, &change, &everyone);
                }
            }
            (Some(old), None) => {
                self.queue.on_event(event(Action::DELETE), &change, &everyone);
                self.cache.lock().remove_node(old);
            }
            (None, None) => {}
        }
    }

    pub(crate) fn on_pod(&self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) {
        match (old, new) {
            (Some(old), Some(new)) if uid(old) != uid(new) => {
                self.on_pod(Some(old), None);
                self.on_pod(None, Some(new));
            }
            (None, Some(new)) if is_assigned(new) => self.assigned_pod_added(new),
            (None, Some(new)) if self.is_ours(new) => self.queue.add(new),
            (Some(old), Some(new)) if is_assigned(old) => self.assigned_pod_changed(old, new),
            (Some(old), Some(new)) if is_assigned(new) => {
                self.assigned_pod_added(new);
                self.queue.remove(uid(old));
            }
            (Some(old), Some(new)) if self.is_ours(new) => self.waiting_pod_changed(old, new),
            (Some(old), None) if is_assigned(old) => {
                self.cache.lock().remove_pod(uid(old));
                self.pod_gone(old.clone(), &everyone);
            }
            (Some(old), None) if self.is_ours(old) => self.waiting_pod_gone(old),
            _ => {}
        }
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        self.profiles.contains_key(scheduler_name(pod))
    }

    fn assigned_pod_added(&self, pod: &Arc<Pod>) {
        self.cache.lock().set_pod(pod);
        let change = Change::Pod(None, Some(pod.clone()));
        self.queue.on_event(ClusterEvent::ASSIGNED_POD_ADD, &change, &everyone);
    }

    fn assigned_pod_changed(&self, old: &Arc<Pod>, new: &Arc<Pod>) {
        self.cache.lock().set_pod(new);
        let change = Change::Pod(Some(old.clone()), Some(new.clone()));
        for event in pod_update(old, new, Resource::AssignedPod) {
            self.queue.on_event(event, &change, &everyone);
        }
    }

    /// Wakes pods because one has gone from its node.
    fn pod_gone(&self, pod: Arc<Pod>, only: &dyn Fn(&PodInfo) -> bool) {
        self.queue.on_event(ClusterEvent::ASSIGNED_POD_DELETE, &Change::Pod(Some(pod), None), only);
    }

    fn waiting_pod_changed(&self, old: &Arc<Pod>, new: &Arc<Pod>) {
        if old.metadata.resource_version == new.metadata.resource_version {
            return;
        }
        let assumed = self.cache.lock().assumed_node(uid(new));
        if let Some(node) = assumed {
            let began = old.metadata.deletion_timestamp.is_none() && new.metadata.deletion_timestamp.is_some();
            if began {
                self.assumed_pod_gone(new, &node);
            }
            return;
        }
        self.queue.update(old, new);
        if !nominated_node(old).is_empty() && nominated_node(old) != nominated_node(new) {
            // Others had to leave room for it there.
            let most = priority(old);
            self.pod_gone(old.clone(), &|other| other.priority <= most);
        }
    }

    fn waiting_pod_gone(&self, pod: &Arc<Pod>) {
        self.queue.remove(uid(pod));
        let assumed = self.cache.lock().assumed_node(uid(pod));
        if let Some(node) = assumed {
            self.assumed_pod_gone(pod, &node);
        } else if !nominated_node(pod).is_empty() {
            let most = priority(pod);
            self.pod_gone(pod.clone(), &|other| other.priority <= most);
        }
    }

    /// A pod that is being bound has been deleted: its place is free, the bind will fail.
    fn assumed_pod_gone(&self, pod: &Arc<Pod>, node: &str) {
        self.cache.lock().forget(uid(pod));
        self.pod_gone(Arc::new(on_node(pod, node)), &everyone);
    }
}
