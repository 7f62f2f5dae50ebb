//! The pods of a Job: the tracking finalizer, the completion index, and how a pod is made from the template
//! (pkg/controller/job/indexed_job_utils.go@v1.37.2).

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::policy::{Failure, judge};
use crate::common::owner::controller_ref;
use crate::common::pods::{from_template, phase};

pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Longest prefix of a generated name, in bytes (k8s.io/apiserver/pkg/storage/names@v0.37.2).
const PREFIX_MAX: usize = 58;

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Terminating pods are replaced only once they have failed.
pub(super) fn replaces_failed_only(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
}

/// A pod that is being deleted counts as failed too: an orphan may never get that far.
pub(super) fn is_failed(pod: &Pod, spec: &JobSpec) -> bool {
    let deleted = pod.metadata.deletion_timestamp.is_some() && phase(pod) != "Succeeded";
    phase(pod) == "Failed" || (deleted && !replaces_failed_only(spec))
}

fn number(pod: &Pod, annotation: &str) -> Option<i32> {
    let text = pod.metadata.annotations.as_ref()?.get(annotation)?;
    text.parse().ok().filter(|number| *number >= 0)
}

/// The pod's completion index, whatever the Job's completions are.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    number(pod, INDEX)
}

/// The pod's completion index, when it is one of the Job's.
pub(super) fn valid_index(pod: &Pod, spec: &JobSpec) -> Option<i32> {
    index(pod).filter(|index| *index < spec.completions.unwrap_or(0))
}

/// Failures within the index before this pod that counted.
pub(super) fn index_failures(pod: &Pod) -> i32 {
    number(pod, FAILURES).unwrap_or(0)
}

/// All failures within the index before this pod.
pub(super) fn all_index_failures(pod: &Pod) -> i32 {
    index_failures(pod).saturating_add(number(pod, IGNORED_FAILURES).unwrap_or(0))
}

/// The pod to create; `index` for indexed Jobs, `replaced` is the failed pod of the index it stands for.
pub(super) fn make(job: &Job, spec: &JobSpec, index: Option<i32>, replaced: Option<&Pod>) -> Pod {
    let name = job.metadata.name.as_deref().unwrap_or("");
    let mut pod = from_template(&spec.template, name, controller_ref(job));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    let Some(index) = index else { return pod };
    let mut details = pod.spec.take().unwrap_or_default();
    details.init_containers.iter_mut().flatten().for_each(add_variable);
    details.containers.iter_mut().for_each(add_variable);
    details.hostname = Some(format!("{name}-{index}"));
    pod.spec = Some(details);
    let suffix = format!("-{index}-");
    let kept = name.len().min(PREFIX_MAX.saturating_sub(suffix.len()));
    pod.metadata.generate_name = Some(format!("{}{suffix}", &name[..kept]));
    pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    if spec.backoff_limit_per_index.is_some() {
        let (counted, ignored) = new_failures(spec, replaced);
        annotations.insert(FAILURES.into(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.into(), ignored.to_string());
        }
    }
    pod
}

fn new_failures(spec: &JobSpec, replaced: Option<&Pod>) -> (i32, i32) {
    let Some(pod) = replaced else { return (0, 0) };
    let (counted, ignored) = (index_failures(pod), number(pod, IGNORED_FAILURES).unwrap_or(0));
    match judge(spec.pod_failure_policy.as_ref(), pod) {
        Failure::Ignore => (counted, ignored.saturating_add(1)),
        _ => (counted.saturating_add(1), ignored),
    }
}

fn add_variable(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field =
        ObjectFieldSelector { field_path: format!("metadata.labels['{INDEX}']"), ..ObjectFieldSelector::default() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    variables.push(EnvVar { name: INDEX_VARIABLE.into(), value_from: Some(source), ..EnvVar::default() });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_indexed_pod() {
        let job: Job = serde_json::from_value(json!({"metadata": {"name": "j", "uid": "u"}, "spec": {
            "completionMode": "Indexed", "completions": 5, "backoffLimitPerIndex": 3,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}, {"name": "d",
                "env": [{"name": "JOB_COMPLETION_INDEX", "value": "own"}]}]}}}}))
        .expect("job");
        let spec = job.spec.clone().expect("spec");
        let failed: Pod = serde_json::from_value(
            json!({"metadata": {"annotations": {FAILURES: "1", IGNORED_FAILURES: "2"}}, "status": {"phase": "Failed"}}),
        )
        .expect("pod");
        let pod = make(&job, &spec, Some(3), Some(&failed));
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("j-3-"));
        assert_eq!(pod.metadata.finalizers.as_deref(), Some(&[FINALIZER.to_owned()][..]));
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        assert_eq!(
            (annotations[INDEX].as_str(), annotations[FAILURES].as_str(), annotations[IGNORED_FAILURES].as_str()),
            ("3", "2", "2")
        );
        assert_eq!(pod.metadata.labels.as_ref().map(|labels| labels[INDEX].as_str()), Some("3"));
        let details = pod.spec.clone().expect("spec");
        assert_eq!(details.hostname.as_deref(), Some("j-3"));
        let variables = |place: usize| details.containers[place].env.clone().unwrap_or_default();
        assert_eq!(
            variables(0)[0].value_from.as_ref().and_then(|from| from.field_ref.as_ref()).map(|f| f.field_path.as_str()),
            Some("metadata.labels['batch.kubernetes.io/job-completion-index']")
        );
        assert_eq!(variables(1)[0].value.as_deref(), Some("own"));
        assert_eq!(index(&pod), Some(3));
        let plain = make(&job, &spec, None, None);
        assert_eq!((plain.metadata.generate_name.as_deref(), index(&plain)), (Some("j-"), None));
    }

    #[test]
    fn long_names_are_cut() {
        let mut job = Job::default();
        job.metadata.name = Some("x".repeat(63));
        let pod = make(&job, &JobSpec::default(), Some(12), None);
        assert_eq!(pod.metadata.generate_name, Some(format!("{}-12-", "x".repeat(54))));
    }
}
