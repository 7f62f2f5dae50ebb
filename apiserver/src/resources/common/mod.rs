//! Checks that many kinds share (pkg/apis/core/validation/validation.go,
//! k8s.io/apimachinery/pkg/apis/meta/v1/validation/validation.go@v1.37.2).
//!
//! Invariant: every check adds upstream's error, at upstream's path; none of them changes a value.

pub(crate) mod diff;
#[cfg(test)]
pub(crate) mod given;
pub(crate) mod internal;
#[cfg(test)]
pub(crate) mod rows;
pub(crate) mod subnets;
pub(crate) mod versions;
pub(crate) mod workload;

use api::field::{self, Errors, Path};
use api::names;
use api::quantity::Quantity;
use api::selector::labels::Selector;
use api::value::{Map, Value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";
const NOT_POSITIVE: &str = "must be greater than zero";
pub(crate) const IMMUTABLE: &str = "field is immutable";
const SELECTOR_OPERATORS_WITH_VALUES: [&str; 2] = ["In", "NotIn"];
const SELECTOR_OPERATORS_WITHOUT_VALUES: [&str; 2] = ["Exists", "DoesNotExist"];

/// One error about `value` for each message.
pub(crate) fn each(path: &Path, value: &str, messages: Vec<String>, errors: &mut Errors) {
    errors.extend(messages.iter().map(|message| field::invalid(path, value, message)));
}

pub(crate) fn dns_label(value: &str, path: &Path, errors: &mut Errors) {
    each(path, value, names::is_dns1123_label(value), errors);
}

pub(crate) fn dns_subdomain(value: &str, path: &Path, errors: &mut Errors) {
    each(path, value, names::is_dns1123_subdomain(value), errors);
}

pub(crate) fn qualified_name(value: &str, path: &Path, errors: &mut Errors) {
    each(path, value, names::is_qualified_name(value), errors);
}

/// The text field `name` must be there.
pub(crate) fn required(map: &Map, name: &str, path: &Path, errors: &mut Errors) {
    if map.str(name).is_empty() {
        errors.push(field::required(&path.child(name), ""));
    }
}

/// A text that is set must be one of `values`.
pub(crate) fn one_of(map: &Map, name: &str, values: &[&str], path: &Path, errors: &mut Errors) {
    if let Some(text) = map.get(name).and_then(Value::as_str)
        && !values.contains(&text)
    {
        errors.push(field::not_supported(&path.child(name), text, values));
    }
}

/// The text must be set and one of `values`.
pub(crate) fn required_one_of(map: &Map, name: &str, values: &[&str], path: &Path, errors: &mut Errors) {
    match map.str(name) {
        "" => errors.push(field::required(&path.child(name), "")),
        text if !values.contains(&text) => errors.push(field::not_supported(&path.child(name), text, values)),
        _ => {}
    }
}

pub(crate) fn not_negative(value: i64, path: &Path, errors: &mut Errors) {
    if value < 0 {
        errors.push(field::invalid(path, value, NEGATIVE));
    }
}

/// The numbers of these names, where set, are not negative.
pub(crate) fn none_negative(map: &Map, fields: &[&str], path: &Path, errors: &mut Errors) {
    for name in fields {
        if let Some(value) = map.i64(name) {
            not_negative(value, &path.child(name), errors);
        }
    }
}

pub(crate) fn positive(value: i64, path: &Path, errors: &mut Errors) {
    if value <= 0 {
        errors.push(field::invalid(path, value, NOT_POSITIVE));
    }
}

pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str().and_then(|text| Quantity::parse(text).ok())
}

/// A status counter that must not exceed another.
pub(crate) fn at_most(status: &Map, name: &str, limit: &str, message: &str, path: &Path, errors: &mut Errors) {
    let value = status.i64(name).unwrap_or(0);
    if value > status.i64(limit).unwrap_or(0) {
        errors.push(field::invalid(&path.child(name), value, message));
    }
}

/// `collisionCount` never goes down.
pub(crate) fn collisions(status: &Map, old: &Map, path: &Path, errors: &mut Errors) {
    let (new, was) = (status.i64("collisionCount"), old.i64("collisionCount"));
    if was.is_some_and(|was| new.is_none_or(|new| new < was)) {
        errors.push(field::invalid(&path.child("collisionCount"), new.unwrap_or(0), "cannot be decremented"));
    }
}

/// The field must be as it was.
pub(crate) fn immutable(object: &Map, old: &Map, name: &str, path: &Path, errors: &mut Errors) {
    let (new, was) = (object.get(name), old.get(name));
    if !same(new, was) {
        errors.push(field::invalid(&path.child(name), new.cloned().unwrap_or_default(), IMMUTABLE));
    }
}

/// Equal, where an empty list or map is the same as none (apiequality.Semantic.DeepEqual).
pub(crate) fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::List(list)) => list.is_empty(),
        _ => false,
    };
    match (a, b) {
        (Some(Value::Map(a)), Some(Value::Map(b))) => same_maps(a, b),
        (Some(Value::List(a)), Some(Value::List(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(a), Some(b)) if a == b => true,
        _ => empty(a) && empty(b),
    }
}

pub(crate) fn same_maps(a: &Map, b: &Map) -> bool {
    a.iter().all(|(name, value)| same(Some(value), b.get(name)))
        && b.iter().all(|(name, value)| a.contains(name) || same(None, Some(value)))
}

/// What a label selector may not say; with `any_value`, values are not looked at.
pub(crate) fn label_selector(selector: Option<&Map>, any_value: bool, path: &Path, errors: &mut Errors) {
    let Some(selector) = selector else { return };
    crate::rest::metadata::validate_labels(selector.map("matchLabels"), &path.child("matchLabels"), errors);
    for (at, requirement) in selector.maps("matchExpressions").enumerate() {
        let path = path.child("matchExpressions").index(at);
        let (operator, values) = (requirement.str("operator"), requirement.list("values"));
        if SELECTOR_OPERATORS_WITH_VALUES.contains(&operator) {
            if values.is_empty() {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(field::required(&path.child("values"), why));
            }
        } else if SELECTOR_OPERATORS_WITHOUT_VALUES.contains(&operator) {
            if !values.is_empty() {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(field::forbidden(&path.child("values"), why));
            }
        } else {
            errors.push(field::invalid(&path.child("operator"), operator, "not a valid selector operator"));
        }
        qualified_name(requirement.str("key"), &path.child("key"), errors);
        if !any_value {
            label_values(values, &path.child("values"), errors);
        }
    }
}

pub(crate) fn label_values(values: &[Value], path: &Path, errors: &mut Errors) {
    for (at, value) in values.iter().filter_map(Value::as_str).enumerate() {
        each(&path.index(at), value, names::is_valid_label_value(value), errors);
    }
}

/// A selector has a value that no label can have.
pub(crate) fn has_invalid_value(selector: Option<&Map>) -> bool {
    let values = selector.into_iter().flat_map(|selector| selector.maps("matchExpressions"));
    values
        .flat_map(|requirement| requirement.list("values"))
        .filter_map(Value::as_str)
        .any(|value| !names::is_valid_label_value(value).is_empty())
}

/// The selector in its working form; `None` when it cannot have one.
pub(crate) fn selector(selector: Option<&Map>) -> Option<Selector> {
    let typed: Option<LabelSelector> = match selector {
        Some(map) => Some(api::view::of(map).ok()?),
        None => None,
    };
    Selector::from_label_selector(typed.as_ref()).ok()
}

pub(crate) fn matches(selector: &Selector, labels: Option<&Map>) -> bool {
    selector.matches(|key| labels?.get(key)?.as_str())
}

/// A selector without any requirement.
pub(crate) fn is_empty_selector(selector: &Map) -> bool {
    selector.map("matchLabels").is_none_or(Map::is_empty) && selector.list("matchExpressions").is_empty()
}

/// The labels of the template's pods as an error shows them.
pub(crate) fn labels_shown(template: &Map) -> Value {
    let labels = template.map("metadata").and_then(|meta| meta.get("labels"));
    labels.cloned().unwrap_or_default()
}

/// A count or a percentage, neither negative.
pub(crate) fn int_or_percent(value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::String(text) => each(path, text, names::is_valid_percent(text), errors),
        other => not_negative(other.as_i64().unwrap_or(0), path, errors),
    }
}

fn percent(value: &Value) -> Option<i64> {
    let text = value.as_str().filter(|text| names::is_valid_percent(text).is_empty())?;
    text.trim_end_matches('%').parse().ok()
}

/// The number, be it a count or percents.
pub(crate) fn count_or_percents(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::String(text)) => percent(&Value::String(text.clone())).unwrap_or_else(|| text.parse().unwrap_or(0)),
        Some(value) => value.as_i64().unwrap_or(0),
        None => 0,
    }
}

pub(crate) fn at_most_100_percent(value: &Value, path: &Path, errors: &mut Errors) {
    if percent(value).is_some_and(|percent| percent > 100) {
        errors.push(field::invalid(path, value.clone(), "must not be greater than 100%"));
    }
}

/// Upstream's advice for names that become host names.
pub(crate) fn host_name_advice(name: &str, used_in: &str) -> Option<String> {
    let wrong = names::is_dns1123_label(name);
    let advice = "which can result in surprising behavior; a DNS label is recommended";
    (!wrong.is_empty()).then(|| format!("metadata.name: this is used in {used_in}, {advice}: [{}]", wrong.join(" ")))
}
