//! The scheduling queue: pods that can be tried now (active), pods that wait out a penalty
//! (backoff), and pods that wait for the cluster to change (unschedulable).
//!
//! Invariant: a pod is in at most one of them; an event that happens while a pod is being scheduled
//! is remembered and weighed when the pod comes back, so no wake-up is lost
//! (pkg/scheduler/backend/queue/scheduling_queue.go@v1.37.2). Nothing here polls: waiting is for the
//! next change or the next due time. Non-goal: pod groups.

pub(crate) mod heap;
pub(crate) mod queued;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::framework::event::{Change, ClusterEvent, Resource, pod_update};
use crate::framework::profile::Profile;
use crate::nominator::Nominator;
use crate::pod_info::{PodInfo, Uid};
use queued::Queued;
use waiting::Waiting;

/// Profiles by scheduler name.
pub(crate) type Profiles = HashMap<String, Arc<Profile>>;

/// How long failing pods wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    pub(crate) initial_backoff: Duration,
    pub(crate) max_backoff: Duration,
    /// After this long without a helpful event an unschedulable pod is tried anyway.
    pub(crate) max_unschedulable: Duration,
}

/// The queue.
pub(crate) struct Queue {
    profiles: Arc<Profiles>,
    nominator: Arc<Nominator>,
    state: Mutex<Waiting>,
    changed: Notify,
}

impl Queue {
    pub(crate) fn new(profiles: Arc<Profiles>, nominator: Arc<Nominator>, delays: Delays) -> Self {
        let state = Mutex::new(Waiting::new(profiles.clone(), delays));
        Queue { profiles, nominator, state, changed: Notify::new() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.notify_one();
        result
    }

    /// A new pod wants to be scheduled.
    pub(crate) fn add(&self, pod: &Arc<Pod>) {
        let info = Arc::new(PodInfo::new(pod.clone()));
        self.nominator.add(&info, &crate::framework::plugin::Nomination::Keep);
        self.change(|state| state.add(Queued::new(info, Instant::now())));
    }

    /// A pod that is not assigned has changed.
    pub(crate) fn update(&self, old: &Arc<Pod>, new: &Arc<Pod>) {
        let info = Arc::new(PodInfo::new(new.clone()));
        self.nominator.update(old, &info);
        let events = pod_update(old, new, Resource::TargetPod);
        let change = Change::Pod(Some(old.clone()), Some(new.clone()));
        self.change(|state| state.update(info, &events, &change));
    }

    /// The pod is gone, or bound.
    pub(crate) fn remove(&self, uid: &str) {
        self.nominator.remove(uid);
        self.change(|state| state.remove(uid));
    }

    /// Takes the next pod, waiting for one; the caller must give it back by [`Queue::give_back`] or
    /// end with [`Queue::done`]. For one consumer only. Cancel-safe.
    pub(crate) async fn pop(&self) -> Queued {
        loop {
            let notified = self.changed.notified();
            let (next, wake) = {
                let mut state = self.state.lock();
                let now = Instant::now();
                state.promote(now);
                (state.pop(now), state.next_due())
            };
            if let Some(next) = next {
                return next;
            }
            match wake {
                Some(at) => tokio::select! {
                    () = notified => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => notified.await,
            }
        }
    }

    /// The pod needs no more scheduling, or its fate no longer depends on events.
    pub(crate) fn done(&self, uid: &str) {
        self.state.lock().done(uid);
    }

    /// A pod could not be scheduled: it waits, or comes back soon if something helpful has happened.
    pub(crate) fn give_back(&self, pod: Queued) {
        self.change(|state| state.give_back(pod, Instant::now()));
    }

    /// Something happened in the cluster: pods it may help come back. `only` can narrow the pods.
    pub(crate) fn on_event(&self, event: ClusterEvent, change: &Change, only: &dyn Fn(&PodInfo) -> bool) {
        if event != ClusterEvent::ANY && !self.profiles.values().any(|profile| profile.is_interested(event)) {
            return;
        }
        self.change(|state| state.on_event(event, change, only));
    }

    /// Makes a waiting pod active at once.
    pub(crate) fn activate(&self, uid: &Uid) {
        self.change(|state| state.activate(uid));
    }

    /// How many pods are active, backing off and unschedulable.
    #[cfg(test)]
    pub(crate) fn lengths(&self) -> (usize, usize, usize) {
        self.state.lock().lengths()
    }
}

#[cfg(test)]
mod tests;
