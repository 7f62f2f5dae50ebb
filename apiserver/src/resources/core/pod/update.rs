//! What may change in a pod after it was made (pkg/apis/core/validation/validation.go@v1.37.2: ValidatePodUpdate,
//! ValidatePodEphemeralContainersUpdate).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::options::Options;
use super::{annotations, containers, prepare, spec};
use crate::resources::common::internal::{self, Plain};
use crate::resources::common::{self, diff};

/// In upstream's words.
const ONLY: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn spec_of(pod: &Map) -> &Map {
    pod.map("spec").unwrap_or(Map::EMPTY)
}

/// Rules that hold for every write; gives the errors so far.
fn always(pod: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("metadata").child("annotations");
    let options = Options::pod(Some(old));
    spec::metadata_and_spec(pod, &options, &mut errors);
    annotations::update(pod.meta().map("annotations"), old.meta().map("annotations"), &path, &mut errors);
    errors
}

/// The same error twice says nothing more.
fn once(errors: Errors) -> Errors {
    let mut all = Errors::with_capacity(errors.len());
    for error in errors {
        if !all.contains(&error) {
            all.push(error);
        }
    }
    all
}

pub(super) fn pod(pod: &Map, old: &Map) -> Errors {
    let mut errors = always(pod, old);
    let (new, was) = (spec_of(pod), spec_of(old));
    let path = Path::new("spec");
    for list in ["containers", "initContainers"] {
        if !images(new, was, list, &path, &mut errors) {
            return once(errors);
        }
    }
    if !deadline(new, was, &path.child("activeDeadlineSeconds"), &mut errors) {
        return once(errors);
    }
    tolerations(new, was, &path.child("tolerations"), &mut errors);
    gates(new, was, &path.child("schedulingGates"), &mut errors);
    if !prepare::same_spec(new, was) {
        let fixed = fixed(new, was, &path, &mut errors);
        if !prepare::same_spec(&fixed, was) {
            let ty = "core.v1.PodSpec";
            let difference = diff::unified(&internal::pretty(was, ty), &internal::pretty(&fixed, ty));
            errors.push(field::forbidden(&path, format!("{ONLY}\n{difference}")));
        }
    }
    once(errors)
}

/// False when containers came or went, after which nothing else can be compared.
fn images(new: &Map, was: &Map, list: &str, path: &Path, errors: &mut Errors) -> bool {
    let path = path.child(list);
    if new.list(list).len() != was.list(list).len() {
        errors.push(field::forbidden(&path, "pod updates may not add or remove containers"));
        return false;
    }
    for (at, container) in new.maps(list).enumerate() {
        common::required(container, "image", &path.index(at), errors);
        containers::image_padding(container, &path.index(at), errors);
    }
    true
}

/// A spec with everything that may change taken from the old one.
fn fixed(new: &Map, was: &Map, path: &Path, errors: &mut Errors) -> Map {
    let mut fixed = new.clone();
    for list in ["containers", "initContainers"] {
        let images: Vec<_> = was.maps(list).map(|container| container.get("image").cloned()).collect();
        for (container, image) in fixed.maps_mut(list).zip(images) {
            restore(container, "image", image);
        }
    }
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(&mut fixed, name, was.get(name).cloned());
    }
    let seconds = "terminationGracePeriodSeconds";
    if was.i64(seconds).is_some_and(|seconds| seconds < 0) && fixed.i64(seconds) == Some(1) {
        restore(&mut fixed, seconds, was.get(seconds).cloned());
    }
    if !was.list("schedulingGates").is_empty() {
        // Where a gated pod may go can still be narrowed.
        node_selector(new, was, &path.child("nodeSelector"), errors);
        restore(&mut fixed, "nodeSelector", was.get("nodeSelector").cloned());
        node_affinity(new, was, &path.child("affinity").child("nodeAffinity"), errors);
        restore_affinity(&mut fixed, was);
    }
    fixed
}

fn restore(map: &mut Map, name: &'static str, value: Option<Value>) {
    match value {
        Some(value) => map.set(name, value),
        None => drop(map.remove(name)),
    }
}

fn restore_affinity(fixed: &mut Map, was: &Map) {
    let old = was.at(&["affinity", "nodeAffinity"]).cloned().map(Value::Map);
    if common::same(fixed.value_at(&["affinity", "nodeAffinity"]), old.as_ref()) {
        return;
    }
    restore(fixed.map_mut("affinity"), "nodeAffinity", old);
    if !was.contains("affinity") && fixed.map("affinity").is_some_and(Map::is_empty) {
        fixed.remove("affinity");
    }
}

fn node_selector(new: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    let selector = new.map("nodeSelector").unwrap_or(Map::EMPTY);
    let lost = |(key, value): (&api::value::Str, &Value)| selector.get(key) != Some(value);
    if was.map("nodeSelector").into_iter().flat_map(Map::iter).any(lost) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        let shown = new.get("nodeSelector").cloned().unwrap_or_default();
        errors.push(field::invalid(path, shown, why));
    }
}

fn node_affinity(new: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    let terms = |spec: &Map| -> Vec<Map> {
        let selector = spec.at(&["affinity", "nodeAffinity", REQUIRED]);
        selector.into_iter().flat_map(|selector| selector.maps("nodeSelectorTerms")).cloned().collect()
    };
    let (new, old) = (terms(new), terms(was));
    let path = path.child(REQUIRED).child("nodeSelectorTerms");
    let shown = |term: &Map| internal::shown(term, "core.v1.NodeSelectorTerm");
    if !old.is_empty() && old.len() != new.len() {
        let all: Vec<String> = new.iter().map(shown).collect();
        let all = if all.is_empty() { "null".to_string() } else { format!("[{}]", all.join(",")) };
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(field::invalid(&path, Plain(all), why));
        return;
    }
    for (at, (old, new)) in old.iter().zip(&new).enumerate() {
        if !only_adds(new, old) {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(field::invalid(&path.index(at), Plain(shown(new)), why));
        }
    }
}

fn only_adds(new: &Map, old: &Map) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    if lists.iter().all(|name| old.list(name).is_empty()) {
        return lists.iter().all(|name| new.list(name).is_empty());
    }
    lists.iter().all(|name| new.list(name).starts_with(old.list(name)))
}

/// False when nothing else is to be said.
fn deadline(new: &Map, was: &Map, path: &Path, errors: &mut Errors) -> bool {
    let most = i64::from(i32::MAX);
    match (new.i64("activeDeadlineSeconds"), was.i64("activeDeadlineSeconds")) {
        (Some(seconds), _) if !(0..=most).contains(&seconds) => {
            errors.push(field::invalid(path, seconds, names::inclusive_range_error(0, most)));
            return false;
        }
        (Some(seconds), Some(old)) if seconds > old => {
            errors.push(field::invalid(path, seconds, "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => {
            errors.push(field::invalid(path, Value::Null, "must not update from a positive integer to nil value"));
        }
        _ => {}
    }
    true
}

/// Tolerations may be added; those that are there stay (their seconds may change).
fn tolerations(new: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    let bare = |toleration: &Map| {
        let mut bare = toleration.clone();
        bare.remove("tolerationSeconds");
        bare
    };
    let kept: Vec<Map> = new.maps("tolerations").map(bare).collect();
    if was.maps("tolerations").any(|old| !kept.contains(&bare(old))) {
        errors.push(field::forbidden(path, "existing toleration can not be modified except its tolerationSeconds"));
    }
}

/// Gates may only be taken away.
fn gates(new: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    for (at, gate) in new.maps("schedulingGates").enumerate() {
        let name = gate.str("name");
        if !was.maps("schedulingGates").any(|old| old.str("name") == name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(field::forbidden(&path.index(at).child("name"), why));
        }
    }
}

pub(super) fn ephemeral(pod: &Map, old: &Map) -> Errors {
    if old.annotation(annotations::MIRROR).is_some() {
        let why = "static pods do not support ephemeral containers";
        return vec![field::forbidden(&Path::new(super::WHOLE), why)];
    }
    let mut errors = always(pod, old);
    let path = Path::new("spec").child("ephemeralContainers");
    for existing in spec_of(old).maps("ephemeralContainers") {
        let name = existing.str("name");
        let found = spec_of(pod).maps("ephemeralContainers").filter(|container| container.str("name") == name).last();
        let quoted = field::go_quote(name);
        match found {
            None => {
                let why = format!("existing ephemeral containers {quoted} may not be removed\n");
                errors.push(field::forbidden(&path, why));
            }
            Some(container) if !prepare::same_spec(container, existing) => {
                let ty = "core.v1.EphemeralContainer";
                let difference = diff::unified(&internal::pretty(existing, ty), &internal::pretty(container, ty));
                let why = format!("existing ephemeral containers {quoted} may not be changed\n{difference}");
                errors.push(field::forbidden(&path, why));
            }
            Some(_) => {}
        }
    }
    once(errors)
}
