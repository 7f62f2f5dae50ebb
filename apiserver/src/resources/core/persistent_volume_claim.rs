//! PersistentVolumeClaim (pkg/registry/core/persistentvolumeclaim/strategy.go, pkg/api/persistentvolumeclaim/util.go,
//! pkg/apis/core/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::pod::{claim, resources};
use crate::resources::common::workload::{spec_of, status_of};
use crate::resources::common::{self, diff, internal};
use crate::resources::simple::Simple;
use crate::strategy::MetaCheck;

pub(in crate::resources) const CLAIM: Simple = Simple {
    returns_deleted: true,
    meta: &[MetaCheck::Update, MetaCheck::Whole],
    default,
    completes_on_read: true,
    create: |_, object| {
        object.set("status", api::map! { "phase" => "Pending" });
        drop_gated(object, None);
        settle_sources(object.map_mut("spec"), None);
    },
    update: |_, object, old| {
        drop_gated(object, Some(old));
        settle_sources(object.map_mut("spec"), Some(spec_of(old)));
    },
    update_status: |_, object, old| {
        if status_of(old).map("healthStatus").is_none() && object.map("status").is_some() {
            object.map_mut("status").remove("healthStatus");
        }
    },
    check: |object| {
        let mut errors = Errors::new();
        claim::spec(spec_of(object), &Path::new("spec"), &mut errors);
        errors
    },
    recheck: false,
    check_change,
    check_status,
    warn,
    ..Simple::BASE
};

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
const RESIZE_STATES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

fn default(object: &mut Map) {
    if !spec_of(object).contains("volumeMode") {
        object.map_mut("spec").set("volumeMode", "Filesystem");
    }
    if status_of(object).str("phase").is_empty() {
        object.map_mut("status").set("phase", "Pending");
    }
    let lists: [&[&str]; 4] = [
        &["spec", "resources", "limits"],
        &["spec", "resources", "requests"],
        &["status", "capacity"],
        &["status", "allocatedResources"],
    ];
    lists.iter().for_each(|list| resources::round_up_at(object, list));
}

/// Sources in other namespaces are behind a gate that is off.
fn drop_gated(object: &mut Map, old: Option<&Map>) {
    let elsewhere = spec_of(object).map("dataSourceRef").is_some_and(|source| !source.str("namespace").is_empty());
    if elsewhere && !old.is_some_and(|old| spec_of(old).contains("dataSourceRef")) {
        object.map_mut("spec").remove("dataSourceRef");
    }
}

/// A source that only the older field names and that it never allowed is ignored; of the two fields, the one
/// that is there stands for both.
fn settle_sources(spec: &mut Map, old: Option<&Map>) {
    let in_use = old.is_some_and(|old| old.contains("dataSource") || old.contains("dataSourceRef"));
    if !in_use && !spec.contains("dataSourceRef") {
        let known = spec.map("dataSource").is_some_and(|source| {
            let (group, kind) = (source.str("apiGroup"), source.str("kind"));
            matches!((group, kind), ("", "PersistentVolumeClaim") | (SNAPSHOTS, "VolumeSnapshot"))
        });
        if !known {
            spec.remove("dataSource");
        }
    }
    complete_sources(spec);
}

fn complete_sources(spec: &mut Map) {
    match (spec.map("dataSource").cloned(), spec.map("dataSourceRef").cloned()) {
        (Some(source), None) => spec.set("dataSourceRef", source),
        (None, Some(mut source)) if source.str("namespace").is_empty() => {
            source.remove("namespace");
            spec.set("dataSource", source);
        }
        _ => {}
    }
}

fn size(claim: &Map, part: &[&str]) -> Option<api::quantity::Quantity> {
    claim.value_at(part).and_then(common::quantity)
}

/// The class may move from its old annotation into the field, and be set where none was.
fn same_class(new: &mut Map, old: &Map, new_claim: &Map, old_claim: &Map, errors: &mut Errors) {
    let class = |spec: &Map| spec.get("storageClassName").and_then(Value::as_str).map(str::to_string);
    let (asked, had) = (class(new), class(old));
    let (note, old_note) = (new_claim.annotation(BETA_CLASS), old_claim.annotation(BETA_CLASS));
    let moved = had.is_none() && old_note.is_some() && asked.as_deref() == old_note;
    if moved && note.is_none_or(|note| Some(note) == old_note) {
        new.remove("storageClassName");
        return;
    }
    if note.unwrap_or("") != old_note.unwrap_or("") {
        let path = Path::new("metadata").child("annotations").child(BETA_CLASS);
        errors.push(field::invalid(&path, note.unwrap_or(""), common::IMMUTABLE));
    }
    if asked.is_some() && had.is_none() && old_note.is_none_or(|note| asked.as_deref() == Some(note)) {
        new.remove("storageClassName");
    }
}

fn check_change(object: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    claim::changed_spec(spec_of(object), spec_of(old), &Path::new("spec"), &mut errors);
    let (mut new, mut was) = (spec_of(object).clone(), spec_of(old).clone());
    complete_sources(&mut was);
    if was.str("volumeName").is_empty() && !new.str("volumeName").is_empty() {
        was.set("volumeName", new.str("volumeName").to_string());
    }
    same_class(&mut new, &was, object, old, &mut errors);
    let bound = status_of(object).str("phase") == "Bound";
    if bound && new.at(&["resources", "requests"]).is_some() {
        let had = was.value_at(&["resources", "requests", "storage"]).cloned().unwrap_or_default();
        new.map_mut("resources").map_mut("requests").set("storage", had);
    }
    if bound {
        new.take_over("volumeAttributesClassName", &was);
    }
    if !common::same_maps(&new, &was) {
        let ty = "core.v1.PersistentVolumeClaimSpec";
        let difference = diff::unified(&internal::pretty(&was, ty), &internal::pretty(&new, ty));
        let why =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(field::forbidden(&Path::new("spec"), format!("{why}\n{difference}")));
    }
    shrunk(object, old, &mut errors);
    let (new, was) = (spec_of(object), spec_of(old));
    if new.get("volumeMode") != was.get("volumeMode") {
        let shown = new.get("volumeMode").cloned().unwrap_or_default();
        errors.push(field::invalid(&Path::new("volumeMode"), shown, common::IMMUTABLE));
    }
    attributes_class(new, was, status_of(old), &mut errors);
    errors
}

/// A claim that could not grow may ask for less again, but not for less than it has.
fn shrunk(object: &Map, old: &Map, errors: &mut Errors) {
    const SIZE: &[&str] = &["spec", "resources", "requests", "storage"];
    let zero = || api::quantity::Quantity::from_i64(0, api::quantity::Format::DecimalSI);
    let (new, was) = (size(object, SIZE).unwrap_or_else(zero), size(old, SIZE).unwrap_or_else(zero));
    let has = size(old, &["status", "capacity", "storage"]).unwrap_or_else(zero);
    if new < was && new <= has {
        let path = SIZE.iter().fold(Path::default(), |path, name| path.child(name));
        errors.push(field::forbidden(&path, "field can not be less than status.capacity"));
    }
}

fn attributes_class(new: &Map, was: &Map, status: &Map, errors: &mut Errors) {
    let name = "volumeAttributesClassName";
    if new.get(name) == was.get(name) || !status.contains("currentVolumeAttributesClassName") {
        return;
    }
    let what = match new.get(name).and_then(Value::as_str) {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return,
    };
    let why = format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
    errors.push(field::forbidden(&Path::new("spec").child(name), why));
}

/// validatePersistentVolumeClaimResourceKey; false when something is wrong.
fn resource_key(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let wrong = names::is_qualified_name(name);
    let fine = wrong.is_empty();
    common::each(path, name, wrong, errors);
    if fine && resources::is_native(name) && name != "storage" {
        errors.push(field::not_supported(path, name, &["storage"]));
        return false;
    }
    fine
}

fn basic(value: &Value, path: &Path, errors: &mut Errors) -> bool {
    let negative = common::quantity(value).map(|amount| amount.value()).filter(|amount| *amount < 0);
    if let Some(amount) = negative {
        errors.push(field::invalid(path, amount, "must be a valid resource quantity"));
    }
    negative.is_none()
}

fn check_status(object: &Map, _: &Map) -> Errors {
    let mut errors = Errors::new();
    let (status, path) = (status_of(object), Path::new("status"));
    let entries = |name: &str| status.map(name).into_iter().flat_map(Map::iter);
    for (name, value) in entries("capacity") {
        basic(value, &path.child("capacity").key(name), &mut errors);
    }
    let at = path.child("allocatedResourceStatuses");
    for (name, state) in entries("allocatedResourceStatuses") {
        resource_key(name, &at, &mut errors);
        if !state.as_str().is_some_and(|state| RESIZE_STATES.contains(&state)) {
            errors.push(field::not_supported(&at, name.as_str(), &RESIZE_STATES));
        }
    }
    let at = path.child("allocatedResources");
    for (name, value) in entries("allocatedResources") {
        let path = at.key(name);
        if resource_key(name, &at, &mut errors)
            && basic(value, &path, &mut errors)
            && let Some(amount) = common::quantity(value)
        {
            resources::quantity_value("storage", &amount, &path, &mut errors);
        }
    }
    errors
}

fn warn(object: &Map, _: Option<&Map>) -> Vec<String> {
    let mut warnings = Vec::new();
    if object.annotation(BETA_CLASS).is_some() {
        let path = Path::new("metadata").child("annotations").key(BETA_CLASS);
        warnings.push(format!("{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
    super::pod::warnings::claim(spec_of(object), &Path::new("spec"), &mut warnings);
    warnings
}
