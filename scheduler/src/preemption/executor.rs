//! Evicts victims while the scheduler goes on (KEP 4832; framework/preemption/executor.go@v1.37.2).
//!
//! Invariant: the preemptor is not tried while its victims are being evicted, but it is never kept
//! out once the last victim is on its way, so that the deletion of that victim wakes it up.

use std::collections::HashMap;
use std::sync::Arc;

use client::Key;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::candidates::Candidate;
use crate::framework::plugin::Nomination;
use crate::handle::Handle;
use crate::pod_info::{PodInfo, Uid};
use crate::pod_status::{self, DISRUPTION_TARGET, Wanted};
use crate::recorder::Note;
use crate::writer::WriteError;

/// Evicts; clones share what is going on.
#[derive(Clone)]
pub(crate) struct Executor {
    handle: Handle,
    /// Preemptors at work, each with the last victim once only that one is left.
    running: Arc<Mutex<HashMap<Uid, Option<Key>>>>,
}

impl Executor {
    pub(crate) fn new(handle: &Handle) -> Self {
        Executor { handle: handle.clone(), running: Arc::default() }
    }

    /// True while the preemptor would only be tried in vain.
    pub(crate) fn is_running(&self, uid: &str) -> bool {
        match self.running.lock().get(uid) {
            None => false,
            Some(None) => true,
            Some(Some(last)) => {
                let victim = self.handle.listers.pods.get(&last.namespace, &last.name);
                victim.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none())
            }
        }
    }

    /// Starts to evict the victims.
    pub(crate) fn start(&self, preemptor: Arc<PodInfo>, candidate: Candidate) {
        let victims: Vec<_> = candidate.victims.iter().filter(|victim| !victim.is_terminating()).cloned().collect();
        if victims.is_empty() {
            return;
        }
        self.running.lock().insert(preemptor.uid.clone(), None);
        let this = self.clone();
        self.handle.tasks.run("preemption", async move {
            let done = this.evict_all(&preemptor, &candidate.node, &victims).await;
            this.running.lock().remove(&preemptor.uid);
            if let Err(error) = done {
                tracing::warn!(pod = %preemptor.name(), error = error.message(), "preemption failed");
                // No deletion may come that would wake the preemptor; the receiver ends with the scheduler.
                let _ = this.handle.activate.send(preemptor.uid.clone());
            }
        });
    }

    async fn evict_all(&self, preemptor: &PodInfo, node: &str, victims: &[Arc<PodInfo>]) -> Result<(), WriteError> {
        self.clear_lower_nominations(preemptor, node).await;
        let Some((last, others)) = victims.split_last() else { return Ok(()) };
        futures::future::try_join_all(others.iter().map(|victim| self.evict(preemptor, node, victim))).await?;
        self.running.lock().insert(preemptor.uid.clone(), Some(Key::new(last.namespace(), last.name())));
        self.evict(preemptor, node, last).await
    }

    /// Pods of lower priority that were to come to the node must look for another.
    async fn clear_lower_nominations(&self, preemptor: &PodInfo, node: &str) {
        let nominated = self.handle.nominator.view();
        for other in nominated.on(node).iter().filter(|other| other.priority < preemptor.priority) {
            let patch = pod_status::patch(&other.pod, None, &Nomination::Set(String::new()), Timestamp::now());
            let Some(patch) = patch else { continue };
            if let Err(error) = self.handle.writer.patch_status(other.namespace(), other.name(), patch).await {
                tracing::debug!(error = error.message(), pod = other.name(), "nomination not cleared");
            }
        }
    }

    async fn evict(&self, preemptor: &PodInfo, node: &str, victim: &PodInfo) -> Result<(), WriteError> {
        let scheduler = preemptor.scheduler_name();
        let wanted = Wanted {
            type_: DISRUPTION_TARGET,
            status: "True",
            reason: "PreemptionByScheduler",
            message: &format!("{scheduler}: preempting to accommodate a higher priority pod"),
        };
        let (namespace, name) = (victim.namespace(), victim.name());
        if let Some(patch) = pod_status::patch(&victim.pod, Some(&wanted), &Nomination::Keep, Timestamp::now()) {
            match self.handle.writer.patch_status(namespace, name, patch).await {
                Err(error) if error.is_not_found() => return Ok(()),
                outcome => outcome?,
            }
        }
        match self.handle.writer.delete(namespace, name).await {
            Err(error) if error.is_not_found() => return Ok(()),
            outcome => outcome?,
        }
        let text = format!("Preempted by pod {} on node {node}", preemptor.uid);
        let note = Note { kind: "Normal", reason: "Preempted", action: "Preempting", text: &text };
        self.handle.recorder.event(&victim.pod, Some(&preemptor.pod), scheduler, &note);
        Ok(())
    }
}
