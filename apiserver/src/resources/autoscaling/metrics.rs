//! What an autoscaler scales by (pkg/apis/autoscaling/validation/validation.go@v1.37.2: validateMetrics).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;

use super::horizontal_pod_autoscaler::{Reference, reference};
use crate::resources::common;
use crate::resources::core::pod::resources;

/// Types of metrics with their fields, sorted by type.
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Fields in the order that upstream looks at them, with their types.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

pub(super) fn check(spec: &Map, objects: Reference, path: &Path, errors: &mut Errors) {
    for (at, metric) in spec.maps("metrics").enumerate() {
        self::metric(metric, objects, &path.index(at), errors);
    }
    let from_outside = spec.maps("metrics").any(|metric| matches!(metric.str("type"), "Object" | "External"));
    if spec.i64("minReplicas") == Some(0) && !from_outside {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(field::forbidden(path, why));
    }
}

fn metric(metric: &Map, objects: Reference, path: &Path, errors: &mut Errors) {
    let (kind, at) = (metric.str("type"), path.child("type"));
    if kind.is_empty() {
        errors.push(field::required(&at, "must specify a metric source type"));
    }
    let known = TYPES.contains(&kind);
    if !known {
        errors.push(field::not_supported(&at, kind, &TYPES));
    }
    let present: Vec<&str> = SOURCES.iter().map(|row| row.0).filter(|name| metric.contains(name)).collect();
    if let Some(name) = present.first() {
        let source = metric.map(name).unwrap_or(Map::EMPTY);
        self::source(name, source, objects, &path.child(name), errors);
    }
    let expected = SOURCES.iter().find(|row| row.1 == kind).map_or("", |row| row.0);
    if known && !metric.contains(expected) {
        errors.push(field::required(&path.child(expected), "must populate information for the given metric source"));
    }
    if !known {
        errors.push(field::not_supported(&at, kind, &TYPES));
    }
    if present.len() != 1 {
        let others = present.iter().filter(|name| **name != expected);
        errors.extend(
            others.map(|name| field::forbidden(&path.child(name), "must populate the given metric source only")),
        );
    }
}

fn source(name: &str, source: &Map, objects: Reference, path: &Path, errors: &mut Errors) {
    let target = source.map("target").unwrap_or(Map::EMPTY);
    let (value, average) = (target.contains("value"), target.contains("averageValue"));
    let at = path.child("target");
    match name {
        "object" => {
            let object = source.map("describedObject").unwrap_or(Map::EMPTY);
            reference(object, objects, &path.child("describedObject"), errors);
            identifier(source, path, errors);
            self::target(target, &at, errors);
            if !value && !average {
                errors
                    .push(field::required(&at.child("averageValue"), "must set either a target value or averageValue"));
            }
        }
        "external" => {
            identifier(source, path, errors);
            self::target(target, &at, errors);
            if !value && !average {
                let why = "must set either a target value for metric or a per-pod target";
                errors.push(field::required(&at.child("averageValue"), why));
            }
            if value && average {
                let why = "may not set both a target value for metric and a per-pod target";
                errors.push(field::forbidden(&at.child("value"), why));
            }
        }
        "pods" => {
            identifier(source, path, errors);
            self::target(target, &at, errors);
            if !average {
                errors.push(field::required(&at.child("averageValue"), "must specify a positive target averageValue"));
            }
        }
        _ => resource(name, source, target, path, errors),
    }
}

fn resource(name: &str, source: &Map, target: &Map, path: &Path, errors: &mut Errors) {
    let of_container = name == "containerResource";
    if source.str("name").is_empty() {
        errors.push(field::required(&path.child("name"), "must specify a resource name"));
    } else if of_container {
        resources::container_resource_name(source.str("name"), &path.child("name"), errors);
    }
    if of_container {
        match source.str("container") {
            "" => errors.push(field::required(&path.child("container"), "must specify a container")),
            container => common::dns_label(container, &path.child("container"), errors),
        }
    }
    let at = path.child("target");
    self::target(target, &at, errors);
    match (target.contains("averageUtilization"), target.contains("averageValue")) {
        (false, false) => {
            let why = "must set either a target raw value or a target utilization";
            errors.push(field::required(&at.child("averageUtilization"), why));
        }
        (true, true) => {
            let why = "may not set both a target raw value and a target utilization";
            errors.push(field::forbidden(&at.child("averageValue"), why));
        }
        _ => {}
    }
}

fn target(target: &Map, path: &Path, errors: &mut Errors) {
    let kind = target.str("type");
    if kind.is_empty() {
        errors.push(field::required(&path.child("type"), "must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(field::invalid(&path.child("type"), kind, why));
    }
    for name in ["value", "averageValue"] {
        if let Some(amount) = target.get(name).and_then(common::quantity).filter(|amount| amount.sign() != 1) {
            errors.push(field::invalid(&path.child(name), amount.to_string(), "must be positive"));
        }
    }
    if let Some(percent) = target.i64("averageUtilization").filter(|percent| *percent < 1) {
        errors.push(field::invalid(&path.child("averageUtilization"), percent, "must be greater than 0"));
    }
}

fn identifier(source: &Map, path: &Path, errors: &mut Errors) {
    let at = path.child("metric").child("name");
    match source.map("metric").map_or("", |metric| metric.str("name")) {
        "" => errors.push(field::required(&at, "must specify a metric name")),
        name => common::each(&at, name, names::is_path_segment_name(name), errors),
    }
}
