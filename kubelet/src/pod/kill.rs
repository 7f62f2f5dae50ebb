//! Ending containers and pods: hooks, grace, and the order of sidecars
//! (pkg/kubelet/kuberuntime/kuberuntime_container.go, kuberuntime_termination_order.go@v1.37.2).
//!
//! Invariant: a container gets SIGTERM once its preStop hook is done and its turn has come, and at
//! least 2 s before SIGKILL.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cri::v1::{RemoveContainerRequest, RemovePodSandboxRequest, StopContainerRequest, StopPodSandboxRequest};
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;

use super::events::{self, NORMAL, WARNING};
use super::observed::{Observed, Seen};
use super::plan::Why;
use super::{hooks, shape};
use crate::kubelet::Kubelet;

/// Least seconds between SIGTERM and SIGKILL (minimumGracePeriodInSeconds).
const GRACE_MIN: i64 = 2;

/// How one container is to end.
pub(crate) struct Kill<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) message: String,
    pub(crate) why: Why,
    /// Seconds that overrule the pod's own.
    pub(crate) grace: Option<i64>,
}

/// Seconds that a container gets.
fn grace(pod: &Pod, container: &Container, why: Why) -> i64 {
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        return seconds;
    }
    let probe = match why {
        Why::StartupProbe => container.startup_probe.as_ref(),
        Why::LivenessProbe => container.liveness_probe.as_ref(),
        Why::Unknown | Why::Other => None,
    };
    probe.and_then(|probe| probe.termination_grace_period_seconds).unwrap_or_else(|| shape::grace_seconds(pod))
}

/// Ends one container.
pub(crate) async fn container(
    kubelet: &Kubelet,
    pod: &Pod,
    kill: Kill<'_>,
    turn: Option<Turn>,
    ip: &str,
) -> cri::Result<()> {
    let spec = shape::container(pod, kill.name)
        .unwrap_or_else(|| Container { name: kill.name.into(), ..Container::default() });
    let mut left = kill.grace.unwrap_or_else(|| grace(pod, &spec, kill.why));
    let message = match kill.message.is_empty() {
        true => format!("Stopping container {}", kill.name),
        false => kill.message,
    };
    events::about_container(&kubelet.recorder, pod, kill.name, NORMAL, events::KILLING, message);
    let hook = spec.lifecycle.as_ref().and_then(|hooks| hooks.pre_stop.as_ref());
    if let Some(hook) = hook.filter(|_| left > 0) {
        let began = Instant::now();
        let limit = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        let ran = tokio::time::timeout(limit, hooks::run(kubelet, pod, &spec, kill.id, ip, hook)).await;
        if let Ok(Err(_)) = ran {
            // Without the hook's own text: it may hold secrets of the server asked.
            let reason = events::FAILED_PRE_STOP;
            events::about_container(&kubelet.recorder, pod, kill.name, WARNING, reason, "PreStopHook failed");
        }
        left -= i64::try_from(began.elapsed().as_secs()).unwrap_or(0);
    }
    if let Some(turn) = &turn {
        left -= turn.wait(left).await;
    }
    let request = StopContainerRequest { container_id: kill.id.into(), timeout: left.max(GRACE_MIN) };
    match kubelet.runtime.stop_container(request).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => {
            if let Some(turn) = turn {
                turn.done();
            }
            Ok(())
        }
    }
}

/// Sidecars end after the regular containers, the last started first.
pub(crate) struct Turn {
    before: Vec<watch::Receiver<bool>>,
    ended: watch::Sender<bool>,
}

impl Turn {
    /// Waits for those that end first, at most `seconds`; tells how many were spent.
    async fn wait(&self, seconds: i64) -> i64 {
        let began = Instant::now();
        let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let all = self.before.iter().cloned().map(|mut other| async move {
            // A sender that is gone has ended too.
            let _ = other.wait_for(|ended| *ended).await;
        });
        let _ = tokio::time::timeout(limit, join_all(all)).await;
        i64::try_from(began.elapsed().as_secs()).unwrap_or(0)
    }

    fn done(&self) {
        self.ended.send_replace(true);
    }
}

fn turns(pod: &Pod, running: &[&Seen]) -> HashMap<String, Turn> {
    let senders: HashMap<&str, watch::Sender<bool>> =
        running.iter().map(|seen| (seen.name.as_str(), watch::channel(false).0)).collect();
    let sidecars: Vec<&str> =
        shape::init_containers(pod).iter().filter(|c| shape::is_sidecar(c)).map(|c| c.name.as_str()).collect();
    let regular = |name: &str| shape::spec(pod).containers.iter().any(|c| c.name == name);
    let before = |name: &str| -> Vec<watch::Receiver<bool>> {
        let Some(at) = sidecars.iter().position(|sidecar| *sidecar == name) else { return vec![] };
        let first = |other: &&&str| regular(other) || sidecars[at + 1..].contains(*other);
        senders.keys().filter(first).map(|other| senders[other].subscribe()).collect()
    };
    let waits: Vec<(String, Vec<_>)> = senders.keys().map(|name| ((*name).to_owned(), before(name))).collect();
    let mut senders: HashMap<String, watch::Sender<bool>> =
        senders.into_iter().map(|(name, sender)| (name.to_owned(), sender)).collect();
    waits
        .into_iter()
        .filter_map(|(name, before)| senders.remove(&name).map(|ended| (name, Turn { before, ended })))
        .collect()
}

/// Ends every container, then the sandboxes.
pub(crate) async fn pod(kubelet: &Kubelet, pod: &Pod, observed: &Observed, grace: Option<i64>) -> cri::Result<()> {
    let running: Vec<&Seen> = observed.running().collect();
    let mut turns = turns(pod, &running);
    let ip = observed.ips.first().map(String::as_str).unwrap_or("");
    let kills = running.iter().map(|seen| {
        let kill = Kill { id: &seen.id, name: &seen.name, message: String::new(), why: Why::Other, grace };
        container(kubelet, pod, kill, turns.remove(&seen.name), ip)
    });
    try_join_all(kills).await?;
    for sandbox in observed.ready_sandboxes() {
        let request = StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        tolerate(kubelet.runtime.stop_pod_sandbox(request).await.map(drop))?;
    }
    Ok(())
}

/// Removes what has ended: containers, then sandboxes.
pub(crate) async fn remove_all(kubelet: &Kubelet, observed: &Observed) -> cri::Result<()> {
    for seen in &observed.containers {
        let request = RemoveContainerRequest { container_id: seen.id.clone() };
        tolerate(kubelet.runtime.remove_container(request).await.map(drop))?;
    }
    for sandbox in &observed.sandboxes {
        let id = sandbox.id.clone();
        tolerate(
            kubelet.runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await.map(drop),
        )?;
        let request = RemovePodSandboxRequest { pod_sandbox_id: id };
        tolerate(kubelet.runtime.remove_pod_sandbox(request).await.map(drop))?;
    }
    Ok(())
}

fn tolerate(done: cri::Result<()>) -> cri::Result<()> {
    done.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn graces() {
        let spec = "{terminationGracePeriodSeconds: 20, containers: [{name: a, livenessProbe: {terminationGracePeriodSeconds: 5}}]}";
        let mut pod = pod(spec);
        let container = shape::spec(&pod).containers[0].clone();
        assert_eq!(grace(&pod, &container, Why::Other), 20);
        assert_eq!(grace(&pod, &container, Why::LivenessProbe), 5);
        pod.metadata.deletion_grace_period_seconds = Some(1);
        assert_eq!(grace(&pod, &container, Why::LivenessProbe), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sidecar_waits_for_the_others() {
        let pod = pod(
            "{initContainers: [{name: s, restartPolicy: Always}, {name: t, restartPolicy: Always}], containers: [{name: a}]}",
        );
        let seen = |name: &str| super::super::plan::tests::seen(&format!("{name}=running"));
        let all = [seen("s"), seen("t"), seen("a")];
        let turns = turns(&pod, &all.iter().collect::<Vec<_>>());
        assert_eq!(turns["a"].before.len(), 0);
        assert_eq!(turns["t"].before.len(), 1);
        assert_eq!(turns["s"].before.len(), 2);
        let waited = async |name: &str| {
            let began = tokio::time::Instant::now();
            turns[name].wait(9).await;
            began.elapsed().as_secs()
        };
        assert_eq!(waited("t").await, 9);
        turns["a"].done();
        assert_eq!((waited("t").await, waited("s").await), (0, 9));
    }
}
