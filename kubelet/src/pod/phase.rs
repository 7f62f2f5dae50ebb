//! The phase of a pod from its container statuses. Pure
//! (pkg/kubelet/kubelet_pods.go@v1.37.2, getPhase).

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod};

use super::shape;

#[derive(Default)]
struct Init {
    pending_one_shot: usize,
    pending_sidecar: usize,
    failed_for_good: bool,
}

#[derive(Default)]
struct Tally {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

/// `is_over`: the kubelet will start nothing of it again. `initialized`: a regular container has run
/// in the current sandbox.
pub(crate) fn phase(pod: &Pod, statuses: &[ContainerStatus], is_over: bool, initialized: bool) -> &'static str {
    let mut init = Init::default();
    let mut tally = Tally::default();
    for container in shape::init_containers(pod) {
        let status = find(statuses, &container.name);
        if shape::is_sidecar(container) {
            sidecar(status, &mut init, &mut tally);
        } else {
            one_shot(pod, container, status, &mut init);
        }
    }
    for container in &shape::spec(pod).containers {
        regular(pod, container, find(statuses, &container.name), &mut tally);
    }
    if init.failed_for_good {
        return "Failed";
    }
    if init.pending_one_shot > 0 || (init.pending_sidecar > 0 && !initialized) || tally.waiting > 0 {
        return "Pending";
    }
    if tally.unknown > 0 {
        return "Pending";
    }
    if tally.running > 0 {
        return "Running";
    }
    match (tally.stopped, is_over && !shape::is_static(pod)) {
        (0, _) => "Pending",
        (_, false) if tally.stopped != tally.stopped_for_good => "Running",
        (stopped, _) if stopped == tally.succeeded => "Succeeded",
        _ => "Failed",
    }
}

pub(crate) fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}

/// Exit code of the run that ended, if the container does not run now.
fn ended(status: &ContainerStatus) -> Option<i32> {
    let terminated = |state: &Option<ContainerState>| Some(state.as_ref()?.terminated.as_ref()?.exit_code);
    let state = status.state.as_ref()?;
    match (&state.terminated, &state.waiting) {
        (Some(terminated), _) => Some(terminated.exit_code),
        (None, Some(_)) => terminated(&status.last_state),
        _ => None,
    }
}

fn is_waiting(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.waiting.is_some())
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn one_shot(pod: &Pod, container: &Container, status: Option<&ContainerStatus>, init: &mut Init) {
    match status.and_then(ended) {
        Some(0) => {}
        Some(code) => init.failed_for_good |= !shape::should_restart(container, pod, code),
        None => init.pending_one_shot += 1,
    }
}

fn sidecar(status: Option<&ContainerStatus>, init: &mut Init, tally: &mut Tally) {
    let Some(status) = status else {
        tally.unknown += 1;
        return;
    };
    if is_running(status) {
        tally.running += 1;
        init.pending_sidecar += usize::from(status.started != Some(true));
    } else if ended(status).is_some() {
        // A sidecar that ended says nothing about the phase.
    } else {
        init.pending_sidecar += 1;
        if is_waiting(status) {
            tally.waiting += 1;
        } else {
            tally.unknown += 1;
        }
    }
}

fn regular(pod: &Pod, container: &Container, status: Option<&ContainerStatus>, tally: &mut Tally) {
    let Some(status) = status else {
        tally.unknown += 1;
        return;
    };
    if is_running(status) {
        tally.running += 1;
    } else if let Some(code) = ended(status) {
        tally.stopped += 1;
        tally.stopped_for_good += usize::from(!shape::should_restart(container, pod, code));
        tally.succeeded += usize::from(code == 0 && !is_waiting(status));
    } else if is_waiting(status) {
        tally.waiting += 1;
    } else {
        tally.unknown += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, yaml};

    fn status(text: &str) -> ContainerStatus {
        let (name, state) = text.split_once('=').expect("name=state");
        let (state, code) = state.split_once(':').unwrap_or((state, "0"));
        let state = match state {
            "run" => "state: {running: {}}, started: true".to_owned(),
            "starting" => "state: {running: {}}, started: false".to_owned(),
            "wait" => "state: {waiting: {}}".to_owned(),
            "crash" => format!("state: {{waiting: {{}}}}, lastState: {{terminated: {{exitCode: {code}}}}}"),
            _ => format!("state: {{terminated: {{exitCode: {code}}}}}"),
        };
        yaml(&format!("{{name: {name}, image: i, imageID: i, ready: false, restartCount: 0, {state}}}"))
    }

    fn check(policy: &str, init: &str, statuses: &str, is_over: bool, expect: &str) {
        let pod = pod(&format!(
            "{{restartPolicy: {policy}, initContainers: [{init}], containers: [{{name: a}}, {{name: b}}]}}"
        ));
        let statuses: Vec<_> = statuses.split_whitespace().map(status).collect();
        assert_eq!(phase(&pod, &statuses, is_over, false), expect, "{policy} [{init}] {statuses:?}");
    }

    #[test]
    fn regular_containers() {
        for (policy, statuses, is_over, expect) in [
            ("Always", "", false, "Pending"),
            ("Always", "a=run", false, "Pending"),
            ("Always", "a=run b=wait", false, "Pending"),
            ("Always", "a=run b=run", false, "Running"),
            ("Always", "a=run b=exit:1", false, "Running"),
            ("Always", "a=exit:0 b=exit:0", false, "Running"),
            ("Always", "a=exit:0 b=exit:0", true, "Succeeded"),
            ("Always", "a=exit:0 b=exit:1", true, "Failed"),
            ("Always", "a=crash:1 b=run", false, "Running"),
            ("OnFailure", "a=exit:0 b=exit:0", false, "Succeeded"),
            ("OnFailure", "a=exit:0 b=exit:1", false, "Running"),
            ("Never", "a=exit:0 b=exit:1", false, "Failed"),
            ("Never", "a=exit:0 b=exit:0", false, "Succeeded"),
            ("Never", "a=run b=exit:1", false, "Running"),
        ] {
            check(policy, "", statuses, is_over, expect);
        }
    }

    #[test]
    fn init_containers() {
        let init = "{name: x}";
        let sidecar = "{name: x, restartPolicy: Always}";
        for (policy, init, statuses, expect) in [
            ("Always", init, "x=run a=wait b=wait", "Pending"),
            ("Always", init, "x=exit:0 a=run b=run", "Running"),
            ("Always", init, "x=exit:1 a=wait b=wait", "Pending"),
            ("Never", init, "x=exit:1 a=wait b=wait", "Failed"),
            ("Always", sidecar, "x=starting a=wait b=wait", "Pending"),
            ("Always", sidecar, "x=run a=run b=run", "Running"),
            ("Never", sidecar, "x=run a=exit:0 b=exit:0", "Running"),
            ("Never", sidecar, "x=exit:137 a=exit:0 b=exit:0", "Succeeded"),
        ] {
            check(policy, init, statuses, false, expect);
        }
    }
}
