//! The pod conditions that the kubelet owns. Pure (pkg/kubelet/status/generate.go@v1.37.2).
//!
//! Non-goal: transition times, which depend on what was reported before (report.rs).

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

use super::observed::{Observed, Sandbox, sandbox};
use super::phase::find;
use super::shape;

pub(crate) const READY: &str = "Ready";
pub(crate) const CONTAINERS_READY: &str = "ContainersReady";
pub(crate) const INITIALIZED: &str = "Initialized";
pub(crate) const SCHEDULED: &str = "PodScheduled";
pub(crate) const READY_TO_START: &str = "PodReadyToStartContainers";

/// The types that no one but the kubelet writes.
const OWNED: [&str; 5] = [READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, SCHEDULED];

pub(crate) fn is_owned(kind: &str) -> bool {
    OWNED.contains(&kind)
}

fn condition(pod: &Pod, kind: &str, status: bool, reason: &str, message: String) -> PodCondition {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    PodCondition {
        type_: kind.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: some(reason.into()),
        message: some(message),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    }
}

/// All owned conditions; `others` are those already on the pod, for readiness gates.
pub(crate) fn owned(
    pod: &Pod,
    observed: &Observed,
    statuses: &[ContainerStatus],
    phase: &str,
    others: &[PodCondition],
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(pod, statuses, phase);
    vec![
        ready_to_start(pod, observed),
        initialized(pod, statuses, phase),
        ready(pod, &containers_ready, others),
        containers_ready,
        condition(pod, SCHEDULED, true, "", String::new()),
    ]
}

fn ready_to_start(pod: &Pod, observed: &Observed) -> PodCondition {
    match sandbox(pod, observed) {
        Sandbox::Usable { .. } => condition(pod, READY_TO_START, true, "", String::new()),
        Sandbox::Needed { reason, .. } => condition(pod, READY_TO_START, false, "PodSandboxNotReady", reason.into()),
    }
}

fn containers_ready(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> PodCondition {
    let sidecars = shape::init_containers(pod).iter().filter(|c| shape::is_sidecar(c));
    let names = sidecars.chain(&shape::spec(pod).containers).map(|c| c.name.as_str());
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for name in names {
        match find(statuses, name) {
            None => unknown.push(name),
            Some(status) if !status.ready => unready.push(name),
            Some(_) => {}
        }
    }
    let no = |reason, message| condition(pod, CONTAINERS_READY, false, reason, message);
    match phase {
        "Succeeded" if unknown.is_empty() => no("PodCompleted", String::new()),
        "Failed" => no("PodFailed", String::new()),
        _ if unknown.is_empty() && unready.is_empty() => condition(pod, CONTAINERS_READY, true, "", String::new()),
        _ => no("ContainersNotReady", complaint(&unknown, "unready", &unready)),
    }
}

fn complaint(unknown: &[&str], word: &str, others: &[&str]) -> String {
    let part = |word: &str, names: &[&str]| {
        (!names.is_empty()).then(|| format!("containers with {word} status: [{}]", names.join(" ")))
    };
    [part("unknown", unknown), part(word, others)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn ready(pod: &Pod, containers_ready: &PodCondition, others: &[PodCondition]) -> PodCondition {
    if containers_ready.status != "True" {
        return PodCondition { type_: READY.into(), ..containers_ready.clone() };
    }
    let gates = shape::spec(pod).readiness_gates.iter().flatten();
    let complaints: Vec<String> = gates
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match others.iter().find(|condition| condition.type_ == *kind) {
                None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                Some(condition) if condition.status != "True" => {
                    Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", condition.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    match complaints.is_empty() {
        true => condition(pod, READY, true, "", String::new()),
        false => condition(pod, READY, false, "ReadinessGatesNotReady", complaints.join(", ")),
    }
}

fn initialized(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> PodCondition {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in shape::init_containers(pod) {
        let is_done = |status: &ContainerStatus| match shape::is_sidecar(container) {
            true => status.started == Some(true),
            false => status.ready,
        };
        match find(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !is_done(status) => incomplete.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    let yes = |reason| condition(pod, INITIALIZED, true, reason, String::new());
    if phase == "Succeeded" && unknown.is_empty() {
        return yes("PodCompleted");
    }
    let has_run = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
            || status.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
            || status.started == Some(true)
    };
    let regular_ran = shape::spec(pod).containers.iter().any(|c| find(statuses, &c.name).is_some_and(has_run));
    if regular_ran || (unknown.is_empty() && incomplete.is_empty()) {
        return yes("");
    }
    condition(pod, INITIALIZED, false, "ContainersNotInitialized", complaint(&unknown, "incomplete", &incomplete))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, yaml};

    fn show(condition: &PodCondition) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        format!("{}={} {} {}", condition.type_, condition.status, text(&condition.reason), text(&condition.message))
            .trim_end()
            .into()
    }

    fn status(name: &str, ready: bool) -> ContainerStatus {
        yaml(&format!("{{name: {name}, image: i, imageID: i, ready: {ready}, restartCount: 0}}"))
    }

    #[test]
    fn readiness() {
        let pod = pod("{readinessGates: [{conditionType: g}], containers: [{name: a}, {name: b}]}");
        let check = |statuses: &[ContainerStatus], phase: &str, others: &[PodCondition], expect: [&str; 2]| {
            let all = owned(&pod, &Observed::default(), statuses, phase, others);
            assert_eq!([show(&all[2]), show(&all[3])], expect.map(str::to_owned));
        };
        let both = [status("a", true), status("b", true)];
        let gate = condition(&pod, "g", true, "", String::new());
        let shut = condition(&pod, "g", false, "", String::new());
        check(&both, "Running", &[gate], ["Ready=True", "ContainersReady=True"]);
        let missing =
            "Ready=False ReadinessGatesNotReady corresponding condition of pod readiness gate \"g\" does not exist.";
        check(&both, "Running", &[], [missing, "ContainersReady=True"]);
        let closed =
            "Ready=False ReadinessGatesNotReady the status of pod readiness gate \"g\" is not \"True\", but False";
        check(&both, "Running", &[shut], [closed, "ContainersReady=True"]);
        let text = "ContainersNotReady containers with unknown status: [b], containers with unready status: [a]";
        let expect = [format!("Ready=False {text}"), format!("ContainersReady=False {text}")];
        check(&[status("a", false)], "Pending", &[], [&expect[0], &expect[1]]);
        check(&both, "Failed", &[], ["Ready=False PodFailed", "ContainersReady=False PodFailed"]);
        check(&both, "Succeeded", &[], ["Ready=False PodCompleted", "ContainersReady=False PodCompleted"]);
    }

    #[test]
    fn initialization() {
        let pod = pod("{initContainers: [{name: x}, {name: y}], containers: [{name: a}]}");
        let check = |statuses: &[ContainerStatus], expect: &str| {
            assert_eq!(show(&initialized(&pod, statuses, "Pending")), expect);
        };
        let no = "Initialized=False ContainersNotInitialized containers with";
        check(&[status("x", true)], &format!("{no} unknown status: [y]"));
        check(&[status("x", true), status("y", false)], &format!("{no} incomplete status: [y]"));
        check(&[status("x", true), status("y", true)], "Initialized=True");
    }
}
