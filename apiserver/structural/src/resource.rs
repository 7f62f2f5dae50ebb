//! A custom resource as a whole: what happens to it after decoding, and what is checked on create, update and update
//! of status (k8s.io/apiextensions-apiserver/pkg/registry/customresource/{validator,strategy,status_strategy}.go and
//! unstructuredSchemaCoercer in pkg/apiserver/customresource_handler.go@v0.37.2).
//!
//! Non-goal: validation of the resource's own metadata, which is that of every kind; its errors are handed in.

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use crate::meta::{self, Malformed};
use crate::rules::{self, Rules};
use crate::schema::Schema;
use crate::{default, embedded, lists, prune, validate};

/// One version of a kind, for validation.
#[derive(Clone, Copy)]
pub struct Version<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub schema: Option<&'a Schema>,
    pub scale: Option<Scale<'a>>,
    /// Compiled rules of the schema.
    pub rules: Option<&'a dyn Rules>,
}

/// The paths of the scale subresource.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale<'a> {
    pub spec_replicas: &'a str,
    pub status_replicas: &'a str,
    pub label_selector: Option<&'a str>,
}

/// What validation says.
#[derive(Debug, Default)]
pub struct Verdict {
    pub errors: Errors,
    pub warnings: Vec<String>,
}

/// How a decoded object is treated.
#[derive(Clone, Copy, Debug)]
pub struct Decoding {
    pub malformed: Malformed,
    /// The definition's `spec.preserveUnknownFields`.
    pub preserve_unknown_fields: bool,
    /// Objects in the store without a generation get 1.
    pub repair_generation: bool,
}

/// Prunes, drops nulls and coerces metadata of an object of the schema's kind; returns the paths of unknown fields in
/// upstream's order. `unknown field "..."` is made of them.
pub fn coerce(object: &mut Map, schema: Option<&Schema>, how: Decoding) -> Result<Vec<String>, String> {
    for name in ["kind", "apiVersion"] {
        if let Some(other) = object.get(name).filter(|value| value.as_str().is_none()) {
            let (shown, ty) = (crate::go::print(other), other.go_type());
            return Err(format!(".{name} accessor error: {shown} is of the type {ty}, expected string"));
        }
    }
    let kept = ["kind", "apiVersion"].map(|name| (name, object.get(name).cloned()));
    let mut unknown = Vec::new();
    let metadata = match object.get("metadata") {
        None => None,
        Some(value) => match meta::decode(value, how.malformed) {
            Ok(decoded) => {
                unknown.extend(decoded.unknown.iter().map(|path| format!("metadata.{path}")));
                Some(decoded.meta)
            }
            Err(error) => return Err(error),
        },
    };
    let mut value = Value::Map(std::mem::take(object));
    if !how.preserve_unknown_fields {
        unknown.extend(prune::prune(&mut value, schema, true));
        default::drop_nulls(&mut value, schema);
    }
    unknown.extend(meta::coerce(&mut value, schema, false, how.malformed).map_err(|error| error.to_string())?);
    if let Value::Map(map) = value {
        *object = map;
    }
    for (name, value) in kept {
        if let Some(value) = value {
            object.set(name, value);
        }
    }
    if let Some(mut metadata) = metadata {
        if how.repair_generation && metadata.i64("generation").unwrap_or(0) == 0 {
            metadata.set("generation", 1i64);
        }
        object.set("metadata", metadata);
    }
    Ok(unknown)
}

/// What is wrong with a new object, besides its metadata.
pub fn validate_create(version: &Version<'_>, object: &Map, metadata: Errors) -> Verdict {
    let mut errors = type_meta(version, object);
    if !errors.is_empty() {
        return Verdict { errors, ..Verdict::default() };
    }
    errors.extend(metadata);
    let value = Value::Map(object.clone());
    if let Some(schema) = version.schema {
        errors.extend(validate::validate(&Path::default(), &value, schema));
    }
    scale_spec(version, object, &mut errors);
    scale_status(version, object, &mut errors);
    errors.extend(embedded::validate(&Path::default(), &value, version.schema, false));
    if let Some(schema) = version.schema {
        errors.extend(lists::validate(&Path::default(), object, schema));
    }
    with_rules(version, &value, None, errors)
}

/// What is wrong with a changed object, besides its metadata.
pub fn validate_update(version: &Version<'_>, object: &Map, old: &Map, metadata: Errors) -> Verdict {
    let mut errors = type_meta(version, object);
    if !errors.is_empty() {
        return Verdict { errors, ..Verdict::default() };
    }
    errors.extend(metadata);
    let (value, old_value) = (Value::Map(object.clone()), Value::Map(old.clone()));
    if let Some(schema) = version.schema {
        errors.extend(validate::validate_update(&Path::default(), &value, &old_value, schema));
    }
    scale_spec(version, object, &mut errors);
    scale_status(version, object, &mut errors);
    errors.extend(embedded::validate(&Path::default(), &value, version.schema, false));
    changed_lists(version, object, old, &mut errors);
    with_rules(version, &value, Some(&old_value), errors)
}

/// What is wrong with a changed status, besides the object's metadata.
pub fn validate_status_update(version: &Version<'_>, object: &Map, old: &Map, metadata: Errors) -> Verdict {
    let mut errors = type_meta(version, object);
    if !errors.is_empty() {
        return Verdict { errors, ..Verdict::default() };
    }
    errors.extend(metadata);
    let schema = version.schema.and_then(|schema| schema.properties.get("status"));
    if let (Some(status), Some(schema)) = (object.get("status"), schema) {
        let path = Path::new("status");
        errors.extend(match old.get("status") {
            Some(old) => validate::validate_update(&path, status, old, schema),
            None => validate::validate(&path, status, schema),
        });
    }
    scale_status(version, object, &mut errors);
    changed_lists(version, object, old, &mut errors);
    with_rules(version, &Value::Map(object.clone()), Some(&Value::Map(old.clone())), errors)
}

/// Lists that were wrong already may stay so.
fn changed_lists(version: &Version<'_>, object: &Map, old: &Map, errors: &mut Errors) {
    let Some(schema) = version.schema else { return };
    let wrong = lists::validate(&Path::default(), object, schema);
    if !wrong.is_empty() && lists::validate(&Path::default(), old, schema).is_empty() {
        errors.extend(wrong);
    }
}

fn with_rules(version: &Version<'_>, value: &Value, old: Option<&Value>, mut errors: Errors) -> Verdict {
    let (Some(schema), Some(rules)) = (version.schema.filter(|schema| schema.has_rules), version.rules) else {
        return Verdict { errors, ..Verdict::default() };
    };
    if errors.iter().any(is_blocking) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.push(field::invalid(&Path::default(), Value::Null, why));
        return Verdict { errors, ..Verdict::default() };
    }
    let found = rules::validate(rules, schema, value, old, rules::REQUEST_COST_MAX);
    errors.extend(found.errors);
    Verdict { errors, warnings: found.warnings }
}

fn is_blocking(error: &field::Error) -> bool {
    use field::Kind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

fn type_meta(version: &Version<'_>, object: &Map) -> Errors {
    let mut errors = Errors::new();
    for (name, wanted) in [("kind", version.kind), ("apiVersion", version.api_version)] {
        let found = object.str(name);
        if found != wanted {
            errors.push(field::invalid(&Path::new(name), found, format!("must be {wanted}")));
        }
    }
    errors
}

/// The value at a path like `.spec.replicas`, or upstream's accessor error.
fn nested<'a>(object: &'a Map, path: &str) -> Result<Option<&'a Value>, String> {
    let names: Vec<&str> = path.strip_prefix('.').unwrap_or(path).split('.').collect();
    let mut map = object;
    for (at, name) in names.iter().enumerate() {
        let Some(value) = map.get(name) else { return Ok(None) };
        if at + 1 == names.len() {
            return Ok(Some(value));
        }
        match value {
            Value::Null => return Ok(None),
            Value::Map(below) => map = below,
            // Upstream names the field it was after.
            other => return Err(accessor_error(&names[..at + 2], other, "map[string]interface {}")),
        }
    }
    Ok(None)
}

fn accessor_error(names: &[&str], value: &Value, wanted: &str) -> String {
    let (shown, ty) = (crate::go::print(value), value.go_type());
    let wanted = wanted.replace("interface {}", "interface{}");
    format!(".{} accessor error: {shown} is of the type {ty}, expected {wanted}", names.join("."))
}

fn replicas(object: &Map, path: &str, errors: &mut Errors) {
    let names: Vec<&str> = path.strip_prefix('.').unwrap_or(path).split('.').collect();
    let (number, why) = match nested(object, path) {
        Ok(None) => return,
        Ok(Some(Value::Int(number))) if *number < 0 => (*number, "should be a non-negative integer".into()),
        Ok(Some(Value::Int(number))) if *number > i64::from(i32::MAX) => {
            (*number, format!("should be less than or equal to {}", i32::MAX))
        }
        Ok(Some(Value::Int(_))) => return,
        Ok(Some(other)) => (0, accessor_error(&names, other, "int64")),
        Err(error) => (0, error),
    };
    errors.push(field::invalid(&Path::new(path), number, why));
}

fn scale_spec(version: &Version<'_>, object: &Map, errors: &mut Errors) {
    if let Some(scale) = version.scale {
        replicas(object, scale.spec_replicas, errors);
    }
}

fn scale_status(version: &Version<'_>, object: &Map, errors: &mut Errors) {
    let Some(scale) = version.scale else { return };
    replicas(object, scale.status_replicas, errors);
    let Some(path) = scale.label_selector else { return };
    let names: Vec<&str> = path.strip_prefix('.').unwrap_or(path).split('.').collect();
    let error = match nested(object, path) {
        Ok(None | Some(Value::String(_))) => return,
        Ok(Some(other)) => accessor_error(&names, other, "string"),
        Err(error) => error,
    };
    errors.push(field::invalid(&Path::new(path), "", error));
}
