//! HorizontalPodAutoscaler (pkg/registry/autoscaling/horizontalpodautoscaler/strategy.go,
//! pkg/apis/autoscaling/v2/defaults.go, pkg/apis/autoscaling/validation/validation.go@v1.37.2).

use std::borrow::Cow;

use api::field::{self, Errors, Path};
use api::map;
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::{convert, metrics};
use crate::resources::common;
use crate::resources::common::workload::{spec_of, status_of};
use crate::resources::core::pod::defaults::absent;
use crate::strategy::{Context, Generation, Strategy};

/// The CPU use to keep when nothing says what to scale by, in percent.
pub(super) const CPU_PERCENT: i64 = 80;
const STABILIZATION_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;
/// Of default scaling policies.
const PERIOD_SECONDS: i64 = 15;
const V1: &str = "autoscaling/v1";
const DIRECTIONS: [&str; 2] = ["scaleUp", "scaleDown"];

pub(crate) struct HorizontalPodAutoscaler;

/// What a reference to another kind may leave out.
#[derive(Clone, Copy, Default)]
pub(super) struct Reference {
    pub(super) any_version: bool,
    pub(super) core_group: bool,
}

/// `version` or `group/version`.
fn api_version_error(text: &str, rules: Reference) -> Option<String> {
    if rules.any_version {
        return None;
    }
    if text.matches('/').count() > 1 {
        return Some(format!("unexpected GroupVersion string: {text}"));
    }
    let empty_group = !text.contains('/') || text.starts_with('/');
    (empty_group && !rules.core_group).then(|| "apiVersion must specify API group".to_string())
}

/// ValidateCrossVersionObjectReference.
pub(super) fn reference(map: &Map, rules: Reference, path: &Path, errors: &mut Errors) {
    for name in ["kind", "name"] {
        let value = map.str(name);
        if value.is_empty() {
            errors.push(field::required(&path.child(name), ""));
        } else {
            common::each(&path.child(name), value, names::is_path_segment_name(value), errors);
        }
    }
    if let Some(why) = api_version_error(map.str("apiVersion"), rules) {
        errors.push(field::invalid(&path.child("apiVersion"), map.str("apiVersion"), why));
    }
}

/// The v2 shape, which alone is checked: v1 has the rest in annotations.
fn as_v2(object: &Map) -> Cow<'_, Map> {
    match object.str("apiVersion") {
        V1 => Cow::Owned(convert::to_v2(object)),
        _ => Cow::Borrowed(object),
    }
}

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let (object, old) = (&*as_v2(object), old.map(as_v2));
    let old = old.as_deref();
    let mut errors = Errors::new();
    let (spec, path) = (spec_of(object), Path::new("spec"));
    let (min, max) = (spec.i64("minReplicas"), spec.i64("maxReplicas").unwrap_or(0));
    common::none_negative(spec, &["minReplicas"], &path, &mut errors);
    if max == 0 {
        errors.push(field::required(&path.child("maxReplicas"), ""));
    } else if max < 0 {
        errors.push(field::invalid(&path.child("maxReplicas"), max, "must be greater than or equal to 1"));
    }
    if min.is_some_and(|min| max < min) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(field::invalid(&path.child("maxReplicas"), max, why));
    }
    let target = spec.map("scaleTargetRef").unwrap_or(Map::EMPTY);
    let was = old.and_then(|old| spec_of(old).map("scaleTargetRef"));
    let same = was.is_some_and(|was| ["apiVersion", "kind"].iter().all(|name| was.str(name) == target.str(name)));
    let rules = Reference { any_version: same, core_group: !same && target.str("kind") == "ReplicationController" };
    reference(target, rules, &path.child("scaleTargetRef"), &mut errors);
    let objects = Reference { any_version: old.is_some_and(has_wrong_object), core_group: true };
    metrics::check(spec, objects, &path.child("metrics"), &mut errors);
    for name in ["scaleUp", "scaleDown"] {
        if let Some(rules) = spec.at(&["behavior", name]) {
            scaling_rules(rules, &path.child("behavior").child(name), &mut errors);
        }
    }
    errors
}

fn has_wrong_object(old: &Map) -> bool {
    let rules = Reference { any_version: false, core_group: true };
    let objects = spec_of(old).maps("metrics").filter(|metric| metric.str("type") == "Object");
    objects
        .filter_map(|metric| metric.at(&["object", "describedObject"]))
        .any(|object| api_version_error(object.str("apiVersion"), rules).is_some())
}

fn scaling_rules(rules: &Map, path: &Path, errors: &mut Errors) {
    let at = path.child("stabilizationWindowSeconds");
    match rules.i64("stabilizationWindowSeconds") {
        Some(seconds) if seconds < 0 => {
            errors.push(field::invalid(&at, seconds, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > STABILIZATION_SECONDS_MAX => {
            let why = format!("must be less than or equal to {STABILIZATION_SECONDS_MAX}");
            errors.push(field::invalid(&at, seconds, why));
        }
        _ => {}
    }
    common::one_of(rules, "selectPolicy", &["Disabled", "Max", "Min"], path, errors);
    let at = path.child("policies");
    if rules.list("policies").is_empty() {
        errors.push(field::required(&at, "must specify at least one Policy"));
    }
    for (index, policy) in rules.maps("policies").enumerate() {
        scaling_policy(policy, &at.index(index), errors);
    }
    if let Some(tolerance) = rules.get("tolerance").and_then(common::quantity).filter(|t| t.sign() < 0) {
        errors.push(field::invalid(&path.child("tolerance"), tolerance.to_string(), common::NEGATIVE));
    }
}

fn scaling_policy(policy: &Map, path: &Path, errors: &mut Errors) {
    let kind = policy.str("type");
    if !["Percent", "Pods"].contains(&kind) {
        errors.push(field::not_supported(&path.child("type"), kind, &["Percent", "Pods"]));
    }
    for name in ["value", "periodSeconds"] {
        let value = policy.i64(name).unwrap_or(0);
        if value <= 0 {
            errors.push(field::invalid(&path.child(name), value, "must be greater than zero"));
        }
    }
    let period = policy.i64("periodSeconds").unwrap_or(0);
    if period > PERIOD_SECONDS_MAX {
        let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
        errors.push(field::invalid(&path.child("periodSeconds"), period, why));
    }
}

fn policy(kind: &str, value: i64) -> Value {
    Value::Map(map! { "type" => kind, "value" => value, "periodSeconds" => PERIOD_SECONDS })
}

/// A behaviour that says something about scaling says the rest as well.
fn default_behavior(behavior: &mut Map) {
    for direction in DIRECTIONS {
        let rules = behavior.map_mut(direction);
        let up = direction == "scaleUp";
        if up {
            absent(rules, "stabilizationWindowSeconds", 0i64);
        }
        absent(rules, "selectPolicy", "Max");
        let percent = policy("Percent", 100);
        let policies = if up { vec![policy("Pods", 4), percent] } else { vec![percent] };
        absent(rules, "policies", policies);
    }
}

/// What to scale by when nothing says so.
pub(super) fn cpu_metric(percent: i64) -> Value {
    let target = map! { "type" => "Utilization", "averageUtilization" => percent };
    Value::Map(map! { "type" => "Resource", "resource" => map! { "name" => "cpu", "target" => target } })
}

impl Strategy for HorizontalPodAutoscaler {
    fn annotations_of_fields(&self) -> &'static [&'static str] {
        &convert::ROUND_TRIP
    }

    fn default(&self, object: &mut Map) {
        absent(object.map_mut("spec"), "minReplicas", 1i64);
        if object.str("apiVersion") == V1 {
            // What v1 cannot say gets its default on the way through v2.
            let mut v2 = convert::to_v2(object);
            if let Some(behavior) = v2.map_mut("spec").get_mut("behavior").and_then(Value::as_map_mut) {
                default_behavior(behavior);
            }
            *object = convert::to_v1(&v2);
            return;
        }
        let spec = object.map_mut("spec");
        if spec.list("metrics").is_empty() {
            spec.set("metrics", vec![cpu_metric(CPU_PERCENT)]);
        }
        if let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_map_mut) {
            default_behavior(behavior);
        }
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        if object.str("apiVersion") == V1 {
            convert::keep(object, Map::EMPTY, &convert::OF_STATUS);
        }
    }

    /// Through v1, what annotations say of the status is the server's, and what they say of the spec counts.
    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        if object.str("apiVersion") != V1 {
            return;
        }
        convert::keep(object, old, &convert::OF_STATUS);
        if !common::same_maps(spec_of(&as_v2(object)), spec_of(&as_v2(old))) {
            object.meta_mut().set("generation", old.generation() + 1);
        }
    }

    fn prepare_for_status_update(&self, _: &Context, object: &mut Map, old: &Map) {
        if object.str("apiVersion") == V1 {
            convert::keep(object, old, &convert::OF_SPEC);
        }
    }

    fn validate(&self, object: &Map) -> Errors {
        check(object, None)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        check(object, Some(old))
    }

    fn validate_status_update(&self, object: &Map, _: &Map) -> Errors {
        let mut errors = Errors::new();
        let object = as_v2(object);
        let (status, path) = (status_of(&object), Path::new("status"));
        for (at, condition) in status.maps("conditions").enumerate() {
            let path = path.child("conditions").index(at);
            common::none_negative(condition, &["observedGeneration"], &path, &mut errors);
        }
        common::none_negative(status, &["currentReplicas", "desiredReplicas"], &path, &mut errors);
        errors
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }
}
