//! The one writer of pod statuses to the API (pkg/kubelet/status/status_manager.go@v1.37.2).
//!
//! Invariant: the latest status of a pod wins; what is written is the difference from what the API
//! is known to have; a terminal phase is told only when nothing runs; a pod being deleted is let go
//! (grace 0) only when the node has given everything back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

use super::conditions::is_owned;
use super::status::{LOST_MESSAGE, lost};
use super::{conditions, shape};
use crate::kubelet::Kubelet;

/// Statuses written at a time.
const WRITES_MAX: usize = 10;
/// How long a write may take.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// Wait after a write that failed (upstream's syncPeriod).
const RETRY: Duration = Duration::from_secs(10);
/// Keys of a status that the kubelet writes.
const KEYS: [&str; 14] = [
    "phase",
    "reason",
    "message",
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "qosClass",
    "startTime",
    "observedGeneration",
];

struct Entry {
    /// As the source last had it.
    pod: Arc<Pod>,
    status: Option<PodStatus>,
    /// What the API answered to the last write.
    written: Option<Pod>,
    /// Nothing of the pod runs any more.
    ended: bool,
    /// The node has given everything back.
    finished: bool,
    dirty: bool,
}

#[derive(Default)]
pub(crate) struct Reporter {
    entries: Mutex<HashMap<String, Entry>>,
    wake: Notify,
    /// Told of every status that is made or forgotten.
    changes: watch::Sender<()>,
}

fn terminal(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl Reporter {
    /// The source has this pod: what the API knows may differ from what was written.
    pub(crate) fn learn(&self, pod: &Arc<Pod>) {
        let mut entries = self.entries.lock();
        let entry = entries.entry(shape::uid(pod).to_owned()).or_insert_with(|| Entry {
            pod: pod.clone(),
            status: None,
            written: None,
            ended: false,
            finished: false,
            dirty: false,
        });
        entry.pod = pod.clone();
        if entry.status.is_some() || entry.finished {
            entry.dirty = true;
            self.wake.notify_one();
        }
    }

    /// The last status made here, else the API's.
    pub(crate) fn status(&self, pod: &Pod) -> PodStatus {
        let entries = self.entries.lock();
        let made = entries.get(shape::uid(pod)).and_then(|entry| entry.status.clone());
        made.or_else(|| pod.status.clone()).unwrap_or_default()
    }

    /// The last status made here, if any was.
    pub(crate) fn made(&self, uid: &str) -> Option<PodStatus> {
        self.entries.lock().get(uid)?.status.clone()
    }

    pub(crate) fn set(&self, pod: &Arc<Pod>, mut status: PodStatus) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(shape::uid(pod)) else { return };
        let old = entry.status.clone().or_else(|| pod.status.clone()).unwrap_or_default();
        stamp(&mut status, &old, Timestamp::now());
        if entry.status.as_ref() != Some(&status) {
            entry.status = Some(status);
            entry.dirty = true;
            self.wake.notify_one();
            self.changes.send_replace(());
        }
    }

    /// Nothing of the pod runs any more: a terminal phase may be told.
    pub(crate) fn ended(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().get_mut(uid) {
            (entry.ended, entry.dirty) = (true, true);
            self.wake.notify_one();
        }
    }

    /// Everything is given back: the API may forget a deleted pod.
    pub(crate) fn finish(&self, pod: &Pod) {
        if let Some(entry) = self.entries.lock().get_mut(shape::uid(pod)) {
            (entry.ended, entry.finished, entry.dirty) = (true, true, true);
            if let Some(status) = entry.status.as_mut().filter(|_| !shape::is_static(pod)) {
                close(pod, status);
            }
            self.wake.notify_one();
        }
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.entries.lock().remove(uid);
        self.changes.send_replace(());
    }

    /// Wakes when a status is made or forgotten.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// A mirror pod came or changed: its static pod's status is to be written again.
    pub(crate) fn touch(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().get_mut(uid) {
            entry.dirty = true;
            self.wake.notify_one();
        }
    }

    fn take_dirty(&self) -> Vec<Job> {
        let mut entries = self.entries.lock();
        let dirty = entries.iter_mut().filter(|(_, entry)| entry.dirty);
        dirty
            .map(|(uid, entry)| {
                entry.dirty = false;
                Job {
                    uid: uid.clone(),
                    pod: entry.pod.clone(),
                    status: entry.status.clone(),
                    base: newest(&entry.pod, entry.written.as_ref()),
                    ended: entry.ended,
                    finished: entry.finished,
                }
            })
            .collect()
    }

    fn settle(&self, uid: &str, outcome: Result<Option<Pod>, client::Error>) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(uid) else { return true };
        match outcome {
            Ok(Some(written)) => entry.written = Some(written),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(uid, %error, "status of a pod not written, will retry");
                entry.dirty = true;
                return false;
            }
        }
        true
    }
}

/// A pod that is over has a terminal phase, and no container of it waits or runs: of what nobody saw
/// end, the end is unknown (TerminatePod).
fn close(pod: &Pod, status: &mut PodStatus) {
    if !terminal(status.phase.as_deref()) {
        status.phase = Some("Failed".into());
    }
    let ended = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let has_run = |status: &ContainerStatus| {
        let last = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
        ended(status) || last || status.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    let init = status.init_container_statuses.as_deref().unwrap_or(&[]);
    let regular = status.container_statuses.as_deref().unwrap_or(&[]);
    let initialized =
        shape::init_containers(pod).is_empty() || regular.iter().any(has_run) || init.iter().all(|s| s.ready);
    let reached = init.iter().rposition(has_run).map_or(0, |at| at + 1);
    let lose = |status: &mut ContainerStatus| {
        if !ended(status) {
            status.state = Some(lost(LOST_MESSAGE));
        }
    };
    status.init_container_statuses.iter_mut().flatten().take(reached).for_each(lose);
    status.container_statuses.iter_mut().flatten().filter(|_| initialized).for_each(lose);
}

struct Job {
    uid: String,
    pod: Arc<Pod>,
    status: Option<PodStatus>,
    base: PodStatus,
    ended: bool,
    finished: bool,
}

/// What the API has, as far as is known: the source or the last answer, whichever is newer.
fn newest(source: &Pod, written: Option<&Pod>) -> PodStatus {
    let version = |pod: &Pod| pod.metadata.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
    let newer = written.filter(|written| version(written) > version(source)).unwrap_or(source);
    newer.status.clone().unwrap_or_default()
}

/// Writes what is dirty, for as long as the kubelet runs.
pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    let mut retry = Duration::MAX;
    loop {
        let _ = tokio::time::timeout(retry, kubelet.reporter.wake.notified()).await;
        let jobs = kubelet.reporter.take_dirty();
        let writes = jobs.into_iter().map(|job| {
            let kubelet = kubelet.clone();
            async move {
                let late = |_| Err(client::Error::Other("the API server did not answer in time".into()));
                let outcome = tokio::time::timeout(WRITE_MAX, write(&kubelet, &job)).await.unwrap_or_else(late);
                kubelet.reporter.settle(&job.uid, outcome)
            }
        });
        let settled: Vec<bool> = futures::stream::iter(writes).buffer_unordered(WRITES_MAX).collect().await;
        retry = if settled.iter().all(|settled| *settled) { Duration::MAX } else { RETRY };
    }
}

async fn write(kubelet: &Kubelet, job: &Job) -> client::Result<Option<Pod>> {
    let api: Api<Pod> = Api::namespaced(kubelet.client.clone(), shape::namespace(&job.pod));
    let name = shape::name(&job.pod);
    let (uid, base, deleted) = match shape::is_static(&job.pod) {
        false => (job.uid.clone(), job.base.clone(), shape::is_deleted(&job.pod)),
        true => {
            let key = format!("{}/{name}", shape::namespace(&job.pod));
            let Some(mirror) = kubelet.mirrors.read().get(&key).cloned() else { return Ok(None) };
            (shape::uid(&mirror).to_owned(), mirror.status.clone().unwrap_or_default(), false)
        }
    };
    let mut written = None;
    if let Some(status) = &job.status {
        let merged = hold_back(&job.pod, &base, status.clone(), job.ended);
        if let Some(patch) = difference(&base, &merged, &uid) {
            match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(pod) => written = Some(pod),
                // Gone, or another pod of that name: nothing to tell.
                Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
    if deleted && job.finished {
        let only = Preconditions { uid: Some(uid), ..Preconditions::default() };
        let params =
            DeleteParams { grace_period_seconds: Some(0), preconditions: Some(only), ..DeleteParams::default() };
        match api.delete(name, &params).await {
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => {}
            other => drop(other?),
        }
    }
    Ok(written)
}

/// A terminal phase waits until nothing runs; a terminal pod is not ready (mergePodStatus).
fn hold_back(pod: &Pod, base: &PodStatus, mut status: PodStatus, ended: bool) -> PodStatus {
    if !ended && terminal(status.phase.as_deref()) && !terminal(base.phase.as_deref()) {
        status.phase = base.phase.clone();
        status.reason = base.reason.clone();
        status.message = base.message.clone();
    }
    if terminal(status.phase.as_deref()) {
        let reason = if status.phase.as_deref() == Some("Failed") { "PodFailed" } else { "PodCompleted" };
        for condition in status.conditions.iter_mut().flatten() {
            let about = [conditions::READY, conditions::CONTAINERS_READY].contains(&condition.type_.as_str());
            if about && condition.status == "True" {
                condition.status = "False".into();
                condition.reason = Some(reason.into());
                condition.message = None;
                condition.observed_generation = pod.metadata.generation;
                condition.last_transition_time = Some(Time(Timestamp::now()));
            }
        }
    }
    status
}

/// Times that must not move: of conditions that did not turn, and of the start.
fn stamp(status: &mut PodStatus, old: &PodStatus, now: Timestamp) {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    for condition in status.conditions.iter_mut().flatten().filter(|condition| is_owned(&condition.type_)) {
        let before = old.conditions.iter().flatten().find(|old| old.type_ == condition.type_);
        let kept = before.filter(|old| old.status == condition.status).and_then(|old| old.last_transition_time.clone());
        condition.last_transition_time = Some(kept.unwrap_or(Time(now)));
    }
    status.start_time = old.start_time.clone().or_else(|| status.start_time.clone()).or(Some(Time(now)));
}

/// A strategic merge patch from `base` to `new`, of the keys that the kubelet owns.
fn difference(base: &PodStatus, new: &PodStatus, uid: &str) -> Option<Value> {
    let (old, new_value) = (json!(base), json!(new));
    let mut changed = Map::new();
    for key in KEYS {
        let (before, after) = (old.get(key), new_value.get(key));
        if key == "conditions" {
            let turned = conditions_patch(base, new);
            if !turned.is_empty() {
                changed.insert(key.into(), Value::Array(turned));
            }
        } else if before != after {
            let mut value = after.cloned().unwrap_or(Value::Null);
            if let (Value::Array(list), "podIPs" | "hostIPs", Some(_)) = (&mut value, key, before) {
                list.push(json!({"$patch": "replace"}));
            }
            changed.insert(key.into(), value);
        }
    }
    (!changed.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": changed}))
}

/// Owned conditions that differ; they merge by type, so those of others stay. A field that is gone
/// must be said to be.
fn conditions_patch(base: &PodStatus, new: &PodStatus) -> Vec<Value> {
    let find = |kind: &str| base.conditions.iter().flatten().find(|old| old.type_ == kind);
    let owned = new.conditions.iter().flatten().filter(|condition| is_owned(&condition.type_));
    owned
        .filter(|condition| find(&condition.type_) != Some(condition))
        .map(|condition: &PodCondition| {
            let mut value = json!(condition);
            let old = json!(find(&condition.type_));
            if let (Value::Object(value), Value::Object(old)) = (&mut value, old) {
                for key in old.keys().filter(|key| !matches!(key.as_str(), "type" | "lastProbeTime")) {
                    value.entry(key.clone()).or_insert(Value::Null);
                }
            }
            value
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, yaml};

    #[test]
    fn only_what_differs_and_only_what_is_ours() {
        let base: PodStatus = yaml(
            "{phase: Pending, podIPs: [{ip: 1.1.1.1}], nominatedNodeName: x, conditions: [{type: Ready, status: 'False', reason: r}, {type: other, status: 'True'}]}",
        );
        let new: PodStatus = yaml(
            "{phase: Running, podIPs: [{ip: 2.2.2.2}], conditions: [{type: Ready, status: 'True'}, {type: other, status: 'True'}]}",
        );
        let expect = json!({"metadata": {"uid": "u"}, "status": {
            "phase": "Running",
            "podIPs": [{"ip": "2.2.2.2"}, {"$patch": "replace"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null}],
        }});
        assert_eq!(difference(&base, &new, "u"), Some(expect));
        assert_eq!(difference(&new, &new, "u"), None);
    }

    #[test]
    fn a_terminal_phase_waits_for_the_end() {
        let pod = pod("{containers: []}");
        let base: PodStatus = yaml("{phase: Running}");
        let new: PodStatus = yaml("{phase: Succeeded, conditions: [{type: Ready, status: 'True'}]}");
        assert_eq!(hold_back(&pod, &base, new.clone(), false).phase.as_deref(), Some("Running"));
        let told = hold_back(&pod, &base, new, true);
        assert_eq!(told.phase.as_deref(), Some("Succeeded"));
        let ready = told.conditions.iter().flatten().next().expect("ready");
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("PodCompleted")));
    }

    #[test]
    fn what_nobody_saw_end() {
        let status = "name: a, image: i, imageID: i, ready: false, restartCount: 0";
        let made = |init: &str, state: &str| {
            let pod = pod(&format!("{{initContainers: [{init}], containers: [{{name: a}}]}}"));
            let inits = if init.is_empty() {
                ""
            } else {
                "{name: x, image: i, imageID: i, ready: false, restartCount: 0, state: {waiting: {}}}"
            };
            let text = format!(
                "{{phase: Pending, initContainerStatuses: [{inits}], containerStatuses: [{{{status}, state: {state}}}]}}"
            );
            let mut status: PodStatus = yaml(&text);
            close(&pod, &mut status);
            let state = status.container_statuses.expect("one")[0].state.clone().expect("set");
            (status.phase.expect("a phase"), state.terminated.and_then(|ended| ended.reason))
        };
        let unknown = Some("ContainerStatusUnknown".to_owned());
        assert_eq!(made("", "{waiting: {}}"), ("Failed".into(), unknown));
        assert_eq!(
            made("", "{terminated: {exitCode: 0, reason: Completed}}"),
            ("Failed".into(), Some("Completed".into()))
        );
        assert_eq!(made("{name: x}", "{waiting: {}}"), ("Failed".into(), None), "it never got so far");
    }

    #[test]
    fn times_stay() {
        let old: PodStatus = yaml(
            "{startTime: '2020-01-01T00:00:00Z', conditions: [{type: Ready, status: 'True', lastTransitionTime: '2020-01-01T00:00:00Z'}]}",
        );
        let mut new: PodStatus =
            yaml("{conditions: [{type: Ready, status: 'True'}, {type: Initialized, status: 'True'}]}");
        stamp(&mut new, &old, Timestamp::UNIX_EPOCH);
        let times: Vec<i64> = new
            .conditions
            .iter()
            .flatten()
            .map(|c| c.last_transition_time.clone().expect("set").0.as_second())
            .collect();
        assert_eq!(times, [1_577_836_800, 0]);
        assert_eq!(new.start_time, old.start_time);
    }
}
