//! An object that was changed by name, brought back to what Go would hold after writing it to the store and reading it:
//! fields in order, zero values there or not as the type has it.

use crate::facts::{Field, Omit, Struct, Type};
use crate::value::{Map, Value};

use super::decode::{canonical, is_left_out, zero_of};

/// Puts the zero values in that Go always writes, takes those out that it never writes, and orders the fields.
pub fn complete(object: &mut Map, ty: &'static Struct) {
    if ty.open {
        return;
    }
    let (mut next, mut in_order) = (0, true);
    for (name, value) in object.iter_mut() {
        let Some((order, field)) = ty.find(name) else { continue };
        in_order &= order >= next;
        next = order + 1;
        complete_value(value, &field.ty);
        forget_empty(value, field);
    }
    if in_order && is_complete(object, ty) {
        return;
    }
    let (mut head, mut found, mut rest) = (Map::new(), Vec::new(), Vec::new());
    for (name, value) in std::mem::take(object) {
        match ty.find(&name) {
            Some((order, field)) => found.push((order, field, value)),
            None if ty.kinded && (name == "kind" || name == "apiVersion") => head.set(name, value),
            None => rest.push((name, value)),
        }
    }
    *object = canonical(ty, head, found);
    for (name, value) in rest {
        object.push(name, value);
    }
}

/// Nothing is missing and nothing is there that Go leaves out.
fn is_complete(object: &Map, ty: &'static Struct) -> bool {
    ty.json_fields().iter().all(|field| match object.get(field.name) {
        None => !field.always_in_json(),
        // Null stands for nothing where nothing can be told from zero, and only there.
        Some(Value::Null) => field.always_in_json() && (field.nilable || zero_of(&field.ty).is_null()),
        Some(value) => !is_left_out(field, Some(value)),
    })
}

/// The store does not tell an empty list or map from none.
fn forget_empty(value: &mut Value, field: &'static Field) {
    let is_list_or_map = matches!(field.ty, Type::List(_) | Type::Map(_));
    if field.omit == Omit::Never && field.nilable && is_list_or_map && field.number > 0 && value.is_zero() {
        *value = Value::Null;
    }
}

fn complete_value(value: &mut Value, ty: &'static Type) {
    match (ty, value) {
        (Type::Struct(inner), Value::Map(map)) => complete(map, inner),
        (Type::List(inner) | Type::Wrapped(inner), Value::List(list)) => {
            list.iter_mut().for_each(|element| complete_value(element, inner));
        }
        (Type::Map(inner), Value::Map(map)) => map.iter_mut().for_each(|(_, element)| complete_value(element, inner)),
        _ => {}
    }
}

/// A new object of a type: what Go always writes.
pub fn zero(ty: &'static Struct) -> Map {
    canonical(ty, Map::new(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Strictness, decode_any, encode};

    fn check(group: &str, kind: &str, text: &str, want: &str) {
        let (Value::Map(mut object), _) = decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON") else {
            return;
        };
        complete(&mut object, crate::facts::kind(group, "v1", kind).expect("a kind"));
        assert_eq!(String::from_utf8(encode(&object)).expect("text").trim_end(), want);
    }

    #[test]
    fn what_go_always_writes() {
        check("", "ConfigMap", r#"{"metadata":{}}"#, r#"{"metadata":{}}"#);
        let set = r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"a"},"spec":{"selector":null,"template":{"metadata":{},"spec":{"containers":null}}},"status":{"replicas":0}}"#;
        check(
            "apps",
            "ReplicaSet",
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","status":{},"metadata":{"name":"a","labels":{}},"spec":{"template":{"spec":{}}}}"#,
            set,
        );
        check(
            "",
            "Pod",
            r#"{"metadata":{"generation":0},"spec":{"containers":[]},"status":{"conditions":[{"type":"a","status":"True"}]}}"#,
            r#"{"metadata":{},"spec":{"containers":null},"status":{"conditions":[{"type":"a","status":"True","lastProbeTime":null,"lastTransitionTime":null}]}}"#,
        );
    }
}
