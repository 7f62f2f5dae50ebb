//! Questions about a pod's spec that many modules ask, answered in one place.
//!
//! Non-goal: anything about what is running.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, ObjectReference, Pod, PodSpec};
use kube::Resource;

/// Where the pod's definition came from, on a static pod: `file` (pkg/kubelet/types/pod_update.go@v1.37.2).
pub(crate) const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// The hash of a static pod's definition.
pub(crate) const HASH_ANNOTATION: &str = "kubernetes.io/config.hash";
/// On a mirror pod: the hash of the static pod that it shows.
pub(crate) const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// Grace that a pod without its own gets, in seconds.
pub(crate) const DEFAULT_GRACE_SECONDS: i64 = 30;

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("")
}

/// `name_namespace(uid)`, as events and waiting messages show a pod.
pub(crate) fn display(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

pub(crate) fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

pub(crate) fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or(&[])
}

pub(crate) fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).ephemeral_containers.as_deref().unwrap_or(&[])
}

/// Init and regular containers, in that order.
pub(crate) fn long_lived(pod: &Pod) -> impl Iterator<Item = &Container> {
    init_containers(pod).iter().chain(&spec(pod).containers)
}

/// The container of that name, whatever its kind.
pub(crate) fn container(pod: &Pod, name: &str) -> Option<Container> {
    let ephemeral = || ephemeral_containers(pod).iter().find(|c| c.name == name).map(as_container);
    long_lived(pod).find(|c| c.name == name).cloned().or_else(ephemeral)
}

/// A restartable init container (sidecar).
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub(crate) fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE_ANNOTATION).is_some_and(|source| source != "api")
}

pub(crate) fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR_ANNOTATION).is_some()
}

pub(crate) fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network == Some(true)
}

pub(crate) fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// True when the API server holds a phase that never changes again.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

pub(crate) fn restart_policy(pod: &Pod) -> &str {
    spec(pod).restart_policy.as_deref().unwrap_or("Always")
}

/// Seconds between the first signal and the last: what the deletion asks for, else the pod's own.
pub(crate) fn grace_seconds(pod: &Pod) -> i64 {
    let own = spec(pod).termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
    pod.metadata.deletion_grace_period_seconds.unwrap_or(own)
}

/// Whether a container that ended with `exit_code` is started again
/// (pkg/api/v1/pod/util.go@v1.37.2, ContainerShouldRestart).
pub(crate) fn should_restart(container: &Container, pod: &Pod, exit_code: i32) -> bool {
    let by_policy = |policy: &str| match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    };
    match container.restart_policy.as_deref() {
        None => by_policy(restart_policy(pod)),
        Some(policy) => rule_matches(container, exit_code) || by_policy(policy),
    }
}

fn rule_matches(container: &Container, exit_code: i32) -> bool {
    container.restart_policy_rules.iter().flatten().any(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.as_ref().is_some_and(|values| values.contains(&exit_code));
            match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    })
}

/// Whether a failed probe restarts the container: exit code rules do not count, it has not exited.
pub(crate) fn restarts_on_failure(container: &Container, pod: &Pod) -> bool {
    container.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod)) != "Never"
}

/// The object reference that events about one container carry
/// (pkg/kubelet/container/ref.go@v1.37.2).
pub(crate) fn container_reference(pod: &Pod, container: &str) -> ObjectReference {
    let spec = spec(pod);
    let list = if init_containers(pod).iter().any(|c| c.name == container) {
        "initContainers"
    } else if ephemeral_containers(pod).iter().any(|c| c.name == container) {
        "ephemeralContainers"
    } else if spec.containers.iter().any(|c| c.name == container) {
        "containers"
    } else {
        return pod.object_ref(&());
    };
    ObjectReference { field_path: Some(format!("spec.{list}{{{container}}}")), ..pod.object_ref(&()) }
}

/// An ephemeral container as the container it becomes.
pub(crate) fn as_container(from: &EphemeralContainer) -> Container {
    let from = from.clone();
    Container {
        args: from.args,
        command: from.command,
        env: from.env,
        env_from: from.env_from,
        image: from.image,
        image_pull_policy: from.image_pull_policy,
        lifecycle: from.lifecycle,
        liveness_probe: from.liveness_probe,
        name: from.name,
        ports: from.ports,
        readiness_probe: from.readiness_probe,
        resize_policy: from.resize_policy,
        resources: from.resources,
        restart_policy: from.restart_policy,
        restart_policy_rules: from.restart_policy_rules,
        security_context: from.security_context,
        startup_probe: from.startup_probe,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        termination_message_path: from.termination_message_path,
        termination_message_policy: from.termination_message_policy,
        tty: from.tty,
        volume_devices: from.volume_devices,
        volume_mounts: from.volume_mounts,
        working_dir: from.working_dir,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn restarts() {
        let rules =
            "restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]";
        for (policy, container, code, restarts) in [
            ("Always", "", 0, true),
            ("OnFailure", "", 0, false),
            ("OnFailure", "", 1, true),
            ("Never", "", 1, false),
            ("Never", "restartPolicy: Always", 0, true),
            ("Always", rules, 1, false),
            ("Always", rules, 42, true),
        ] {
            let pod = pod(&format!("{{restartPolicy: {policy}, containers: [{{name: a, {container}}}]}}"));
            let found = should_restart(&spec(&pod).containers[0], &pod, code);
            assert_eq!(found, restarts, "{policy} {container} {code}");
        }
    }
}
