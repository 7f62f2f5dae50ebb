//! Takes the tracking finalizer off pods that no Job counts any more: their Job is gone or finished, or they lost
//! their owner (pkg/controller/job/job_controller.go@v1.37.2, syncOrphanPod).

use std::sync::Arc;

use client::Key;
use client::queue::Queue;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::pods::is_tracked;
use super::{Jobs, RETRY, WORKERS, is_ours, owner_name, plan};
use crate::Context;
use crate::common::owner::{controller_of, controller_ref};
use crate::common::pods::{BY_OWNER, owner_index_key};
use crate::error::Result;

pub(super) fn start(context: &Context, all: &Arc<Jobs>) {
    let queue: Queue<Key> = Queue::with_backoff(RETRY.0, RETRY.1);
    let (to, jobs) = (queue.clone(), all.clone());
    all.owners.pods.on_change(move |old, new| {
        let Some(pod) = new.or(old).filter(|pod| is_tracked(pod)) else { return };
        let gone = new.is_none() || pod.metadata.deletion_timestamp.is_some();
        let orphan = match controller_of(&pod.metadata) {
            None => true,
            Some(_) => gone && job_of(&jobs, pod).is_none_or(|job| plan::is_finished(&job)),
        };
        if orphan {
            to.add(Key::of(&**pod));
        }
    });
    let (to, jobs) = (queue.clone(), all.clone());
    all.owners.cache.on_change(move |old, new| {
        // A Job is finished only when its pods are free already: then this finds none.
        let ended = new.is_none() || new.is_some_and(|job| plan::is_finished(job));
        let Some(job) = old.filter(|_| ended) else { return };
        let namespace = job.metadata.namespace.as_deref().unwrap_or("");
        let index = owner_index_key(namespace, Some(&controller_ref(&**job)));
        let pods = jobs.owners.pods.by_index(BY_OWNER, &index);
        pods.iter().filter(|pod| is_tracked(pod)).for_each(|pod| to.add(Key::of(&**pod)));
    });
    let caches = (all.owners.cache.clone(), all.owners.pods.clone());
    let all = all.clone();
    context.controller("job-controller orphans", queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { free(&all, &key).await.map(|()| None) }
    });
}

fn job_of(jobs: &Jobs, pod: &Pod) -> Option<Arc<Job>> {
    jobs.owners.cache.by_key(&jobs.owners.resolve(pod)?)
}

/// True when the pod has another owner than a Job that is over.
fn is_owned(jobs: &Jobs, pod: &Pod) -> bool {
    if controller_of(&pod.metadata).is_none() {
        return false;
    }
    owner_name(pod).is_none() || job_of(jobs, pod).is_some_and(|job| !is_ours(&job) || !plan::is_finished(&job))
}

async fn free(jobs: &Jobs, key: &Key) -> Result<()> {
    let Some(pod) = jobs.owners.pods.by_key(key) else { return Ok(()) };
    if is_owned(jobs, &pod) || !is_tracked(&pod) {
        return Ok(());
    }
    match jobs.free(&pod).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
