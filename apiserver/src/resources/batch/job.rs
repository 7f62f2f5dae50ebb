//! Job (pkg/registry/batch/job/strategy.go, pkg/apis/batch/v1/defaults.go,
//! pkg/apis/batch/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::{job_spec, job_status};
use crate::resources::common;
use crate::resources::common::internal::{self, Plain};
use crate::resources::common::workload::{self, TEMPLATE, spec_of, status_of};
use crate::resources::core::pod::defaults::{absent, text};
use crate::resources::core::pod::options::Options;
use crate::rest::metadata;
use crate::strategy::{Context, Generation, Strategy};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const OLD_CONTROLLER_UID: &str = "controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const OLD_JOB_NAME: &str = "job-name";
/// In upstream's words (pkg/registry/batch/job/storage/storage.go@v1.37.2: deleteOptionWarnings).
const ORPHANS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                       remove them or set propagationPolicy=Orphan to suppress this warning";
const PARALLELISM_SOFT_MAX: i64 = 10_000;

pub(crate) struct Job;

/// Defaults of the pods that a job, or a cron job's job, makes.
pub(super) fn default_patterns(spec: &mut Map) {
    let rules = spec.get_mut("podFailurePolicy").and_then(Value::as_map_mut);
    for rule in rules.into_iter().flat_map(|policy| policy.maps_mut("rules")) {
        rule.maps_mut("onPodConditions").for_each(|pattern| text(pattern, "status", "True"));
    }
}

/// generateSelector: the controller's UID, by which nobody else's pods can be meant. Labels that were taken from the
/// template (`shared`) are the same map in upstream's memory: they get these as well.
fn generate_selector(job: &mut Map, shared: bool) {
    if spec_of(job).bool("manualSelector") == Some(true) {
        return;
    }
    let (uid, name) = (job.uid().to_string(), job.name().to_string());
    let labels = workload::template_mut(job, &TEMPLATE).map_mut("metadata").map_mut("labels");
    for (key, value) in [(OLD_JOB_NAME, &name), (JOB_NAME, &name), (OLD_CONTROLLER_UID, &uid), (CONTROLLER_UID, &uid)] {
        if !labels.contains(key) {
            labels.set(key, value.as_str());
        }
    }
    labels.sort();
    let all = labels.clone();
    // Upstream's defaults come once more when the object is read back from the store.
    if shared || metadata::lacks_labels(job) {
        job.meta_mut().set("labels", all);
    }
    let wanted = job.map_mut("spec").map_mut("selector").map_mut("matchLabels");
    if !wanted.contains(CONTROLLER_UID) {
        wanted.set(CONTROLLER_UID, uid);
    }
    wanted.sort();
}

/// validateGeneratedSelector.
fn generated_selector(job: &Map, errors: &mut Errors) {
    let spec = spec_of(job);
    let Some(wanted) = spec.map("selector").filter(|_| spec.bool("manualSelector") != Some(true)) else { return };
    if job.uid().is_empty() {
        errors.push(field::required(&Path::new("metadata").child("uid"), ""));
    }
    let labels = spec.at(&["template", "metadata", "labels"]).unwrap_or(Map::EMPTY);
    let path = workload::path(&TEMPLATE).child("metadata").child("labels");
    let expected = [
        (OLD_CONTROLLER_UID, job.uid()),
        (OLD_JOB_NAME, job.name()),
        (CONTROLLER_UID, job.uid()),
        (JOB_NAME, job.name()),
    ];
    for (key, value) in expected {
        let why = format!("must be '{value}'");
        match labels.get(key).and_then(Value::as_str) {
            None => errors.push(field::required(&path.key(key), why)),
            Some(other) if other != value => {
                errors.push(field::invalid(&path.key(key), Value::Map(labels.clone()), why));
            }
            Some(_) => {}
        }
    }
    let selects = |key: &str| expected.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    if common::selector(Some(wanted)).is_some_and(|selector| !selector.matches(selects)) {
        let at = Path::new("spec").child("selector");
        errors.push(field::invalid(&at, Value::Map(wanted.clone()), "`selector` not auto-generated"));
    }
}

/// An indexed job's pods are called after their index.
fn name_fits_completions(job: &Map, errors: &mut Errors) {
    let spec = spec_of(job);
    let Some(completions) = spec.i64("completions").filter(|count| *count > 0 && job_spec::is_indexed(spec)) else {
        return;
    };
    let host = format!("{}-{}", job.name(), completions - 1);
    if !names::is_dns1123_label(&host).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {host}");
        errors.push(field::invalid(&Path::new("metadata").child("name"), job.name(), why));
    }
}

/// ValidateJobSpec.
fn spec_and_selector(job: &Map, old: Option<&Map>, errors: &mut Errors) {
    let (spec, path) = (spec_of(job), Path::new("spec"));
    let options = Options::template(old.map(|old| workload::template(old, &TEMPLATE)));
    job_spec::check(spec, &path, &options, errors);
    let any_value = options.any_affinity_selector_value
        || old.is_some_and(|old| common::has_invalid_value(spec_of(old).map("selector")));
    match spec.map("selector") {
        None => errors.push(field::required(&path.child("selector"), "")),
        selector => common::label_selector(selector, any_value, &path.child("selector"), errors),
    }
    let template = workload::template(job, &TEMPLATE);
    let labels = template.map("metadata").and_then(|meta| meta.map("labels"));
    if common::selector(spec.map("selector")).is_some_and(|selector| !common::matches(&selector, labels)) {
        let at = workload::path(&TEMPLATE).child("metadata").child("labels");
        errors.push(field::invalid(&at, common::labels_shown(template), "`selector` does not match template `labels`"));
    }
}

/// Completions of an indexed job go with its parallelism; others never change.
fn completions(spec: &Map, was: &Map, errors: &mut Errors) {
    let path = Path::new("spec");
    if !job_spec::is_indexed(spec) {
        common::immutable(spec, was, "completions", &path, errors);
        return;
    }
    let (new, old) = (spec.i64("completions"), was.i64("completions"));
    if let Some(count) = new.filter(|_| new != old)
        && spec.i64("parallelism") != new
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.push(field::invalid(&path.child("completions"), count, why));
    }
}

/// A suspended job that has not begun, or has stopped, can still be made to fit another place.
fn may_change_template(old: &Map) -> bool {
    let status = status_of(old);
    let suspended = spec_of(old).bool("suspend") == Some(true);
    let stopped = !status.contains("startTime") || job_status::is(status, "Suspended");
    suspended && stopped && status.i64("active").unwrap_or(0) == 0
}

fn template_update(job: &Map, old: &Map, errors: &mut Errors) {
    let template = workload::template(job, &TEMPLATE);
    let mut was = workload::template(old, &TEMPLATE).clone();
    let free = may_change_template(old);
    if free {
        take_directives(&mut was, template);
    }
    let suspended = spec_of(old).bool("suspend") == Some(true);
    let path = workload::path(&TEMPLATE);
    if !suspended || !free {
        if !common::same_maps(template, &was) {
            let shown = Plain(internal::shown(template, "core.v1.PodTemplateSpec"));
            errors.push(field::invalid(&path, shown, common::IMMUTABLE));
        }
        return;
    }
    let (pods, mut old_pods) = (spec_of(template), spec_of(&was).clone());
    for list in ["containers", "initContainers"] {
        if pods.list(list).len() != old_pods.list(list).len() {
            continue;
        }
        for (container, new) in old_pods.maps_mut(list).zip(pods.maps(list)) {
            if container.str("name") == new.str("name") {
                container.take_over("resources", new);
            }
        }
    }
    if !common::same_maps(pods, &old_pods) {
        let shown = Plain(internal::shown(pods, "core.v1.PodSpec"));
        errors.push(field::invalid(&Path::new("spec").child("template.spec"), shown, common::IMMUTABLE));
    }
}

/// What tells the scheduler where a pod may go is taken over from the new template.
fn take_directives(was: &mut Map, template: &Map) {
    let pods = spec_of(template);
    let node = pods.at(&["affinity", "nodeAffinity"]).cloned();
    let old = was.map_mut("spec");
    if old.contains("affinity") || node.is_some() {
        let affinity = old.map_mut("affinity");
        match node {
            Some(node) => affinity.set("nodeAffinity", node),
            None => drop(affinity.remove("nodeAffinity")),
        }
        if affinity.is_empty() && !pods.contains("affinity") {
            old.remove("affinity");
        }
    } else if pods.contains("affinity") {
        old.set("affinity", Map::new());
    }
    for name in ["nodeSelector", "tolerations", "schedulingGates"] {
        old.take_over(name, pods);
    }
    let meta = template.map("metadata").unwrap_or(Map::EMPTY);
    for name in ["annotations", "labels"] {
        was.map_mut("metadata").take_over(name, meta);
    }
}

/// Warnings about a job's spec at `at`.
pub(super) fn warnings(object: &Map, old: Option<&Map>, at: &[&str]) -> Vec<String> {
    if old.is_some_and(|old| old.generation() == object.generation()) {
        return Vec::new();
    }
    let spec = object.at(at).unwrap_or(Map::EMPTY);
    let number = |name: &str| spec.i64(name).unwrap_or(0);
    let mut all = Vec::new();
    let many = number("completions") > job_spec::COMPLETIONS_SOFT_MAX && number("parallelism") > PARALLELISM_SOFT_MAX;
    if job_spec::is_indexed(spec) && many {
        let why = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
        all.push(format!("{}: {why}", workload::path(at)));
    }
    let template: Vec<&str> = at.iter().copied().chain(["template"]).collect();
    all.extend(workload::warnings(object, old, &template));
    all
}

impl Strategy for Job {
    fn default(&self, object: &mut Map) {
        let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned();
        let spec = object.map_mut("spec");
        if !spec.contains("completions") && !spec.contains("parallelism") {
            spec.set("completions", 1i64);
        }
        absent(spec, "parallelism", 1i64);
        let limit = if spec.contains("backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
        absent(spec, "backoffLimit", limit);
        absent(spec, "completionMode", "NonIndexed");
        absent(spec, "suspend", false);
        let replacement = if spec.contains("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        absent(spec, "podReplacementPolicy", replacement);
        absent(spec, "manualSelector", false);
        default_patterns(spec);
        if let Some(labels) = labels.filter(|_| object.meta().map("labels").is_none_or(Map::is_empty)) {
            object.meta_mut().set("labels", labels);
        }
        workload::default_template(object, &TEMPLATE);
    }

    fn prepare_for_create(&self, cx: &Context, object: &mut Map) {
        generate_selector(object, cx.labels_defaulted);
        object.map_mut("spec").remove("scheduling");
        workload::prepare(object, None, &TEMPLATE);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        object.map_mut("spec").remove("scheduling");
        workload::prepare(object, Some(old), &TEMPLATE);
    }

    fn validate(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        generated_selector(object, &mut errors);
        spec_and_selector(object, None, &mut errors);
        name_fits_completions(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        let (spec, was, path) = (spec_of(object), spec_of(old), Path::new("spec"));
        spec_and_selector(object, Some(old), &mut errors);
        completions(spec, was, &mut errors);
        common::immutable(spec, was, "selector", &path, &mut errors);
        template_update(object, old, &mut errors);
        common::immutable(spec, was, "completionMode", &path, &mut errors);
        for (name, ty) in [("podFailurePolicy", "PodFailurePolicy"), ("successPolicy", "SuccessPolicy")] {
            if name == "successPolicy" {
                common::immutable(spec, was, "backoffLimitPerIndex", &path, &mut errors);
                common::immutable(spec, was, "managedBy", &path, &mut errors);
            }
            if !common::same(spec.get(name), was.get(name)) {
                let shown = match spec.map(name) {
                    Some(policy) => Plain(internal::shown(policy, &format!("batch.v1.{ty}"))),
                    None => job_spec::null(),
                };
                errors.push(field::invalid(&path.child(name), shown, common::IMMUTABLE));
            }
        }
        name_fits_completions(object, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        job_status::check(object, old)
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        let advice = workload::name_advice(object, old);
        advice.into_iter().chain(warnings(object, old, &["spec"])).collect()
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        vec![("status.successful", status_of(object).i64("succeeded").unwrap_or(0).to_string())]
    }

    /// Through v1, dependents stay (jobStrategy.DefaultGarbageCollectionPolicy).
    fn orphans_by_default(&self) -> bool {
        true
    }

    fn orphan_warning(&self) -> Option<&'static str> {
        Some(ORPHANS)
    }
}
