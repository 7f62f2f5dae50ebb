//! Topology spread constraints and the label keys that they share with pod affinity
//! (pkg/apis/core/validation/validation.go@v1.37.2: validateTopologySpreadConstraints,
//! ValidateMatchLabelKeysAndMismatchLabelKeys).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use super::options::Options;
use crate::resources::common;

const ACTIONS: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
const POLICIES: [&str; 2] = ["Honor", "Ignore"];
const IN_BOTH: &str = "exists in both matchLabelKeys and labelSelector";

pub(super) fn check(spec: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    let all: Vec<&Map> = spec.maps("topologySpreadConstraints").collect();
    for (at, constraint) in all.iter().enumerate() {
        let path = path.index(at);
        common::positive(constraint.i64("maxSkew").unwrap_or(0), &path.child("maxSkew"), errors);
        let (key, action) = (constraint.str("topologyKey"), constraint.str("whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(field::required(&path.child("topologyKey"), "can not be empty"));
        }
        if !ACTIONS.contains(&action) {
            errors.push(field::not_supported(&path.child("whenUnsatisfiable"), action, &ACTIONS));
        }
        let again = |other: &&Map| other.str("topologyKey") == key && other.str("whenUnsatisfiable") == action;
        if all[at + 1..].iter().any(again) {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(field::duplicate(&path, format!("{{{key}, {action}}}")));
        }
        if let Some(domains) = constraint.i64("minDomains") {
            min_domains(domains, action, &path.child("minDomains"), errors);
        }
        common::one_of(constraint, "nodeAffinityPolicy", &POLICIES, &path, errors);
        common::one_of(constraint, "nodeTaintsPolicy", &POLICIES, &path, errors);
        if options.old_match_label_keys {
            old_label_keys(constraint, &path.child("matchLabelKeys"), errors);
        } else {
            label_keys(constraint, &path, errors);
        }
        if !options.any_spread_selector {
            common::label_selector(constraint.map("labelSelector"), false, &path.child("labelSelector"), errors);
        }
    }
}

fn min_domains(domains: i64, action: &str, path: &Path, errors: &mut Errors) {
    common::positive(domains, path, errors);
    if action != "DoNotSchedule" {
        let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.push(field::invalid(path, domains, why));
    }
}

fn texts<'a>(map: &'a Map, name: &str) -> impl Iterator<Item = &'a str> {
    map.list(name).iter().filter_map(Value::as_str)
}

/// Keys whose values come from the pod's own labels; the selector has got them when it was merged.
pub(super) fn label_keys(term: &Map, path: &Path, errors: &mut Errors) {
    for name in ["matchLabelKeys", "mismatchLabelKeys"] {
        let path = path.child(name);
        if term.list(name).is_empty() {
            continue;
        }
        if !term.contains("labelSelector") {
            errors.push(field::forbidden(&path, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (at, key) in texts(term, name).enumerate() {
            common::qualified_name(key, &path.index(at), errors);
        }
    }
    if let Some(selector) = term.map("labelSelector") {
        let labels = selector.map("matchLabels").into_iter().flat_map(Map::keys);
        let mut seen: Vec<&str> = labels.map(|key| key.as_str()).collect();
        for key in selector.maps("matchExpressions").map(|requirement| requirement.str("key")) {
            if let Some(at) =
                texts(term, "matchLabelKeys").position(|other| other == key).filter(|_| seen.contains(&key))
            {
                errors.push(field::invalid(&path.index(at), key, IN_BOTH));
            }
            seen.push(key);
        }
    }
    for (at, key) in texts(term, "matchLabelKeys").enumerate() {
        if texts(term, "mismatchLabelKeys").any(|other| other == key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(field::invalid(&path.child("matchLabelKeys").index(at), key, why));
        }
    }
}

/// The rule before keys were merged into the selector.
fn old_label_keys(constraint: &Map, path: &Path, errors: &mut Errors) {
    if constraint.list("matchLabelKeys").is_empty() {
        return;
    }
    let mut keys: Vec<&str> = Vec::new();
    match constraint.map("labelSelector") {
        Some(selector) => {
            keys.extend(selector.map("matchLabels").into_iter().flat_map(Map::keys).map(|key| key.as_str()));
            keys.extend(selector.maps("matchExpressions").map(|requirement| requirement.str("key")));
        }
        None => errors.push(field::forbidden(path, "must not be specified when labelSelector is not set")),
    }
    for (at, key) in texts(constraint, "matchLabelKeys").enumerate() {
        common::qualified_name(key, &path.index(at), errors);
        if keys.contains(&key) {
            errors.push(field::invalid(&path.index(at), key, IN_BOTH));
        }
    }
}

fn any_wrong(spec: &Map, check: impl Fn(&Map, &mut Errors)) -> bool {
    spec.maps("topologySpreadConstraints").any(|constraint| {
        let mut errors = Errors::new();
        check(constraint, &mut errors);
        !errors.is_empty()
    })
}

pub(super) fn has_wrong_selector(spec: &Map) -> bool {
    any_wrong(spec, |constraint, errors| {
        common::label_selector(constraint.map("labelSelector"), false, &Path::default(), errors);
    })
}

pub(super) fn violates_match_label_keys(spec: &Map) -> bool {
    any_wrong(spec, |constraint, errors| label_keys(constraint, &Path::default(), errors))
}
