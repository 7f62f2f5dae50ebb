//! Checks that many kinds share, in upstream's words
//! (k8s.io/apimachinery/pkg/apis/meta/v1/validation, pkg/apis/core/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use super::common;
use super::core::pod::resources;

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

/// One of a few; behind a pointer, so that empty text is there and is none of them.
pub(super) fn pointed_one_of(value: Option<&str>, valid: &[&str], path: &Path, errors: &mut Errors) {
    if let Some(text) = value.filter(|text| !valid.contains(text)) {
        errors.push(field::not_supported(path, text, valid));
    }
}

fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_zero())
}

/// A place that may not change; upstream shows no value of it.
pub(super) fn fixed(path: &Path, new: Option<&Value>, old: Option<&Value>, errors: &mut Errors) {
    if !common::same(present(new), present(old)) {
        errors.push(field::invalid(path, Value::Null, common::IMMUTABLE));
    }
}

/// As [`fixed`], where upstream shows the new value, as its internal type `name` has it.
pub(super) fn fixed_struct(path: &Path, new: Option<&Value>, old: Option<&Value>, name: &str, errors: &mut Errors) {
    if !common::same(new, old) {
        let new = new.and_then(Value::as_map).unwrap_or(Map::EMPTY);
        let shown = common::internal::Plain(common::internal::shown(new, name));
        errors.push(field::invalid(path, shown, common::IMMUTABLE));
    }
}

/// A text that may not change; upstream shows the new one.
pub(super) fn fixed_text(path: &Path, new: &str, old: &str, errors: &mut Errors) {
    if new != old {
        errors.push(field::invalid(path, new, common::IMMUTABLE));
    }
}

pub(super) fn not_negative(value: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(value) = value {
        common::not_negative(value, path, errors);
    }
}

/// A quantity of a resource list.
pub(super) fn amount(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    if let Some(amount) = common::quantity(value) {
        resources::quantity_value(name, &amount, path, errors);
    }
}

pub(super) fn label_selector(selector: Option<&Map>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    common::label_selector(selector, false, path, &mut errors);
    errors
}

/// Sets a field that is not there, or empty text.
pub(super) fn set_absent(map: &mut Map, name: &'static str, value: impl Into<Value>) {
    if present(map.get(name)).is_none() {
        map.set(name, value);
    }
}

/// Sets a field that is not there at all.
pub(super) fn set_missing(map: &mut Map, name: &'static str, value: impl Into<Value>) {
    if map.get(name).is_none_or(Value::is_null) {
        map.set(name, value);
    }
}
