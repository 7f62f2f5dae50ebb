//! HorizontalPodAutoscaler between autoscaling/v1, which knows CPU use only, and autoscaling/v2, which is stored
//! (pkg/apis/autoscaling/v1/conversion.go@v1.37.2).
//!
//! Invariant: what v1 has no field for travels in annotations, and they are nowhere but in v1. One that cannot be
//! read is ignored and dropped.

use api::facts::{self, Struct};
use api::json::{self, Strictness};
use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use super::horizontal_pod_autoscaler::{CPU_PERCENT, cpu_metric};
use super::metric_forms;
use crate::resources::common::internal;
use crate::resources::common::workload::{spec_of, status_of};

const V1: &str = "autoscaling/v1";
const V2: &str = "autoscaling/v2";
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// Annotations that stand for fields of the spec.
pub(super) const OF_SPEC: [&str; 2] = [METRICS, BEHAVIOR];
/// Annotations that stand for fields of the status.
pub(super) const OF_STATUS: [&str; 2] = [CURRENT_METRICS, CONDITIONS];
/// All of them, with two that only older versions wrote.
pub(super) const ROUND_TRIP: [&str; 6] = [
    METRICS,
    BEHAVIOR,
    CURRENT_METRICS,
    CONDITIONS,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// Makes the annotations of these names what they are in `old`.
pub(super) fn keep(object: &mut Map, old: &Map, names: &[&'static str]) {
    let kept: Vec<_> = names.iter().filter_map(|name| Some((*name, old.annotation(name)?.to_string()))).collect();
    if let Some(annotations) = object.meta_mut().get_mut("annotations").and_then(Value::as_map_mut) {
        annotations.retain(|name, _| !names.contains(&name));
    }
    annotate(object, kept);
}

fn annotate(object: &mut Map, all: Vec<(&'static str, String)>) {
    let empty = all.is_empty();
    let meta = object.meta_mut();
    if !empty {
        let annotations = meta.map_mut("annotations");
        all.into_iter().for_each(|(name, text)| annotations.set(name, text));
        annotations.sort();
    } else if meta.map("annotations").is_some_and(Map::is_empty) {
        meta.remove("annotations");
    }
}

fn drop_annotations(object: &mut Map) {
    let Some(annotations) = object.get_mut("metadata").and_then(|meta| meta.as_map_mut()?.get_mut("annotations"))
    else {
        return;
    };
    let Some(annotations) = annotations.as_map_mut() else { return };
    annotations.retain(|name, _| !ROUND_TRIP.contains(&name));
    if annotations.is_empty() {
        object.meta_mut().remove("annotations");
    }
}

/// The fields of `from` with these names.
fn take(from: &Map, names: &[&'static str]) -> Map {
    names.iter().filter_map(|name| Some(((*name).into(), from.get(name)?.clone()))).collect()
}

fn metric_is(metric: &Map, part: &str, field: &str) -> bool {
    let cpu = metric.map("resource").filter(|resource| resource.str("name") == "cpu");
    metric.str("type") == "Resource"
        && cpu.and_then(|resource| resource.map(part)).is_some_and(|part| part.contains(field))
}

/// The version's own form: fields in order, those that are always written there.
fn canonical(object: Map, version: &str, kind: &str) -> Map {
    let ty: Option<&'static Struct> = facts::structure(&format!("io.k8s.api.autoscaling.{version}.{kind}"));
    let Some(ty) = ty else { return object };
    match json::decode(&json::encode(&object), ty, Strictness::Lenient) {
        Ok(decoded) => decoded.value,
        Err(error) => {
            tracing::error!(version, %error, "autoscaler does not fit its other version");
            object
        }
    }
}

fn whole(object: &Map, version: &str, spec: Map, status: Map) -> Map {
    let mut out = map! { "kind" => "HorizontalPodAutoscaler", "apiVersion" => version };
    if let Some(meta) = object.get("metadata") {
        out.set("metadata", meta.clone());
    }
    drop_annotations(&mut out);
    out.set("spec", spec);
    out.set("status", status);
    out
}

/// The JSON list in an annotation.
fn list_in(object: &Map, annotation: &str) -> Option<Vec<Map>> {
    let (value, _) = json::decode_any(object.annotation(annotation)?.as_bytes(), Strictness::Lenient).ok()?;
    match value {
        Value::List(list) => list.into_iter().map(|value| value.as_map().cloned()).collect(),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

/// v1 to v2. What v1 leaves to the controller, CPU use of 80 percent, v2 says.
pub(crate) fn to_v2(object: &Map) -> Map {
    let (spec, status) = (spec_of(object), status_of(object));
    let cpu = spec.i64("targetCPUUtilizationPercentage").map(cpu_metric);
    let others = list_in(object, METRICS).unwrap_or_default();
    let mut metrics: Vec<Value> = others.iter().map(|metric| Value::Map(metric_forms::spec_from_v1(metric))).collect();
    metrics.extend(cpu);
    if metrics.is_empty() {
        metrics.push(cpu_metric(CPU_PERCENT));
    }
    let mut new = take(spec, &["scaleTargetRef", "minReplicas", "maxReplicas"]);
    new.set("metrics", metrics);
    if let Some(behavior) = behavior_in(object) {
        new.set("behavior", behavior);
    }
    let out = whole(object, V2, new, status_from_v1(object, status));
    canonical(out, "v2", "HorizontalPodAutoscaler")
}

fn status_from_v1(object: &Map, status: &Map) -> Map {
    let mut new = take(status, &["observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"]);
    let current = match list_in(object, CURRENT_METRICS) {
        Some(all) => all.iter().map(|metric| Value::Map(metric_forms::status_from_v1(metric))).collect(),
        None => status.i64("currentCPUUtilizationPercentage").map(cpu_status).into_iter().collect::<Vec<Value>>(),
    };
    if !current.is_empty() {
        new.set("currentMetrics", current);
    }
    if let Some(conditions) = list_in(object, CONDITIONS) {
        new.set("conditions", conditions.into_iter().map(Value::Map).collect::<Vec<Value>>());
    }
    new
}

fn cpu_status(percent: i64) -> Value {
    let current = map! { "averageUtilization" => percent };
    Value::Map(map! { "type" => "Resource", "resource" => map! { "name" => "cpu", "current" => current } })
}

/// v2 to v1.
pub(crate) fn to_v1(object: &Map) -> Map {
    let (spec, status) = (spec_of(object), status_of(object));
    let is_cpu = |metric: &&Map| metric_is(metric, "target", "averageUtilization");
    let mut new = take(spec, &["scaleTargetRef", "minReplicas", "maxReplicas"]);
    let cpu = spec
        .maps("metrics")
        .find(is_cpu)
        .and_then(|metric| metric.value_at(&["resource", "target", "averageUtilization"]));
    if let Some(percent) = cpu {
        new.set("targetCPUUtilizationPercentage", percent.clone());
    }
    let mut now = take(status, &["observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"]);
    let used = status.maps("currentMetrics").filter(|metric| metric_is(metric, "current", "averageUtilization")).last();
    if let Some(percent) = used.and_then(|metric| metric.value_at(&["resource", "current", "averageUtilization"])) {
        now.set("currentCPUUtilizationPercentage", percent.clone());
    }
    let mut out = whole(object, V1, new, now);
    let others = spec.maps("metrics").filter(|metric| !is_cpu(metric)).map(metric_forms::spec_to_v1);
    let current = status.maps("currentMetrics").map(metric_forms::status_to_v1);
    let behavior = spec.map("behavior").map(|b| internal::shown(b, "autoscaling.v2.HorizontalPodAutoscalerBehavior"));
    let texts = [
        (METRICS, text(others.collect())),
        (CURRENT_METRICS, text(current.collect())),
        (BEHAVIOR, behavior),
        (CONDITIONS, text(status.maps("conditions").cloned().collect())),
    ];
    annotate(&mut out, texts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect());
    canonical(out, "v1", "HorizontalPodAutoscaler")
}

fn text(list: Vec<Map>) -> Option<String> {
    if list.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    json::encode_value(&mut out, &Value::List(list.into_iter().map(Value::Map).collect()));
    String::from_utf8(out).ok()
}

/// The behaviour in an annotation, which upstream writes by the Go names of its internal type.
fn behavior_in(object: &Map) -> Option<Map> {
    let (value, _) = json::decode_any(object.annotation(BEHAVIOR)?.as_bytes(), Strictness::Lenient).ok()?;
    let Value::Map(behavior) = json_names(value) else { return None };
    (!behavior.is_empty()).then_some(behavior)
}

/// Names with a small first letter; nulls are left out.
fn json_names(value: Value) -> Value {
    let small = |name: &str| {
        let mut chars = name.chars();
        chars.next().map(|first| first.to_lowercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    match value {
        Value::Map(map) => {
            let fields = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Map(fields.map(|(name, value)| (small(&name).into(), json_names(value))).collect())
        }
        Value::List(list) => Value::List(list.into_iter().map(json_names).collect()),
        other => other,
    }
}
