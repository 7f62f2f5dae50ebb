//! job-controller: runs pods until enough have succeeded (pkg/controller/job@v1.37.2).
//!
//! Invariant: a finished pod keeps its finalizer until the status has taken note of it, so none is counted twice or
//! never. [`plan`] decides, this file watches and writes; [`orphans`] frees pods whose Job is gone.

mod backoff;
mod indexes;
mod orphans;
mod plan;
mod pods;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::queue::Queue;
use futures::future::join_all;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;

use self::backoff::Record;
use self::plan::{Changes, Tracked, Verdict, View, some, uid};
use self::pods::{FINALIZER, is_tracked};
use crate::Context;
use crate::common::owned_pods::Owners;
use crate::common::owner::{claim_with, controller_of, is_controlled_by};
use crate::common::pod_control::{PodControl, slow_start};
use crate::common::pods::is_ready;
use crate::common::selector;
use crate::error::{Error, Result, text};

const NAME: &str = "job-controller";
/// --concurrent-job-syncs
const WORKERS: usize = 5;
/// How long changes of pods are gathered before a sync (upstream: SyncJobBatchPeriod).
const GATHER: Duration = Duration::from_secs(1);
/// Delays of a failing key (upstream: DefaultJobApiBackOff, MaxJobApiBackOff).
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Jobs that name another manager are not ours.
const MANAGER: &str = "kubernetes.io/job-controller";

pub(crate) fn start(context: &Context) {
    let client = context.client(NAME);
    let recorder = context.recorder(client.clone(), NAME);
    let queue = Queue::with_backoff(RETRY.0, RETRY.1);
    let select = |job: &Job| selector::parse(job.spec.as_ref()?.selector.as_ref()?).ok();
    let all = Arc::new(Jobs {
        owners: Owners::gathering(context.informers.of(), context.informers.of(), select, queue, GATHER),
        control: PodControl { client: client.clone(), recorder },
        released: Mutex::default(),
        records: Mutex::default(),
        written: Mutex::default(),
        client,
    });
    let watch = all.clone();
    all.owners.pods.on_change(move |old, new| watch.on_pod(old.map(|pod| &**pod), new.map(|pod| &**pod)));
    orphans::start(context, &all);
    let caches = (all.owners.cache.clone(), all.owners.pods.clone());
    context.controller(NAME, all.owners.queue.clone(), WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(key).await }
    });
}

fn is_ours(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref()).is_none_or(|manager| manager == MANAGER)
}

/// The patch that takes our finalizer away.
fn release_patch() -> Patch<serde_json::Value> {
    Patch::Strategic(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}))
}

struct Jobs {
    client: Client,
    owners: Arc<Owners<Job>>,
    control: PodControl,
    /// Uids of pods whose finalizer we took away and the cache may still show.
    released: Mutex<HashMap<Key, HashSet<String>>>,
    records: Mutex<HashMap<Key, Record>>,
    /// Uid and resource version of the status we last wrote.
    written: Mutex<HashMap<Key, (String, u64)>>,
}

impl Jobs {
    fn on_pod(&self, old: Option<&Pod>, new: Option<&Pod>) {
        if new.is_some_and(is_tracked) {
            return;
        }
        let keys = [old, new].into_iter().flatten().filter_map(|pod| self.owners.resolve(pod));
        let Some(pod) = new.or(old) else { return };
        keys.for_each(|key| self.observed(&key, uid(pod)));
    }

    /// The finalizer of a pod is seen to be gone.
    fn observed(&self, key: &Key, uid: &str) {
        let mut released = self.released.lock();
        if let Some(uids) = released.get_mut(key) {
            uids.remove(uid);
            if uids.is_empty() {
                released.remove(key);
            }
        }
    }

    fn forget(&self, key: &Key) {
        self.owners.expectations.forget(key);
        self.released.lock().remove(key);
        self.records.lock().remove(key);
        self.written.lock().remove(key);
    }

    /// True while the cache shows the Job as it was before our last write; its event brings the key back.
    fn is_behind(&self, key: &Key, job: &Job) -> bool {
        let written = self.written.lock();
        let version = |text: Option<&String>| text.and_then(|text| text.parse::<u64>().ok());
        written.get(key).is_some_and(|(uid, at)| {
            job.metadata.uid.as_ref() == Some(uid)
                && version(job.metadata.resource_version.as_ref()).is_some_and(|seen| seen < *at)
        })
    }

    async fn sync(&self, key: Key) -> Result<Again> {
        let Some(job) = self.owners.cache.by_key(&key) else {
            self.forget(&key);
            return Ok(None);
        };
        if plan::is_finished(&job) {
            self.records.lock().remove(&key);
            self.written.lock().remove(&key);
            return Ok(None);
        }
        if !is_ours(&job) || self.is_behind(&key, &job) {
            return Ok(None);
        }
        let Some(spec) = &job.spec else { return Ok(None) };
        if !matches!(spec.completion_mode.as_deref(), None | Some("NonIndexed" | "Indexed")) {
            let message = "Skipped Job sync because completion mode is unknown";
            self.control.recorder.event(&*job, "Warning", "UnknownCompletionMode", message);
            return Ok(None);
        }
        let satisfied = self.owners.expectations.satisfied(&key);
        let pods = self.claim(&key, &job, spec).await?;
        let released = self.released.lock().get(&key).cloned().unwrap_or_default();
        let view = View { job: &job, spec, pods: &pods, released: &released, now: Timestamp::now() };
        self.reconcile(&key, &view, satisfied).await
    }

    /// The pods that are the Job's, with the finalizer where adoption just added it.
    async fn claim(&self, key: &Key, job: &Job, spec: &JobSpec) -> Result<Vec<Arc<Pod>>> {
        let Some(wanted) = &spec.selector else { return Ok(Vec::new()) };
        let parsed = selector::parse(wanted)?;
        let selects = |pod: &Pod| selector::matches(&parsed, pod.metadata.labels.as_ref());
        let (jobs, api) = (self.api(key), Api::<Pod>::namespaced(self.client.clone(), &key.namespace));
        let mut pods = claim_with(job, &jobs, &api, self.owners.pods_of(key, job), selects, &[FINALIZER]).await?;
        for pod in &mut pods {
            if !is_controlled_by(&pod.metadata, job.metadata.uid.as_deref()) && !is_tracked(pod) {
                let mut adopted = (**pod).clone();
                adopted.metadata.finalizers.get_or_insert_default().push(FINALIZER.into());
                *pod = Arc::new(adopted);
            }
        }
        Ok(pods)
    }

    fn api(&self, key: &Key) -> Api<Job> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn reconcile(&self, key: &Key, view: &View<'_>, satisfied: bool) -> Result<Again> {
        let old = view.job.status.clone().unwrap_or_default();
        let mut status = old.clone();
        if status.start_time.is_none() && !plan::is_suspended(view.spec) {
            status.start_time = Some(Time(view.now));
        }
        let record = self.records.lock().get(key).copied().unwrap_or_default();
        let mut verdict = plan::evaluate(view, &status, record);
        let mut outcome = Outcome::of(view);
        let mut event = None;
        let mut again = verdict.again;
        if verdict.finished.is_some() {
            self.stop(view, &mut outcome).await;
            if outcome.active > 0 || !satisfied {
                // Pods may be left, or not be in the cache yet: the end is not the end yet.
                verdict.finished = None;
            }
        } else {
            let managed = satisfied && view.job.metadata.deletion_timestamp.is_none();
            if managed {
                let changes = plan::manage(view, &verdict);
                again = [again, changes.again.map(|wait| wait.max(GATHER))].into_iter().flatten().min();
                self.execute(key, view, &verdict, changes, &mut outcome).await;
            }
            event = plan::settle(view, &mut verdict, &mut status, outcome.active, managed);
        }
        if let Some((reason, message)) = event {
            self.control.recorder.event(view.job, "Normal", reason, message);
        }
        let flush = event.is_some()
            || outcome.active != old.active.unwrap_or(0)
            || Some(outcome.ready) != old.ready
            || Some(outcome.terminating) != old.terminating;
        status.active = some(outcome.active);
        status.ready = Some(outcome.ready);
        status.terminating = Some(outcome.terminating);
        let tracking = self.track(key, view, &verdict, status, flush).await;
        tracking.map_err(|error| Error::other(format!("tracking status: {error}")))?;
        outcome.error.map_or(Ok(again), Err)
    }

    /// Deletes what still runs of a Job at its end; the finalizers stay until the pods are counted.
    async fn stop(&self, view: &View<'_>, outcome: &mut Outcome) {
        let active = view.active();
        let deleted = join_all(active.iter().map(|pod| self.control.delete(view.job, pod))).await;
        active.iter().zip(deleted).for_each(|(pod, deleted)| outcome.deleted(pod, deleted));
    }

    async fn execute(&self, key: &Key, view: &View<'_>, verdict: &Verdict, changes: Changes, outcome: &mut Outcome) {
        let expectations = &self.owners.expectations;
        if !changes.delete.is_empty() {
            expectations.expect_deletions(key, changes.delete.iter().map(|pod| Key::of(&**pod)));
            let deletions = changes.delete.iter().map(|pod| async {
                let deleted = self.delete(view, pod).await;
                if deleted.is_err() {
                    expectations.deletion_observed(key, &Key::of(&**pod));
                }
                deleted
            });
            let deleted = join_all(deletions).await;
            changes.delete.iter().zip(deleted).for_each(|(pod, deleted)| outcome.deleted(pod, deleted));
            return;
        }
        let count = changes.create.len();
        if count == 0 {
            return;
        }
        expectations.expect_creations(key, count);
        let (created, error) = slow_start(count, |place| {
            let index = changes.create[place];
            let replaced = index.and_then(|index| verdict.replaced.get(&index)).map(|pod| &**pod);
            let pod = pods::make(view.job, view.spec, index, replaced);
            async move {
                if self.control.create_pod(view.job, &pod).await?.is_none() {
                    // The namespace goes away and its event never comes: nothing to wait for.
                    expectations.creation_observed(key);
                }
                Ok(())
            }
        })
        .await;
        for _ in created..count {
            expectations.creation_observed(key);
        }
        outcome.active += created as i32;
        outcome.error = error.err();
    }

    /// Deletes a pod that is not to be counted.
    async fn delete(&self, view: &View<'_>, pod: &Pod) -> Result<()> {
        if is_tracked(pod) {
            self.free(pod).await.map_err(|error| match error.is_not_found() {
                true => error,
                false => Error::other(format!("removing completion finalizer: {error}")),
            })?;
        }
        self.control.delete(view.job, pod).await
    }

    /// Takes the finalizer off a pod.
    async fn free(&self, pod: &Pod) -> Result<()> {
        let key = Key::of(pod);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        api.patch(&key.name, &PatchParams::default(), &release_patch()).await?;
        Ok(())
    }

    /// Takes note of finished pods, frees them, counts them, and ends the Job when all is counted.
    async fn track(
        &self,
        key: &Key,
        view: &View<'_>,
        verdict: &Verdict,
        mut status: JobStatus,
        mut flush: bool,
    ) -> Result<()> {
        let mut left = plan::tracked_uids(view);
        flush |= plan::release(&mut status, &left);
        let mut tracked = plan::track(view, verdict, &mut status);
        flush |= tracked.flush;
        let mut job = view.job.clone();
        if flush {
            job = self
                .write(key, job, status)
                .await
                .map_err(|error| failed("adding uncounted pods to status", &error))?;
            status = job.status.clone().unwrap_or_default();
            self.records.lock().insert(key.clone(), verdict.record);
        }
        let freed = self.free_all(key, std::mem::take(&mut tracked.release)).await;
        left.retain(|uid| !freed.gone.contains(uid));
        let counted = plan::release(&mut status, &left);
        if let Some(error) = freed.error {
            if counted {
                let written = self.write(key, job, status).await;
                written.map_err(|error| failed("removing uncounted pods from status", &error))?;
            }
            return Err(error);
        }
        let finished = plan::finish(&mut status, &tracked);
        if finished || counted {
            job = self
                .write(key, job, status)
                .await
                .map_err(|error| failed("removing uncounted pods from status", &error))?;
        }
        if finished {
            self.announce(&job, view.spec, &tracked);
        }
        Ok(())
    }

    async fn write(&self, key: &Key, job: Job, status: JobStatus) -> kube::Result<Job> {
        let changed = Job { status: Some(status), ..job };
        let written = self.api(key).replace_status(&key.name, &PostParams::default(), &changed).await?;
        let version = written.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
        if let (Some(uid), Some(version)) = (written.metadata.uid.clone(), version) {
            self.written.lock().insert(key.clone(), (uid, version));
        }
        Ok(written)
    }

    async fn free_all(&self, key: &Key, pods: Vec<Arc<Pod>>) -> Freed {
        let mut freed = Freed::default();
        if pods.is_empty() {
            return freed;
        }
        let uids = pods.iter().map(|pod| uid(pod).to_owned());
        self.released.lock().entry(key.clone()).or_default().extend(uids);
        let outcomes = join_all(pods.iter().map(|pod| self.free(pod))).await;
        for (pod, outcome) in pods.iter().zip(outcomes) {
            let Err(error) = outcome else {
                freed.gone.push(uid(pod).into());
                continue;
            };
            self.observed(key, uid(pod));
            if error.is_not_found() {
                freed.gone.push(uid(pod).into());
            } else {
                freed.error = Some(error);
            }
        }
        freed
    }

    fn announce(&self, job: &Job, spec: &JobSpec, tracked: &Tracked) {
        let Some(end) = &tracked.finished else { return };
        let event = |kind, reason: &str, message: &str| self.control.recorder.event(job, kind, reason, message);
        if end.type_ != "Complete" {
            let (reason, message) = (end.reason.as_deref(), end.message.as_deref());
            return event("Warning", reason.unwrap_or(""), message.unwrap_or(""));
        }
        let succeeded = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
        if spec.completions.is_some_and(|completions| succeeded > completions) {
            event("Warning", "TooManySucceededPods", "Too many succeeded pods running after completion count reached");
        }
        event("Normal", "Completed", "Job completed");
    }
}

fn failed(what: &str, error: &kube::Error) -> Error {
    Error::other(format!("{what}: {}", text(error)))
}

/// Pods whose finalizer is gone, and what went wrong with the others.
#[derive(Default)]
struct Freed {
    gone: Vec<String>,
    error: Option<Error>,
}

/// Counts of pods, kept up to date with what the sync does.
struct Outcome {
    active: i32,
    ready: i32,
    terminating: i32,
    error: Option<Error>,
}

impl Outcome {
    fn of(view: &View<'_>) -> Self {
        let active = view.active();
        Outcome {
            active: active.len() as i32,
            ready: active.iter().filter(|pod| is_ready(pod)).count() as i32,
            terminating: view.terminating(),
            error: None,
        }
    }

    fn deleted(&mut self, pod: &Pod, outcome: Result<()>) {
        if is_ready(pod) {
            self.ready -= 1;
        }
        match outcome {
            Err(error) if !error.is_not_found() => self.error = Some(error),
            _ => {
                self.active -= 1;
                self.terminating += 1;
            }
        }
    }
}

/// The Job that controls a pod, by its reference alone.
fn owner_name(pod: &Pod) -> Option<&str> {
    let owner = controller_of(&pod.metadata)?;
    (owner.kind == "Job" && owner.api_version == "batch/v1").then_some(owner.name.as_str())
}
