//! ttl-after-finished-controller: deletes Jobs some time after they finished
//! (pkg/controller/ttlafterfinished/ttlafterfinished_controller.go@v1.37.2).

use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client};

use crate::Context;
use crate::common::pods::seconds;
use crate::error::{Result, is_not_found};

const NAME: &str = "ttl-after-finished-controller";
/// --concurrent-ttl-after-finished-syncs
const WORKERS: usize = 5;

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let jobs = context.informers.of::<Job>();
    let to = queue.clone();
    jobs.on_change(move |_, new| {
        if let Some(job) = new.filter(|job| expires_at(job).is_some()) {
            to.add(Key::of(&**job));
        }
    });
    let client = context.client(NAME);
    context.controller(NAME, queue, WORKERS, jobs, move |key, jobs| {
        let client = client.clone();
        async move { sync(&client, &key, &jobs).await }
    });
}

/// When a finished Job is to be deleted.
fn expires_at(job: &Job) -> Option<Timestamp> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let finished =
        conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(finished.last_transition_time.as_ref()?.0 + seconds(ttl.into()))
}

/// How long is left; zero when it is time.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let at = expires_at(job)?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

async fn sync(client: &Client, key: &Key, jobs: &Cache<Job>) -> Result<Again> {
    let Some(wait) = jobs.by_key(key).and_then(|job| left(&job, Timestamp::now())) else { return Ok(None) };
    if !wait.is_zero() {
        return Ok(Some(wait));
    }
    // The cache may be behind: the TTL could have been changed.
    let api: Api<Job> = Api::namespaced(client.clone(), &key.namespace);
    let Some(fresh) = api.get_opt(&key.name).await? else { return Ok(None) };
    match left(&fresh, Timestamp::now()) {
        None => return Ok(None),
        Some(wait) if !wait.is_zero() => return Ok(Some(wait)),
        Some(_) => {}
    }
    let mut params = DeleteParams::foreground();
    params.preconditions = Some(Preconditions { uid: fresh.metadata.uid, resource_version: None });
    match api.delete(&key.name, &params).await {
        Err(error) if !is_not_found(&error) => Err(error.into()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finished_jobs_with_a_ttl_expire() {
        let job = |ttl: Option<i32>, kind: &str, status: &str| -> Job {
            serde_json::from_value(serde_json::json!({"spec": {"ttlSecondsAfterFinished": ttl, "template": {}},
                "status": {"conditions": [{"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .expect("job")
        };
        let now = "2026-01-01T00:00:40Z".parse().expect("time");
        for (job, expected) in [
            (job(Some(60), "Complete", "True"), Some(20)),
            (job(Some(30), "Failed", "True"), Some(0)),
            (job(Some(30), "Failed", "False"), None),
            (job(Some(30), "Suspended", "True"), None),
            (job(None, "Complete", "True"), None),
        ] {
            assert_eq!(left(&job, now).map(|left| left.as_secs()), expected, "{job:?}");
        }
    }
}
