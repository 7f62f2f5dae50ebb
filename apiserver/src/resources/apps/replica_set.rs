//! ReplicaSet (pkg/registry/apps/replicaset/strategy.go, pkg/apis/apps/validation/validation.go@v1.37.2).

use api::field::{Errors, Path};
use api::value::Map;

use crate::resources::common;
use crate::resources::common::workload::{self, TEMPLATE, spec_of, status_of};
use crate::resources::core::pod::defaults::absent;
use crate::strategy::{Context, Generation, Strategy};

const COUNTERS: [&str; 6] = [
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
    "terminatingReplicas",
];

pub(crate) struct ReplicaSet;

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    common::none_negative(spec_of(object), &["replicas", "minReadySeconds"], &Path::new("spec"), &mut errors);
    workload::replicated(object, old, &mut errors);
    errors
}

/// The status of replica sets and replication controllers.
pub(crate) fn check_status(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (status, path) = (status_of(object), Path::new("status"));
    common::none_negative(status, &COUNTERS, &path, &mut errors);
    for name in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        common::at_most(status, name, "replicas", "cannot be greater than status.replicas", &path, &mut errors);
    }
    let why = "cannot be greater than readyReplicas";
    common::at_most(status, "availableReplicas", "readyReplicas", why, &path, &mut errors);
    errors
}

pub(crate) fn replicas(object: &Map) -> Vec<(&'static str, String)> {
    vec![("status.replicas", status_of(object).i64("replicas").unwrap_or(0).to_string())]
}

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Map) {
        absent(object.map_mut("spec"), "replicas", 1i64);
        workload::default_template(object, &TEMPLATE);
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        workload::prepare(object, None, &TEMPLATE);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        workload::prepare(object, Some(old), &TEMPLATE);
    }

    fn validate(&self, object: &Map) -> Errors {
        check(object, None)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = check(object, Some(old));
        common::immutable(spec_of(object), spec_of(old), "selector", &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Map, _: &Map) -> Errors {
        check_status(object)
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        let advice = workload::name_advice(object, old);
        advice.into_iter().chain(workload::warnings(object, old, &TEMPLATE)).collect()
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }
}
