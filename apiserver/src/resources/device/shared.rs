//! Checks that claims, slices and taint rules share (pkg/apis/resource/validation/validation.go@v1.37.2).
//!
//! What upstream marks as covered by declarative validation is not here: the rules of the facts say it. Where such a
//! check ends others (a list that is too long is not looked into), it ends them here, too.

use std::borrow::Cow;

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use crate::resources::common;
pub(super) use crate::resources::core::pod::volumes::driver_name as driver;

pub(super) const POOL_NAME_BYTES_MAX: usize = names::DNS1123_SUBDOMAIN_MAX_LENGTH;
pub(super) const ID_BYTES_MAX: usize = 32;
const DOMAIN_BYTES_MAX: usize = 63;
/// Longest name of an attribute or capacity: domain, slash, identifier.
pub(super) const QUALIFIED_BYTES_MAX: usize = DOMAIN_BYTES_MAX + 1 + ID_BYTES_MAX;
const BINDING_CONDITIONS_MAX: usize = 4;
pub(super) const PARAMETERS_BYTES_MAX: usize = 10 * 1024;

/// The elements of a list that is not too long.
pub(super) fn within<'m>(map: &'m Map, name: &str, max: usize) -> impl Iterator<Item = (usize, &'m Map)> {
    let fits = map.list(name).len() <= max;
    map.maps(name).enumerate().take_while(move |_| fits)
}

/// The texts of a list that is not too long.
pub(super) fn texts<'m>(map: &'m Map, name: &str, max: usize) -> impl Iterator<Item = (usize, &'m str)> {
    let list = map.list(name);
    let fits = list.len() <= max;
    list.iter().filter_map(Value::as_str).enumerate().take_while(move |_| fits)
}

/// Each key but the first of its kind is one too many.
pub(super) fn unique<'k>(keys: impl Iterator<Item = &'k str>, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, key) in keys.enumerate() {
        if seen.contains(&key) {
            errors.push(field::duplicate(&path.index(at), key));
        } else {
            seen.push(key);
        }
    }
}

/// validatePoolName.
pub(super) fn pool_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.push(field::required(path, ""));
    }
    if name.len() > POOL_NAME_BYTES_MAX {
        errors.push(field::too_long(path, POOL_NAME_BYTES_MAX));
    }
    name.split('/').for_each(|part| common::dns_subdomain(part, path, errors));
}

pub(super) fn label_value(value: &str, path: &Path, errors: &mut Errors) {
    common::each(path, value, names::is_valid_label_value(value), errors);
}

fn identifier(id: &str, path: &Path, errors: &mut Errors) {
    if id.len() > ID_BYTES_MAX {
        errors.push(field::too_long(path, ID_BYTES_MAX));
    }
    common::each(path, id, names::is_c_identifier(id), errors);
}

/// validateQualifiedName: an identifier, with or without a domain.
pub(super) fn qualified_name(name: &str, path: &Path, errors: &mut Errors) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(field::invalid(path, "", "the domain must not be empty"));
            } else {
                driver(domain, path, errors);
            }
            if id.is_empty() {
                errors.push(field::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(id, path, errors);
            }
        }
        _ => {}
    }
}

/// A key as a path shows it: long ones lose their middle.
pub(super) fn shown_key(key: &str, max: usize) -> Cow<'_, str> {
    const ELLIPSIS: &str = "...";
    if key.len() <= max {
        return Cow::Borrowed(key);
    }
    let rest = max - ELLIPSIS.len();
    let (head, tail) = (&key.as_bytes()[..rest.div_ceil(2)], &key.as_bytes()[key.len() - rest / 2..]);
    Cow::Owned(format!("{}{ELLIPSIS}{}", String::from_utf8_lossy(head), String::from_utf8_lossy(tail)))
}

/// validateRawExtension: an object, and not a large one.
pub(super) fn raw_extension(value: Option<&Value>, path: &Path, max: usize, errors: &mut Errors) {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return errors.push(field::required(path, ""));
    };
    let mut text = Vec::new();
    api::json::encode_value(&mut text, value);
    if text.len() > max {
        errors.push(field::too_long(path, max));
    } else if value.as_map().is_none() {
        errors.push(field::invalid(path, "<value omitted>", "must be a valid JSON object"));
    }
}

/// validateDeviceConfiguration; `stored` parameters may be as large as they are.
pub(super) fn configuration(config: &Map, stored: bool, path: &Path, errors: &mut Errors) {
    let path = path.child("opaque");
    match config.map("opaque") {
        None => errors.push(field::required(&path, "")),
        Some(opaque) => {
            let max = if stored { usize::MAX } else { PARAMETERS_BYTES_MAX };
            raw_extension(opaque.get("parameters"), &path.child("parameters"), max, errors);
        }
    }
}

/// validateDeviceTaint; an effect is checked by its rules.
pub(super) fn taint(taint: &Map, path: &Path, errors: &mut Errors) {
    common::qualified_name(taint.str("key"), &path.child("key"), errors);
    if !taint.str("value").is_empty() {
        label_value(taint.str("value"), &path.child("value"), errors);
    }
}

/// validateDeviceToleration.
pub(super) fn tolerations(owner: &Map, path: &Path, errors: &mut Errors) {
    for (at, toleration) in owner.maps("tolerations").enumerate() {
        let (path, value) = (path.child("tolerations").index(at).child("value"), toleration.str("value"));
        match toleration.str("operator") {
            "Exists" if !value.is_empty() => {
                errors.push(field::invalid(&path, value, "must be empty for operator `Exists`"));
            }
            "Equal" => label_value(value, &path, errors),
            _ => {}
        }
    }
}

/// validateDeviceBindingParameters.
pub(super) fn binding_conditions(owner: &Map, path: &Path, errors: &mut Errors) {
    const NAMES: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    for name in NAMES {
        for (at, condition) in texts(owner, name, BINDING_CONDITIONS_MAX) {
            common::qualified_name(condition, &path.child(name).index(at), errors);
        }
    }
    let [conditions, failures] = NAMES.map(|name| owner.list(name));
    unique(conditions.iter().filter_map(Value::as_str), &path.child(NAMES[0]), errors);
    for (at, failure) in failures.iter().filter_map(Value::as_str).enumerate() {
        let path = path.child(NAMES[1]).index(at);
        if failures[..at].iter().any(|other| other.as_str() == Some(failure)) {
            errors.push(field::duplicate(&path, failure));
        }
        if conditions.iter().any(|other| other.as_str() == Some(failure)) {
            let why = "bindingFailureConditions must not overlap with bindingConditions";
            errors.push(field::invalid(&path, failure, why));
        }
    }
    for (name, other) in [(NAMES[0], NAMES[1]), (NAMES[1], NAMES[0])] {
        if owner.list(name).is_empty() && !owner.list(other).is_empty() {
            let shown = owner.get(name).cloned().unwrap_or_default();
            errors.push(field::invalid(&path.child(name), shown, format!("{name} are required to use {other}")));
        }
    }
}

/// validateSkipNodeOperations.
pub(super) fn skipped(owner: &Map, path: &Path, errors: &mut Errors) {
    let skipped = owner.list("skipNodeOperations");
    let has = |name: &str| skipped.iter().any(|operation| operation.as_str() == Some(name));
    if has("NodePrepareResources") && !has("NodeUnprepareResources") && !has("*") {
        let why = "NodePrepareResources cannot be skipped unless NodeUnprepareResources is also skipped";
        errors.push(field::invalid(&path.child("skipNodeOperations"), Value::List(skipped.to_vec()), why));
    }
}
