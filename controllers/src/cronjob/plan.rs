//! What a CronJob is to do now: pure functions of it, its Jobs and the time
//! (pkg/controller/cronjob/{cronjob_controllerv2,utils}.go@v1.37.2).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;

use super::schedule::{Schedule, location};
use crate::common::owner::controller_ref;
use crate::common::pods::seconds;

/// Time added to each wait, for clocks that differ (upstream: nextScheduleDelta).
const PADDING: Duration = Duration::from_millis(100);
/// More missed starts than this are worth a warning.
const MANY: i64 = 100;
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Type, reason and message.
pub(super) type Event = (&'static str, &'static str, String);

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing: look again after the wait, if any.
    Nothing { events: Vec<Event>, wait: Option<Duration> },
    /// A Job, for this time.
    Start { events: Vec<Event>, at: Timestamp, wait: Duration },
}

/// The start times that were missed.
struct Missed {
    earliest: Timestamp,
    latest: Option<Timestamp>,
    count: i64,
}

/// The schedule with its time zone; the event that a bad one deserves.
pub(super) fn schedule(spec: &CronJobSpec) -> Result<Schedule, Event> {
    let zone = match &spec.time_zone {
        Some(name) => location(name)
            .map_err(|why| ("Warning", "UnknownTimeZone", format!("invalid timeZone: {name:?}: {why}")))?,
        None => TimeZone::system(),
    };
    Schedule::parse(&spec.schedule, zone)
        .map_err(|why| ("Warning", "UnparseableSchedule", format!("unparseable schedule: {:?} : {why}", spec.schedule)))
}

fn missed(job: &CronJob, schedule: &Schedule, now: Timestamp, bounded: bool) -> Result<Missed, String> {
    let impossible = || "time difference between two schedules is less than 1 second".to_owned();
    let last = job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let since = last.or(job.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
    let deadline = job.spec.starting_deadline_seconds.filter(|_| bounded);
    let earliest = deadline.map_or(since, |deadline| since.max(now - seconds(deadline)));
    let none = |latest, count| Ok(Missed { earliest, latest, count });
    let first = schedule.next(earliest).ok_or_else(impossible)?;
    if now < first {
        return none(None, 0);
    }
    let second = schedule.next(first).ok_or_else(impossible)?;
    if now < second {
        return none(Some(first), 0);
    }
    let interval = second.duration_since(first).as_secs();
    if interval < 1 {
        return Err(impossible());
    }
    let count = now.duration_since(first).as_secs() / interval + 1;
    // One interval back, as intervals differ; from there every start is walked through.
    let mut latest = None;
    let mut next = schedule.next(first + seconds((count - 2) * interval));
    while let Some(time) = next.filter(|time| *time <= now) {
        latest = Some(time);
        next = schedule.next(time);
    }
    none(latest, count)
}

/// How long until the next start.
pub(super) fn wait(job: &CronJob, schedule: &Schedule, now: Timestamp) -> Duration {
    let from = match missed(job, schedule, now, false) {
        Ok(Missed { latest: Some(latest), .. }) => latest,
        Ok(Missed { earliest, count: 0, .. }) => earliest,
        _ => now,
    };
    let left = schedule.next(from).map(|next| next.duration_since(now));
    left.map_or(Duration::ZERO, |left| Duration::try_from(left).unwrap_or_default() + PADDING)
}

/// Decides whether a Job is to be started. Concurrency is judged by the status.
pub(super) fn due(job: &CronJob, spec: &CronJobSpec, now: Timestamp) -> Due {
    let mut events = Vec::new();
    let stop = |events| Due::Nothing { events, wait: None };
    if let Some(Err(why)) = spec.time_zone.as_deref().map(location) {
        let zone = spec.time_zone.as_deref().unwrap_or("");
        return stop(vec![("Warning", "UnknownTimeZone", format!("invalid timeZone: {zone:?}: {why}"))]);
    }
    if spec.suspend == Some(true) {
        return stop(events);
    }
    if spec.schedule.contains("TZ") {
        let text = format!(
            "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            spec.schedule
        );
        events.push(("Warning", "UnsupportedSchedule", text));
    }
    let schedule = match schedule(spec) {
        Ok(schedule) => schedule,
        Err(event) => return stop([events, vec![event]].concat()),
    };
    let missed = match missed(job, &schedule, now, true) {
        Ok(missed) => missed,
        Err(why) => {
            events.push(("Warning", "InvalidSchedule", format!("invalid schedule: {} : {why}", spec.schedule)));
            return stop(events);
        }
    };
    let wait = wait(job, &schedule, now);
    let Some(at) = missed.latest else { return Due::Nothing { events, wait: Some(wait) } };
    if missed.count > MANY {
        let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        events.push(("Warning", "TooManyMissedTimes", text.into()));
    }
    if let Some(why) = refusal(job, spec, at, now) {
        events.extend(why);
        return Due::Nothing { events, wait: Some(wait) };
    }
    Due::Start { events, at, wait }
}

/// Why a Job that is due is not started; inside, the event for it.
fn refusal(job: &CronJob, spec: &CronJobSpec, at: Timestamp, now: Timestamp) -> Option<Option<Event>> {
    let status = job.status.as_ref();
    let active = status.and_then(|status| status.active.as_deref()).unwrap_or_default();
    if spec.starting_deadline_seconds.is_some_and(|deadline| at + seconds(deadline) < now) {
        let text = format!("Missed scheduled time to start a job: {}", at.strftime("%a, %d %b %Y %H:%M:%S +0000"));
        return Some(Some(("Warning", "MissSchedule", text)));
    }
    let name = job_name(job, at);
    let last = status.and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    if last == Some(at) || active.iter().any(|reference| reference.name.as_ref() == Some(&name)) {
        return Some(None);
    }
    if spec.concurrency_policy.as_deref() == Some("Forbid") && !active.is_empty() {
        let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
        return Some(Some(("Normal", "JobAlreadyActive", text.into())));
    }
    None
}

/// The name of the Job for a time, the same whoever computes it: it is the lock against starting it twice.
pub(super) fn job_name(job: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", job.metadata.name.as_deref().unwrap_or(""), at.as_second() / 60)
}

/// The Job for a time.
pub(super) fn make(job: &CronJob, spec: &CronJobSpec, at: Timestamp) -> Result<Job, String> {
    let template = spec.job_template.metadata.clone().unwrap_or_default();
    let zone = location(spec.time_zone.as_deref().unwrap_or(""))?;
    let local = at.to_zoned(zone);
    let offset = if local.offset().is_zero() { "Z".to_owned() } else { local.strftime("%:z").to_string() };
    let mut annotations = template.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.into(), format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S")));
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(job_name(job, at)),
            namespace: job.metadata.namespace.clone(),
            labels: template.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(job)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    })
}

/// How a Job ended: `Complete` or `Failed`.
pub(super) fn ended(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True");
    end.map(|condition| condition.type_.as_str())
}

/// The finished Jobs beyond the history limits, oldest first.
pub(super) fn surplus(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let of = |end: &str, limit: Option<i32>| {
        let Some(limit) = limit else { return Vec::new() };
        let mut all: Vec<Arc<Job>> = jobs.iter().filter(|job| ended(job) == Some(end)).cloned().collect();
        let start = |job: &Job| job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        all.sort_by_key(|job| (start(job).is_none(), start(job), job.metadata.name.clone()));
        let count = all.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        all.truncate(count);
        all
    };
    let succeeded = of("Complete", spec.successful_jobs_history_limit);
    [succeeded, of("Failed", spec.failed_jobs_history_limit)].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cron(spec: Value, status: Value) -> CronJob {
        let mut full = json!({"schedule": "0 * * * *", "timeZone": "UTC", "jobTemplate": {}});
        full.as_object_mut().expect("spec").extend(spec.as_object().expect("spec").clone());
        serde_json::from_value(
            json!({"metadata": {"name": "c", "namespace": "ns", "creationTimestamp": "2026-01-01T10:30:00Z"},
            "spec": full, "status": status}),
        )
        .expect("cron job")
    }

    /// What is due, as text.
    #[track_caller]
    fn check(spec: Value, status: Value, now: &str, expected: &str) {
        let job = cron(spec.clone(), status.clone());
        let (events, said) = match due(&job, &job.spec, now.parse().expect("time")) {
            Due::Nothing { events, wait } => {
                (events, wait.map_or("stop".into(), |wait| format!("wait {}", wait.as_secs())))
            }
            Due::Start { events, at, wait } => (events, format!("start {at} wait {}", wait.as_secs())),
        };
        let reasons: Vec<&str> = events.iter().map(|event| event.1).collect();
        assert_eq!([reasons.join(" "), said].join(" ").trim(), expected, "{spec} {status} {now}");
    }

    #[test]
    fn what_is_due() {
        let last = |time: &str| json!({"lastScheduleTime": time});
        check(json!({}), json!({}), "2026-01-01T10:45:00Z", "wait 900");
        check(json!({}), json!({}), "2026-01-01T11:00:05Z", "start 2026-01-01T11:00:00Z wait 3595");
        check(json!({}), last("2026-01-01T11:00:00Z"), "2026-01-01T11:00:05Z", "wait 3595");
        check(json!({}), last("2026-01-01T11:00:00Z"), "2026-01-01T15:10:00Z", "start 2026-01-01T15:00:00Z wait 3000");
        check(
            json!({}),
            last("2025-12-01T11:00:00Z"),
            "2026-01-01T15:10:00Z",
            "TooManyMissedTimes start 2026-01-01T15:00:00Z wait 3000",
        );
        check(json!({"suspend": true}), json!({}), "2026-01-01T11:00:05Z", "stop");
        check(json!({"timeZone": "Mars/Base"}), json!({}), "2026-01-01T11:00:05Z", "UnknownTimeZone stop");
        check(json!({"schedule": "x"}), json!({}), "2026-01-01T11:00:05Z", "UnparseableSchedule stop");
        check(json!({"schedule": "59 23 31 2 *"}), json!({}), "2026-01-01T11:00:05Z", "InvalidSchedule stop");
        check(
            json!({"schedule": "TZ=UTC 0 * * * *", "timeZone": null}),
            json!({}),
            "2026-01-01T10:45:00Z",
            "UnsupportedSchedule wait 900",
        );
    }

    #[test]
    fn what_is_due_but_not_started() {
        let active = |name: &str| json!({"active": [{"name": name, "namespace": "ns", "uid": "u"}]});
        // A deadline moves the earliest time that counts: what is too late is not even due.
        check(json!({"startingDeadlineSeconds": 60}), json!({}), "2026-01-01T11:05:00Z", "wait 3300");
        check(
            json!({"startingDeadlineSeconds": 600}),
            json!({}),
            "2026-01-01T11:05:00Z",
            "start 2026-01-01T11:00:00Z wait 3300",
        );
        check(
            json!({"concurrencyPolicy": "Forbid"}),
            active("c-1"),
            "2026-01-01T11:00:05Z",
            "JobAlreadyActive wait 3595",
        );
        check(
            json!({"concurrencyPolicy": "Replace"}),
            active("c-1"),
            "2026-01-01T11:00:05Z",
            "start 2026-01-01T11:00:00Z wait 3595",
        );
        let at: Timestamp = "2026-01-01T11:00:00Z".parse().expect("time");
        let name = job_name(&cron(json!({}), json!({})), at);
        assert_eq!(name, "c-29454420");
        check(json!({}), active(&name), "2026-01-01T11:00:05Z", "wait 3595");
    }

    #[test]
    fn the_job_of_a_time() {
        for (zone, expected) in [
            (Value::Null, "2026-01-01T11:00:00Z"),
            ("Asia/Tokyo".into(), "2026-01-01T20:00:00+09:00"),
            ("Europe/London".into(), "2026-01-01T11:00:00Z"),
        ] {
            let job = cron(json!({"timeZone": zone, "jobTemplate": {"metadata": {"labels": {"a": "b"}}}}), json!({}));
            let made = make(&job, &job.spec, "2026-01-01T11:00:00Z".parse().expect("time")).expect("job");
            let annotations = made.metadata.annotations.unwrap_or_default();
            assert_eq!(annotations[SCHEDULED_AT], expected, "{zone}");
            assert_eq!(made.metadata.labels.map(|labels| labels["a"].clone()).as_deref(), Some("b"));
        }
    }

    #[test]
    fn history_limits() {
        let job = |name: &str, end: &str, start: &str| -> Arc<Job> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": name}, "status": {"startTime": start,
                "conditions": [{"type": end, "status": "True"}]}}))
                .expect("job"),
            )
        };
        let jobs = [
            job("a", "Complete", "2026-01-01T03:00:00Z"),
            job("b", "Complete", "2026-01-01T01:00:00Z"),
            job("c", "Failed", "2026-01-01T02:00:00Z"),
            job("d", "Complete", "2026-01-01T02:00:00Z"),
            job("e", "Suspended", "2026-01-01T00:00:00Z"),
        ];
        let cron = cron(json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}), json!({}));
        let gone = surplus(&cron.spec, &jobs);
        let names: Vec<&str> = gone.iter().filter_map(|job| job.metadata.name.as_deref()).collect();
        assert_eq!(names, ["b", "d", "c"]);
    }
}
