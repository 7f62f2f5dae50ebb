//! What may change in a pod after it was made (pkg/apis/core/validation/validation.go@v1.37.2:
//! ValidatePodUpdate, ValidatePodEphemeralContainersUpdate).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

/// In upstream's words.
const ONLY: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn pod(object: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, was) = (object.map("spec").unwrap_or(Map::EMPTY), old.map("spec").unwrap_or(Map::EMPTY));
    let path = Path::new("spec");
    super::validate::pod_spec(spec, &path, &mut errors);
    deadline(spec, was, &path.child("activeDeadlineSeconds"), &mut errors);
    tolerations(spec, was, &path.child("tolerations"), &mut errors);
    gates(spec, was, &path.child("schedulingGates"), &mut errors);
    if fixed(spec, was) != fixed(was, was) {
        errors.push(field::forbidden(&path, ONLY));
    }
    errors
}

/// A spec with everything that may change taken from the old one.
fn fixed(spec: &Map, was: &Map) -> Map {
    let mut fixed = spec.clone();
    for list in ["containers", "initContainers"] {
        let images: Vec<Value> =
            was.maps(list).map(|container| container.get("image").cloned().unwrap_or_default()).collect();
        if spec.list(list).len() == images.len() {
            for (container, image) in fixed.maps_mut(list).zip(images) {
                container.set("image", image);
            }
        }
    }
    let mut free = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if !was.list("schedulingGates").is_empty() {
        // A gated pod's placement may still be narrowed.
        free.extend(["nodeSelector", "affinity"]);
    }
    if was.i64("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0)
        && spec.i64("terminationGracePeriodSeconds") == Some(1)
    {
        free.push("terminationGracePeriodSeconds");
    }
    for name in free {
        match was.get(name) {
            Some(value) => fixed.set(name, value.clone()),
            None => drop(fixed.remove(name)),
        }
    }
    fixed
}

fn deadline(spec: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    match (spec.i64("activeDeadlineSeconds"), was.i64("activeDeadlineSeconds")) {
        (Some(new), Some(old)) if new > old => {
            errors.push(field::invalid(path, new, "must be less than or equal to previous value"));
        }
        (None, Some(_)) => {
            errors.push(field::invalid(path, Value::Null, "must not update from a positive integer to nil value"));
        }
        _ => {}
    }
}

/// Tolerations may be added; those that are there stay (their seconds may change).
fn tolerations(spec: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    let bare = |toleration: &Map| {
        let mut bare = toleration.clone();
        bare.remove("tolerationSeconds");
        bare
    };
    let new: Vec<Map> = spec.maps("tolerations").map(bare).collect();
    if was.maps("tolerations").any(|old| !new.contains(&bare(old))) {
        errors.push(field::forbidden(path, "existing toleration can not be modified except its tolerationSeconds"));
    }
}

/// Gates may only be taken away.
fn gates(spec: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    for (at, gate) in spec.maps("schedulingGates").enumerate() {
        if !was.maps("schedulingGates").any(|old| old == gate) {
            let why = "only deletion is allowed, but found new scheduling gate '".to_string() + gate.str("name") + "'";
            errors.push(field::forbidden(&path.index(at), why));
        }
    }
}

pub(super) fn ephemeral(object: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, was) = (object.map("spec").unwrap_or(Map::EMPTY), old.map("spec").unwrap_or(Map::EMPTY));
    let path = Path::new("spec").child("ephemeralContainers");
    super::validate::pod_spec(spec, &Path::new("spec"), &mut errors);
    for existing in was.maps("ephemeralContainers") {
        let name = existing.str("name");
        match spec.maps("ephemeralContainers").find(|container| container.str("name") == name) {
            None => errors.push(field::forbidden(
                &path,
                format!("existing ephemeral containers {} may not be removed\n", field::go_quote(name)),
            )),
            Some(container) if container != existing => {
                errors.push(field::forbidden(
                    &path,
                    format!("existing ephemeral containers {} may not be changed\n", field::go_quote(name)),
                ));
            }
            Some(_) => {}
        }
    }
    errors
}
