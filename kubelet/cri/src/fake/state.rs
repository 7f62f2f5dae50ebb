//! The records of a fake runtime and the rules of their states.

use std::collections::BTreeMap;

use tonic::Code;

use super::Options;
use super::addresses::Addresses;
use super::images::Images;
use super::script::{self, End};
use crate::v1::*;
use crate::{Error, Result};

/// Exit code of a process that SIGTERM ended, which is what most programs do when stopped.
const EXIT_TERMINATED: i32 = 143;

pub(super) struct Sandbox {
    pub(super) config: PodSandboxConfig,
    pub(super) ready: bool,
    pub(super) created_at: i64,
    pub(super) ip: Option<std::net::IpAddr>,
    pub(super) handler: String,
}

pub(super) struct Container {
    pub(super) sandbox_id: String,
    pub(super) status: ContainerStatus,
    /// Unless it goes on until told otherwise.
    pub(super) end: Option<End>,
}

pub(super) struct State {
    pub(super) addresses: Addresses,
    pub(super) images: Images,
    pub(super) sandboxes: BTreeMap<String, Sandbox>,
    pub(super) containers: BTreeMap<String, Container>,
}

impl State {
    pub(super) fn new(options: &Options) -> Result<Self> {
        Ok(State {
            addresses: Addresses::new(&options.pod_cidr)?,
            images: Images::new(&options.absent_images),
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
        })
    }

    pub(super) fn run_sandbox(&mut self, id: String, request: RunPodSandboxRequest, now: i64) -> Result<()> {
        let config = request.config.ok_or_else(|| Error::new(Code::InvalidArgument, "sandbox config is nil"))?;
        let host_network = namespaces(&config).is_some_and(|options| options.network == NamespaceMode::Node as i32);
        let ip = if host_network { None } else { Some(self.addresses.take()?) };
        let sandbox = Sandbox { config, ready: true, created_at: now, ip, handler: request.runtime_handler };
        self.sandboxes.insert(id, sandbox);
        Ok(())
    }

    pub(super) fn stop_sandbox(&mut self, id: &str, now: i64) -> Vec<ContainerEventResponse> {
        let running: Vec<String> =
            self.of_sandbox(id).filter(|(_, c)| is_running(c)).map(|(id, _)| id.clone()).collect();
        let mut events: Vec<_> =
            running.iter().filter_map(|id| self.exit(id, EXIT_TERMINATED, now).ok().flatten()).collect();
        if let Some(sandbox) = self.sandboxes.get_mut(id).filter(|sandbox| sandbox.ready) {
            sandbox.ready = false;
            if let Some(ip) = sandbox.ip.take() {
                self.addresses.give_back(ip);
            }
            events.extend(self.event(id, id, ContainerEventType::ContainerStoppedEvent, now));
        }
        events
    }

    pub(super) fn remove_sandbox(&mut self, id: &str, now: i64) -> Vec<ContainerEventResponse> {
        let mut events = self.stop_sandbox(id, now);
        let containers: Vec<String> = self.of_sandbox(id).map(|(id, _)| id.clone()).collect();
        for container in &containers {
            self.containers.remove(container);
        }
        events.extend(self.event(id, id, ContainerEventType::ContainerDeletedEvent, now));
        self.sandboxes.remove(id);
        events
    }

    pub(super) fn create(&mut self, id: String, request: CreateContainerRequest, now: i64) -> Result<()> {
        let config = request.config.ok_or_else(|| Error::new(Code::InvalidArgument, "container config is nil"))?;
        let sandbox_id = request.pod_sandbox_id;
        if !self.sandboxes.get(&sandbox_id).is_some_and(|sandbox| sandbox.ready) {
            let text = format!("failed to find sandbox id {sandbox_id:?}: not found");
            return Err(Error::new(Code::NotFound, text));
        }
        let name = config.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
        let image = self.images.get(&name).ok_or_else(|| {
            Error::new(Code::NotFound, format!("failed to resolve image {name:?}: {name:?}: not found"))
        })?;
        let pod = &self.sandboxes[&sandbox_id].config;
        let end = script::end(pod, &config);
        let log_dir = &pod.log_directory;
        let status = ContainerStatus {
            id: id.clone(),
            metadata: config.metadata,
            state: ContainerState::ContainerCreated as i32,
            created_at: now,
            image: image.spec.clone(),
            image_ref: image.repo_digests.first().cloned().unwrap_or(image.id.clone()),
            image_id: image.id,
            labels: config.labels,
            annotations: config.annotations,
            mounts: config.mounts,
            log_path: format!("{log_dir}/{}", config.log_path),
            ..ContainerStatus::default()
        };
        self.containers.insert(id, Container { sandbox_id, status, end });
        Ok(())
    }

    /// How a container ends by itself.
    pub(super) fn end(&self, id: &str) -> Option<End> {
        self.containers.get(id)?.end
    }

    pub(super) fn start(&mut self, id: &str, now: i64) -> Result<Option<ContainerEventResponse>> {
        let container = self.containers.get_mut(id).ok_or_else(|| not_found("container", id))?;
        if container.status.state != ContainerState::ContainerCreated as i32 {
            let text = format!("container {id:?} is not in created state");
            return Err(Error::new(Code::FailedPrecondition, text));
        }
        container.status.state = ContainerState::ContainerRunning as i32;
        container.status.started_at = now;
        let sandbox = container.sandbox_id.clone();
        Ok(self.event(id, &sandbox, ContainerEventType::ContainerStartedEvent, now))
    }

    pub(super) fn stop(&mut self, id: &str, now: i64) -> Result<Option<ContainerEventResponse>> {
        match self.containers.get(id) {
            Some(container) if is_running(container) => self.exit(id, EXIT_TERMINATED, now),
            _ => Ok(None),
        }
    }

    pub(super) fn exit(&mut self, id: &str, code: i32, now: i64) -> Result<Option<ContainerEventResponse>> {
        let container = self.containers.get_mut(id).ok_or_else(|| not_found("container", id))?;
        if container.status.state != ContainerState::ContainerRunning as i32 {
            return Err(Error::new(Code::FailedPrecondition, format!("container {id:?} is not running")));
        }
        container.status.state = ContainerState::ContainerExited as i32;
        container.status.finished_at = now;
        container.status.exit_code = code;
        container.status.reason = if code == 0 { "Completed" } else { "Error" }.into();
        let sandbox = container.sandbox_id.clone();
        Ok(self.event(id, &sandbox, ContainerEventType::ContainerStoppedEvent, now))
    }

    pub(super) fn remove(&mut self, id: &str, now: i64) -> Option<ContainerEventResponse> {
        let sandbox = self.containers.get(id)?.sandbox_id.clone();
        let event = self.event(id, &sandbox, ContainerEventType::ContainerDeletedEvent, now);
        self.containers.remove(id);
        event
    }

    pub(super) fn running(&self) -> Vec<String> {
        self.containers.iter().filter(|(_, c)| is_running(c)).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn of_sandbox<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (&'a String, &'a Container)> {
        self.containers.iter().filter(move |(_, container)| container.sandbox_id == id)
    }

    pub(super) fn sandbox_status(&self, id: &str) -> Option<PodSandboxStatus> {
        let sandbox = self.sandboxes.get(id)?;
        let namespaces = Namespace { options: namespaces(&sandbox.config).cloned() };
        Some(PodSandboxStatus {
            id: id.to_owned(),
            metadata: sandbox.config.metadata.clone(),
            state: sandbox_state(sandbox),
            created_at: sandbox.created_at,
            network: Some(PodSandboxNetworkStatus {
                ip: sandbox.ip.map(|ip| ip.to_string()).unwrap_or_default(),
                additional_ips: vec![],
            }),
            linux: Some(LinuxPodSandboxStatus { namespaces: Some(namespaces) }),
            labels: sandbox.config.labels.clone(),
            annotations: sandbox.config.annotations.clone(),
            runtime_handler: sandbox.handler.clone(),
        })
    }

    fn event(
        &self,
        id: &str,
        sandbox: &str,
        kind: ContainerEventType,
        created_at: i64,
    ) -> Option<ContainerEventResponse> {
        Some(ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind as i32,
            created_at,
            pod_sandbox_status: Some(self.sandbox_status(sandbox)?),
            containers_statuses: vec![],
        })
    }
}

pub(super) fn sandbox_state(sandbox: &Sandbox) -> i32 {
    if sandbox.ready { PodSandboxState::SandboxReady as i32 } else { PodSandboxState::SandboxNotready as i32 }
}

fn is_running(container: &Container) -> bool {
    container.status.state == ContainerState::ContainerRunning as i32
}

fn namespaces(config: &PodSandboxConfig) -> Option<&NamespaceOption> {
    config.linux.as_ref()?.security_context.as_ref()?.namespace_options.as_ref()
}

pub(super) fn not_found(kind: &str, id: &str) -> Error {
    Error::new(Code::NotFound, format!("an error occurred when try to find {kind} {id:?}: not found"))
}
