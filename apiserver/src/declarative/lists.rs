//! Rules of what lists and maps hold (k8s.io/apimachinery/pkg/api/validate/{each,update}.go).

use api::facts::Type;
use api::field::{self, Errors};
use api::rules::{Constraint, Match, Rule};
use api::value::{Map, Value};

use super::walk::{At, Place, Walk, equal, inner, list, map};
use crate::resources::common::internal::Plain;

/// The same element, by the rule.
fn matches(by: Match, a: &Value, b: &Value) -> bool {
    match by {
        Match::None => false,
        Match::Whole => equal(Some(a), Some(b)),
        Match::Fields(names) => names.iter().all(|name| {
            let [a, b] = [a, b].map(|value| value.as_map().and_then(|map| map.get(name)).filter(|v| !v.is_zero()));
            a == b
        }),
    }
}

fn find(by: Match, among: &[Value], value: &Value) -> Option<usize> {
    among.iter().position(|other| matches(by, other, value))
}

pub(super) fn each(
    walk: &Walk,
    by: Match,
    compare: bool,
    rules: &'static [Rule],
    place: &Place,
    at: At,
    errors: &mut Errors,
) {
    let olds = list(at.old);
    for (index, new) in list(at.new).iter().enumerate() {
        let old = find(by, olds, new).map(|at| &olds[at]);
        if walk.update && old.is_some() && (!compare || equal(Some(new), old)) {
            continue;
        }
        let at = At { new: Some(new), old, ty: inner(at.ty, None) };
        walk.rules(rules, &Place::Index(place, index), at, errors);
    }
}

pub(super) fn map_values(walk: &Walk, rules: &'static [Rule], place: &Place, at: At, errors: &mut Errors) {
    let olds = map(at.old);
    for (key, new) in map(at.new).iter() {
        let old = olds.get(key);
        if walk.update && old.is_some() && equal(Some(new), old) {
            continue;
        }
        let at = At { new: Some(new), old, ty: inner(at.ty, None) };
        walk.rules(rules, &Place::Key(place, key), at, errors);
    }
}

/// What is wrong with a key is said of the map.
pub(super) fn map_keys(walk: &Walk, rules: &'static [Rule], place: &Place, at: At, errors: &mut Errors) {
    let olds = map(at.old);
    for key in map(at.new).keys().filter(|key| !walk.update || !olds.contains(key)) {
        let key = Value::String(key.clone());
        walk.rules(rules, place, At { new: Some(&key), old: None, ty: None }, errors);
    }
}

pub(super) fn unique(by: Match, place: &Place, at: At, errors: &mut Errors) {
    let values = list(at.new);
    for (index, value) in values.iter().enumerate() {
        if find(by, &values[..index], value).is_some() {
            let shown = Plain(shown(value, inner(at.ty, None)));
            errors.push(field::duplicate(&place.path().index(index), shown));
        }
    }
}

/// What an update may not do to the elements of a list.
pub(super) fn update(by: Match, constraints: &[Constraint], place: &Place, at: At, errors: &mut Errors) {
    let (new, old) = (list(at.new), list(at.old));
    for constraint in constraints {
        match constraint {
            Constraint::NoAddItem => {
                for (index, _) in new.iter().enumerate().filter(|(_, value)| find(by, old, value).is_none()) {
                    errors.push(field::forbidden(&place.path().index(index), "item may not be added"));
                }
            }
            Constraint::NoRemoveItem => {
                for _ in old.iter().filter(|value| find(by, new, value).is_none()) {
                    errors.push(field::forbidden(&place.path(), "item may not be removed"));
                }
            }
            _ => {}
        }
    }
}

/// A value as Go's JSON of its type has it: with the fields that are always there.
fn shown(value: &Value, ty: Option<&Type>) -> String {
    let whole = whole(value, ty);
    let mut out = Vec::new();
    api::json::encode_value(&mut out, &whole);
    String::from_utf8_lossy(&out).into_owned()
}

fn whole(value: &Value, ty: Option<&Type>) -> Value {
    match (value, ty) {
        (Value::Map(map), Some(Type::Struct(ty))) => {
            let mut out = Map::new();
            for field in ty.json_fields() {
                match map.get(field.name) {
                    Some(value) => out.set(field.name, whole(value, Some(&field.ty))),
                    None if field.always_in_json() => out.set(field.name, zero(field.nilable, &field.ty)),
                    None => {}
                }
            }
            Value::Map(out)
        }
        (Value::List(values), Some(Type::List(ty) | Type::Wrapped(ty))) => {
            Value::List(values.iter().map(|value| whole(value, Some(*ty))).collect())
        }
        (value, _) => value.clone(),
    }
}

fn zero(nilable: bool, ty: &Type) -> Value {
    match ty {
        _ if nilable => Value::Null,
        Type::Bool => Value::Bool(false),
        Type::String => Value::from(""),
        Type::Struct(_) => whole(&Value::Map(Map::new()), Some(ty)),
        Type::Quantity => Value::from("0"),
        Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::Float64 | Type::IntOrString => Value::Int(0),
        _ => Value::Null,
    }
}
