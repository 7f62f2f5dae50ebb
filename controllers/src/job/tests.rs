//! A Job, its status and pods in; what the sync would do out, as text.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::backoff::Record;
use super::plan::{self, View, uid};

const NOW: &str = "2026-01-01T01:00:00Z";

/// `NAME[/INDEX] PHASE [ready] [deleting] [counted] [old]`; a pod finished at [`NOW`], or an hour before when old.
fn pod(text: &str) -> Arc<Pod> {
    let mut words = text.split(' ');
    let name = words.next().unwrap_or("");
    let phase = words.next().unwrap_or("");
    let flags: Vec<&str> = words.collect();
    let has = |flag| flags.contains(&flag);
    let (name, index) = name.split_once('/').map_or((name, None), |(name, index)| (name, Some(index)));
    let ready = json!({"type": "Ready", "status": if has("ready") { "True" } else { "False" },
        "lastTransitionTime": if has("old") { "2026-01-01T00:00:00Z" } else { NOW }});
    let mut value = json!({"metadata": {"name": name, "namespace": "ns", "uid": name},
        "status": {"phase": phase, "conditions": [ready]}});
    if !has("counted") {
        value["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    }
    if has("deleting") {
        value["metadata"]["deletionTimestamp"] = NOW.into();
    }
    if let Some(index) = index {
        value["metadata"]["annotations"] = json!({"batch.kubernetes.io/job-completion-index": index});
    }
    Arc::new(serde_json::from_value(value).expect("pod"))
}

/// What a sync would do.
fn run(spec: &Value, status: &Value, pods: &[&str]) -> String {
    let mut full = json!({"template": {}, "backoffLimit": 6, "parallelism": 1});
    full.as_object_mut().expect("spec").extend(spec.as_object().expect("spec").clone());
    let job: Job =
        serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": full, "status": status})).expect("job");
    let pods: Vec<Arc<Pod>> = pods.iter().map(|text| pod(text)).collect();
    let (spec, released) = (job.spec.clone().expect("spec"), HashSet::new());
    let view = View { job: &job, spec: &spec, pods: &pods, released: &released, now: NOW.parse().expect("time") };
    let mut status: JobStatus = job.status.clone().unwrap_or_default();
    let mut verdict = plan::evaluate(&view, &status, Record::default());
    let mut said = Vec::new();
    let names = |pods: &[Arc<Pod>]| pods.iter().map(|pod| uid(pod).to_owned()).collect::<Vec<_>>().join(" ");
    let mut active = view.active().len() as i32;
    if verdict.finished.is_none() {
        let changes = plan::manage(&view, &verdict);
        active += changes.create.len() as i32 - changes.delete.len() as i32;
        if !changes.create.is_empty() {
            let indexes = changes.create.iter().map(|index| index.map_or("+".into(), |index| index.to_string()));
            said.push(format!("create {}", indexes.collect::<Vec<_>>().join(" ")));
        }
        if !changes.delete.is_empty() {
            said.push(format!("delete {}", names(&changes.delete)));
        }
        if let Some(wait) = changes.again {
            said.push(format!("wait {}", wait.as_secs()));
        }
        let event = plan::settle(&view, &mut verdict, &mut status, active, true);
        said.extend(event.map(|(reason, _)| reason.to_owned()));
    }
    let tracked = plan::track(&view, &verdict, &mut status);
    if !tracked.release.is_empty() {
        said.push(format!("free {}", names(&tracked.release)));
    }
    if let Some(end) = &tracked.finished {
        said.push(format!("{} {}", end.type_, end.reason.as_deref().unwrap_or("")));
    }
    plan::release(&mut status, &HashSet::new());
    let (succeeded, failed) = (status.succeeded.unwrap_or(0), status.failed.unwrap_or(0));
    if (succeeded, failed) != (0, 0) {
        said.push(format!("{succeeded} succeeded {failed} failed"));
    }
    said.extend(status.completed_indexes.map(|text| format!("completed {text}")));
    said.extend(status.failed_indexes.map(|text| format!("failed {text}")));
    said.join("; ")
}

#[track_caller]
fn check(spec: Value, status: Value, pods: &[&str], expected: &str) {
    assert_eq!(run(&spec, &status, pods), expected, "{spec} {status} {pods:?}");
}

#[test]
fn plain_jobs() {
    let three = || json!({"completions": 3, "parallelism": 2});
    check(three(), json!({}), &[], "create + +");
    check(three(), json!({}), &["a Running"], "create +");
    check(three(), json!({}), &["a Running", "b Running"], "");
    check(three(), json!({}), &["a Running", "b Running ready", "c Pending"], "delete c");
    check(three(), json!({}), &["a Succeeded", "b Running"], "create +; free a; 1 succeeded 0 failed");
    check(three(), json!({"succeeded": 2}), &["b Running", "old Succeeded counted"], "2 succeeded 0 failed");
    check(
        three(),
        json!({"succeeded": 2}),
        &["b Succeeded"],
        "free b; Complete CompletionsReached; 3 succeeded 0 failed",
    );
    check(json!({"parallelism": 2}), json!({}), &["a Succeeded", "b Running"], "free a; 1 succeeded 0 failed");
    check(
        json!({"parallelism": 2}),
        json!({}),
        &["a Succeeded"],
        "free a; Complete CompletionsReached; 1 succeeded 0 failed",
    );
}

#[test]
fn failures() {
    let one = |limit: i32| json!({"completions": 1, "backoffLimit": limit});
    check(one(6), json!({}), &["a Failed"], "wait 10; free a; 0 succeeded 1 failed");
    check(one(6), json!({}), &["a Failed old"], "create +; free a; 0 succeeded 1 failed");
    check(one(0), json!({}), &["a Failed"], "free a; Failed BackoffLimitExceeded; 0 succeeded 1 failed");
    check(one(1), json!({"failed": 1}), &["a Failed"], "free a; Failed BackoffLimitExceeded; 0 succeeded 2 failed");
    check(one(6), json!({}), &["a Running deleting"], "wait 10; free a; 0 succeeded 1 failed");
    let mut late = one(6);
    late["podReplacementPolicy"] = "Failed".into();
    check(late, json!({}), &["a Running deleting"], "");
    let mut policy = one(6);
    policy["podFailurePolicy"] =
        json!({"rules": [{"action": "FailJob", "onPodConditions": [{"type": "Ready", "status": "False"}]}]});
    check(policy.clone(), json!({}), &["a Failed"], "free a; Failed PodFailurePolicy; 0 succeeded 1 failed");
    policy["podFailurePolicy"]["rules"][0]["action"] = "Ignore".into();
    check(policy, json!({}), &["a Failed old"], "create +; free a");
    let target = json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "message": "m"}]});
    check(one(6), target, &["a Running"], "free a; Failed DeadlineExceeded; 0 succeeded 1 failed");
    let deadline = json!({"completions": 1, "activeDeadlineSeconds": 60});
    check(deadline.clone(), json!({"startTime": "2026-01-01T00:59:30Z"}), &["a Running"], "");
    check(
        deadline,
        json!({"startTime": "2026-01-01T00:59:00Z"}),
        &["a Running"],
        "free a; Failed DeadlineExceeded; 0 succeeded 1 failed",
    );
}

#[test]
fn suspended_jobs() {
    let suspended = || json!({"completions": 2, "parallelism": 2, "suspend": true});
    check(suspended(), json!({}), &["a Running", "b Running"], "delete a b; Suspended");
    let condition = |status: &str, reason: &str, message: &str| json!({"conditions": [{"type": "Suspended", "status": status, "reason": reason, "message": message}]});
    check(suspended(), condition("True", "JobSuspended", "Job suspended"), &[], "");
    let resumed = json!({"completions": 2, "parallelism": 2, "suspend": false});
    check(resumed.clone(), condition("True", "JobSuspended", "Job suspended"), &[], "create + +; Resumed");
    check(resumed, condition("False", "JobResumed", "Job resumed"), &[], "create + +");
}

#[test]
fn indexed_jobs() {
    let indexed = |completions: i32, parallelism: i32| json!({"completionMode": "Indexed", "completions": completions, "parallelism": parallelism});
    check(indexed(5, 3), json!({}), &[], "create 0 1 2");
    check(
        indexed(5, 3),
        json!({"completedIndexes": "0-1", "succeeded": 2}),
        &["c/2 Running", "d/4 Running"],
        "create 3; 2 succeeded 0 failed; completed 0,1",
    );
    check(
        indexed(5, 2),
        json!({}),
        &["a/0 Succeeded", "b/1 Running"],
        "create 2; free a; 1 succeeded 0 failed; completed 0",
    );
    check(indexed(3, 3), json!({}), &["a/0 Running ready", "b/0 Pending", "c/7 Running", "d Running"], "delete c d b");
    check(
        indexed(2, 2),
        json!({}),
        &["a/0 Succeeded", "b/1 Succeeded"],
        "free a b; Complete CompletionsReached; 2 succeeded 0 failed; completed 0,1",
    );
    // An elastic Job made smaller: what lies beyond is forgotten.
    check(
        indexed(2, 2),
        json!({"completedIndexes": "0-4", "succeeded": 5}),
        &[],
        "Complete CompletionsReached; 2 succeeded 0 failed; completed 0,1",
    );
}

#[test]
fn limits_of_indexes() {
    let per_index = |limit: i32| json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimit": 1000, "backoffLimitPerIndex": limit});
    // The failed pod stays until its replacement is there.
    check(per_index(1), json!({}), &["a/0 Failed old", "b/1 Running"], "create 0 2; failed ");
    check(per_index(1), json!({}), &["a/0 Failed", "b/1 Running", "c/2 Running"], "wait 10; failed ");
    check(
        per_index(1),
        json!({"failedIndexes": ""}),
        &["a/0 Failed", "r/0 Running", "b/1 Running", "c/2 Running"],
        "free a; 0 succeeded 1 failed; failed ",
    );
    check(
        per_index(0),
        json!({}),
        &["a/0 Failed", "b/1 Running", "c/2 Running"],
        "free a; 0 succeeded 1 failed; failed 0",
    );
    check(
        per_index(0),
        json!({"completedIndexes": "1,2", "succeeded": 2}),
        &["a/0 Failed"],
        "free a; Failed FailedIndexes; 2 succeeded 1 failed; completed 1,2; failed 0",
    );
    let mut most = per_index(0);
    most["maxFailedIndexes"] = 0.into();
    check(
        most,
        json!({}),
        &["a/0 Failed", "b/1 Running"],
        "free a b; Failed MaxFailedIndexesExceeded; 0 succeeded 2 failed; failed 0",
    );
}

#[test]
fn success_policy() {
    let spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3, "successPolicy": {"rules": [{"succeededIndexes": "0"}]}});
    check(
        spec.clone(),
        json!({}),
        &["a/0 Succeeded", "b/1 Running"],
        "free a b; Complete SuccessPolicy; 1 succeeded 0 failed; completed 0",
    );
    let met = json!({"completedIndexes": "0", "succeeded": 1, "conditions": [{"type": "SuccessCriteriaMet", "status": "True", "reason": "SuccessPolicy", "message": "m"}]});
    check(spec, met, &["b/1 Running deleting"], "free b; Complete SuccessPolicy; 1 succeeded 1 failed; completed 0");
}

#[test]
fn a_job_is_finished_when_all_is_counted() {
    let now: Timestamp = NOW.parse().expect("time");
    let end = plan::condition("Complete", "True", "CompletionsReached", "m", now);
    for (status, partial, expected) in [
        (json!({}), false, true),
        (json!({}), true, false),
        (json!({"terminating": 1}), false, false),
        (json!({"uncountedTerminatedPods": {"failed": ["a"]}}), false, false),
    ] {
        let mut parsed: JobStatus = serde_json::from_value(status.clone()).expect("status");
        let tracked = plan::Tracked { partial, finished: Some(end.clone()), ..plan::Tracked::default() };
        assert_eq!(plan::finish(&mut parsed, &tracked), expected, "{status} {partial}");
        assert_eq!(parsed.completion_time.is_some(), expected, "{status} {partial}");
    }
}
