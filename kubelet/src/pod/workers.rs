//! All pods of this node: who has a worker, who is over, who was turned away.
//!
//! Invariant: one worker a uid, and none again for a uid that is over while a source still has it.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::worker::{Order, Worker};
use super::{admit, conditions, events, kill, observe, shape};
use crate::kubelet::Kubelet;
use crate::resources;

struct Slot {
    order: watch::Sender<Order>,
    kick: Arc<Notify>,
    over: bool,
}

#[derive(Default)]
pub(crate) struct Workers {
    slots: Mutex<HashMap<String, Slot>>,
}

impl Workers {
    /// A source has this pod, new or changed.
    pub(crate) fn apply(&self, kubelet: &Arc<Kubelet>, pod: Arc<Pod>) {
        let uid = shape::uid(&pod).to_owned();
        kubelet.reporter.learn(&pod);
        if let Some(slot) = self.slots.lock().get(&uid) {
            // Our own status writes come back here: they are no reason to look at the pod again.
            slot.order.send_if_modified(|order| {
                let wakes = order.removed || is_news(&order.pod, &pod);
                *order = Order { pod, removed: false };
                wakes
            });
            return;
        }
        let refused = match shape::is_terminal(&pod) || shape::is_deleted(&pod) {
            true => None,
            false => admit::admit(kubelet, &pod, &self.active()).err(),
        };
        let (order, orders) = watch::channel(Order { pod: pod.clone(), removed: false });
        let kick = Arc::new(Notify::new());
        let slot = Slot { order, kick: kick.clone(), over: refused.is_some() };
        self.slots.lock().insert(uid, slot);
        match refused {
            Some(refusal) => reject(kubelet, &pod, refusal),
            None => kubelet.tasks.run("pod worker", Worker::new(kubelet.clone(), orders, kick).run()),
        }
    }

    /// No source has the pod any more.
    pub(crate) fn remove(&self, kubelet: &Arc<Kubelet>, pod: &Arc<Pod>) {
        let uid = shape::uid(pod);
        let order = Order { pod: pod.clone(), removed: true };
        let mut slots = self.slots.lock();
        match slots.get(uid) {
            Some(slot) if slot.over => {
                slots.remove(uid);
                drop(slots);
                kubelet.reporter.forget(uid);
                forget(kubelet, order);
            }
            Some(slot) => drop(slot.order.send_replace(order)),
            None => {}
        }
    }

    /// A worker came to its end.
    pub(crate) fn finished(&self, kubelet: &Arc<Kubelet>, order: &Order) {
        let uid = shape::uid(&order.pod);
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(uid) else { return };
        slot.over = true;
        let order = slot.order.borrow().clone();
        if order.removed {
            slots.remove(uid);
            drop(slots);
            kubelet.reporter.forget(uid);
            forget(kubelet, order);
        }
    }

    /// Something about the pod may have changed: look at it.
    pub(crate) fn kick(&self, uid: &str) {
        if let Some(slot) = self.slots.lock().get(uid) {
            slot.kick.notify_one();
        }
    }

    pub(crate) fn knows(&self, uid: &str) -> bool {
        self.slots.lock().contains_key(uid)
    }

    /// The pods that are not over.
    pub(crate) fn active(&self) -> Vec<Arc<Pod>> {
        let slots = self.slots.lock();
        slots.values().filter(|slot| !slot.over).map(|slot| slot.order.borrow().pod.clone()).collect()
    }

    /// Every pod that a source has.
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.slots.lock().values().map(|slot| slot.order.borrow().pod.clone()).collect()
    }

    /// Burstable pods share CPU by what they request together.
    pub(crate) fn share_burstable(&self, kubelet: &Kubelet) {
        let Some(cgroups) = &kubelet.cgroups else { return };
        let burstable = self.active().into_iter().filter(|pod| resources::qos_class(pod) == "Burstable");
        let requested = burstable.map(|pod| resources::pod_requests(&pod).get("cpu").copied().unwrap_or(0)).sum();
        if let Err(error) = cgroups.update_burstable(requested) {
            tracing::warn!(%error, "Failed to update QoS cgroups");
        }
    }
}

/// Whether a change of the API object means work (pkg/kubelet/config/config.go@v1.37.2,
/// podsDifferSemantically): anything but its status, except what others write there.
fn is_news(old: &Pod, new: &Pod) -> bool {
    let meta = |pod: &Pod| {
        let meta = &pod.metadata;
        (
            meta.labels.clone(),
            meta.annotations.clone(),
            meta.deletion_timestamp.clone(),
            meta.deletion_grace_period_seconds,
        )
    };
    let foreign = |pod: &Pod| {
        let all = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        all.filter(|condition| !conditions::is_owned(&condition.type_)).cloned().collect::<Vec<_>>()
    };
    old.spec != new.spec
        || meta(old) != meta(new)
        || shape::is_terminal(old) != shape::is_terminal(new)
        || foreign(old) != foreign(new)
}

fn reject(kubelet: &Kubelet, pod: &Arc<Pod>, (reason, message): (String, String)) {
    events::about_pod(&kubelet.recorder, pod, events::WARNING, &reason, message.clone());
    let status = PodStatus {
        phase: Some("Failed".into()),
        qos_class: Some(resources::qos_class(pod).into()),
        reason: Some(reason),
        message: Some(format!("Pod was rejected: {message}")),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    };
    kubelet.reporter.set(pod, status);
    kubelet.reporter.ended(shape::uid(pod));
    kubelet.reporter.finish(pod);
}

/// Removes what the runtime and the log folder still have of a pod that is gone.
fn forget(kubelet: &Arc<Kubelet>, order: Order) {
    let kubelet = kubelet.clone();
    let tasks = kubelet.tasks.clone();
    tasks.run("pod removal", async move {
        let uid = shape::uid(&order.pod);
        let observed = observe::observe(&kubelet.runtime, "", uid).await;
        let removed = match observed {
            Ok(observed) => kill::remove_all(&kubelet, &observed).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            // The collector comes by later.
            tracing::debug!(uid, %error, "containers of a deleted pod not removed");
        } else if !kubelet.runtime.is_fake() {
            let (namespace, name) = (shape::namespace(&order.pod), shape::name(&order.pod));
            crate::gc::remove_logs(&kubelet, &kubelet.config.pod_log_dir(namespace, name, uid));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, yaml};

    #[test]
    fn our_own_status_is_no_news() {
        let old = pod("{containers: [{name: a}]}");
        let mut new = old.clone();
        new.status = Some(yaml("{phase: Running, conditions: [{type: Ready, status: 'True'}]}"));
        assert!(!is_news(&old, &new));
        new.status = Some(yaml("{phase: Running, conditions: [{type: gate, status: 'True'}]}"));
        assert!(is_news(&old, &new));
        new.status = Some(yaml("{phase: Failed}"));
        assert!(is_news(&old, &new));
        let mut labelled = old.clone();
        labelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert!(is_news(&old, &labelled));
    }
}
