//! cronjob-controller: makes Jobs on a schedule (pkg/controller/cronjob@v1.37.2).
//!
//! [`schedule`] says when, [`plan`] what; this file watches, looks live where the caches may be behind, and writes.

mod plan;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};

use self::plan::Due;
use crate::Context;
use crate::common::owner::{controller_of, is_controlled_by};
use crate::error::{Error, Result, is_already_exists, is_namespace_terminating, text};

const NAME: &str = "cronjob-controller";
/// --concurrent-cron-job-syncs
const WORKERS: usize = 5;
/// Index of Jobs by the uid of their controller.
const BY_CONTROLLER: &str = "jobControllerUID";

pub(crate) fn start(context: &Context) {
    let client = context.client(NAME);
    let all = Arc::new(CronJobs {
        recorder: context.recorder(client.clone(), NAME),
        crons: context.informers.of(),
        jobs: context.informers.of(),
        client,
    });
    all.jobs.add_index(BY_CONTROLLER, |job: &Job| {
        controller_of(&job.metadata).map(|owner| owner.uid.clone()).into_iter().collect()
    });
    let queue: Queue<Key> = Queue::new();
    let (to, watch) = (queue.clone(), all.clone());
    all.jobs.on_change(move |old, new| {
        let owners = [old, new].into_iter().flatten().filter_map(|job| watch.owner(job));
        owners.for_each(|key| to.add(key));
    });
    let (to, watch) = (queue.clone(), all.clone());
    all.crons.on_change(move |old, new| {
        let Some(cron) = new.or(old) else { return };
        if let Some(delay) = watch.delay(old.map(|cron| &**cron), cron) {
            to.add_after(Key::of(&**cron), delay);
        }
    });
    let caches = (all.crons.clone(), all.jobs.clone());
    context.controller(NAME, queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(&key).await }
    });
}

struct CronJobs {
    client: Client,
    recorder: Recorder,
    crons: Cache<CronJob>,
    jobs: Cache<Job>,
}

/// A CronJob as one sync sees and changes it.
struct View<'a> {
    key: &'a Key,
    spec: &'a CronJobSpec,
    cron: CronJob,
    jobs: Vec<Arc<Job>>,
    changed: bool,
}

impl View<'_> {
    fn status(&mut self) -> &mut CronJobStatus {
        self.cron.status.get_or_insert_default()
    }

    fn active(&self) -> Vec<ObjectReference> {
        self.cron.status.as_ref().and_then(|status| status.active.clone()).unwrap_or_default()
    }

    fn drop_active(&mut self, uid: Option<&str>) {
        let mut active = self.active();
        active.retain(|reference| reference.uid.as_deref() != uid);
        self.status().active = Some(active).filter(|active| !active.is_empty());
        self.changed = true;
    }
}

fn name_of(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or("")
}

fn lists(cron: &CronJob, uid: Option<&str>) -> bool {
    let active = cron.status.iter().flat_map(|status| status.active.iter().flatten());
    active.into_iter().any(|reference| reference.uid.as_deref() == uid)
}

impl CronJobs {
    /// The CronJob that controls a Job.
    fn owner(&self, job: &Job) -> Option<Key> {
        let owner = controller_of(&job.metadata).filter(|owner| owner.kind == "CronJob")?;
        let cron = self.crons.get(job.metadata.namespace.as_deref()?, &owner.name)?;
        (cron.metadata.uid.as_ref() == Some(&owner.uid)).then(|| Key::of(&*cron))
    }

    /// When to look at a changed CronJob: at once, or when a new schedule is due; `None` for one that cannot be read.
    fn delay(&self, old: Option<&CronJob>, new: &CronJob) -> Option<Duration> {
        let when = |cron: &CronJob| (cron.spec.schedule.clone(), cron.spec.time_zone.clone());
        if old.is_none_or(|old| when(old) == when(new)) {
            return Some(Duration::ZERO);
        }
        match plan::schedule(&new.spec) {
            Ok(schedule) => Some(plan::wait(new, &schedule, Timestamp::now())),
            Err(_) => {
                let message = format!("unparseable schedule for cronjob: {}", new.spec.schedule);
                self.recorder.event(new, "Warning", "UnParseableCronJobSchedule", message);
                None
            }
        }
    }

    fn jobs_api(&self, namespace: &str) -> Api<Job> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn crons_api(&self, namespace: &str) -> Api<CronJob> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn sync(&self, key: &Key) -> Result<Again> {
        let Some(cached) = self.crons.by_key(key) else { return Ok(None) };
        let spec = &cached.spec;
        let mut jobs = self.jobs.by_index(BY_CONTROLLER, cached.metadata.uid.as_deref().unwrap_or(""));
        jobs.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut view = View { key, spec, cron: (*cached).clone(), jobs, changed: false };
        for job in plan::surplus(spec, &view.jobs) {
            self.delete(&mut view, &job).await;
        }
        let outcome = self.reconcile(&mut view).await;
        if view.changed {
            self.crons_api(&key.namespace).replace_status(&key.name, &PostParams::default(), &view.cron).await?;
        }
        outcome
    }

    async fn reconcile(&self, view: &mut View<'_>) -> Result<Again> {
        self.observe(view).await?;
        self.drop_missing(view).await?;
        if view.cron.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let (events, start, wait) = match plan::due(&view.cron, view.spec, Timestamp::now()) {
            Due::Nothing { events, wait } => (events, None, wait),
            Due::Start { events, at, wait } => (events, Some(at), Some(wait)),
        };
        for (kind, reason, message) in events {
            self.recorder.event(&view.cron, kind, reason, message);
        }
        let Some(at) = start else { return Ok(wait) };
        if view.spec.concurrency_policy.as_deref() == Some("Replace") {
            self.replace(view).await?;
        }
        Ok(if self.begin(view, at).await? { wait } else { None })
    }

    /// Takes note of Jobs that ended, and of those that the status does not list.
    async fn observe(&self, view: &mut View<'_>) -> Result<()> {
        for job in view.jobs.clone() {
            let uid = job.metadata.uid.as_deref();
            let listed = lists(&view.cron, uid);
            let Some(end) = plan::ended(&job) else {
                if !listed {
                    self.unexpected(view, &job).await?;
                }
                continue;
            };
            if listed {
                view.drop_active(uid);
                let message = format!("Saw completed job: {}, condition: {end}", name_of(&job));
                self.recorder.event(&view.cron, "Normal", "SawCompletedJob", message);
            }
            let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
            let last = view.status().last_successful_time.clone();
            if end == "Complete" && completed.as_ref().map(|time| time.0) > last.map(|time| time.0) {
                view.status().last_successful_time = completed;
                view.changed = true;
            }
        }
        Ok(())
    }

    /// An unfinished Job that is not in the list: the cache may be behind, or we stopped before writing it down.
    async fn unexpected(&self, view: &mut View<'_>, job: &Job) -> Result<()> {
        let live = self.crons_api(&view.key.namespace).get(&view.key.name).await?;
        if lists(&live, job.metadata.uid.as_deref()) {
            view.cron = live;
            return Ok(());
        }
        let message = format!("Saw a job that the controller did not create or forgot: {}", name_of(job));
        self.recorder.event(&view.cron, "Warning", "UnexpectedJob", message);
        Ok(())
    }

    /// Listed Jobs that are gone would block the next for ever.
    async fn drop_missing(&self, view: &mut View<'_>) -> Result<()> {
        for reference in view.active() {
            let uid = reference.uid.as_deref();
            if view.jobs.iter().any(|job| job.metadata.uid.as_deref() == uid) {
                continue;
            }
            let name = reference.name.as_deref().unwrap_or("");
            let namespace = reference.namespace.as_deref().unwrap_or("");
            if self.jobs_api(namespace).get_opt(name).await?.is_none() {
                let message = format!("Active job went missing: {name}");
                self.recorder.event(&view.cron, "Normal", "MissingJob", message);
                view.drop_active(uid);
            }
        }
        Ok(())
    }

    /// Deletes the Jobs that still run.
    async fn replace(&self, view: &mut View<'_>) -> Result<()> {
        for reference in view.active() {
            let (namespace, name) = (reference.namespace.unwrap_or_default(), reference.name.unwrap_or_default());
            let job = match self.jobs_api(&namespace).get(&name).await {
                Ok(job) => job,
                Err(error) => {
                    self.recorder.event(&view.cron, "Warning", "FailedGet", format!("Get job: {}", text(&error)));
                    return Err(error.into());
                }
            };
            if !self.delete(view, &job).await {
                return Err(Error::other(format!("could not replace job {namespace}/{name}")));
            }
        }
        Ok(())
    }

    /// Deletes a Job and its entry in the list; false when that failed.
    async fn delete(&self, view: &mut View<'_>, job: &Job) -> bool {
        let api = self.jobs_api(job.metadata.namespace.as_deref().unwrap_or(""));
        if let Err(error) = api.delete(name_of(job), &DeleteParams::background()).await {
            self.recorder.event(&view.cron, "Warning", "FailedDelete", format!("Deleted job: {}", text(&error)));
            return false;
        }
        view.drop_active(job.metadata.uid.as_deref());
        self.recorder.event(&view.cron, "Normal", "SuccessfulDelete", format!("Deleted job {}", name_of(job)));
        true
    }

    /// Creates the Job for a time and lists it; false when another keeps that Job, or we have it listed.
    async fn begin(&self, view: &mut View<'_>, at: Timestamp) -> Result<bool> {
        let wanted = plan::make(&view.cron, view.spec, at).map_err(Error::Other)?;
        let api = self.jobs_api(&view.key.namespace);
        let job = match api.create(&PostParams::default(), &wanted).await {
            Ok(job) => {
                let message = format!("Created job {}", name_of(&job));
                self.recorder.event(&view.cron, "Normal", "SuccessfulCreate", message);
                job
            }
            Err(error) if is_already_exists(&error) => {
                // Ours if we stopped before we wrote it down.
                let job = api.get(name_of(&wanted)).await?;
                let ours = is_controlled_by(&job.metadata, view.cron.metadata.uid.as_deref());
                if !ours || lists(&view.cron, job.metadata.uid.as_deref()) {
                    return Ok(false);
                }
                job
            }
            Err(error) => {
                if !is_namespace_terminating(&error) {
                    let message = format!("Error creating job: {}", text(&error));
                    self.recorder.event(&view.cron, "Warning", "FailedCreate", message);
                }
                return Err(error.into());
            }
        };
        let reference = ObjectReference {
            api_version: Some("batch/v1".into()),
            kind: Some("Job".into()),
            namespace: job.metadata.namespace.clone(),
            name: job.metadata.name.clone(),
            uid: job.metadata.uid.clone(),
            resource_version: job.metadata.resource_version.clone(),
            field_path: None,
        };
        let status = view.status();
        status.active.get_or_insert_default().push(reference);
        status.last_schedule_time = Some(Time(at));
        view.changed = true;
        Ok(true)
    }
}
