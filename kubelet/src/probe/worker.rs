//! The loop of one probe (pkg/kubelet/prober/worker.go@v1.37.2).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, Probe};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::check::{self, Verdict};
use super::results::{Outcome, ProbeKind};
use crate::kubelet::Kubelet;
use crate::pod::events::{self, WARNING};
use crate::pod::phase::find;
use crate::pod::shape;
use crate::pod::status::bare_id;

/// Attempts of a probe that could not be made (maxProbeRetries).
const ATTEMPTS_MAX: u32 = 3;
/// A container that started this long before the kubelet keeps its reported state until probed.
const RESTART_GRACE: i64 = 10;

pub(super) struct Worker {
    kubelet: Arc<Kubelet>,
    pod: Arc<Pod>,
    container: Container,
    probe: Probe,
    kind: ProbeKind,
    trigger: Arc<Notify>,
    id: String,
    last: Option<Outcome>,
    run: i32,
    on_hold: bool,
}

impl Worker {
    pub(super) fn new(
        kubelet: Arc<Kubelet>,
        pod: &Arc<Pod>,
        container: &Container,
        probe: &Probe,
        kind: ProbeKind,
        trigger: Arc<Notify>,
    ) -> Self {
        Worker {
            kubelet,
            pod: pod.clone(),
            container: container.clone(),
            probe: probe.clone(),
            kind,
            trigger,
            id: String::new(),
            last: None,
            run: 0,
            on_hold: false,
        }
    }

    pub(super) async fn run(mut self) {
        let period = Duration::from_secs(u64::try_from(self.probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1));
        let up = Timestamp::now().as_second() - self.kubelet.started.as_second();
        if i64::try_from(period.as_secs()).is_ok_and(|period| period > up) {
            // After a restart of the kubelet not all probes at once.
            let spread = tokio::time::sleep(period.mul_f64(rand::random()));
            tokio::select! { () = spread => {}, () = self.wanted() => {} }
        }
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.once().await {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.wanted() => ticks.reset(),
            }
        }
        self.kubelet.prober.forget(self.kind, &self.id);
        let id = (shape::uid(&self.pod).to_owned(), self.container.name.clone(), self.kind);
        self.kubelet.prober.ended(&id);
    }

    /// Returns when there is a container that this probe has said nothing good about yet.
    async fn wanted(&self) {
        loop {
            self.trigger.notified().await;
            let status = self.kubelet.reporter.made(shape::uid(&self.pod));
            let statuses = status.map(|s| {
                [s.init_container_statuses, s.container_statuses].into_iter().flatten().flatten().collect::<Vec<_>>()
            });
            let Some(current) = statuses.as_deref().and_then(|all| find(all, &self.container.name)) else { continue };
            let running = current.state.as_ref().is_some_and(|state| state.running.is_some());
            let fresh = bare_id(current.container_id.as_deref().unwrap_or("")) != self.id;
            let waiting = match self.kind {
                ProbeKind::Readiness => current.started == Some(true) && !current.ready && self.last.is_none(),
                ProbeKind::Startup | ProbeKind::Liveness => false,
            };
            if running && (fresh || waiting) {
                return;
            }
        }
    }

    fn set(&self, outcome: Outcome) {
        if self.kubelet.prober.record(self.kind, &self.id, outcome) {
            self.kubelet.workers.kick(shape::uid(&self.pod));
        }
    }

    /// One look at the container; false when there is nothing more to probe.
    async fn once(&mut self) -> bool {
        let Some(status) = self.kubelet.reporter.made(shape::uid(&self.pod)) else { return true };
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return false;
        }
        let all: Vec<ContainerStatus> =
            [status.container_statuses, status.init_container_statuses].into_iter().flatten().flatten().collect();
        let Some(current) = find(&all, &self.container.name).filter(|c| c.container_id.is_some()) else { return true };
        self.notice(current);
        if self.on_hold {
            return true;
        }
        let state = current.state.clone().unwrap_or_default();
        let Some(running) = state.running else {
            self.set(Outcome::Failure);
            return state
                .terminated
                .is_none_or(|ended| shape::should_restart(&self.container, &self.pod, ended.exit_code));
        };
        let since = running.started_at.map_or(0, |time| Timestamp::now().as_second() - time.0.as_second());
        if since < i64::from(self.probe.initial_delay_seconds.unwrap_or(0)) {
            return true;
        }
        // Startup decides first; the others wait for it.
        if (current.started == Some(true)) == (self.kind == ProbeKind::Startup) {
            return true;
        }
        let ip = status.pod_ip.unwrap_or_default();
        if let Some(outcome) = self.ask(&ip).await {
            self.count(outcome);
        }
        true
    }

    /// A new container of that name starts over.
    fn notice(&mut self, current: &ContainerStatus) {
        let id = bare_id(current.container_id.as_deref().unwrap_or("")).to_owned();
        if id == self.id {
            return;
        }
        self.kubelet.prober.forget(self.kind, &self.id);
        self.id = id;
        (self.last, self.run, self.on_hold) = (None, 0, false);
        let started =
            current.state.as_ref().and_then(|s| s.running.as_ref()?.started_at.as_ref().map(|t| t.0.as_second()));
        let from_before = started.is_some_and(|started| started < self.kubelet.started.as_second() - RESTART_GRACE);
        if !from_before {
            self.set(match self.kind {
                ProbeKind::Readiness => Outcome::Failure,
                ProbeKind::Liveness => Outcome::Success,
                ProbeKind::Startup => Outcome::Unknown,
            });
        }
    }

    async fn ask(&self, ip: &str) -> Option<Outcome> {
        let mut answer = Err(String::new());
        for _ in 0..ATTEMPTS_MAX {
            answer = check::check(&self.kubelet, &self.probe, &self.container, &self.id, ip).await;
            if answer.is_ok() {
                break;
            }
        }
        let title = self.kind.title();
        let event = |reason: &str, text: String| {
            events::about_container(&self.kubelet.recorder, &self.pod, &self.container.name, WARNING, reason, text);
        };
        match answer {
            Ok(Verdict::Success) => Some(Outcome::Success),
            Ok(Verdict::Warning(text)) => {
                event(events::PROBE_WARNING, format!("{title} probe warning: {text}"));
                Some(Outcome::Success)
            }
            Ok(Verdict::Failure(text)) => {
                event(events::UNHEALTHY, format!("{title} probe failed: {text}"));
                Some(Outcome::Failure)
            }
            Err(text) => {
                event(events::UNHEALTHY, format!("{title} probe errored and resulted in unknown state: {text}"));
                None
            }
        }
    }

    /// A result counts once it was seen often enough in a row.
    fn count(&mut self, outcome: Outcome) {
        self.run = if self.last == Some(outcome) { self.run + 1 } else { 1 };
        self.last = Some(outcome);
        let needed = match outcome {
            Outcome::Failure => self.probe.failure_threshold.unwrap_or(3),
            _ => self.probe.success_threshold.unwrap_or(1),
        };
        if self.run < needed {
            return;
        }
        self.set(outcome);
        if self.kind == ProbeKind::Startup || (self.kind == ProbeKind::Liveness && outcome == Outcome::Failure) {
            // The container is about to be restarted, or has started: look again when it is another.
            (self.on_hold, self.run) = (true, 0);
        }
    }
}
