//! Printer columns, selectable fields and subresources of a version.

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use crate::fieldpath::{self, Brackets};
use crate::schema::{Schema, Type};

/// Selectable fields a version may have.
pub(super) const SELECTABLE_FIELDS_MAX: usize = 8;
/// Sorted, as errors list them.
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

pub(super) fn column_errors(path: &Path, column: &Map) -> Errors {
    let mut errors = Errors::new();
    if column.str("name").is_empty() {
        errors.push(field::required(&path.child("name"), ""));
    }
    let (ty, format) = (column.str("type"), column.str("format"));
    let why = format!("must be one of {}", COLUMN_TYPES.join(","));
    if ty.is_empty() {
        errors.push(field::required(&path.child("type"), why));
    } else if !COLUMN_TYPES.contains(&ty) {
        errors.push(field::invalid(&path.child("type"), ty, why));
    }
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(field::invalid(&path.child("format"), format, why));
    }
    let json_path = column.str("jsonPath");
    let at = path.child("JSONPath");
    if json_path.is_empty() {
        errors.push(field::required(&at, ""));
    } else {
        errors.extend(simple_path_error(&at, json_path));
    }
    errors
}

fn simple_path_error(path: &Path, text: &str) -> Option<field::Error> {
    (!text.starts_with('.')).then(|| field::invalid(path, text, "must be a simple json path starting with ."))
}

/// `may_be_many`: as many were there before.
pub(super) fn selectable_errors(path: &Path, fields: &[Value], schema: &Schema, may_be_many: bool) -> Errors {
    let mut errors = Errors::new();
    let mut seen: Vec<String> = Vec::new();
    for (at, text) in fields.iter().filter_map(Value::as_map).map(|map| map.str("jsonPath")).enumerate() {
        let at = path.index(at).child("jsonPath");
        if text.is_empty() {
            errors.push(field::required(&at, ""));
            continue;
        }
        let (found, schema) = match fieldpath::resolve(text, schema, Brackets::Refused) {
            Ok(found) => found,
            Err(error) => {
                errors.push(field::invalid(&at, text, format!("is an invalid path: {error}")));
                continue;
            }
        };
        let found = found.to_string();
        if found.split(['.', '[']).next() == Some("metadata") {
            errors.push(field::invalid(&at, text, "must not point to fields in metadata"));
        }
        let scalar = |schema: &Schema| matches!(schema.ty, Type::String | Type::Boolean | Type::Integer);
        if !schema.is_some_and(scalar) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(field::invalid(&at, text, why));
        }
        if seen.contains(&found) {
            errors.push(field::duplicate(&at, text));
        } else {
            seen.push(found);
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX && !may_be_many {
        errors.push(field::too_many(path, seen.len(), SELECTABLE_FIELDS_MAX));
    }
    errors
}

/// What is wrong with the paths of fields whose schema is none. (Upstream looks further and dies of it.)
pub(super) fn unreadable_errors(path: &Path, fields: &[Value]) -> Errors {
    let mut errors = Errors::new();
    for (at, text) in fields.iter().filter_map(Value::as_map).map(|map| map.str("jsonPath")).enumerate() {
        let at = path.index(at).child("jsonPath");
        match fieldpath::resolve(text, &Schema::default(), Brackets::Refused) {
            _ if text.is_empty() => errors.push(field::required(&at, "")),
            Err(error) if !text.starts_with(['.', '[']) => {
                errors.push(field::invalid(&at, text, format!("is an invalid path: {error}")));
            }
            _ => {}
        }
    }
    errors
}

pub(super) fn subresource_errors(path: &Path, subresources: Option<&Map>) -> Errors {
    let Some(scale) = subresources.and_then(|map| map.map("scale")) else { return Errors::new() };
    let mut errors = Errors::new();
    let required = [
        ("specReplicasPath", [".spec."].as_slice(), "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], "should be a json path under .status"),
    ];
    for (name, prefixes, why) in required {
        let at = path.child(&format!("scale.{name}"));
        match scale.str(name) {
            "" => errors.push(field::required(&at, "")),
            text => errors.extend(path_error(&at, text, prefixes, why)),
        }
    }
    let selector = scale.str("labelSelectorPath");
    if !selector.is_empty() {
        let at = path.child("scale.labelSelectorPath");
        let why = "should be a json path under either .spec or .status";
        errors.extend(path_error(&at, selector, &[".spec.", ".status."], why));
    }
    errors
}

fn path_error(path: &Path, text: &str, prefixes: &[&str], why: &str) -> Option<field::Error> {
    let below = prefixes.iter().any(|prefix| text.starts_with(prefix));
    simple_path_error(path, text).or_else(|| (!below).then(|| field::invalid(path, text, why)))
}
