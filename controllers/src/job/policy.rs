//! podFailurePolicy and successPolicy (pkg/controller/job/{pod_failure_policy,success_policy}.go@v1.37.2).

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::Indexes;

/// What the first rule that matches makes of a failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Counts towards the limits; also when no rule matches.
    Count,
    /// Does not count.
    Ignore,
    FailIndex,
    /// Fails the whole Job, with this message.
    FailJob(String),
}

pub(super) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Failure {
    let rules = policy.into_iter().flat_map(|policy| &policy.rules).enumerate();
    let mut matching = rules.filter_map(|(place, rule)| applied(rule, place, pod));
    matching.next().unwrap_or(Failure::Count)
}

fn applied(rule: &PodFailurePolicyRule, place: usize, pod: &Pod) -> Option<Failure> {
    let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    let (namespace, name) = (namespace.unwrap_or(""), name.unwrap_or(""));
    let action = rule.action.as_str();
    let why = match (&rule.on_exit_codes, &rule.on_pod_conditions) {
        (Some(wanted), _) => {
            let (container, code) = exited(pod, wanted)?;
            format!(
                "Container {container} for pod {namespace}/{name} failed with exit code {code} matching {action} rule at index {place}"
            )
        }
        (None, Some(patterns)) => {
            let conditions = pod.status.as_ref()?.conditions.as_ref()?;
            let matching = conditions.iter().find(|condition| {
                patterns.iter().any(|pattern| {
                    pattern.type_ == condition.type_ && pattern.status.as_deref().unwrap_or("True") == condition.status
                })
            })?;
            format!("Pod {namespace}/{name} has condition {} matching {action} rule at index {place}", matching.type_)
        }
        (None, None) => return None,
    };
    match action {
        "Ignore" => Some(Failure::Ignore),
        "FailIndex" => Some(Failure::FailIndex),
        "Count" => Some(Failure::Count),
        "FailJob" => Some(Failure::FailJob(why)),
        _ => None,
    }
}

/// The container, and its exit code, that ended in a way that the requirement names.
fn exited<'a>(pod: &'a Pod, wanted: &PodFailurePolicyOnExitCodesRequirement) -> Option<(&'a str, i32)> {
    let status = pod.status.as_ref()?;
    let code = |status: &ContainerStatus| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code);
    let fits = |code: i32| match wanted.operator.as_str() {
        "In" => wanted.values.contains(&code),
        "NotIn" => !wanted.values.contains(&code),
        _ => false,
    };
    let mut all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.find_map(|status| {
        let named = wanted.container_name.as_ref().is_none_or(|name| *name == status.name);
        let code = code(status).filter(|code| named && *code != 0 && fits(*code))?;
        Some((status.name.as_str(), code))
    })
}

/// The message of the first rule that the succeeded indexes meet.
pub(super) fn success(policy: Option<&SuccessPolicy>, completions: i32, succeeded: &Indexes) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let rules = &policy?.rules;
    let met = rules.iter().position(|rule| match (&rule.succeeded_indexes, rule.succeeded_count) {
        (Some(text), count) => {
            let wanted = Indexes::parse(text, completions);
            let common = succeeded.common(&wanted);
            !wanted.is_empty() && (common == wanted.total() || count.is_some_and(|count| common >= count))
        }
        (None, Some(count)) => succeeded.total() >= count,
        (None, None) => false,
    })?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failed_pods_are_judged_by_the_first_rule() {
        let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1, 42]}},
            {"action": "FailJob", "onPodConditions": [{"type": "ConfigIssue", "status": "True"}]}]}))
        .expect("policy");
        let pod = |condition: &str, container: &str, code: i32| -> Pod {
            serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "p"}, "status": {
                "conditions": [{"type": condition, "status": "True"}], "containerStatuses": [{"name": container, "image": "",
                "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code}}}]}}))
            .expect("pod")
        };
        for (condition, container, code, expected) in [
            ("DisruptionTarget", "main", 42, Failure::Ignore),
            (
                "X",
                "main",
                42,
                Failure::FailJob(
                    "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 1".into(),
                ),
            ),
            ("X", "other", 42, Failure::Count),
            ("X", "other", 7, Failure::FailIndex),
            ("X", "other", 0, Failure::Count),
            (
                "ConfigIssue",
                "main",
                1,
                Failure::FailJob("Pod ns/p has condition ConfigIssue matching FailJob rule at index 3".into()),
            ),
        ] {
            assert_eq!(
                judge(Some(&policy), &pod(condition, container, code)),
                expected,
                "{condition} {container} {code}"
            );
        }
        assert_eq!(judge(None, &pod("X", "main", 42)), Failure::Count);
    }

    #[test]
    fn success_rules() {
        let policy: SuccessPolicy = serde_json::from_value(json!({"rules": [
            {"succeededIndexes": "0-1,9"}, {"succeededIndexes": "2-5", "succeededCount": 2}, {"succeededCount": 5}]}))
        .expect("policy");
        for (succeeded, expected) in
            [("", None), ("0,1", None), ("0,1,9", Some(0)), ("2", None), ("2,5", Some(1)), ("0,2,6-8", Some(2))]
        {
            let met = success(Some(&policy), 10, &Indexes::parse(succeeded, 10));
            assert_eq!(met, expected.map(|place| format!("Matched rules at index {place}")), "{succeeded}");
        }
    }
}
