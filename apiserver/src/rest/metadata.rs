//! Metadata: what the server fills in and what it checks, the same for every kind
//! (k8s.io/apimachinery/pkg/api/validation/objectmeta.go@v0.37.2, k8s.io/apiserver/pkg/registry/rest/{meta,create,update}.go@v0.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};

use crate::registry::Entry;

/// All annotations of an object together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Entries of one field manager's field set, in bytes of its name.
const IMMUTABLE: &str = "field is immutable";

pub(crate) const ORPHAN_FINALIZER: &str = "orphan";
pub(crate) const FOREGROUND_FINALIZER: &str = "foregroundDeletion";

/// The namespace of the object must be that of the path, which it takes when it has none.
pub(crate) fn match_namespace(object: &mut Map, namespace: &str) -> Result<(), Status> {
    let meta = object.meta_mut();
    let own = meta.str("namespace");
    if own.is_empty() {
        if !namespace.is_empty() {
            insert(meta, "namespace", namespace);
        }
        return Ok(());
    }
    if own != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

fn insert(meta: &mut Map, name: &'static str, value: impl Into<Value>) {
    meta.set(name, value);
    order(meta);
}

/// Puts metadata back into schema order.
pub(crate) fn order(meta: &mut Map) {
    let ty = api::facts::object_meta();
    meta.sort_by_key(|name| ty.find(name).map_or(u16::MAX, |(at, _)| at));
}

/// Takes away what only the server sets (meta.go: WipeObjectMetaSystemFields).
pub(crate) fn drop_system_fields(object: &mut Map) {
    let meta = object.meta_mut();
    for gone in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "uid", "selfLink"] {
        meta.remove(gone);
    }
}

/// What the server sets on a new object.
pub(crate) fn fill_for_create(entry: &Entry, object: &mut Map, now: &str) {
    drop_system_fields(object);
    let meta = object.meta_mut();
    for gone in ["resourceVersion", "generation"] {
        meta.remove(gone);
    }
    meta.set("uid", uuid::Uuid::new_v4().to_string());
    meta.set("creationTimestamp", now);
    if entry.strategy.generation() != crate::strategy::Generation::None {
        meta.set("generation", 1i64);
    }
    order(meta);
}

/// What an update may not change is taken from the old object.
pub(crate) fn keep_for_update(object: &mut Map, old: &Map) {
    let from = old.meta();
    let meta = object.meta_mut();
    meta.remove("selfLink");
    meta.remove("generation");
    if let Some(generation) = from.get("generation") {
        meta.set("generation", generation.clone());
    }
    if meta.str("uid").is_empty() {
        meta.set("uid", from.str("uid"));
    }
    for kept in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(value) = from.get(kept) {
            meta.set(kept, value.clone());
        }
    }
    if let (Some(grace), false) = (from.get("deletionGracePeriodSeconds"), meta.contains("deletionGracePeriodSeconds"))
    {
        meta.set("deletionGracePeriodSeconds", grace.clone());
    }
    order(meta);
}

/// Everything wrong with the metadata of a new object.
pub(crate) fn validate(entry: &Entry, object: &Map) -> Errors {
    let path = Path::new("metadata");
    let meta = object.meta();
    let mut errors = Errors::new();
    let name_errors = |name: &str, prefix| entry.strategy.name_errors(name, prefix);
    let generate = meta.str("generateName");
    if !generate.is_empty() {
        let path = path.child("generateName");
        errors.extend(name_errors(generate, true).iter().map(|message| field::invalid(&path, generate, message)));
    }
    let (name, at) = (meta.str("name"), path.child("name"));
    if name.is_empty() {
        errors.push(field::required(&at, "name or generateName is required"));
    } else {
        errors.extend(name_errors(name, false).iter().map(|message| field::invalid(&at, name, message)));
    }
    validate_namespace(entry, meta, &path.child("namespace"), &mut errors);
    validate_common(meta, &path, &mut errors);
    errors
}

fn validate_namespace(entry: &Entry, meta: &Map, path: &Path, errors: &mut Errors) {
    let namespace = meta.str("namespace");
    match (entry.facts.namespaced, namespace.is_empty()) {
        (true, true) => errors.push(field::required(path, "")),
        (true, false) => {
            let wrong = names::is_dns1123_label(namespace);
            errors.extend(wrong.iter().map(|message| field::invalid(path, namespace, message)));
        }
        (false, false) => errors.push(field::forbidden(path, "not allowed on this type")),
        (false, true) => {}
    }
}

fn validate_common(meta: &Map, path: &Path, errors: &mut Errors) {
    validate_labels(meta.map("labels"), &path.child("labels"), errors);
    validate_annotations(meta.map("annotations"), &path.child("annotations"), errors);
    validate_owners(meta, &path.child("ownerReferences"), errors);
    validate_finalizers(meta, &path.child("finalizers"), errors);
}

pub(crate) fn validate_labels(labels: Option<&Map>, path: &Path, errors: &mut Errors) {
    for (key, value) in labels.into_iter().flat_map(Map::iter) {
        errors.extend(names::is_qualified_name(key).iter().map(|message| field::invalid(path, key.as_str(), message)));
        let text = value.as_str().unwrap_or("");
        errors.extend(names::is_valid_label_value(text).iter().map(|message| field::invalid(path, text, message)));
    }
}

pub(crate) fn validate_annotations(annotations: Option<&Map>, path: &Path, errors: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flat_map(Map::iter) {
        let wrong = names::is_qualified_name(&key.to_lowercase());
        errors.extend(wrong.iter().map(|message| field::invalid(path, key.as_str(), message)));
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(field::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

fn validate_owners(meta: &Map, path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for (at, owner) in meta.maps("ownerReferences").enumerate() {
        let path_at = path.index(at);
        let api_version = owner.str("apiVersion");
        let version_ok = {
            let (_, version) = api::facts::split_api_version(api_version);
            api_version.matches('/').count() <= 1 && !version.is_empty()
        };
        if !api_version.is_empty() && !version_ok {
            let why = "must be <group>/<version> or <version>";
            errors.push(field::invalid(&path_at.child("apiVersion"), api_version, why));
        }
        for name in ["apiVersion", "kind", "name", "uid"] {
            if owner.str(name).is_empty() {
                errors.push(field::required(&path_at.child(name), "must not be empty"));
            }
        }
        if api_version == "v1" && owner.str("kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(field::invalid(&path_at, Value::Map(owner.clone()), why));
        }
        if owner.bool("controller") == Some(true) {
            let this = format!("{}/{}", owner.str("kind"), owner.str("name"));
            match &controller {
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    let all = meta.get("ownerReferences").cloned().unwrap_or_default();
                    errors.push(field::invalid(path, all, why));
                }
                None => controller = Some(this),
            }
        }
    }
}

fn validate_finalizers(meta: &Map, path: &Path, errors: &mut Errors) {
    let finalizers: Vec<_> = meta.list("finalizers").iter().filter_map(Value::as_str).collect();
    for finalizer in &finalizers {
        let wrong = names::is_qualified_name(finalizer);
        errors.extend(wrong.iter().map(|message| field::invalid(path, *finalizer, message)));
    }
    if finalizers.contains(&ORPHAN_FINALIZER) && finalizers.contains(&FOREGROUND_FINALIZER) {
        let why = format!("finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set");
        errors.push(field::invalid(path, meta.get("finalizers").cloned().unwrap_or_default(), why));
    }
}

/// Everything wrong with a change of metadata.
pub(crate) fn validate_update(object: &Map, old: &Map) -> Errors {
    let path = Path::new("metadata");
    let (meta, from) = (object.meta(), old.meta());
    let mut errors = Errors::new();
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, was) = (meta.get(name), from.get(name));
        if new != was && !(is_unset(new) && is_unset(was)) {
            let shown = new.cloned().unwrap_or_default();
            errors.push(field::invalid(&path.child(name), shown, IMMUTABLE));
        }
    }
    if from.contains("deletionTimestamp") {
        let had: Vec<_> = from.list("finalizers").iter().filter_map(Value::as_str).collect();
        let mut extra: Vec<_> =
            meta.list("finalizers").iter().filter_map(Value::as_str).filter(|f| !had.contains(f)).collect();
        extra.sort_unstable();
        if !extra.is_empty() {
            let list: Vec<_> = extra.iter().map(|f| field::go_quote(f)).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            errors.push(field::forbidden(&path.child("finalizers"), why));
        }
    }
    validate_common(meta, &path, &mut errors);
    errors
}

fn is_unset(value: Option<&Value>) -> bool {
    value.is_none_or(Value::is_zero)
}
