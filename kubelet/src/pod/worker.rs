//! The life of one pod on this node: sync, then terminating, then terminated; one task a pod
//! (pkg/kubelet/pod_workers.go, kubelet.go@v1.37.2: SyncPod, SyncTerminatingPod, SyncTerminatedPod).
//!
//! Invariant: stages only go forward. What is asked of a pod is a mailbox in which the latest wins;
//! a termination interrupts whatever the sync stage waits for, a shorter grace interrupts a longer
//! one.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::events::{self, WARNING};
use super::observe::observe;
use super::observed::Observed;
use super::plan::plan;
use super::run::{RETRY, Run};
use super::status::{Facts, Waits, generate, seconds_left};
use super::{kill, shape};
use crate::kubelet::Kubelet;
use crate::source::mirror;
use crate::volumes;

/// Wait after a failure to end or clean up a pod.
const CLEANUP_RETRY: Duration = Duration::from_secs(1);
/// First and longest wait after a volume could not be made.
const VOLUME_RETRY_MIN: Duration = Duration::from_millis(500);
const VOLUME_RETRY_MAX: Duration = Duration::from_secs(122);
/// Part of the sync frequency by which syncs are spread (workerResyncIntervalJitterFactor).
const JITTER: f64 = 0.5;

/// What is wanted of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) pod: Arc<Pod>,
    /// The pod is in no source any more.
    pub(crate) removed: bool,
}

impl Order {
    fn ends(&self) -> bool {
        self.removed || shape::is_deleted(&self.pod) || shape::is_terminal(&self.pod)
    }

    /// Seconds that the pod's containers get.
    fn grace(&self) -> i64 {
        shape::grace_seconds(&self.pod).max(1)
    }
}

pub(crate) struct Worker {
    pub(crate) kubelet: Arc<Kubelet>,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) kick: Arc<Notify>,
    waits: Waits,
    volume_retry: Duration,
}

/// How a sync ended.
enum Next {
    /// Sync again after this, or when something happens.
    Wait(Duration),
    /// Nothing of the pod is started again.
    Over,
}

impl Worker {
    pub(crate) fn new(kubelet: Arc<Kubelet>, orders: watch::Receiver<Order>, kick: Arc<Notify>) -> Self {
        Worker { kubelet, orders, kick, waits: Waits::new(), volume_retry: VOLUME_RETRY_MIN }
    }

    pub(crate) async fn run(mut self) {
        self.syncing().await;
        self.terminating().await;
        self.terminated().await;
        let order = self.orders.borrow().clone();
        self.kubelet.workers.finished(&self.kubelet, &order);
    }

    async fn syncing(&mut self) {
        let mut ends = self.orders.clone();
        let mut ended = std::pin::pin!(async move {
            // A mailbox that is gone ends the pod as well: the kubelet stops.
            let _ = ends.wait_for(Order::ends).await;
        });
        loop {
            let next = tokio::select! {
                biased;
                () = &mut ended => return,
                next = self.sync() => next,
            };
            let Next::Wait(pause) = next else { return };
            let mut orders = self.orders.clone();
            tokio::select! {
                biased;
                () = &mut ended => return,
                () = self.kick.notified() => {}
                _ = orders.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn observe(&self, pod: &Pod) -> cri::Result<Observed> {
        observe(&self.kubelet.runtime, &self.kubelet.node.runtime_name(), shape::uid(pod)).await
    }

    /// Makes the status of what was observed and hands it to the reporter; returns the phase.
    fn report(&self, pod: &Arc<Pod>, observed: &Observed, is_over: bool) -> String {
        let kubelet = &self.kubelet;
        let old = kubelet.reporter.status(pod);
        let probes = kubelet.prober.snapshot(observed);
        let host_ips = kubelet.node.host_ips();
        let is_late = seconds_left(pod, &old, Timestamp::now().as_second()).is_some_and(|left| left < 0);
        let facts = Facts {
            pod,
            observed,
            old: &old,
            waits: &self.waits,
            probes: &probes,
            host_ips: &host_ips,
            is_over,
            is_late,
        };
        let status = generate(&facts);
        let phase = status.phase.clone().unwrap_or_default();
        kubelet.reporter.set(pod, status);
        kubelet.prober.nudge(shape::uid(pod));
        phase
    }

    /// When to look again without a reason: spread out, and when the pod's time is up.
    fn resync(&self, pod: &Pod) -> Duration {
        let usual = self.kubelet.config.sync_frequency.mul_f64(1.0 + JITTER * rand::random::<f64>());
        let status = self.kubelet.reporter.status(pod);
        let left = seconds_left(pod, &status, Timestamp::now().as_second());
        left.and_then(|left| u64::try_from(left + 1).ok()).map_or(usual, |left| usual.min(Duration::from_secs(left)))
    }

    async fn sync(&mut self) -> Next {
        let pod = self.orders.borrow_and_update().pod.clone();
        let kubelet = self.kubelet.clone();
        if !shape::is_static(&pod) {
            kubelet.objects.register(&pod);
        }
        let observed = match self.observe(&pod).await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::debug!(pod = shape::display(&pod), %error, "pod not observed, will retry");
                return Next::Wait(CLEANUP_RETRY);
            }
        };
        if matches!(self.report(&pod, &observed, false).as_str(), "Succeeded" | "Failed") {
            return Next::Over;
        }
        match self.prepared(&pod).await {
            Ok(ready) => self.act(&pod, &observed, &ready).await,
            Err(wait) => Next::Wait(wait),
        }
    }

    async fn act(&mut self, pod: &Arc<Pod>, observed: &Observed, volumes: &volumes::Volumes) -> Next {
        let kubelet = self.kubelet.clone();
        kubelet.prober.add_pod(&kubelet, pod);
        let actions = plan(pod, observed, &kubelet.prober.snapshot(observed));
        let run = Run { kubelet: &kubelet, pod, observed, volumes, waits: &mut self.waits };
        let outcome = run.perform(actions).await;
        if (outcome.acted || outcome.retry.is_some())
            && let Ok(observed) = self.observe(pod).await
            && matches!(self.report(pod, &observed, false).as_str(), "Succeeded" | "Failed")
        {
            return Next::Over;
        }
        Next::Wait(outcome.retry.unwrap_or_else(|| self.resync(pod)))
    }

    /// Everything that the pod needs from the node before a container can start.
    async fn prepared(&mut self, pod: &Arc<Pod>) -> Result<volumes::Volumes, Duration> {
        let kubelet = self.kubelet.clone();
        let network = kubelet.node.health().network;
        if let Some(error) = network.filter(|_| !shape::host_network(pod)) {
            let text = format!("network is not ready: {error}");
            events::about_pod(&kubelet.recorder, pod, WARNING, events::NETWORK_NOT_READY, text);
            return Err(RETRY);
        }
        if let Some(cgroups) = &kubelet.cgroups
            && let Err(error) = cgroups.ensure_pod(pod)
        {
            let text = format!("unable to ensure pod container exists: {error}");
            events::about_pod(&kubelet.recorder, pod, WARNING, "FailedCreatePodContainer", text);
            return Err(RETRY);
        }
        kubelet.workers.share_burstable(&kubelet);
        if shape::is_static(pod) {
            // Not awaited: a static pod runs without an API server too.
            let (kubelet, pod) = (kubelet.clone(), pod.clone());
            kubelet.tasks.clone().run("mirror pod", async move { mirror::ensure(&kubelet, &pod).await });
        }
        if let Err(error) = self.make_folders(pod) {
            let text = format!("error making pod data directories: {error}");
            events::about_pod(&kubelet.recorder, pod, WARNING, events::FAILED, text);
            return Err(RETRY);
        }
        match volumes::prepare(&kubelet, pod).await {
            Ok(ready) => {
                self.volume_retry = VOLUME_RETRY_MIN;
                Ok(ready)
            }
            Err(failure) => {
                let text = format!("MountVolume.SetUp failed for volume {:?} : {}", failure.volume, failure.text);
                events::about_pod(&kubelet.recorder, pod, WARNING, events::FAILED_MOUNT, text);
                let wait = self.volume_retry;
                self.volume_retry = (wait * 2).min(VOLUME_RETRY_MAX);
                Err(wait)
            }
        }
    }

    fn make_folders(&self, pod: &Pod) -> std::io::Result<()> {
        if self.kubelet.runtime.is_fake() {
            return Ok(());
        }
        let folder = self.kubelet.config.pod_dir(shape::uid(pod));
        ["", "volumes", "plugins", "containers"].iter().try_for_each(|name| std::fs::create_dir_all(folder.join(name)))
    }

    async fn terminating(&mut self) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            let grace = order.grace();
            let mut orders = self.orders.clone();
            let shorter = async move {
                let _ = orders.wait_for(|order| order.grace() < grace).await;
                if orders.has_changed().is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let done = tokio::select! {
                done = self.terminate(&order) => done,
                // Begin again with less.
                () = shorter => continue,
            };
            match done {
                Ok(()) => return,
                Err(error) => {
                    let text = format!("error killing pod: {error}");
                    events::about_pod(&self.kubelet.recorder, &order.pod, WARNING, events::FAILED_KILL, text);
                    tokio::time::sleep(CLEANUP_RETRY).await;
                }
            }
        }
    }

    async fn terminate(&mut self, order: &Order) -> Result<(), String> {
        let (kubelet, pod) = (self.kubelet.clone(), &order.pod);
        let observed = self.observe(pod).await.map_err(|e| e.to_string())?;
        if !observed.is_quiet() {
            self.report(pod, &observed, false);
            kubelet.prober.stop_restarting(shape::uid(pod));
            kill::pod(&kubelet, pod, &observed, Some(order.grace())).await.map_err(|e| e.to_string())?;
        }
        kubelet.prober.remove_pod(shape::uid(pod));
        let observed = self.observe(pod).await.map_err(|e| e.to_string())?;
        if let Some(seen) = observed.running().next() {
            return Err(format!("container {} still runs", seen.name));
        }
        self.waits.clear();
        self.report(pod, &observed, true);
        kubelet.reporter.ended(shape::uid(pod));
        Ok(())
    }

    /// Gives back what the pod held on the node, then lets the API forget it.
    async fn terminated(&mut self) {
        let order = self.orders.borrow().clone();
        let (kubelet, uid) = (self.kubelet.clone(), shape::uid(&order.pod).to_owned());
        while !self.clean(&uid) {
            tokio::time::sleep(CLEANUP_RETRY).await;
        }
        kubelet.objects.forget(&uid);
        kubelet.tokens.forget(&uid);
        kubelet.written.forget(&uid);
        kubelet.reporter.finish(&order.pod);
    }

    fn clean(&self, uid: &str) -> bool {
        let cgroup_gone = self.kubelet.cgroups.as_ref().is_none_or(|cgroups| cgroups.remove_pod(uid));
        if self.kubelet.runtime.is_fake() {
            return cgroup_gone;
        }
        match volumes::teardown::remove(&self.kubelet.config.pod_dir(uid)) {
            Ok(gone) => gone && cgroup_gone,
            Err(error) => {
                tracing::warn!(uid, %error, "pod folder not removed, will retry");
                false
            }
        }
    }
}
