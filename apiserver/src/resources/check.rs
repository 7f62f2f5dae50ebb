//! Checks that many kinds share, in upstream's words
//! (k8s.io/apimachinery/pkg/apis/meta/v1/validation, pkg/apis/core/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::quantity::Quantity;
use api::value::{Map, Value};

use crate::rest::metadata::validate_labels;

pub(super) const IMMUTABLE: &str = "field is immutable";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// What a rule says about a text, as errors of its place.
pub(super) fn said(path: &Path, value: &str, messages: &[String]) -> Errors {
    messages.iter().map(|message| field::invalid(path, value, message)).collect()
}

/// Required, and one of a few.
pub(super) fn one_of(value: &str, valid: &[&str], path: &Path, errors: &mut Errors) {
    match value {
        "" => errors.push(field::required(path, "")),
        other if !valid.contains(&other) => errors.push(field::not_supported(path, other, valid)),
        _ => {}
    }
}

/// One of a few, or not there.
pub(super) fn optional_one_of(value: &str, valid: &[&str], path: &Path, errors: &mut Errors) {
    if !value.is_empty() {
        one_of(value, valid, path, errors);
    }
}

fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_zero())
}

/// A place that may not change; upstream shows no value of it.
pub(super) fn fixed(path: &Path, new: Option<&Value>, old: Option<&Value>, errors: &mut Errors) {
    if present(new) != present(old) {
        errors.push(field::invalid(path, Value::Null, IMMUTABLE));
    }
}

/// A text that may not change; upstream shows the new one.
pub(super) fn fixed_text(path: &Path, new: &str, old: &str, errors: &mut Errors) {
    if new != old {
        errors.push(field::invalid(path, new, IMMUTABLE));
    }
}

pub(super) fn not_negative(value: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.push(field::invalid(path, value, NOT_NEGATIVE));
    }
}

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Int(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// A quantity that is not negative; `whole` when there are no parts of one.
pub(super) fn amount(value: &Value, whole: bool, path: &Path, errors: &mut Errors) {
    let Some(amount) = quantity(value) else { return };
    if amount.sign() < 0 {
        errors.push(field::invalid(path, amount.to_string(), NOT_NEGATIVE));
    }
    if whole && amount.milli_value() % 1000 != 0 {
        errors.push(field::invalid(path, amount.to_string(), "must be an integer"));
    }
}

const STANDARD_RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// A qualified name; without a domain it must be a standard resource (validateResourceName).
pub(super) fn resource_name(name: &str, path: &Path) -> Errors {
    let mut errors = said(path, name, &names::is_qualified_name(name));
    if errors.is_empty() && !name.contains('/') && !STANDARD_RESOURCES.contains(&name) && !is_huge(name) {
        errors.push(field::invalid(path, name, "must be a standard resource type or fully qualified"));
    }
    errors
}

/// ValidateContainerResourceName.
pub(super) fn container_resource_name(name: &str, path: &Path) -> Errors {
    let mut errors = resource_name(name, path);
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name);
    if !name.contains('/') && !standard {
        errors.push(field::invalid(path, name, "must be a standard resource for containers"));
    } else if !crate::admission::is_native(name) && !crate::admission::is_extended(name) {
        errors.push(field::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    errors
}

/// Resources of which there are only whole ones.
pub(super) fn is_whole(name: &str) -> bool {
    matches!(
        name,
        "pods"
            | "resourcequotas"
            | "services"
            | "replicationcontrollers"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    ) || crate::admission::is_extended(name)
}

pub(super) fn label_selector(selector: Option<&Map>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let Some(selector) = selector else { return errors };
    validate_labels(selector.map("matchLabels"), &path.child("matchLabels"), &mut errors);
    for (at, expression) in selector.maps("matchExpressions").enumerate() {
        label_expression(expression, &path.child("matchExpressions").index(at), &mut errors);
    }
    errors
}

fn label_expression(expression: &Map, path: &Path, errors: &mut Errors) {
    let (operator, values) = (expression.str("operator"), expression.list("values"));
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(field::required(&path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(field::forbidden(&path.child("values"), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(field::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    let key = expression.str("key");
    errors.extend(said(&path.child("key"), key, &names::is_qualified_name(key)));
    for (at, value) in values.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(said(&path.child("values").index(at), value, &names::is_valid_label_value(value)));
    }
}

/// The protocol of a port, unless told.
pub(super) fn default_protocol(port: &mut Map) {
    set_absent(port, "protocol", "TCP");
}

/// Sets a field that is not there, or empty text.
pub(super) fn set_absent(map: &mut Map, name: &'static str, value: impl Into<Value>) {
    if present(map.get(name)).is_none() {
        map.set(name, value);
    }
}

/// Sets a field that is not there at all.
pub(super) fn set_missing(map: &mut Map, name: &'static str, value: impl Into<Value>) {
    if !map.contains(name) {
        map.set(name, value);
    }
}
