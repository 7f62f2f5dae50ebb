//! Deployment (pkg/registry/apps/deployment/strategy.go, pkg/apis/apps/v1/defaults.go,
//! pkg/apis/apps/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::Map;

use crate::resources::common;
use crate::resources::common::workload::{self, TEMPLATE, spec_of, status_of};
use crate::resources::core::pod::defaults::{absent, text};
use crate::strategy::{Context, Generation, Strategy};

const COUNTERS: [&str; 8] = [
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "terminatingReplicas",
    "collisionCount",
];

pub(crate) struct Deployment;

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec_of(object), Path::new("spec"));
    common::none_negative(spec, &["replicas"], &path, &mut errors);
    workload::replicated(object, old, &mut errors);
    strategy(spec, &path.child("strategy"), &mut errors);
    common::none_negative(
        spec,
        &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"],
        &path,
        &mut errors,
    );
    if let Some(seconds) = spec.i64("progressDeadlineSeconds")
        && seconds <= spec.i64("minReadySeconds").unwrap_or(0)
    {
        let why = "must be greater than minReadySeconds";
        errors.push(field::invalid(&path.child("progressDeadlineSeconds"), seconds, why));
    }
    errors
}

fn strategy(spec: &Map, path: &Path, errors: &mut Errors) {
    let strategy = spec.map("strategy").unwrap_or(Map::EMPTY);
    let at = path.child("rollingUpdate");
    match (strategy.str("type"), strategy.map("rollingUpdate")) {
        ("Recreate", Some(_)) => {
            errors.push(field::forbidden(&at, "may not be specified when strategy `type` is 'Recreate'"));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.push(field::required(&at, "this should be defaulted and never be nil"));
        }
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &at, errors),
        _ => {
            let shown = workload::shown(Some(strategy), "apps.v1.DeploymentStrategy");
            errors.push(field::not_supported(path, shown, &["Recreate", "RollingUpdate"]));
        }
    }
}

fn rolling_update(rolling: &Map, path: &Path, errors: &mut Errors) {
    workload::rolling(rolling, &["maxUnavailable", "maxSurge"], path, errors);
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    let at = path.child("maxUnavailable");
    if common::count_or_percents(unavailable) == 0 && common::count_or_percents(surge) == 0 {
        let shown = unavailable.cloned().unwrap_or(0i64.into());
        errors.push(field::invalid(&at, shown, "may not be 0 when `maxSurge` is 0"));
    }
    if let Some(unavailable) = unavailable {
        common::at_most_100_percent(unavailable, &at, errors);
    }
}

impl Strategy for Deployment {
    fn reset_fields(&self, subresource: &str) -> Option<&'static [&'static [&'static str]]> {
        (subresource == "status").then_some(&[&["metadata", "labels"], &["spec"]])
    }

    fn default(&self, object: &mut Map) {
        let spec = object.map_mut("spec");
        absent(spec, "replicas", 1i64);
        let strategy = spec.map_mut("strategy");
        text(strategy, "type", "RollingUpdate");
        if strategy.str("type") == "RollingUpdate" {
            let rolling = strategy.map_mut("rollingUpdate");
            absent(rolling, "maxUnavailable", "25%");
            absent(rolling, "maxSurge", "25%");
        }
        absent(spec, "revisionHistoryLimit", 10i64);
        absent(spec, "progressDeadlineSeconds", 600i64);
        workload::default_template(object, &TEMPLATE);
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        workload::prepare(object, None, &TEMPLATE);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        workload::prepare(object, Some(old), &TEMPLATE);
        // The controller looks at annotations too; a changed spec is counted by the caller.
        let notes = |object: &Map| object.meta().map("annotations").filter(|notes| !notes.is_empty()).cloned();
        if common::same_maps(spec_of(object), spec_of(old)) && notes(object) != notes(old) {
            object.meta_mut().set("generation", old.generation() + 1);
        }
    }

    fn prepare_for_status_update(&self, _: &Context, object: &mut Map, old: &Map) {
        object.meta_mut().take_over("labels", old.meta());
    }

    fn validate(&self, object: &Map) -> Errors {
        check(object, None)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = check(object, Some(old));
        common::immutable(spec_of(object), spec_of(old), "selector", &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        let (status, path) = (status_of(object), Path::new("status"));
        common::none_negative(status, &COUNTERS, &path, &mut errors);
        for name in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
            common::at_most(status, name, "replicas", "cannot be greater than status.replicas", &path, &mut errors);
        }
        let why = "cannot be greater than readyReplicas";
        common::at_most(status, "availableReplicas", "readyReplicas", why, &path, &mut errors);
        common::collisions(status, status_of(old), &path, &mut errors);
        errors
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        let advice = workload::name_advice(object, old);
        advice.into_iter().chain(workload::warnings(object, old, &TEMPLATE)).collect()
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }
}
