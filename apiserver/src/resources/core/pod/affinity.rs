//! Affinity to nodes and to other pods (pkg/apis/core/validation/validation.go@v1.37.2: validateAffinity and what it
//! calls).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::options::Options;
use super::spread;
use crate::resources::common;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn check(affinity: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    if let Some(node) = affinity.map("nodeAffinity") {
        self::node(node, &path.child("nodeAffinity"), options, errors);
    }
    for name in ["podAffinity", "podAntiAffinity"] {
        if let Some(pod) = affinity.map(name) {
            pods(pod, &path.child(name), options, errors);
        }
    }
}

fn weight(term: &Map, path: &Path, errors: &mut Errors) {
    let weight = term.i64("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(field::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

fn node(affinity: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    if let Some(selector) = affinity.map(REQUIRED) {
        node_selector(selector, options.any_node_affinity_value, &path.child(REQUIRED), errors);
    }
    for (at, term) in affinity.maps(PREFERRED).enumerate() {
        let path = path.child(PREFERRED).index(at);
        weight(term, &path, errors);
        node_term(term.map("preference").unwrap_or(Map::EMPTY), true, &path.child("preference"), errors);
    }
}

/// ValidateNodeSelector.
pub(crate) fn node_selector(selector: &Map, any_value: bool, path: &Path, errors: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    if selector.list("nodeSelectorTerms").is_empty() {
        errors.push(field::required(&path, "must have at least one node selector term"));
    }
    for (at, term) in selector.maps("nodeSelectorTerms").enumerate() {
        node_term(term, any_value, &path.index(at), errors);
    }
}

fn node_term(term: &Map, any_value: bool, path: &Path, errors: &mut Errors) {
    for (at, requirement) in term.maps("matchExpressions").enumerate() {
        node_requirement(requirement, any_value, &path.child("matchExpressions").index(at), errors);
    }
    for (at, requirement) in term.maps("matchFields").enumerate() {
        node_field(requirement, &path.child("matchFields").index(at), errors);
    }
}

fn node_requirement(requirement: &Map, any_value: bool, path: &Path, errors: &mut Errors) {
    let (operator, values) = (requirement.str("operator"), requirement.list("values"));
    let at = path.child("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(field::required(&at, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.push(field::forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.push(field::required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => errors.push(field::invalid(&path.child("operator"), operator, "not a valid selector operator")),
    }
    common::qualified_name(requirement.str("key"), &path.child("key"), errors);
    if !any_value {
        common::label_values(values, &at, errors);
    }
}

fn node_field(requirement: &Map, path: &Path, errors: &mut Errors) {
    let (operator, key) = (requirement.str("operator"), requirement.str("key"));
    let values = requirement.list("values");
    match operator {
        "In" | "NotIn" if values.len() != 1 => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(field::required(&path.child("values"), why));
        }
        "In" | "NotIn" => {}
        _ => errors.push(field::invalid(&path.child("operator"), operator, "not a valid selector operator")),
    }
    if key != "metadata.name" {
        errors.push(field::invalid(&path.child("key"), key, "not a valid field selector key"));
        return;
    }
    for (at, name) in values.iter().filter_map(Value::as_str).enumerate() {
        common::each(&path.child("values").index(at), name, names::name_is_dns_subdomain(name, false), errors);
    }
}

fn pods(affinity: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    for (at, term) in affinity.maps(REQUIRED).enumerate() {
        pod_term(term, &path.child(REQUIRED).index(at), options, errors);
    }
    for (at, weighted) in affinity.maps(PREFERRED).enumerate() {
        let path = path.child(PREFERRED).index(at);
        weight(weighted, &path, errors);
        let term = weighted.map("podAffinityTerm").unwrap_or(Map::EMPTY);
        pod_term(term, &path.child("podAffinityTerm"), options, errors);
    }
}

fn pod_term(term: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    for name in ["labelSelector", "namespaceSelector"] {
        common::label_selector(term.map(name), options.any_affinity_selector_value, &path.child(name), errors);
    }
    for namespace in term.list("namespaces").iter().filter_map(Value::as_str) {
        common::dns_label(namespace, &path.child("namespace"), errors);
    }
    spread::label_keys(term, path, errors);
    if term.str("topologyKey").is_empty() {
        errors.push(field::required(&path.child("topologyKey"), "can not be empty"));
    }
    common::qualified_name(term.str("topologyKey"), &path.child("topologyKey"), errors);
}
