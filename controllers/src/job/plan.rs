//! What a Job's pods mean for it: pure functions of what was observed
//! (pkg/controller/job/job_controller.go@v1.37.2, syncJob, manageJob, trackJobStatusAndRemoveFinalizers).
//!
//! In order: [`evaluate`] counts and finds the end of the Job, [`manage`] says which pods to make and delete,
//! [`settle`] what that means for conditions, [`track`] which finished pods are counted and let go,
//! [`release`] and [`finish`] what the status says once their finalizers are gone.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::backoff::{Record, finished_at};
use super::indexes::Indexes;
use super::pods::{
    all_index_failures, index, index_failures, is_failed, is_indexed, is_tracked, replaces_failed_only, valid_index,
};
use super::policy::{Failure, judge, success};
use crate::common::pods::{is_active, is_terminating, phase, seconds};
use crate::common::ranking::active_order;

/// The most finished pods counted in one sync, which bounds the status' size (upstream: MaxUncountedPods).
const UNCOUNTED_MAX: usize = 500;
/// The most pods created or deleted in one sync (upstream: MaxPodCreateDeletePerSync).
const PODS_PER_SYNC: usize = 500;

/// What is looked at.
pub(super) struct View<'a> {
    pub(super) job: &'a Job,
    pub(super) spec: &'a JobSpec,
    pub(super) pods: &'a [Arc<Pod>],
    /// Uids of pods whose finalizer is gone, though the cache may still show it.
    pub(super) released: &'a HashSet<String>,
    pub(super) now: Timestamp,
}

/// What the pods amount to.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The condition that ends the Job.
    pub(super) finished: Option<JobCondition>,
    pub(super) succeeded: i32,
    pub(super) completed: Indexes,
    /// What the status said was completed.
    pub(super) completed_before: Indexes,
    /// With backoffLimitPerIndex.
    pub(super) failed_indexes: Option<Indexes>,
    /// The last failed pod of each index that waits for a replacement, which takes over its count.
    pub(super) replaced: HashMap<i32, Arc<Pod>>,
    pub(super) record: Record,
    /// When the deadline comes.
    pub(super) again: Option<Duration>,
}

/// Pods to delete, or pods to create: never both at once.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) delete: Vec<Arc<Pod>>,
    /// One entry a pod, with its index.
    pub(super) create: Vec<Option<i32>>,
    pub(super) again: Option<Duration>,
}

/// Finished pods to let go, and whether the status must be written first.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) flush: bool,
    /// Not all were looked at.
    pub(super) partial: bool,
    /// The condition to set when everything is counted.
    pub(super) finished: Option<JobCondition>,
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

fn find<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

pub(super) fn is_finished(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| find(status, "Complete").or(find(status, "Failed")).is_some())
}

pub(super) fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend == Some(true)
}

impl View<'_> {
    pub(super) fn active(&self) -> Vec<Arc<Pod>> {
        self.pods.iter().filter(|pod| is_active(pod)).cloned().collect()
    }

    pub(super) fn terminating(&self) -> i32 {
        self.pods.iter().filter(|pod| is_terminating(pod)).count() as i32
    }

    /// The pods that are not in any count yet, with an index that is one of the Job's.
    fn uncounted<'a>(&'a self, counted: &'a HashSet<&str>) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.pods.iter().filter(move |pod| {
            is_tracked(pod)
                && !self.released.contains(uid(pod))
                && !counted.contains(uid(pod))
                && (!is_indexed(self.spec) || valid_index(pod, self.spec).is_some())
        })
    }

    fn judge(&self, pod: &Pod) -> Failure {
        judge(self.spec.pod_failure_policy.as_ref(), pod)
    }
}

/// Counts, and finds whether the Job is at its end. `record` is that of the sync before.
pub(super) fn evaluate(view: &View<'_>, status: &JobStatus, record: Record) -> Verdict {
    let waiting = status.uncounted_terminated_pods.as_ref();
    let of = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let (was_succeeded, was_failed) =
        (of(waiting.and_then(|w| w.succeeded.as_ref())), of(waiting.and_then(|w| w.failed.as_ref())));
    let (in_succeeded, in_failed): (HashSet<&str>, HashSet<&str>) =
        (was_succeeded.iter().map(String::as_str).collect(), was_failed.iter().map(String::as_str).collect());
    let succeeded: Vec<Arc<Pod>> =
        view.uncounted(&in_succeeded).filter(|pod| phase(pod) == "Succeeded").cloned().collect();
    let failed: Vec<Arc<Pod>> = view.uncounted(&in_failed).filter(|pod| is_failed(pod, view.spec)).cloned().collect();
    let failures = failed.iter().filter(|pod| view.judge(pod) != Failure::Ignore).count();
    let mut verdict = Verdict {
        succeeded: status.succeeded.unwrap_or(0) + (succeeded.len() + was_succeeded.len()) as i32,
        record: record.after(&succeeded, &failed),
        ..Verdict::default()
    };
    let failures = status.failed.unwrap_or(0) + (failures + was_failed.len()) as i32;
    verdict.finished = find(status, "SuccessCriteriaMet").cloned().or_else(|| failure_target(view, status));
    if verdict.finished.is_none() {
        verdict.finished = limits(view, failures, status);
        verdict.again = deadline(view, status).filter(|_| verdict.finished.is_none());
    }
    if is_indexed(view.spec) {
        count_indexes(view, status, &mut verdict);
    }
    verdict
}

/// A failure found by an earlier sync, or by the pod failure policy.
fn failure_target(view: &View<'_>, status: &JobStatus) -> Option<JobCondition> {
    if let Some(target) = find(status, "FailureTarget") {
        return Some(JobCondition {
            type_: "Failed".into(),
            last_probe_time: Some(Time(view.now)),
            last_transition_time: Some(Time(view.now)),
            ..target.clone()
        });
    }
    let mut failed = view.pods.iter().filter(|pod| is_failed(pod, view.spec));
    failed.find_map(|pod| match view.judge(pod) {
        Failure::FailJob(why) => Some(condition("FailureTarget", "True", "PodFailurePolicy", &why, view.now)),
        _ => None,
    })
}

/// backoffLimit and activeDeadlineSeconds.
fn limits(view: &View<'_>, failures: i32, status: &JobStatus) -> Option<JobCondition> {
    let limit = view.spec.backoff_limit.unwrap_or(6);
    let failed = |reason, message| Some(condition("FailureTarget", "True", reason, message, view.now));
    if failures > limit || restarts_exceed(view, limit) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline(view, status).is_some_and(|left| left.is_zero()) {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    None
}

/// With restartPolicy OnFailure, restarts of containers count.
fn restarts_exceed(view: &View<'_>, limit: i32) -> bool {
    let policy = view.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let running = view.pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending"));
    let statuses = running.flat_map(|pod| pod.status.iter());
    let all = statuses.flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses));
    let restarts: i32 = all.flatten().map(|status| status.restart_count).sum();
    restarts >= limit.max(1)
}

/// How long until the Job has been active for too long.
fn deadline(view: &View<'_>, status: &JobStatus) -> Option<Duration> {
    let limit = view.spec.active_deadline_seconds.filter(|_| !is_suspended(view.spec))?;
    let due = status.start_time.as_ref()?.0 + seconds(limit);
    Some(Duration::try_from(due.duration_since(view.now)).unwrap_or_default())
}

/// Completed and failed indexes, and the ends that come of them.
fn count_indexes(view: &View<'_>, status: &JobStatus, verdict: &mut Verdict) {
    let completions = view.spec.completions.unwrap_or(0);
    let parse = |text: Option<&String>| Indexes::parse(text.map_or("", String::as_str), completions);
    let tracked = || view.pods.iter().filter(|pod| is_tracked(pod));
    verdict.completed_before = parse(status.completed_indexes.as_ref());
    let new = tracked().filter(|pod| phase(pod) == "Succeeded").filter_map(|pod| valid_index(pod, view.spec));
    verdict.completed = verdict.completed_before.union(&Indexes::of(new));
    verdict.succeeded = verdict.completed.total();
    if let Some(limit) = view.spec.backoff_limit_per_index {
        let new = tracked().filter(|pod| fails_index(view, pod, limit)).filter_map(|pod| valid_index(pod, view.spec));
        let failed = parse(status.failed_indexes.as_ref()).union(&Indexes::of(new));
        let end = |reason, message| Some(condition("FailureTarget", "True", reason, message, view.now));
        if verdict.finished.is_some() {
        } else if view.spec.max_failed_indexes.is_some_and(|most| failed.total() > most) {
            verdict.finished =
                end("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes");
        } else if !failed.is_empty() && failed.total() + verdict.completed.total() >= completions {
            verdict.finished = end("FailedIndexes", "Job has failed indexes");
        }
        verdict.replaced = replaced(view, &verdict.completed.union(&failed));
        verdict.failed_indexes = Some(failed);
    }
    if verdict.finished.is_none()
        && let Some(message) = success(view.spec.success_policy.as_ref(), completions, &verdict.completed)
    {
        verdict.finished = Some(condition("SuccessCriteriaMet", "True", "SuccessPolicy", &message, view.now));
    }
}

fn fails_index(view: &View<'_>, pod: &Pod, limit: i32) -> bool {
    is_failed(pod, view.spec)
        && match view.judge(pod) {
            Failure::FailIndex => true,
            Failure::Ignore => false,
            _ => index_failures(pod) >= limit,
        }
}

/// The failed pods that stay until their replacement, which takes over their failure count, is there.
fn replaced(view: &View<'_>, ended: &Indexes) -> HashMap<i32, Arc<Pod>> {
    let active: HashSet<i32> = view.active().iter().filter_map(|pod| index(pod)).collect();
    let mut last: HashMap<i32, Arc<Pod>> = HashMap::new();
    let none = HashSet::new();
    for pod in view.uncounted(&none).filter(|pod| is_failed(pod, view.spec)) {
        let Some(index) = index(pod).filter(|index| !ended.has(*index) && !active.contains(index)) else { continue };
        let rank = |pod: &Pod| (all_index_failures(pod), finished_at(pod));
        let newer = |before: &Arc<Pod>| {
            let (before, this) = (rank(before), rank(pod));
            before.0 <= this.0 && before.1 <= this.1
        };
        if last.get(&index).is_none_or(newer) {
            last.insert(index, pod.clone());
        }
    }
    last
}

/// Which pods to make or delete to have as many as wanted.
pub(super) fn manage(view: &View<'_>, verdict: &Verdict) -> Changes {
    let active = view.active();
    let count = active.len();
    if is_suspended(view.spec) {
        return Changes { delete: for_removal(view, active, count), ..Changes::default() };
    }
    let parallelism = usize::try_from(view.spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let wanted = match view.spec.completions {
        // Any success ends such a Job: what runs may go on.
        None if verdict.succeeded > 0 => count,
        None => parallelism,
        Some(completions) => usize::try_from(completions - verdict.succeeded).unwrap_or(0).min(parallelism),
    };
    let mut delete = for_removal(view, active, count.saturating_sub(wanted));
    delete.truncate(PODS_PER_SYNC);
    if !delete.is_empty() {
        return Changes { delete, ..Changes::default() };
    }
    let terminating = if replaces_failed_only(view.spec) { view.terminating() as usize } else { 0 };
    create(view, verdict, wanted.saturating_sub(terminating + count))
}

fn create(view: &View<'_>, verdict: &Verdict, missing: usize) -> Changes {
    let mut changes = Changes::default();
    if missing == 0 {
        return changes;
    }
    let per_index = view.spec.backoff_limit_per_index.is_some();
    let wait = if per_index { Duration::ZERO } else { verdict.record.remaining(view.now) };
    if !wait.is_zero() {
        changes.again = Some(wait);
        return changes;
    }
    let missing = missing.min(PODS_PER_SYNC);
    if !is_indexed(view.spec) {
        changes.create = vec![None; missing];
        return changes;
    }
    let wait = |index: &i32| {
        let record = verdict
            .replaced
            .get(index)
            .filter(|_| per_index)
            .map(|pod| Record { failures: all_index_failures(pod).saturating_add(1), last: finished_at(pod) });
        record.map_or(Duration::ZERO, |record| record.remaining(view.now))
    };
    let pending = pending_indexes(view, verdict, missing);
    changes.create = pending.iter().filter(|index| wait(index).is_zero()).map(|index| Some(*index)).collect();
    if changes.create.is_empty() {
        changes.again = pending.iter().map(wait).min();
    }
    changes
}

fn pending_indexes(view: &View<'_>, verdict: &Verdict, count: usize) -> Vec<i32> {
    let replaces_failed_only = replaces_failed_only(view.spec);
    let held = view.pods.iter().filter(|pod| is_active(pod) || (replaces_failed_only && is_terminating(pod)));
    let mut taken = verdict.completed.union(&Indexes::of(held.filter_map(|pod| index(pod))));
    if let Some(failed) = &verdict.failed_indexes {
        taken = taken.union(failed);
    }
    taken.first_missing(count, view.spec.completions.unwrap_or(0))
}

/// Pods without a valid index and all but the best of an index, then the least valuable until there are `at_least`.
fn for_removal(view: &View<'_>, active: Vec<Arc<Pod>>, at_least: usize) -> Vec<Arc<Pod>> {
    let (mut gone, mut left) = (Vec::new(), active);
    if is_indexed(view.spec) {
        let (valid, invalid): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|pod| valid_index(pod, view.spec).is_some());
        gone = invalid;
        let mut best: HashMap<i32, Arc<Pod>> = HashMap::new();
        for pod in valid {
            let Some(index) = index(&pod) else { continue };
            let loser = match best.remove(&index) {
                Some(other) if active_order(&pod, &other) == Ordering::Less => {
                    best.insert(index, other);
                    Some(pod)
                }
                other => {
                    best.insert(index, pod);
                    other
                }
            };
            gone.extend(loser);
        }
        left = best.into_values().collect();
    }
    left.sort_by(|a, b| active_order(a, b).then_with(|| a.metadata.name.cmp(&b.metadata.name)));
    let more = at_least.saturating_sub(gone.len());
    gone.extend(left.into_iter().take(more));
    gone
}

/// After pods were managed: whether the Job is complete, else what suspending or resuming means.
/// Returns the event to record.
pub(super) fn settle(
    view: &View<'_>,
    verdict: &mut Verdict,
    status: &mut JobStatus,
    active: i32,
    managed: bool,
) -> Option<(&'static str, &'static str)> {
    let complete = match view.spec.completions {
        None => verdict.succeeded > 0 && active == 0,
        Some(completions) => verdict.succeeded >= completions && active == 0,
    };
    if complete {
        let message = "Reached expected number of succeeded pods";
        verdict.finished = Some(condition("SuccessCriteriaMet", "True", "CompletionsReached", message, view.now));
        return None;
    }
    if !managed {
        return None;
    }
    if is_suspended(view.spec) {
        let wanted = condition("Suspended", "True", "JobSuspended", "Job suspended", view.now);
        return ensure(status, wanted).then(|| {
            status.start_time = None;
            ("Suspended", "Job suspended")
        });
    }
    let wanted = condition("Suspended", "False", "JobResumed", "Job resumed", view.now);
    ensure(status, wanted).then(|| {
        // The deadline counts from when the Job goes on.
        status.start_time = Some(Time(view.now));
        ("Resumed", "Job resumed")
    })
}

/// Sets a condition; true when that changed the status. One that never was there is not set to False.
fn ensure(status: &mut JobStatus, wanted: JobCondition) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|condition| condition.type_ == wanted.type_) {
        Some(same)
            if (&same.status, &same.reason, &same.message) == (&wanted.status, &wanted.reason, &wanted.message) =>
        {
            false
        }
        Some(other) => {
            *other = wanted;
            true
        }
        None if wanted.status == "False" => false,
        None => {
            conditions.push(wanted);
            true
        }
    }
}

/// The uids of the pods whose finalizer is still there.
pub(super) fn tracked_uids(view: &View<'_>) -> HashSet<String> {
    let all = view.pods.iter().filter(|pod| is_tracked(pod) && !view.released.contains(uid(pod)));
    all.map(|pod| uid(pod).to_owned()).collect()
}

/// Takes note of finished pods in the status, so that each is counted once, and says which finalizers may go.
pub(super) fn track(view: &View<'_>, verdict: &Verdict, status: &mut JobStatus) -> Tracked {
    let mut tracked = Tracked { finished: verdict.finished.clone(), ..Tracked::default() };
    let mut pods: Vec<&Arc<Pod>> =
        view.pods.iter().filter(|pod| is_tracked(pod) && !view.released.contains(uid(pod))).collect();
    if is_indexed(view.spec) {
        pods.sort_by_key(|pod| index(pod));
    }
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let mut new_indexes: Vec<i32> = Vec::new();
    for pod in pods {
        if !may_release(view, verdict, pod) {
            continue;
        }
        tracked.release.push(pod.clone());
        let (succeeded, failed) =
            (uncounted.succeeded.get_or_insert_default(), uncounted.failed.get_or_insert_default());
        let has = |list: &[String]| list.iter().any(|known| known == uid(pod));
        let valid = !is_indexed(view.spec) || valid_index(pod, view.spec).is_some();
        if phase(pod) == "Succeeded" && !has(failed) {
            match valid_index(pod, view.spec).filter(|_| is_indexed(view.spec)) {
                Some(index) if !verdict.completed_before.has(index) => {
                    new_indexes.push(index);
                    tracked.flush = true;
                }
                None if !is_indexed(view.spec) && !has(succeeded) => {
                    succeeded.push(uid(pod).into());
                    tracked.flush = true;
                }
                _ => {}
            }
        } else if counts_as_failed(view, verdict, pod) && valid && !has(failed) && view.judge(pod) != Failure::Ignore {
            failed.push(uid(pod).into());
            tracked.flush = true;
        }
        if new_indexes.len() + succeeded.len() + failed.len() >= UNCOUNTED_MAX {
            // The status' change brings the Job back.
            tracked.partial = true;
            break;
        }
    }
    if is_indexed(view.spec) {
        tracked.flush |= note_indexes(verdict, new_indexes, status);
    }
    tracked.flush |= interim(view, &mut tracked.finished, status);
    tracked
}

/// When the Job has failed, every pod that has not ended counts as failed.
fn counts_as_failed(view: &View<'_>, verdict: &Verdict, pod: &Pod) -> bool {
    let failing = verdict.finished.as_ref().is_some_and(|end| end.type_ != "SuccessCriteriaMet");
    is_failed(pod, view.spec) || failing
}

fn may_release(view: &View<'_>, verdict: &Verdict, pod: &Pod) -> bool {
    if view.job.metadata.deletion_timestamp.is_some() || verdict.finished.is_some() || phase(pod) == "Succeeded" {
        return true;
    }
    let waits = index(pod).and_then(|index| verdict.replaced.get(&index)).is_some_and(|last| uid(last) == uid(pod));
    is_failed(pod, view.spec) && !waits
}

fn note_indexes(verdict: &Verdict, new: Vec<i32>, status: &mut JobStatus) -> bool {
    let completed = verdict.completed.union(&Indexes::of(new));
    let text = Some(completed.to_string()).filter(|text| !text.is_empty());
    let failed = verdict.failed_indexes.as_ref().map(ToString::to_string);
    let changed =
        status.completed_indexes.clone().filter(|text| !text.is_empty()) != text || status.failed_indexes != failed;
    status.succeeded = some(completed.total());
    (status.completed_indexes, status.failed_indexes) = (text, failed);
    changed
}

/// Writes the interim condition of an end, which holds before the finalizers go, and makes the final one of it.
fn interim(view: &View<'_>, finished: &mut Option<JobCondition>, status: &mut JobStatus) -> bool {
    let Some(end) = finished else { return false };
    let (interim, last) = match end.type_.as_str() {
        "FailureTarget" => (true, "Failed"),
        "SuccessCriteriaMet" => (find(status, "SuccessCriteriaMet").is_none(), "Complete"),
        _ => return false,
    };
    if interim {
        status.conditions.get_or_insert_default().push(end.clone());
    }
    let (reason, message) = (end.reason.clone().unwrap_or_default(), end.message.clone().unwrap_or_default());
    *end = condition(last, "True", &reason, &message, view.now);
    interim
}

/// Counts the pods whose finalizer is gone; true when there were any.
pub(super) fn release(status: &mut JobStatus, still_tracked: &HashSet<String>) -> bool {
    let Some(uncounted) = &mut status.uncounted_terminated_pods else { return false };
    let count = |list: &mut Option<Vec<String>>, total: &mut Option<i32>| {
        let before = list.as_ref().map_or(0, Vec::len);
        let left: Vec<String> =
            list.take().unwrap_or_default().into_iter().filter(|uid| still_tracked.contains(uid)).collect();
        let gone = before - left.len();
        *list = Some(left).filter(|left| !left.is_empty());
        *total = some(total.unwrap_or(0) + gone as i32);
        gone > 0
    };
    let succeeded = count(&mut uncounted.succeeded, &mut status.succeeded);
    let failed = count(&mut uncounted.failed, &mut status.failed);
    succeeded || failed
}

/// Sets the final condition, once every pod is counted and gone; true when the Job is finished by that.
pub(super) fn finish(status: &mut JobStatus, tracked: &Tracked) -> bool {
    let Some(end) = tracked.finished.as_ref().filter(|_| !tracked.partial) else { return false };
    let left = status.uncounted_terminated_pods.as_ref().map_or(0, |uncounted| {
        uncounted.succeeded.as_ref().map_or(0, Vec::len) + uncounted.failed.as_ref().map_or(0, Vec::len)
    });
    if left > 0 || status.terminating.unwrap_or(0) > 0 {
        return false;
    }
    ensure(status, end.clone());
    if end.type_ == "Complete" {
        status.completion_time.clone_from(&end.last_transition_time);
    }
    true
}

/// A count as the API server stores it: 0 is left out.
pub(super) fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
