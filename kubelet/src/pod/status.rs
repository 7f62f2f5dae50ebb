//! The status of a pod as the API shows it. Pure
//! (pkg/kubelet/kubelet_pods.go@v1.37.2, generateAPIPodStatus, convertToAPIContainerStatuses;
//! pkg/kubelet/prober/prober_manager.go@v1.37.2, UpdatePodStatus).
//!
//! Invariant: a phase that is terminal stays, and what the runtime forgot is taken from the last
//! report, so a pod never goes back from having run.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, HostIP, LinuxContainerUser, Pod, PodIP, PodStatus, ResourceRequirements, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::conditions;
use super::observed::{Observed, Seen, State};
use super::phase::phase;
use super::plan::should_be_restarted;
use super::shape;
use crate::probe::results::{Outcome, Probes};
use crate::resources::qos_class;

/// Exit code of a container whose end nobody saw.
pub(crate) const EXIT_UNKNOWN: i32 = 137;
pub(crate) const REASON_UNKNOWN: &str = "ContainerStatusUnknown";
pub(crate) const LOST_MESSAGE: &str = "The container could not be located when the pod was terminated";
const DELETED_MESSAGE: &str =
    "The container could not be located when the pod was deleted.  The container used to be Running";
const LATE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
const INIT_FORGOTTEN_MESSAGE: &str = "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally";

/// Why a container is not started yet, by container name: reason and message.
pub(crate) type Waits = HashMap<String, (String, String)>;

/// What the status is made from.
pub(crate) struct Facts<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) observed: &'a Observed,
    /// The last status that this kubelet made, else the one that the API has.
    pub(crate) old: &'a PodStatus,
    pub(crate) waits: &'a Waits,
    pub(crate) probes: &'a Probes,
    pub(crate) host_ips: &'a [String],
    /// The kubelet starts nothing of this pod again.
    pub(crate) is_over: bool,
    /// The pod was active for longer than its activeDeadlineSeconds.
    pub(crate) is_late: bool,
}

pub(crate) fn generate(facts: &Facts<'_>) -> PodStatus {
    let (pod, observed, old) = (facts.pod, facts.observed, facts.old);
    let spec = shape::spec(pod);
    let ephemeral: Vec<Container> = shape::ephemeral_containers(pod).iter().map(shape::as_container).collect();
    let mut regular = convert(facts, &old.container_statuses, &spec.containers, false);
    let mut init = convert(facts, &old.init_container_statuses, shape::init_containers(pod), true);
    let ephemeral = convert(facts, &old.ephemeral_container_statuses, &ephemeral, false);
    regular.iter_mut().for_each(|status| mark(facts, status, &old.container_statuses));
    init.iter_mut().for_each(|status| mark(facts, status, &old.init_container_statuses));
    let all: Vec<ContainerStatus> = init.iter().chain(&regular).cloned().collect();
    let now = phase(pod, &all, facts.is_over, observed.has_active_regular(pod));
    let phase = final_phase(pod, old, now);
    let kept: Vec<_> = pod.status.iter().flat_map(|status| status.conditions.iter().flatten()).cloned().collect();
    let mut conditions: Vec<_> = kept.iter().filter(|c| !conditions::is_owned(&c.type_)).cloned().collect();
    conditions.extend(conditions::owned(pod, observed, &all, &phase, &kept));
    let same_phase = old.phase.as_deref() == Some(&phase);
    let some = |list: Vec<ContainerStatus>| Some(list).filter(|list| !list.is_empty());
    let mut status = PodStatus {
        conditions: Some(conditions),
        container_statuses: some(regular),
        init_container_statuses: some(init),
        ephemeral_container_statuses: some(ephemeral),
        reason: old.reason.clone().filter(|_| same_phase),
        message: old.message.clone().filter(|_| same_phase),
        phase: Some(phase),
        qos_class: Some(qos_class(pod).into()),
        observed_generation: pod.metadata.generation,
        start_time: old.start_time.clone(),
        ..PodStatus::default()
    };
    let terminal = |phase: Option<&str>| matches!(phase, Some("Succeeded" | "Failed"));
    if facts.is_late && !terminal(old.phase.as_deref()) && !terminal(status.phase.as_deref()) {
        status.phase = Some("Failed".into());
        status.reason = Some("DeadlineExceeded".into());
        status.message = Some(LATE_MESSAGE.into());
    }
    set_addresses(facts, &mut status);
    status
}

/// Seconds that the pod may still be active; negative when it is late, nothing when it may be forever
/// (pkg/kubelet/active_deadline.go@v1.37.2).
pub(crate) fn seconds_left(pod: &Pod, status: &PodStatus, now: i64) -> Option<i64> {
    let limit = shape::spec(pod).active_deadline_seconds?;
    let started = status.start_time.as_ref()?.0.as_second();
    Some(started + limit - now)
}

/// Terminal phases stay.
fn final_phase(pod: &Pod, old: &PodStatus, now: &str) -> String {
    let terminal = |phase: &str| phase == "Succeeded" || phase == "Failed";
    let of_api = pod.status.as_ref().and_then(|status| status.phase.as_deref()).filter(|phase| terminal(phase));
    let of_old = old.phase.as_deref().filter(|phase| terminal(phase) && !terminal(now));
    of_api.or(of_old).unwrap_or(now).to_owned()
}

fn set_addresses(facts: &Facts<'_>, status: &mut PodStatus) {
    let list = |ips: &[String]| ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect::<Vec<_>>();
    let mut ips = facts.observed.ips.clone();
    if ips.is_empty() && facts.observed.ready_sandboxes().next().is_none() {
        // A pod that ended keeps the address that it had.
        ips = facts.old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    if let Some(first) = facts.host_ips.first() {
        status.host_ip = Some(first.clone());
        status.host_ips = Some(facts.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
        if shape::host_network(facts.pod) && ips.is_empty() {
            ips = facts.host_ips.to_vec();
        }
    }
    if !ips.is_empty() {
        status.pod_ip = ips.first().cloned();
        status.pod_ips = Some(list(&ips));
    }
}

/// Sets `started` and `ready` from the probes; a container that this kubelet has not probed yet keeps
/// what was reported of it, so a restart of the kubelet makes no pod unready.
fn mark(facts: &Facts<'_>, status: &mut ContainerStatus, old: &Option<Vec<ContainerStatus>>) {
    let Some(container) = shape::long_lived(facts.pod).find(|c| c.name == status.name) else { return };
    let is_init = shape::init_containers(facts.pod).iter().any(|c| c.name == status.name);
    let state = status.state.clone().unwrap_or_default();
    let id = bare_id(status.container_id.as_deref().unwrap_or(""));
    let old = old.iter().flatten().find(|old| old.name == status.name && old.container_id == status.container_id);
    let started = state.running.is_some()
        && match facts.probes.startup(id) {
            Some(outcome) => outcome == Outcome::Success,
            None => container.startup_probe.is_none() || old.is_some_and(|old| old.started == Some(true)),
        };
    status.started = Some(started);
    if is_init && !shape::is_sidecar(container) {
        status.ready = state.terminated.is_some_and(|ended| ended.exit_code == 0);
        return;
    }
    status.ready = started
        && match facts.probes.readiness(id) {
            Some(outcome) => outcome == Outcome::Success,
            None => container.readiness_probe.is_none() || old.is_some_and(|old| old.ready),
        };
}

/// The id without the runtime's scheme.
pub(crate) fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, id)| id)
}

fn convert(
    facts: &Facts<'_>,
    old: &Option<Vec<ContainerStatus>>,
    containers: &[Container],
    is_init: bool,
) -> Vec<ContainerStatus> {
    let old: BTreeMap<&str, &ContainerStatus> =
        old.iter().flatten().map(|status| (status.name.as_str(), status)).collect();
    let mut statuses: Vec<ContainerStatus> = containers
        .iter()
        .map(|container| {
            let previous = old.get(container.name.as_str()).copied();
            let mut status = from_runtime(facts, container, previous);
            waiting(facts, container, is_init, &mut status);
            status
        })
        .collect();
    if !is_init {
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
    }
    statuses
}

fn from_runtime(facts: &Facts<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let mut seen = facts.observed.containers.iter().filter(|seen| seen.name == container.name);
    let Some(current) = seen.next() else {
        return unseen(facts, container, old);
    };
    let mut status = one(facts, container, current, old);
    if let Some(before) = seen.next() {
        status.last_state = one(facts, container, before, old).state;
    } else if let Some(old) = old {
        // The runtime lost the previous run; the last report still knows it.
        let terminated = |state: &Option<ContainerState>| state.clone().filter(|state| state.terminated.is_some());
        let same = old.container_id == status.container_id;
        status.last_state =
            if same { terminated(&old.last_state) } else { terminated(&old.state).or(terminated(&old.last_state)) };
    }
    status
}

/// A container that the runtime does not know.
fn unseen(facts: &Facts<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let reason = match shape::init_containers(facts.pod).is_empty() {
        true => "ContainerCreating",
        false => "PodInitializing",
    };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(wait(reason, "")),
        volume_mounts: volume_mounts(container),
        ..ContainerStatus::default()
    };
    let Some(old) = old else { return status };
    let state = old.state.clone().unwrap_or_default();
    if state.terminated.is_some() {
        return old.clone();
    }
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    let known_end = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
    if state.running.is_some() && !known_end {
        status.last_state = Some(lost(DELETED_MESSAGE));
        status.restart_count += i32::from(!shape::is_deleted(facts.pod));
    }
    status
}

fn one(facts: &Facts<'_>, container: &Container, seen: &Seen, old: Option<&ContainerStatus>) -> ContainerStatus {
    let id = facts.observed.full_id(&seen.id);
    let mut status = ContainerStatus {
        name: seen.name.clone(),
        restart_count: seen.restart_count,
        image: seen.image.clone(),
        image_id: seen.image_ref.clone(),
        container_id: Some(id.clone()),
        volume_mounts: volume_mounts(container),
        resources: Some(without_claims(container.resources.clone().unwrap_or_default())),
        allocated_resources: container.resources.as_ref().and_then(|resources| resources.requests.clone()),
        user: seen.user.as_ref().map(user),
        ..ContainerStatus::default()
    };
    let was_running = || old.and_then(|old| old.state.as_ref()).is_some_and(|state| state.running.is_some());
    status.state = Some(match seen.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(seen.started_at) }),
            ..ContainerState::default()
        },
        State::Exited => ContainerState { terminated: Some(ended(seen, id)), ..ContainerState::default() },
        State::Unknown if was_running() => {
            status.restart_count = old.map_or(0, |old| old.restart_count) + 1;
            lost(LOST_MESSAGE)
        }
        State::Created | State::Unknown => wait("", ""),
    });
    status
}

fn ended(seen: &Seen, id: String) -> ContainerStateTerminated {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ContainerStateTerminated {
        exit_code: seen.exit_code,
        reason: some(&seen.reason),
        message: some(&seen.message),
        started_at: time(seen.started_at),
        finished_at: time(seen.finished_at),
        container_id: Some(id),
        ..ContainerStateTerminated::default()
    }
}

/// Containers that could not be started wait, with the reason why.
fn waiting(facts: &Facts<'_>, container: &Container, is_init: bool, status: &mut ContainerStatus) {
    let seen = facts.observed.container(&container.name);
    let is_waiting = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    if is_init {
        if seen.is_some_and(|seen| seen.state == State::Exited && seen.exit_code == 0) {
            return;
        }
        let forgotten = seen.is_none() && is_waiting && facts.observed.has_any_regular(facts.pod);
        if forgotten && !shape::is_sidecar(container) {
            status.state = Some(terminated("Completed", INIT_FORGOTTEN_MESSAGE, 0));
            return;
        }
    }
    if !should_be_restarted(facts.pod, container, facts.observed) {
        return;
    }
    let Some((reason, message)) = facts.waits.get(&container.name) else { return };
    if status.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
        status.last_state = status.state.take();
    }
    status.state = Some(wait(reason, message));
}

pub(crate) fn wait(reason: &str, message: &str) -> ContainerState {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let waiting = ContainerStateWaiting { reason: some(reason), message: some(message) };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

pub(crate) fn terminated(reason: &str, message: &str, exit_code: i32) -> ContainerState {
    let terminated = ContainerStateTerminated {
        reason: Some(reason.into()),
        message: Some(message.into()),
        exit_code,
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

pub(crate) fn lost(message: &str) -> ContainerState {
    terminated(REASON_UNKNOWN, message, EXIT_UNKNOWN)
}

fn without_claims(resources: ResourceRequirements) -> ResourceRequirements {
    ResourceRequirements { claims: None, ..resources }
}

fn user(user: &cri::v1::LinuxContainerUser) -> ContainerUser {
    ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: Some(user.supplemental_groups.clone()).filter(|groups| !groups.is_empty()),
        }),
    }
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let one = |mount: &k8s_openapi::api::core::v1::VolumeMount| {
        let read_only = mount.read_only == Some(true);
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: Some(true).filter(|_| read_only),
            recursive_read_only: Some("Disabled".into()).filter(|_| read_only),
            ..VolumeMountStatus::default()
        }
    };
    container.volume_mounts.as_ref().map(|mounts| mounts.iter().map(one).collect())
}

/// The API's time of a CRI time, to the second; nothing for 0.
pub(crate) fn time(nanoseconds: i64) -> Option<Time> {
    let second = Timestamp::from_second(nanoseconds / 1_000_000_000).ok()?;
    (nanoseconds > 0).then_some(Time(second))
}

#[cfg(test)]
mod tests;
