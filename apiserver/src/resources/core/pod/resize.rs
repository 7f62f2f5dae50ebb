//! A change of resources while the pod runs (pkg/apis/core/validation/validation.go@v1.37.2: ValidatePodResize).
//!
//! Non-goal: resizing volumes in memory, which is behind a gate that is off in v1.37.

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::{Map, Value};

use super::options::Options;
use super::{annotations, prepare, qos, security, spec};
use crate::resources::common;

const ONLY: &str = "only cpu and memory resources are mutable";

fn spec_of(pod: &Map) -> &Map {
    pod.map("spec").unwrap_or(Map::EMPTY)
}

pub(super) fn check(pod: &Map, old: &Map) -> Errors {
    let whole = |why: &str| vec![field::forbidden(&Path::new(super::WHOLE), why)];
    let (new, was) = (spec_of(pod), spec_of(old));
    if old.annotation(annotations::MIRROR).is_some() {
        return whole("static pods cannot be resized");
    }
    if security::is_windows(was) {
        return whole("windows pods cannot be resized");
    }
    let mut errors = Errors::new();
    let path = Path::new("spec");
    spec::metadata_and_spec(pod, &Options::pod(Some(old)), &mut errors);
    let class = match old.map("status").map_or("", |status| status.str("qosClass")) {
        "" => qos::class(was),
        class => class,
    };
    if class != qos::class(new) {
        let shown = pod.map("status").map_or("", |status| status.str("qosClass"));
        errors.push(field::invalid(&path, shown, "Pod QOS Class may not change as a result of resizing"));
    }
    if !is_supported(old) {
        errors.push(field::forbidden(&path, "Pod running on node without support for resize"));
    }
    let mut fixed = new.clone();
    if [new, was].iter().any(|spec| has_resources(spec)) {
        pod_level(new, was, &mut fixed, &path, &mut errors);
    }
    if !same_order(new, was, &path, &mut errors) {
        return errors;
    }
    containers(new, was, &mut fixed, &path, &mut errors);
    if !common::same(new.get("volumes"), was.get("volumes")) {
        let why = "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is disabled";
        errors.push(field::forbidden(&path.child("volumes"), why));
    }
    if errors.is_empty() && !prepare::same_spec(&fixed, was) {
        errors.push(field::forbidden(&path, ONLY));
    }
    errors
}

/// The node says what a running container got only if it can resize.
fn is_supported(pod: &Map) -> bool {
    let statuses = pod.map("status").into_iter().flat_map(|status| status.maps("containerStatuses"));
    let mut running = statuses.filter(|status| status.at(&["state", "running"]).is_some());
    running.next().is_none_or(|status| status.contains("resources"))
}

fn has_resources(spec: &Map) -> bool {
    let own = |part: &str| spec.at(&["resources", part]).is_some_and(|list| !list.is_empty());
    own("requests") || own("limits")
}

/// A resource that was named is not any more.
fn removed(new: Option<&Map>, was: Option<&Map>, part: &str) -> bool {
    let list =
        |resources: Option<&Map>| resources.and_then(|resources| resources.map(part)).cloned().unwrap_or_default();
    let (new, was) = (list(new), list(was));
    was.keys().any(|name| !new.contains(name))
}

fn pod_level(new: &Map, was: &Map, fixed: &mut Map, path: &Path, errors: &mut Errors) {
    let path = path.child("resources");
    if was.contains("resources") && !new.contains("resources") {
        errors.push(field::forbidden(&path, "pod-level resources cannot be removed"));
        return;
    }
    if was.contains("resources") {
        for part in ["requests", "limits"] {
            if removed(new.map("resources"), was.map("resources"), part) {
                let why = format!("pod-level resource {part} cannot be removed");
                errors.push(field::forbidden(&path.child(part), why));
            }
        }
    }
    keep_amounts(fixed, was);
    if !was.contains("resources") && fixed.map("resources").is_some_and(Map::is_empty) {
        fixed.remove("resources");
    }
    if !common::same(fixed.get("resources"), was.get("resources")) {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.push(field::forbidden(&Path::new("spec"), why));
    }
}

/// Takes cpu and memory over from the old one.
fn keep_amounts(fixed: &mut Map, was: &Map) {
    for part in ["limits", "requests"] {
        let old = was.at(&["resources", part]).cloned();
        if old.is_none() && fixed.at(&["resources", part]).is_none() {
            continue;
        }
        let resources = fixed.map_mut("resources");
        let list = resources.map_mut(part);
        for name in ["cpu", "memory"] {
            match old.as_ref().and_then(|old| old.get(name)) {
                Some(amount) => list.set(name, amount.clone()),
                None => drop(list.remove(name)),
            }
        }
        if list.is_empty() && old.is_none() {
            resources.remove(part);
        }
    }
}

fn same_order(new: &Map, was: &Map, path: &Path, errors: &mut Errors) -> bool {
    let before = errors.len();
    for list in ["containers", "initContainers"] {
        let path = path.child(list);
        if new.list(list).len() != was.list(list).len() {
            errors.push(field::forbidden(&path, format!("{list} may not be added or removed on resize")));
            continue;
        }
        for (at, (new, was)) in new.maps(list).zip(was.maps(list)).enumerate() {
            if new.str("name") != was.str("name") {
                let why = format!("{list} may not be renamed or reordered on resize");
                errors.push(field::forbidden(&path.index(at).child("name"), why));
            }
        }
    }
    errors.len() == before
}

fn containers(new: &Map, was: &Map, fixed: &mut Map, path: &Path, errors: &mut Errors) {
    for list in ["initContainers", "containers"] {
        for (at, (new, was)) in new.maps(list).zip(was.maps(list)).enumerate() {
            let path = path.child(list).index(at).child("resources");
            for part in ["requests", "limits"] {
                if removed(new.map("resources"), was.map("resources"), part) {
                    let noun = if part == "requests" { "resource requests" } else { "resource limits" };
                    errors.push(field::forbidden(&path.child(part), format!("{noun} cannot be removed")));
                }
            }
        }
    }
    for (container, was) in fixed.maps_mut("containers").zip(was.maps("containers")) {
        keep_amounts(container, was);
        if !prepare::same_spec(container, was) {
            errors.push(field::forbidden(path, ONLY));
        }
    }
    for (at, (container, was)) in fixed.maps_mut("initContainers").zip(was.maps("initContainers")).enumerate() {
        let path = path.child("initContainers").index(at);
        let changed = !prepare::same_spec(container, was);
        keep_amounts(container, was);
        if !prepare::same_spec(container, was) {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(field::forbidden(&path, why));
        }
        let sidecar = container.get("restartPolicy").and_then(Value::as_str) == Some("Always");
        let restarts =
            container.maps("resizePolicy").filter(|policy| policy.str("restartPolicy") == "RestartContainer");
        if changed && !sidecar {
            let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.extend(restarts.map(|_| field::forbidden(&path, why)));
        }
    }
}
