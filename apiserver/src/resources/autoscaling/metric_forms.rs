//! One metric of an autoscaler in the shape of autoscaling/v1's annotations and in that of autoscaling/v2
//! (pkg/apis/autoscaling/v1/conversion.go@v1.37.2).
//!
//! Invariant: fields come in the order of v1's structs, for annotations are read as text too; quantities that v1
//! always writes are "0" when v2 has none.

use api::map;
use api::value::{Map, Value};

use crate::resources::common;

/// Fields of a metric with their sources, in v1's order.
const SOURCES: [&str; 5] = ["object", "pods", "resource", "containerResource", "external"];
const ZERO: &str = "0";

/// Copies `from`'s field to another name, if it is there.
fn copy(to: &mut Map, name: &'static str, from: Option<&Map>, field: &str) {
    if let Some(value) = from.and_then(|from| from.get(field)).filter(|value| !value.is_null()) {
        to.set(name, value.clone());
    }
}

fn copy_text(to: &mut Map, name: &'static str, from: Option<&Map>, field: &str) {
    to.set(name, from.map_or("", |from| from.str(field)));
}

/// A quantity that v1 cannot leave out.
fn copy_quantity(to: &mut Map, name: &'static str, from: Option<&Map>, field: &str) {
    to.set(name, from.and_then(|from| from.get(field)).cloned().unwrap_or_else(|| ZERO.into()));
}

fn reference(from: Option<&Map>) -> Map {
    let mut out = Map::new();
    copy_text(&mut out, "kind", from, "kind");
    copy_text(&mut out, "name", from, "name");
    copy(&mut out, "apiVersion", from, "apiVersion");
    out
}

/// Each source of a metric, changed by `change`.
fn each(metric: &Map, change: impl Fn(&str, &Map) -> Map) -> Map {
    let mut out = map! { "type" => metric.str("type") };
    for name in SOURCES {
        if let Some(source) = metric.map(name) {
            out.set(name, change(name, source));
        }
    }
    out
}

pub(super) fn spec_to_v1(metric: &Map) -> Map {
    each(metric, |name, source| {
        let (target, metric, mut out) = (source.map("target"), source.map("metric"), Map::new());
        match name {
            "object" => {
                out.set("target", reference(source.map("describedObject")));
                copy_text(&mut out, "metricName", metric, "name");
                copy_quantity(&mut out, "targetValue", target, "value");
                copy(&mut out, "selector", metric, "selector");
                copy(&mut out, "averageValue", target, "averageValue");
            }
            "pods" => {
                copy_text(&mut out, "metricName", metric, "name");
                copy_quantity(&mut out, "targetAverageValue", target, "averageValue");
                copy(&mut out, "selector", metric, "selector");
            }
            "external" => {
                copy_text(&mut out, "metricName", metric, "name");
                copy(&mut out, "metricSelector", metric, "selector");
                copy(&mut out, "targetValue", target, "value");
                copy(&mut out, "targetAverageValue", target, "averageValue");
            }
            _ => {
                copy_text(&mut out, "name", Some(source), "name");
                copy(&mut out, "targetAverageUtilization", target, "averageUtilization");
                copy(&mut out, "targetAverageValue", target, "averageValue");
                if name == "containerResource" {
                    copy_text(&mut out, "container", Some(source), "container");
                }
            }
        }
        out
    })
}

pub(super) fn status_to_v1(metric: &Map) -> Map {
    each(metric, |name, source| {
        let (current, metric, mut out) = (source.map("current"), source.map("metric"), Map::new());
        match name {
            "object" => {
                out.set("target", reference(source.map("describedObject")));
                copy_text(&mut out, "metricName", metric, "name");
                copy_quantity(&mut out, "currentValue", current, "value");
                copy(&mut out, "selector", metric, "selector");
                copy(&mut out, "averageValue", current, "averageValue");
            }
            "pods" => {
                copy_text(&mut out, "metricName", metric, "name");
                copy_quantity(&mut out, "currentAverageValue", current, "averageValue");
                copy(&mut out, "selector", metric, "selector");
            }
            "external" => {
                copy_text(&mut out, "metricName", metric, "name");
                copy(&mut out, "metricSelector", metric, "selector");
                copy_quantity(&mut out, "currentValue", current, "value");
                copy(&mut out, "currentAverageValue", current, "averageValue");
            }
            _ => {
                copy_text(&mut out, "name", Some(source), "name");
                copy(&mut out, "currentAverageUtilization", current, "averageUtilization");
                copy_quantity(&mut out, "currentAverageValue", current, "averageValue");
                if name == "containerResource" {
                    copy_text(&mut out, "container", Some(source), "container");
                }
            }
        }
        out
    })
}

fn identifier(source: &Map, selector: &str) -> Map {
    let mut out = Map::new();
    copy_text(&mut out, "name", Some(source), "metricName");
    copy(&mut out, "selector", Some(source), selector);
    out
}

fn is_zero(value: Option<&Value>) -> bool {
    value.and_then(common::quantity).is_none_or(|quantity| quantity.sign() == 0)
}

/// v1 does not say what kind of target it has: the fields that are set do.
pub(super) fn spec_from_v1(metric: &Map) -> Map {
    each(metric, |name, source| {
        let has = |field: &str| source.get(field).is_some_and(|value| !value.is_null());
        let (from, mut target) = (Some(source), Map::new());
        match name {
            "object" => {
                let average = has("averageValue");
                target.set("type", if average { "AverageValue" } else { "Value" });
                if !average || !is_zero(source.get("targetValue")) {
                    copy_quantity(&mut target, "value", from, "targetValue");
                }
                copy(&mut target, "averageValue", from, "averageValue");
                let object = reference(source.map("target"));
                map! { "describedObject" => object, "target" => target, "metric" => identifier(source, "selector") }
            }
            "pods" => {
                target.set("type", "AverageValue");
                copy_quantity(&mut target, "averageValue", from, "targetAverageValue");
                map! { "metric" => identifier(source, "selector"), "target" => target }
            }
            "external" => {
                target.set("type", if has("targetValue") { "Value" } else { "AverageValue" });
                copy(&mut target, "value", from, "targetValue");
                copy(&mut target, "averageValue", from, "targetAverageValue");
                map! { "metric" => identifier(source, "metricSelector"), "target" => target }
            }
            _ => {
                let utilization = has("targetAverageUtilization");
                target.set("type", if utilization { "Utilization" } else { "AverageValue" });
                copy(&mut target, "averageValue", from, "targetAverageValue");
                copy(&mut target, "averageUtilization", from, "targetAverageUtilization");
                named(name, source, "target", target)
            }
        }
    })
}

pub(super) fn status_from_v1(metric: &Map) -> Map {
    each(metric, |name, source| {
        let (from, mut current) = (Some(source), Map::new());
        match name {
            "object" => {
                copy_quantity(&mut current, "value", from, "currentValue");
                copy(&mut current, "averageValue", from, "averageValue");
                let object = reference(source.map("target"));
                map! { "metric" => identifier(source, "selector"), "current" => current, "describedObject" => object }
            }
            "pods" => {
                copy_quantity(&mut current, "averageValue", from, "currentAverageValue");
                map! { "metric" => identifier(source, "selector"), "current" => current }
            }
            "external" => {
                copy_quantity(&mut current, "value", from, "currentValue");
                copy(&mut current, "averageValue", from, "currentAverageValue");
                map! { "metric" => identifier(source, "metricSelector"), "current" => current }
            }
            _ => {
                copy_quantity(&mut current, "averageValue", from, "currentAverageValue");
                copy(&mut current, "averageUtilization", from, "currentAverageUtilization");
                named(name, source, "current", current)
            }
        }
    })
}

/// The source of a resource of pods or of one of their containers.
fn named(kind: &str, source: &Map, part: &'static str, inner: Map) -> Map {
    let mut out = map! { "name" => source.str("name"), part => inner };
    if kind == "containerResource" {
        copy_text(&mut out, "container", Some(source), "container");
    }
    out
}
