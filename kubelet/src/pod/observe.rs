//! Asks the runtime about one pod (pkg/kubelet/kuberuntime/kuberuntime_manager.go@v1.37.2, GetPodStatus).
//!
//! Invariant: the answer is what the runtime said just now; nothing is cached, so a worker never
//! acts on an old picture.

use std::cmp::Reverse;
use std::collections::HashMap;

use cri::RuntimeHandle;
use cri::v1::{
    ContainerFilter, ContainerState, ContainerStatus, ContainerStatusRequest, ListContainersRequest,
    ListPodSandboxRequest, PodSandboxFilter, PodSandboxStatus, PodSandboxStatusRequest,
};

use super::observed::{Observed, Seen, State, is_ready};
use super::termination;

pub(crate) const POD_NAME_LABEL: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID_LABEL: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME_LABEL: &str = "io.kubernetes.container.name";
pub(crate) const HASH_ANNOTATION: &str = "io.kubernetes.container.hash";
pub(crate) const RESTART_ANNOTATION: &str = "io.kubernetes.container.restartCount";

pub(crate) async fn observe(runtime: &RuntimeHandle, name: &str, uid: &str) -> cri::Result<Observed> {
    let selector: HashMap<String, String> = [(POD_UID_LABEL.to_owned(), uid.to_owned())].into();
    let mut sandboxes = sandboxes(runtime, selector.clone()).await?;
    sandboxes.sort_by_key(|sandbox| Reverse(sandbox.created_at));
    let mut containers = containers(runtime, selector).await?;
    containers.sort_by_key(|seen| Reverse(seen.created_at));
    let ips = sandboxes.first().filter(|sandbox| is_ready(sandbox)).map(addresses).unwrap_or_default();
    Ok(Observed { runtime: name.to_owned(), ips, sandboxes, containers })
}

pub(crate) fn addresses(sandbox: &PodSandboxStatus) -> Vec<String> {
    let Some(network) = &sandbox.network else { return vec![] };
    let more = network.additional_ips.iter().map(|ip| ip.ip.clone());
    std::iter::once(network.ip.clone()).chain(more).filter(|ip| !ip.is_empty()).collect()
}

async fn sandboxes(runtime: &RuntimeHandle, selector: HashMap<String, String>) -> cri::Result<Vec<PodSandboxStatus>> {
    let filter = PodSandboxFilter { label_selector: selector, ..PodSandboxFilter::default() };
    let items = runtime.list_pod_sandbox(ListPodSandboxRequest { filter: Some(filter) }).await?.items;
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        let request = PodSandboxStatusRequest { pod_sandbox_id: item.id, verbose: false };
        match runtime.pod_sandbox_status(request).await {
            Ok(answer) => found.extend(answer.status),
            // It went away between the two calls.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn containers(runtime: &RuntimeHandle, selector: HashMap<String, String>) -> cri::Result<Vec<Seen>> {
    let filter = ContainerFilter { label_selector: selector, ..ContainerFilter::default() };
    let listed = runtime.list_containers(ListContainersRequest { filter: Some(filter) }).await?.containers;
    let mut found = Vec::with_capacity(listed.len());
    for container in listed {
        let request = ContainerStatusRequest { container_id: container.id, verbose: false };
        match runtime.container_status(request).await {
            Ok(answer) => found.extend(answer.status.map(|status| seen(&container.pod_sandbox_id, status))),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

pub(crate) fn state(value: i32) -> State {
    match ContainerState::try_from(value) {
        Ok(ContainerState::ContainerCreated) => State::Created,
        Ok(ContainerState::ContainerRunning) => State::Running,
        Ok(ContainerState::ContainerExited) => State::Exited,
        Ok(ContainerState::ContainerUnknown) | Err(_) => State::Unknown,
    }
}

fn seen(sandbox_id: &str, status: ContainerStatus) -> Seen {
    let annotation = |key: &str| status.annotations.get(key).map(String::as_str).unwrap_or("");
    let state = state(status.state);
    let message = match state {
        State::Exited => termination::message(&status),
        _ => status.message.clone(),
    };
    let image = status.image.clone().unwrap_or_default().image;
    Seen {
        name: status.labels.get(CONTAINER_NAME_LABEL).cloned().unwrap_or_default(),
        sandbox_id: sandbox_id.to_owned(),
        state,
        restart_count: annotation(RESTART_ANNOTATION).parse().unwrap_or(0),
        hash: u64::from_str_radix(annotation(HASH_ANNOTATION), 16).unwrap_or(0),
        image,
        image_ref: status.image_ref,
        exit_code: status.exit_code,
        reason: status.reason,
        message,
        log_path: status.log_path,
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        user: status.user.and_then(|user| user.linux),
        id: status.id,
    }
}
