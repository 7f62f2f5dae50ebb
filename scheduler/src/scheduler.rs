//! The scheduling cycle and the binding cycle of a pod, and what happens when either fails
//! (pkg/scheduler/schedule_one.go@v1.37.2).
//!
//! Invariant: scheduling cycles run one after another; a binding cycle runs beside them, its pod
//! already counted on its node.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use crate::algorithm::{Algorithm, Failure};
use crate::cache::Cache;
use crate::framework::event::{Change, ClusterEvent};
use crate::framework::fit_error::FitError;
use crate::framework::plugin::{Nomination, Point};
use crate::framework::profile::Profile;
use crate::framework::state::CycleState;
use crate::framework::status::Status;
use crate::handle::Handle;
use crate::pod_info::PodInfo;
use crate::pod_status::{self, POD_SCHEDULED, Wanted};
use crate::queue::queued::Queued;
use crate::queue::{Profiles, Queue};
use crate::recorder::Note;

/// The longest note of an event, in bytes (pkg/apis/core/validation/events.go@v1.37.2).
const NOTE_MAX: usize = 1024;
const CUT: &str = " ...";

/// All parts of the scheduler that its tasks share.
pub(crate) struct Scheduler {
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) cache: Mutex<Cache>,
    pub(crate) queue: Queue,
    pub(crate) handle: Handle,
}

/// Why a pod was not scheduled, ready to be told.
struct Refusal {
    /// `Unschedulable` or `SchedulerError`.
    reason: &'static str,
    message: String,
    refused_by: BTreeSet<&'static str>,
}

impl Refusal {
    fn of_fit(error: &FitError) -> Self {
        let refused_by = error.unschedulable_plugins.clone();
        Refusal { reason: "Unschedulable", message: error.message(), refused_by }
    }

    /// The refusal of the one node that was chosen, or a failure.
    fn of_status(status: &Status) -> Self {
        if !status.is_rejected() {
            return Refusal { reason: "SchedulerError", message: status.message(), refused_by: BTreeSet::new() };
        }
        let mut error = FitError { all_nodes: 1, ..FitError::default() };
        error.note(status);
        error.statuses.set(0, status.clone());
        Refusal::of_fit(&error)
    }
}

impl Scheduler {
    /// Schedules pods until the task ends.
    pub(crate) async fn run(self: Arc<Self>, mut algorithm: Algorithm) {
        loop {
            let pod = self.queue.pop().await;
            self.schedule_one(&mut algorithm, pod);
            // The queue may never be empty; others on this thread want their turn.
            tokio::task::yield_now().await;
        }
    }

    /// One scheduling cycle; starts the binding cycle.
    pub(crate) fn schedule_one(self: &Arc<Self>, algorithm: &mut Algorithm, pod: Queued) {
        let profile = self.profiles.get(pod.info.scheduler_name()).cloned();
        let Some(profile) = profile.filter(|_| !self.is_skipped(&pod.info)) else {
            return self.queue.done(&pod.info.uid);
        };
        self.cache.lock().update_snapshot(&mut algorithm.snapshot);
        let nominated = self.handle.nominator.view();
        let mut state = CycleState::default();
        match algorithm.schedule(&profile, &nominated, &mut state, &pod.info) {
            Ok(node) => self.place(profile, state, pod, node),
            Err(Failure::NoNodes) => {
                let message = "no nodes available to schedule pods".into();
                let refusal = Refusal { reason: "Unschedulable", message, refused_by: BTreeSet::new() };
                self.fail(pod, &refusal, &Nomination::Set(String::new()));
            }
            Err(Failure::Error(status)) => {
                self.fail(pod, &Refusal::of_status(&status), &Nomination::Set(String::new()));
            }
            Err(Failure::Fit(mut error)) => {
                let mut nomination = Nomination::Set(String::new());
                if profile.has(Point::PostFilter) {
                    let result = algorithm.post_filter(&profile, &nominated, &state, &pod.info, &error);
                    (nomination, error.post_filter_message) = result;
                }
                self.fail(pod, &Refusal::of_fit(&error), &nomination);
            }
        }
    }

    /// True for pods that need no scheduling: they are going, or on their way to a node.
    fn is_skipped(&self, pod: &PodInfo) -> bool {
        if pod.is_terminating() {
            let text = format!("skip schedule deleting pod: {}/{}", pod.namespace(), pod.name());
            self.note(&pod.pod, "Warning", "FailedScheduling", "Scheduling", &text);
            return true;
        }
        self.cache.lock().is_assumed(&pod.uid)
    }

    /// Counts the pod on the node and starts to bind it.
    fn place(self: &Arc<Self>, profile: Arc<Profile>, state: CycleState, pod: Queued, node: Arc<str>) {
        if !self.cache.lock().assume(&pod.info, &node) {
            let (name, uid) = (pod.info.name(), &pod.info.uid);
            let message = format!("pod {uid}({}/{name}) is in the cache, so can't be assumed", pod.info.namespace());
            return self.fail(pod, &Refusal::of_status(&Status::error(message)), &Nomination::Set(String::new()));
        }
        self.handle.nominator.remove(&pod.info.uid);
        let booked = profile.reserve(&state, &pod.info, &node);
        let permitted = booked.and_then(|()| {
            let permitted = profile.permit(&state, &pod.info, &node);
            permitted.inspect_err(|_| profile.unreserve(&state, &pod.info, &node))
        });
        if let Err(status) = permitted {
            self.cache.lock().forget(&pod.info.uid);
            return self.fail(pod, &Refusal::of_status(&status), &Nomination::Set(String::new()));
        }
        let this = self.clone();
        self.handle.tasks.run("binding", async move { this.bind(profile, state, pod, node).await });
    }

    async fn bind(&self, profile: Arc<Profile>, state: CycleState, pod: Queued, node: Arc<str>) {
        // From here on no event decides the pod's fate: a failure is retried after a pause.
        self.queue.done(&pod.info.uid);
        match profile.bind(&state, &pod.info, &node).await {
            Ok(()) => {
                let text = format!("Successfully assigned {}/{} to {node}", pod.info.namespace(), pod.info.name());
                self.note(&pod.info.pod, "Normal", "Scheduled", "Binding", &text);
            }
            Err(status) => {
                profile.unreserve(&state, &pod.info, &node);
                if self.cache.lock().forget(&pod.info.uid) {
                    let uid = pod.info.uid.clone();
                    let change = Change::Pod(Some(Arc::new(on_node(&pod.info.pod, &node))), None);
                    self.queue.on_event(ClusterEvent::ASSIGNED_POD_DELETE, &change, &|other| other.uid != uid);
                }
                self.fail(pod, &Refusal::of_status(&status), &Nomination::Set(String::new()));
            }
        }
    }

    /// Puts the pod back into the queue and tells why.
    fn fail(&self, mut pod: Queued, refusal: &Refusal, nomination: &Nomination) {
        tracing::debug!(pod = pod.info.name(), reason = refusal.reason, message = refusal.message, "not scheduled");
        pod.refused_by = refusal.refused_by.clone();
        let uid = pod.info.uid.clone();
        let latest = self.handle.listers.pods.get(pod.info.namespace(), pod.info.name());
        let mut info = pod.info.clone();
        match latest {
            Some(latest) if latest.metadata.uid.as_deref() != Some(&*uid) => return self.queue.done(&uid),
            Some(latest) if crate::pod_info::node_name(&latest).is_empty() => {
                info = Arc::new(PodInfo::new(latest));
                pod.info = info.clone();
                self.queue.give_back(pod);
                self.handle.nominator.add(&info, nomination);
            }
            _ => self.queue.done(&uid),
        }
        self.note(&info.pod, "Warning", "FailedScheduling", "Scheduling", &refusal.message);
        let wanted =
            Wanted { type_: POD_SCHEDULED, status: "False", reason: refusal.reason, message: &refusal.message };
        let Some(patch) = pod_status::patch(&info.pod, Some(&wanted), nomination, Timestamp::now()) else { return };
        let writer = self.handle.writer.clone();
        self.handle.tasks.run("pod status", async move {
            if let Err(error) = writer.patch_status(info.namespace(), info.name(), patch).await {
                tracing::debug!(pod = info.name(), error = error.message(), "pod status not patched");
            }
        });
    }

    fn note(&self, pod: &Pod, kind: &str, reason: &str, action: &str, text: &str) {
        let text = &truncated(text);
        let controller = crate::pod_info::scheduler_name(pod);
        self.handle.recorder.event(pod, None, controller, &Note { kind, reason, action, text });
    }
}

/// The pod as it would be on the node.
pub(crate) fn on_node(pod: &Pod, node: &str) -> Pod {
    let mut pod = pod.clone();
    pod.spec.get_or_insert_default().node_name = Some(node.into());
    pod
}

/// The text, cut to what an event may hold.
fn truncated(text: &str) -> String {
    if text.len() <= NOTE_MAX {
        return text.into();
    }
    format!("{}{CUT}", &text[..text.floor_char_boundary(NOTE_MAX - CUT.len())])
}

#[cfg(test)]
mod tests;
