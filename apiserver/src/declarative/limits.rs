//! Limits of numbers, of lengths, and of what a value may be (k8s.io/apimachinery/pkg/api/validate/{limits,enum}.go).

use api::field::{self, Errors};
use api::value::Value;

use super::option;
use super::walk::{At, Place, Walk, list, text};

fn number(value: Option<&Value>) -> Option<i64> {
    value.map(|value| value.as_i64().unwrap_or(0))
}

pub(super) fn items(max: usize, place: &Place, at: At, errors: &mut Errors) {
    let count = list(at.new).len();
    if count > max {
        errors.push(field::too_many(&place.path(), count, max));
    }
}

pub(super) fn characters(max: usize, place: &Place, at: At, errors: &mut Errors) {
    if at.new.and_then(text).is_some_and(|text| text.chars().count() > max) {
        errors.push(field::too_long_characters(&place.path(), max));
    }
}

pub(super) fn bytes(max: usize, place: &Place, at: At, errors: &mut Errors) {
    if at.new.and_then(text).is_some_and(|text| text.len() > max) {
        errors.push(field::too_long(&place.path(), max));
    }
}

pub(super) fn minimum(min: i64, place: &Place, at: At, errors: &mut Errors) {
    if let Some(value) = number(at.new).filter(|value| *value < min) {
        errors.push(field::invalid(&place.path(), value, format!("must be greater than or equal to {min}")));
    }
}

pub(super) fn maximum(max: i64, place: &Place, at: At, errors: &mut Errors) {
    if let Some(value) = number(at.new).filter(|value| *value > max) {
        errors.push(field::invalid(&place.path(), value, format!("must be less than or equal to {max}")));
    }
}

pub(super) fn monotonic(walk: &Walk, place: &Place, at: At, errors: &mut Errors) {
    if let (true, Some(new), Some(old)) = (walk.update, number(at.new), number(at.old))
        && new < old
    {
        errors.push(field::invalid(&place.path(), new, format!("may not be decreased from {old}")));
    }
}

/// One of the values that are left while options are as they are.
pub(super) fn one_of(
    values: &[&'static str],
    excluded: &[(&str, bool, &str)],
    place: &Place,
    at: At,
    errors: &mut Errors,
) {
    let Some(value) = at.new.and_then(text) else { return };
    let is_out = |value: &str| excluded.iter().any(|(name, when, gate)| *name == value && option(gate) == *when);
    if !values.contains(&value) || is_out(value) {
        let valid: Vec<&str> = values.iter().copied().filter(|value| !is_out(value)).collect();
        errors.push(field::not_supported(&place.path(), value, &valid));
    }
}
