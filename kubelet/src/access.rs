//! What the node's server may ask of a kubelet: its pods, their containers, their logs, the runtime
//! (the Host interface of pkg/kubelet/server/server.go@v1.37.2).
//!
//! Invariant: read-only, apart from what the runtime does in a container for a caller. Non-goal: HTTP.

use std::path::PathBuf;
use std::sync::Arc;

use cri::RuntimeHandle;
use cri::v1::ContainerStatusRequest;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;

use crate::config::Config;
use crate::kubelet::Kubelet;
use crate::pod::observed::State;
use crate::pod::phase::find;
use crate::pod::status::bare_id;
use crate::pod::{observe, shape};

/// The log of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    /// The container, to learn when it stops writing.
    pub(crate) id: String,
}

/// The kubelet as its server sees it.
#[derive(Clone)]
pub(crate) struct Access {
    kubelet: Arc<Kubelet>,
}

impl Access {
    pub(crate) fn new(kubelet: Arc<Kubelet>) -> Self {
        Access { kubelet }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.kubelet.config
    }

    /// For TokenReview and SubjectAccessReview.
    pub(crate) fn client(&self) -> kube::Client {
        self.kubelet.client.clone()
    }

    pub(crate) fn runtime(&self) -> RuntimeHandle {
        self.kubelet.runtime.clone()
    }

    /// Every pod of this node, with the status that this kubelet last made.
    pub(crate) fn pods(&self) -> Vec<Pod> {
        let one = |pod: Arc<Pod>| Pod { status: Some(self.kubelet.reporter.status(&pod)), ..(*pod).clone() };
        self.kubelet.workers.all().into_iter().map(one).collect()
    }

    /// A pod by name; `uid` may be empty, and is then not compared.
    pub(crate) fn pod(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<Pod>> {
        let same = |pod: &Arc<Pod>| {
            shape::namespace(pod) == namespace && shape::name(pod) == name && (uid.is_empty() || shape::uid(pod) == uid)
        };
        self.kubelet.workers.all().into_iter().find(same)
    }

    /// The id of a running container, for exec and attach.
    pub(crate) async fn running(&self, pod: &Pod, container: &str) -> cri::Result<Option<String>> {
        let observed = observe::observe(&self.kubelet.runtime, "", shape::uid(pod)).await?;
        let seen = observed.container(container).filter(|seen| seen.state == State::Running);
        Ok(seen.map(|seen| seen.id.clone()))
    }

    /// The id of the ready sandbox, for port-forward.
    pub(crate) async fn sandbox(&self, pod: &Pod) -> cri::Result<Option<String>> {
        let observed = observe::observe(&self.kubelet.runtime, "", shape::uid(pod)).await?;
        Ok(observed.ready_sandboxes().next().map(|sandbox| sandbox.id.clone()))
    }

    /// Waits until a container does not run any more, or its pod is gone.
    pub(crate) async fn ended(&self, pod: &Pod, id: &str) {
        let mut changes = self.kubelet.reporter.changes();
        loop {
            changes.mark_unchanged();
            let made = self.kubelet.reporter.made(shape::uid(pod)).filter(|status| runs(status, id));
            if made.is_none() || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// What is wrong with the sync loop.
    pub(crate) fn sync_loop_complaint(&self) -> Option<String> {
        self.kubelet.node.health().pleg
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.kubelet.started
    }

    /// Cores and bytes of memory of this machine.
    pub(crate) fn machine(&self) -> (f64, f64) {
        let facts = &self.kubelet.node.facts;
        (facts.cpu.parse().unwrap_or(0.0), facts.memory as f64)
    }

    /// Where a container's log is; the error is what the caller is told (400).
    pub(crate) async fn log(&self, pod: &Pod, container: &str, previous: bool) -> Result<Log, String> {
        let id = log_container(shape::name(pod), &self.kubelet.reporter.status(pod), container, previous)?;
        let request = ContainerStatusRequest { container_id: id.clone(), verbose: false };
        let answer = self.kubelet.runtime.container_status(request).await;
        let status = answer.map_err(|e| format!("failed to get container status {id:?}: {e}"))?.status;
        Ok(Log { path: status.unwrap_or_default().log_path.into(), id })
    }
}

/// True when the status says that this very container runs.
fn runs(status: &PodStatus, id: &str) -> bool {
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let is = |one: &ContainerStatus| {
        let running = one.state.as_ref().is_some_and(|state| state.running.is_some());
        running && one.container_id.as_deref().is_some_and(|full| bare_id(full) == id)
    };
    lists.into_iter().flatten().flatten().any(is)
}

/// Which run of a container has the log that is asked for
/// (pkg/kubelet/kubelet_pods.go@v1.37.2, validateContainerLogStatus).
fn log_container(pod: &str, status: &PodStatus, container: &str, previous: bool) -> Result<String, String> {
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let found: Option<&ContainerStatus> = lists.into_iter().flatten().find_map(|list| find(list, container));
    let place = format!("container {container:?} in pod {pod:?}");
    let Some(found) = found else { return Err(format!("{place} is not available")) };
    let state = found.state.clone().unwrap_or_default();
    let last = found.last_state.clone().unwrap_or_default().terminated.and_then(|ended| ended.container_id);
    let last = last.filter(|id| !id.is_empty());
    let id = match (previous, state.running, state.terminated, state.waiting) {
        (true, ..) => last.ok_or_else(|| format!("previous terminated {place} not found"))?,
        (_, Some(_), ..) => found.container_id.clone().unwrap_or_default(),
        (_, _, Some(ended), _) => {
            let own = ended.container_id.filter(|id| !id.is_empty());
            own.or(last).ok_or_else(|| format!("{place} is terminated"))?
        }
        (.., waiting) => last.ok_or_else(|| match waiting.and_then(|waiting| waiting.reason).as_deref() {
            Some("ErrImagePull") => format!("{place} is waiting to start: image can't be pulled"),
            Some("ImagePullBackOff") => format!("{place} is waiting to start: trying and failing to pull image"),
            Some(reason) => format!("{place} is waiting to start: {reason}"),
            None => format!("{place} is waiting to start - no logs yet"),
        })?,
    };
    Ok(bare_id(&id).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    #[test]
    fn whose_log() {
        let check = |state: &str, previous: bool, expect: Result<&str, &str>| {
            let status: PodStatus = yaml(&format!(
                "{{containerStatuses: [{{name: c, image: i, imageID: i, ready: true, restartCount: 0, containerID: 'r://1', {state}}}]}}"
            ));
            let found = log_container("p", &status, "c", previous);
            assert_eq!(found.as_deref().map_err(String::as_str), expect, "{state}");
        };
        let last = "lastState: {terminated: {exitCode: 1, containerID: 'r://0'}}";
        check("state: {running: {}}", false, Ok("1"));
        check(&format!("state: {{running: {{}}}}, {last}"), true, Ok("0"));
        check("state: {running: {}}", true, Err("previous terminated container \"c\" in pod \"p\" not found"));
        check(&format!("state: {{waiting: {{reason: CrashLoopBackOff}}}}, {last}"), false, Ok("0"));
        let waiting = "container \"c\" in pod \"p\" is waiting to start: ";
        check("state: {waiting: {reason: ErrImagePull}}", false, Err(&format!("{waiting}image can't be pulled")));
        check("state: {waiting: {reason: X}}", false, Err(&format!("{waiting}X")));
        check("state: {terminated: {exitCode: 0}}", false, Err("container \"c\" in pod \"p\" is terminated"));
        let missing = log_container("p", &PodStatus::default(), "c", false);
        assert_eq!(missing, Err("container \"c\" in pod \"p\" is not available".into()));
    }
}
