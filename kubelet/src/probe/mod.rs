//! Probes: one task a probe of a container, and the results they leave
//! (pkg/kubelet/prober/*.go@v1.37.2).
//!
//! Invariant: a result belongs to a container id; a new id starts over.

pub(crate) mod check;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod results;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;

use client::task::Tasks;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::kubelet::Kubelet;
use crate::pod::observed::Observed;
use crate::pod::shape;
use results::{Outcome, ProbeKind, Probes};

struct Running {
    tasks: Tasks,
    trigger: Arc<Notify>,
}

/// Pod uid, container, kind.
type Id = (String, String, ProbeKind);

#[derive(Default)]
pub(crate) struct Prober {
    results: Mutex<Probes>,
    workers: Mutex<HashMap<Id, Running>>,
}

fn spec(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
    }
}

const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];

impl Prober {
    /// Starts the probes of a pod that do not run yet.
    pub(crate) fn add_pod(&self, kubelet: &Arc<Kubelet>, pod: &Arc<Pod>) {
        let probed = |container: &&Container| {
            shape::is_sidecar(container) || shape::spec(pod).containers.iter().any(|c| c.name == container.name)
        };
        for container in shape::long_lived(pod).filter(probed) {
            for kind in KINDS {
                let Some(probe) = spec(container, kind) else { continue };
                let id = (shape::uid(pod).to_owned(), container.name.clone(), kind);
                let mut workers = self.workers.lock();
                if workers.contains_key(&id) {
                    continue;
                }
                let running = Running { tasks: kubelet.tasks.child(), trigger: Arc::new(Notify::new()) };
                let worker = worker::Worker::new(kubelet.clone(), pod, container, probe, kind, running.trigger.clone());
                running.tasks.run("probe", worker.run());
                workers.insert(id, running);
            }
        }
    }

    /// Liveness and startup no longer matter while a pod ends; readiness does.
    pub(crate) fn stop_restarting(&self, uid: &str) {
        self.stop(|(pod, _, kind)| pod == uid && *kind != ProbeKind::Readiness);
    }

    pub(crate) fn remove_pod(&self, uid: &str) {
        self.stop(|(pod, ..)| pod == uid);
    }

    fn stop(&self, which: impl Fn(&Id) -> bool) {
        self.workers.lock().retain(|id, running| {
            let stopped = which(id);
            if stopped {
                running.tasks.cancel();
            }
            !stopped
        });
    }

    fn ended(&self, id: &Id) {
        self.workers.lock().remove(id);
    }

    /// The results of a pod's containers.
    pub(crate) fn snapshot(&self, observed: &Observed) -> Probes {
        let results = self.results.lock();
        let mut found = Probes::default();
        for seen in &observed.containers {
            for kind in KINDS {
                if let Some(outcome) = results.get(kind, &seen.id) {
                    found.record(kind, &seen.id, outcome);
                }
            }
        }
        found
    }

    /// Probes whose container has just started need not wait for their next tick.
    pub(crate) fn nudge(&self, uid: &str) {
        for ((pod, ..), running) in self.workers.lock().iter() {
            if pod == uid {
                running.trigger.notify_one();
            }
        }
    }

    fn record(&self, kind: ProbeKind, id: &str, outcome: Outcome) -> bool {
        self.results.lock().record(kind, id, outcome)
    }

    fn forget(&self, kind: ProbeKind, id: &str) {
        self.results.lock().forget(kind, id);
    }
}
