//! What the runtime says about one pod, in the kubelet's terms.
//!
//! Invariant: sandboxes and containers are sorted newest first, so the first of a name is the
//! current one (pkg/kubelet/container/runtime.go@v1.37.2, PodStatus).

use cri::v1::{NamespaceMode, PodSandboxState, PodSandboxStatus};
use k8s_openapi::api::core::v1::Pod;

use super::shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Exited,
    Unknown,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running => "running",
            State::Exited => "exited",
            State::Unknown => "unknown",
        }
    }
}

/// One container, running or not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sandbox_id: String,
    pub(crate) state: State,
    pub(crate) restart_count: i32,
    pub(crate) hash: u64,
    pub(crate) image: String,
    pub(crate) image_ref: String,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) log_path: String,
    /// Nanoseconds since the epoch; 0 for not yet.
    pub(crate) created_at: i64,
    pub(crate) started_at: i64,
    pub(crate) finished_at: i64,
    pub(crate) user: Option<cri::v1::LinuxContainerUser>,
}

/// One pod as the runtime has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The runtime's name, the scheme of container ids.
    pub(crate) runtime: String,
    pub(crate) ips: Vec<String>,
    pub(crate) sandboxes: Vec<PodSandboxStatus>,
    pub(crate) containers: Vec<Seen>,
}

impl Observed {
    /// The current container of that name.
    pub(crate) fn container(&self, name: &str) -> Option<&Seen> {
        self.containers.iter().find(|seen| seen.name == name)
    }

    /// The current container of that name if it belongs to the current, ready sandbox.
    pub(crate) fn active(&self, name: &str) -> Option<&Seen> {
        let sandbox = self.sandboxes.first().filter(|sandbox| is_ready(sandbox))?;
        self.containers.iter().find(|seen| seen.name == name && seen.sandbox_id == sandbox.id)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Seen> {
        self.containers.iter().filter(|seen| matches!(seen.state, State::Running | State::Unknown))
    }

    pub(crate) fn ready_sandboxes(&self) -> impl Iterator<Item = &PodSandboxStatus> {
        self.sandboxes.iter().filter(|sandbox| is_ready(sandbox))
    }

    /// True when nothing of the pod runs and no network is held.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running().next().is_none() && self.ready_sandboxes().next().is_none()
    }

    /// True when a regular container has run in the current sandbox.
    pub(crate) fn has_active_regular(&self, pod: &Pod) -> bool {
        let started = |seen: &Seen| matches!(seen.state, State::Running | State::Exited);
        shape::spec(pod).containers.iter().any(|c| self.active(&c.name).is_some_and(started))
    }

    /// True when any regular container was ever made.
    pub(crate) fn has_any_regular(&self, pod: &Pod) -> bool {
        shape::spec(pod).containers.iter().any(|c| self.container(&c.name).is_some())
    }

    pub(crate) fn full_id(&self, id: &str) -> String {
        format!("{}://{id}", self.runtime)
    }
}

pub(crate) fn is_ready(sandbox: &PodSandboxStatus) -> bool {
    sandbox.state == PodSandboxState::SandboxReady as i32
}

/// What the current sandbox is good for
/// (pkg/kubelet/kuberuntime/util/util.go@v1.37.2, PodSandboxChanged).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sandbox {
    Usable {
        id: String,
    },
    /// A new one is needed; `reason` is what the PodReadyToStartContainers condition says.
    Needed {
        attempt: u32,
        had: bool,
        reason: &'static str,
    },
}

pub(crate) fn sandbox(pod: &Pod, observed: &Observed) -> Sandbox {
    let Some(newest) = observed.sandboxes.first() else {
        return Sandbox::Needed { attempt: 0, had: false, reason: "no pod sandbox exists" };
    };
    let attempt = newest.metadata.as_ref().map_or(0, |metadata| metadata.attempt) + 1;
    let needed = |reason, had| Sandbox::Needed { attempt, had, reason };
    let options = || newest.linux.as_ref()?.namespaces.as_ref()?.options.as_ref();
    let network = options().map_or(NamespaceMode::Pod as i32, |options| options.network);
    let wanted = if shape::host_network(pod) { NamespaceMode::Node } else { NamespaceMode::Pod };
    let no_ip = || newest.network.as_ref().is_some_and(|network| network.ip.is_empty());
    if observed.ready_sandboxes().count() > 1 {
        needed("multiple pod sandboxes are ready and need to be reconciled", true)
    } else if !is_ready(newest) {
        needed("pod sandbox is not ready", true)
    } else if network != wanted as i32 {
        needed("network namespace mode changed and sandbox needs to be recreated", false)
    } else if !shape::host_network(pod) && no_ip() {
        needed("pod sandbox has no IP address", true)
    } else {
        Sandbox::Usable { id: newest.id.clone() }
    }
}
