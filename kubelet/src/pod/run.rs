//! Does what the plan says (pkg/kubelet/kuberuntime/kuberuntime_manager.go@v1.37.2, SyncPod).
//!
//! Invariant: a failure is an event and a waiting state of the container, and comes back as the time
//! after which to try again; nothing here decides what is to be done.

use std::time::Duration;

use cri::v1::{CreateContainerRequest, PodSandboxConfig, RemoveContainerRequest, StartContainerRequest};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::events::{self, NORMAL, WARNING};
use super::kill::{self, Kill};
use super::observed::{Observed, Sandbox, State, sandbox as needed_sandbox};
use super::plan::{Action, Kind, Why};
use super::status::Waits;
use super::{backoff, container, hooks, sandbox, shape};
use crate::images::{Need, Wait};
use crate::kubelet::Kubelet;
use crate::volumes::Volumes;

/// Wait after a failure that has no back-off of its own (backOffPeriod).
pub(crate) const RETRY: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Something changed in the runtime: look again.
    pub(crate) acted: bool,
    /// When to try what failed again.
    pub(crate) retry: Option<Duration>,
}

impl Outcome {
    fn again_in(&mut self, wait: Duration) {
        self.retry = Some(self.retry.map_or(wait, |old| old.min(wait)));
    }
}

pub(crate) struct Run<'a> {
    pub(crate) kubelet: &'a Kubelet,
    pub(crate) pod: &'a Pod,
    pub(crate) observed: &'a Observed,
    pub(crate) volumes: &'a Volumes,
    pub(crate) waits: &'a mut Waits,
}

fn now() -> i64 {
    i64::try_from(k8s_openapi::jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// A gRPC error as a message: the text without the code.
fn text(error: &cri::Error) -> String {
    error.message.clone()
}

impl Run<'_> {
    pub(crate) async fn perform(mut self, actions: Vec<Action>) -> Outcome {
        let mut outcome = Outcome::default();
        let (mut sandbox_id, attempt) = match needed_sandbox(self.pod, self.observed) {
            Sandbox::Usable { id } => (id, self.attempt()),
            Sandbox::Needed { attempt, .. } => (String::new(), attempt),
        };
        let mut ips = self.observed.ips.clone();
        for action in actions {
            let done = match action {
                Action::StopPod => self.stop_pod().await,
                Action::PurgeInit => self.purge_init().await,
                Action::CreateSandbox { attempt } => match self.create_sandbox(attempt).await {
                    Ok((id, addresses)) => {
                        (sandbox_id, ips) = (id, addresses);
                        Ok(true)
                    }
                    Err(stop) => Err(stop),
                },
                Action::Kill { id, name, message, why } => self.kill(&id, &name, message, why).await,
                Action::Start { kind, index } => {
                    let config = sandbox::config(self.kubelet, self.pod, attempt);
                    self.start(kind, index, &sandbox_id, config, &ips, &mut outcome).await
                }
            };
            match done {
                Ok(acted) => outcome.acted |= acted,
                Err(retry) => {
                    outcome.acted = true;
                    outcome.again_in(retry);
                    break;
                }
            }
        }
        outcome
    }

    fn attempt(&self) -> u32 {
        self.observed.sandboxes.first().and_then(|sandbox| sandbox.metadata.as_ref()).map_or(0, |m| m.attempt)
    }

    fn about_pod(&self, kind: &str, reason: &str, text: impl Into<String>) {
        events::about_pod(&self.kubelet.recorder, self.pod, kind, reason, text);
    }

    fn about(&self, container: &str, kind: &str, reason: &str, text: impl Into<String>) {
        events::about_container(&self.kubelet.recorder, self.pod, container, kind, reason, text);
    }

    async fn stop_pod(&self) -> Result<bool, Duration> {
        if self.observed.is_quiet() {
            return Ok(false);
        }
        kill::pod(self.kubelet, self.pod, self.observed, None).await.map_err(|error| {
            self.about_pod(WARNING, events::FAILED_KILL, format!("error killing pod: {error}"));
            RETRY
        })?;
        Ok(true)
    }

    /// Init containers run again in a new sandbox: what ended before must not count as done.
    async fn purge_init(&self) -> Result<bool, Duration> {
        let is_init = |name: &str| shape::init_containers(self.pod).iter().any(|c| c.name == name);
        for seen in self.observed.containers.iter().filter(|seen| is_init(&seen.name)) {
            let request = RemoveContainerRequest { container_id: seen.id.clone() };
            self.kubelet.runtime.remove_container(request).await.map_err(|_| RETRY)?;
        }
        Ok(false)
    }

    async fn create_sandbox(&self, attempt: u32) -> Result<(String, Vec<String>), Duration> {
        if let Sandbox::Needed { had: true, .. } = needed_sandbox(self.pod, self.observed) {
            let text = "Pod sandbox changed, it will be killed and re-created.";
            self.about_pod(NORMAL, events::SANDBOX_CHANGED, text);
        }
        let id = sandbox::run(self.kubelet, self.pod, attempt).await.map_err(|error| {
            self.about_pod(WARNING, events::FAILED_SANDBOX, format!("Failed to create pod sandbox: {error}"));
            RETRY
        })?;
        let request = cri::v1::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status = self.kubelet.runtime.pod_sandbox_status(request).await.map_err(|error| {
            let text = format!("Unable to get pod sandbox status: {error}");
            self.about_pod(WARNING, "FailedPodSandBoxStatus", text);
            RETRY
        })?;
        let ips = match shape::host_network(self.pod) {
            true => self.kubelet.node.host_ips(),
            false => status.status.as_ref().map(super::observe::addresses).unwrap_or_default(),
        };
        Ok((id, ips))
    }

    async fn kill(&self, id: &str, name: &str, message: String, why: Why) -> Result<bool, Duration> {
        let ip = self.observed.ips.first().map(String::as_str).unwrap_or("");
        let kill = Kill { id, name, message, why, grace: None };
        kill::container(self.kubelet, self.pod, kill, None, ip).await.map_err(|_| RETRY)?;
        Ok(true)
    }

    async fn start(
        &mut self,
        kind: Kind,
        index: usize,
        sandbox_id: &str,
        config: Result<PodSandboxConfig, String>,
        ips: &[String],
        outcome: &mut Outcome,
    ) -> Result<bool, Duration> {
        let (container, target) = self.chosen(kind, index);
        if let Some(wait) = self.crash_wait(&container) {
            outcome.again_in(wait);
            return if blocks(kind, &container) { Err(wait) } else { Ok(false) };
        }
        let config = config.map_err(|error| ("CreateContainerConfigError".to_owned(), error));
        let started = match (config, target) {
            (Ok(config), Ok(target)) => self.start_one(&container, sandbox_id, &config, ips, target).await,
            (Err(wait), _) | (_, Err(wait)) => Err(wait),
        };
        match started {
            Ok(()) => {
                self.waits.remove(&container.name);
                Ok(true)
            }
            Err(wait) => {
                self.waits.insert(container.name.clone(), wait);
                outcome.again_in(RETRY);
                if blocks(kind, &container) { Err(RETRY) } else { Ok(true) }
            }
        }
    }

    fn chosen(&self, kind: Kind, index: usize) -> (Container, Result<Option<String>, Wait>) {
        match kind {
            Kind::Regular => (shape::spec(self.pod).containers[index].clone(), Ok(None)),
            Kind::Init => (shape::init_containers(self.pod)[index].clone(), Ok(None)),
            Kind::Ephemeral => {
                let ephemeral = &shape::ephemeral_containers(self.pod)[index];
                let target = match ephemeral.target_container_name.as_deref().filter(|name| !name.is_empty()) {
                    None => Ok(None),
                    Some(name) => self.observed.container(name).map(|seen| Some(seen.id.clone())).ok_or_else(|| {
                        let text = format!("unable to find target container {name}");
                        ("CreateContainerConfigError".to_owned(), text)
                    }),
                };
                (shape::as_container(ephemeral), target)
            }
        }
    }

    /// How long a container that ended must still wait; says so in an event and in its state.
    fn crash_wait(&mut self, container: &Container) -> Option<Duration> {
        let ended = self.observed.containers.iter().find(|c| c.name == container.name && c.state == State::Exited)?;
        let image = container.image.as_deref().unwrap_or("");
        let pod = shape::display(self.pod);
        let key = format!("{pod}_{}_{image}", container.name);
        let (since, now) = (ended.finished_at, now());
        let Some(wait) = self.kubelet.restarts.waiting_since(&key, since, now) else {
            self.kubelet.restarts.next(&key, now);
            return None;
        };
        let name = &container.name;
        let text = format!("Back-off restarting failed container {name} in pod {pod}");
        self.about(name, WARNING, events::BACK_OFF, text);
        let text = format!("back-off {} restarting failed container={name} pod={pod}", backoff::go_duration(wait));
        self.waits.insert(name.clone(), ("CrashLoopBackOff".into(), text));
        let spent = u64::try_from(now.saturating_sub(since)).unwrap_or(0);
        Some(wait.saturating_sub(Duration::from_nanos(spent)))
    }

    async fn start_one(
        &self,
        container: &Container,
        sandbox_id: &str,
        sandbox_config: &PodSandboxConfig,
        ips: &[String],
        target: Option<String>,
    ) -> Result<(), Wait> {
        let id = self.create(container, sandbox_id, sandbox_config, ips, target).await?;
        let request = StartContainerRequest { container_id: id.clone() };
        self.kubelet.runtime.start_container(request).await.map_err(|error| {
            let text = text(&error).replace(&id, &container.name);
            self.about(&container.name, WARNING, events::FAILED, format!("Error: {text}"));
            ("RunContainerError".to_owned(), text)
        })?;
        self.about(&container.name, NORMAL, events::STARTED, "Container started");
        let hook = container.lifecycle.as_ref().and_then(|hooks| hooks.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let ip = ips.first().map(String::as_str).unwrap_or("");
        let Err(message) = hooks::run(self.kubelet, self.pod, container, &id, ip, hook).await else { return Ok(()) };
        self.about(&container.name, WARNING, events::FAILED_POST_START, "PostStartHook failed");
        let kill = Kill {
            id: &id,
            name: &container.name,
            message: "FailedPostStartHook".into(),
            why: Why::Other,
            grace: None,
        };
        // It is seen running and killed again by the next plan if this fails.
        let _ = kill::container(self.kubelet, self.pod, kill, None, ip).await;
        Err(("PostStartHookError".into(), message))
    }

    async fn create(
        &self,
        container: &Container,
        sandbox_id: &str,
        sandbox_config: &PodSandboxConfig,
        ips: &[String],
        target: Option<String>,
    ) -> Result<String, Wait> {
        let kubelet = self.kubelet;
        let failed = |reason: &str, text: String| {
            self.about(&container.name, WARNING, events::FAILED, format!("Error: {text}"));
            (reason.to_owned(), text)
        };
        let secrets = self.pull_secrets().await;
        let need = Need {
            pod: self.pod,
            container: &container.name,
            image: container.image.as_deref().unwrap_or(""),
            policy: container.image_pull_policy.as_deref().unwrap_or("IfNotPresent"),
            secrets: &secrets,
            sandbox: sandbox_config,
        };
        let image = kubelet.images.ensure(&need).await.map_err(|(reason, message)| {
            self.about(&container.name, WARNING, events::FAILED, format!("Error: {reason}"));
            (reason, message)
        })?;
        let restart_count = self.restart_count(container);
        let inputs = container::Inputs {
            kubelet,
            pod: self.pod,
            container,
            volumes: self.volumes,
            pod_ips: ips,
            restart_count,
            image_ref: image.image_ref,
            image_user: image.user,
            target,
        };
        let config = container::config(&inputs).await.map_err(|text| failed("CreateContainerConfigError", text))?;
        let log = format!("{}/{}", sandbox_config.log_directory, config.log_path);
        self.make_log_folder(&log).map_err(|e| failed("CreateContainerConfigError", e.to_string()))?;
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox_id.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config.clone()),
        };
        let created = kubelet.runtime.create_container(request).await;
        let id = created.map_err(|e| failed("CreateContainerError", text(&e)))?.container_id;
        self.about(&container.name, NORMAL, events::CREATED, "Container created");
        self.link_log(container, &id, &log);
        Ok(id)
    }

    async fn pull_secrets(&self) -> Vec<std::sync::Arc<k8s_openapi::api::core::v1::Secret>> {
        let mut found = Vec::new();
        for reference in shape::spec(self.pod).image_pull_secrets.iter().flatten() {
            let namespace = shape::namespace(self.pod);
            found.extend(self.kubelet.objects.secrets.get(namespace, &reference.name).await.ok());
        }
        found
    }

    /// One more than the last run; from the log files where the runtime forgot.
    fn restart_count(&self, container: &Container) -> u32 {
        if let Some(seen) = self.observed.container(&container.name) {
            return u32::try_from(seen.restart_count + 1).unwrap_or(0);
        }
        let (namespace, name, uid) = (shape::namespace(self.pod), shape::name(self.pod), shape::uid(self.pod));
        let folder = self.kubelet.config.pod_log_dir(namespace, name, uid).join(&container.name);
        let names =
            std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
        let numbers = names.filter_map(|name| name.split_once(".log")?.0.parse::<u32>().ok());
        numbers.max().map_or(0, |last| last + 1)
    }

    fn make_log_folder(&self, log: &str) -> std::io::Result<()> {
        match std::path::Path::new(log).parent().filter(|_| !self.kubelet.runtime.is_fake()) {
            Some(folder) => std::fs::create_dir_all(folder),
            None => Ok(()),
        }
    }

    /// The link that log shippers follow.
    fn link_log(&self, container: &Container, id: &str, log: &str) {
        let Some(folder) = &self.kubelet.config.container_logs_dir else { return };
        if self.kubelet.runtime.is_fake() {
            return;
        }
        let name = format!("{}_{}_{}-{id}.log", shape::name(self.pod), shape::namespace(self.pod), container.name);
        if let Err(error) = std::os::unix::fs::symlink(log, folder.join(name)) {
            tracing::debug!(%error, "Failed to create legacy symbolic link");
        }
    }
}

/// An init container that did not start holds up all after it.
fn blocks(kind: Kind, container: &Container) -> bool {
    kind == Kind::Init && !shape::is_sidecar(container)
}
