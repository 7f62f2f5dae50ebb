//! Defaults that the facts know: `+default=` markers of the Go types.
//!
//! Non-goal: what Go's SetDefaults functions compute; that is in the API server's strategies.

use crate::facts::{Field, Struct, Type};
use crate::json::{Strictness, decode_any};
use crate::value::{Map, Value};

/// Sets absent fields to their defaults, everywhere in the object.
pub fn apply(object: &mut Map, ty: &'static Struct) {
    for field in ty.defaulted_fields() {
        match object.get_mut(field.name) {
            Some(value) => inside(value, &field.ty),
            None => {
                if let Some(value) = default(field) {
                    object.set(field.name, value);
                }
            }
        }
    }
}

fn inside(value: &mut Value, ty: &'static Type) {
    match (ty, value) {
        (Type::Struct(inner), Value::Map(map)) => apply(map, inner),
        (Type::List(inner), Value::List(list)) => list.iter_mut().for_each(|element| inside(element, inner)),
        (Type::Map(inner), Value::Map(map)) => map.iter_mut().for_each(|(_, element)| inside(element, inner)),
        _ => {}
    }
}

/// The default of a field unless it is Go's zero value, which is no default.
pub(crate) fn default(field: &Field) -> Option<Value> {
    let (value, _) = decode_any(field.default?.as_bytes(), Strictness::Lenient).ok()?;
    (field.nilable || !value.is_zero()).then_some(value)
}
