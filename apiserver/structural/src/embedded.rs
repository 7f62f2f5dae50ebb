//! Validation of embedded resources' apiVersion, kind and metadata
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta/validation.go@v0.37.2,
//! k8s.io/apimachinery/pkg/api/validation/objectmeta.go@v0.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use crate::meta::{self, Malformed};
use crate::schema::Schema;

/// All annotations of an object together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// A field manager's name, in bytes.
const MANAGER_BYTES_MAX: usize = 128;
/// A managed fields entry's subresource, in bytes.
const SUBRESOURCE_BYTES_MAX: usize = 256;

/// Everything wrong with embedded resources, and with the root if the value is a resource (`root`).
pub fn validate(path: &Path, value: &Value, schema: Option<&Schema>, root: bool) -> Errors {
    let mut errors = Errors::new();
    match schema {
        Some(schema) if root || schema.has_embedded => {
            walk(path, value, schema, root || schema.embedded_resource, &mut errors);
        }
        None if root => walk(path, value, &Schema::default(), true, &mut errors),
        _ => {}
    }
    errors
}

fn walk(path: &Path, value: &Value, schema: &Schema, embedded: bool, errors: &mut Errors) {
    match value {
        Value::Map(map) => {
            if embedded {
                resource(path, map, errors);
            }
            for (name, value) in map.iter() {
                let property = schema.properties.get(name);
                let Some(below) = property.or_else(|| schema.additional.schema()) else { continue };
                if below.has_embedded {
                    let path = if property.is_some() { path.child(name) } else { path.key(name) };
                    walk(&path, value, below, below.embedded_resource, errors);
                }
            }
        }
        Value::List(list) => {
            let Some(items) = schema.items.as_deref().filter(|items| items.has_embedded) else { return };
            for (at, item) in list.iter().enumerate() {
                walk(&path.index(at), item, items, items.embedded_resource, errors);
            }
        }
        _ => {}
    }
}

fn resource(path: &Path, map: &Map, errors: &mut Errors) {
    for (name, check) in [("apiVersion", api_version as fn(&Path, &str, &mut Errors)), ("kind", kind)] {
        let path = path.child(name);
        match map.get(name) {
            None => errors.push(field::required(&path, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(field::invalid(&path, "", "must not be empty"));
            }
            Some(Value::String(text)) => check(&path, text, errors),
            Some(other) => errors.push(field::invalid(&path, other, "must be a string")),
        }
    }
    let Some(metadata) = map.get("metadata") else { return };
    let path = path.child("metadata");
    match meta::decode(metadata, Malformed::Refuse) {
        Ok(decoded) => object_meta(&path, &decoded.meta, errors),
        Err(error) => errors.push(field::invalid(&path, metadata, error)),
    }
}

fn api_version(path: &Path, text: &str, errors: &mut Errors) {
    if text != "/" && text.matches('/').count() > 1 {
        errors.push(field::invalid(path, text, format!("unexpected GroupVersion string: {text}")));
    }
}

fn kind(path: &Path, text: &str, errors: &mut Errors) {
    let wrong = names::is_dns1035_label(&text.to_lowercase());
    if !wrong.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.push(field::invalid(path, text, why));
    }
}

/// Any name that can stand in a path, or none.
fn object_meta(path: &Path, meta: &Map, errors: &mut Errors) {
    for (name, check) in [
        ("generateName", names::is_path_segment_prefix as fn(&str) -> Vec<String>),
        ("name", names::is_path_segment_name),
    ] {
        let text = meta.str(name);
        errors.extend(check(text).iter().map(|why| field::invalid(&path.child(name), text, why)));
    }
    let namespace = meta.str("namespace");
    if !namespace.is_empty() {
        let wrong = names::is_dns1123_label(namespace);
        errors.extend(wrong.iter().map(|why| field::invalid(&path.child("namespace"), namespace, why)));
    }
    let generation = meta.i64("generation").unwrap_or(0);
    if generation < 0 {
        errors.push(field::invalid(&path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    labels(&path.child("labels"), meta.map("labels").unwrap_or(Map::EMPTY), errors);
    annotations(&path.child("annotations"), meta.map("annotations").unwrap_or(Map::EMPTY), errors);
    owners(&path.child("ownerReferences"), meta, errors);
    finalizers(&path.child("finalizers"), meta, errors);
    managed_fields(&path.child("managedFields"), meta, errors);
}

fn labels(path: &Path, labels: &Map, errors: &mut Errors) {
    for (key, value) in labels.iter() {
        errors.extend(names::is_qualified_name(key).iter().map(|why| field::invalid(path, key.as_str(), why)));
        let text = value.as_str().unwrap_or("");
        errors.extend(names::is_valid_label_value(text).iter().map(|why| field::invalid(path, text, why)));
    }
}

fn annotations(path: &Path, annotations: &Map, errors: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in annotations.iter() {
        let wrong = names::is_qualified_name(&key.to_lowercase());
        errors.extend(wrong.iter().map(|why| field::invalid(path, key.as_str(), why)));
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(field::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

fn owners(path: &Path, meta: &Map, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for (at, owner) in meta.maps("ownerReferences").enumerate() {
        let at = path.index(at);
        let version = owner.str("apiVersion");
        let bad = version == "/" || version.matches('/').count() > 1 || version.ends_with('/');
        if !version.is_empty() && bad {
            let why = "must be <group>/<version> or <version>";
            errors.push(field::invalid(&at.child("apiVersion"), version, why));
        }
        let missing = ["apiVersion", "kind", "name", "uid"].into_iter().filter(|name| owner.str(name).is_empty());
        errors.extend(missing.map(|name| field::required(&at.child(name), "must not be empty")));
        if matches!(version, "v1" | "/v1") && owner.str("kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(field::invalid(&at, Value::Map(owner.clone()), why));
        }
        if owner.bool("controller") == Some(true) {
            let this = format!("{}/{}", owner.str("kind"), owner.str("name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errors.push(field::invalid(path, Value::List(meta.list("ownerReferences").to_vec()), why));
                }
            }
        }
    }
}

fn finalizers(path: &Path, meta: &Map, errors: &mut Errors) {
    let finalizers: Vec<&str> = meta.list("finalizers").iter().filter_map(Value::as_str).collect();
    for finalizer in &finalizers {
        errors.extend(names::is_qualified_name(finalizer).iter().map(|why| field::invalid(path, *finalizer, why)));
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(field::invalid(path, Value::List(meta.list("finalizers").to_vec()), why));
    }
}

fn managed_fields(path: &Path, meta: &Map, errors: &mut Errors) {
    for (at, entry) in meta.maps("managedFields").enumerate() {
        let path = path.index(at);
        match entry.str("operation") {
            "" => errors.push(field::required(&path.child("operation"), "must not be empty")),
            "Apply" | "Update" => {}
            other => errors.push(field::not_supported(&path.child("operation"), other, &["Apply", "Update"])),
        }
        let fields_type = entry.str("fieldsType");
        if !fields_type.is_empty() && fields_type != "FieldsV1" {
            errors.push(field::invalid(&path.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        if entry.str("manager").len() > MANAGER_BYTES_MAX {
            errors.push(field::too_long(&path.child("manager"), MANAGER_BYTES_MAX));
        }
        if entry.str("subresource").len() > SUBRESOURCE_BYTES_MAX {
            errors.push(field::too_long(&path.child("subresource"), SUBRESOURCE_BYTES_MAX));
        }
    }
}
