//! CronJob (pkg/registry/batch/cronjob/strategy.go, pkg/apis/batch/v1/defaults.go,
//! pkg/apis/batch/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::{Map, Value};

use super::{cron, job, job_spec};
use crate::resources::common;
use crate::resources::common::workload::{self, spec_of};
use crate::resources::core::pod::defaults::{absent, text};
use crate::resources::core::pod::options::Options;
use crate::strategy::{Context, Generation, Strategy};

const JOB: [&str; 3] = ["spec", "jobTemplate", "spec"];
const TEMPLATE: [&str; 4] = ["spec", "jobTemplate", "spec", "template"];
/// Jobs are called after their cron job, a dash and ten digits.
const NAME_BYTES_MAX: usize = 52;
/// One part of a time zone's name, in bytes.
const ZONE_PART_BYTES_MAX: usize = 14;

pub(crate) struct CronJob;

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (spec, was, path) = (spec_of(object), old.map(spec_of), Path::new("spec"));
    schedule(spec, was, &path.child("schedule"), &mut errors);
    common::none_negative(spec, &["startingDeadlineSeconds"], &path, &mut errors);
    if was.is_none_or(|was| was.get("timeZone") != spec.get("timeZone")) {
        time_zone(spec, &path.child("timeZone"), &mut errors);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    common::required_one_of(spec, "concurrencyPolicy", &policies, &path, &mut errors);
    let options = Options::template(old.map(|old| workload::template(old, &TEMPLATE)));
    let (job, at) = (object.at(&JOB).unwrap_or(Map::EMPTY), workload::path(&JOB));
    job_spec::check(job, &at, &options, &mut errors);
    if let Some(selector) = job.get("selector") {
        errors.push(field::invalid(&at.child("selector"), selector.clone(), "`selector` will be auto-generated"));
    }
    if job.bool("manualSelector") == Some(true) {
        errors.push(field::not_supported(&at.child("manualSelector"), true, &["nil", "false"]));
    }
    common::none_negative(spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], &path, &mut errors);
    errors
}

fn schedule(spec: &Map, was: Option<&Map>, path: &Path, errors: &mut Errors) {
    let schedule = spec.str("schedule");
    if schedule.is_empty() {
        errors.push(field::required(path, ""));
        return;
    }
    if let Err(why) = cron::check(schedule) {
        errors.push(field::invalid(path, schedule, why));
    }
    if !schedule.contains("TZ") {
        return;
    }
    let had = was.is_some_and(|was| was.str("schedule").contains("TZ"));
    if had && spec.contains("timeZone") {
        let why = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errors.push(field::invalid(path, schedule, why));
    } else if !had {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(field::invalid(path, schedule, why));
    }
}

fn time_zone(spec: &Map, path: &Path, errors: &mut Errors) {
    let Some(zone) = spec.get("timeZone").and_then(Value::as_str) else { return };
    if zone.is_empty() {
        errors.push(field::invalid(path, zone, "timeZone must be nil or non-empty string"));
        return;
    }
    let fits = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
        (1..=ZONE_PART_BYTES_MAX).contains(&part.len())
            && part.bytes().all(letter)
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
    };
    if !zone.split('/').all(fits) {
        errors.push(field::invalid(path, zone, format!("unknown time zone {zone}")));
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(field::invalid(path, zone, why));
    }
    if let Err(why) = cron::location(zone) {
        errors.push(field::invalid(path, zone, why));
    }
}

impl Strategy for CronJob {
    fn default(&self, object: &mut Map) {
        let spec = object.map_mut("spec");
        text(spec, "concurrencyPolicy", "Allow");
        absent(spec, "suspend", false);
        absent(spec, "successfulJobsHistoryLimit", 3i64);
        absent(spec, "failedJobsHistoryLimit", 1i64);
        job::default_patterns(workload::template_mut(object, &JOB));
        workload::default_template(object, &TEMPLATE);
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        workload::template_mut(object, &JOB).remove("scheduling");
        workload::prepare(object, None, &TEMPLATE);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        workload::template_mut(object, &JOB).remove("scheduling");
        workload::prepare(object, Some(old), &TEMPLATE);
    }

    fn validate(&self, object: &Map) -> Errors {
        let mut errors = check(object, None);
        if object.name().len() > NAME_BYTES_MAX {
            let why = format!("must be no more than {NAME_BYTES_MAX} characters");
            errors.push(field::invalid(&Path::new("metadata").child("name"), object.name(), why));
        }
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        check(object, Some(old))
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        let mut all: Vec<String> = workload::name_advice(object, old).into_iter().collect();
        all.extend(job::warnings(object, old, &JOB));
        if old.is_some() && spec_of(object).str("schedule").contains("TZ") {
            all.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".into());
        }
        all
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }
}
