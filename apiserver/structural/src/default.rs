//! Defaulting, and nulls that Go would not keep
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting/{algorithm,prunenulls,prune}.go@v0.37.2).
//!
//! Invariant: the same on writes and on reads from the store; a null that may not be null counts as absent.

use std::sync::Arc;

use api::value::{Map, Value};

use crate::meta::{self, Malformed};
use crate::prune;
use crate::schema::{Additional, Schema};

/// Fills in defaults, parents first.
pub fn apply(value: &mut Value, schema: &Schema) {
    // A null would only be replaced by no default, which is null.
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Map(map) => fields(map, schema),
        Value::List(list) => {
            if let Some(items) = schema.items.as_deref() {
                list.iter_mut().for_each(|item| replace_null_then(item, items));
            }
        }
        _ => {}
    }
}

fn fields(map: &mut Map, schema: &Schema) {
    for (name, property) in schema.properties.iter() {
        let Some(default) = &property.default else { continue };
        let missing = map.get(name).is_none_or(|value| value.is_null() && !property.nullable);
        if missing {
            map.set(name.clone(), default.clone());
        }
    }
    for (name, value) in map.iter_mut() {
        match (schema.properties.get(name), schema.additional.schema()) {
            (Some(property), _) => apply(value, property),
            (None, Some(other)) => replace_null_then(value, other),
            (None, None) => {}
        }
    }
}

fn replace_null_then(value: &mut Value, schema: &Schema) {
    if let (Value::Null, false, Some(default)) = (&*value, schema.nullable, &schema.default) {
        *value = default.clone();
    }
    apply(value, schema);
}

/// Takes away nulls in objects that may not be null and have no default.
pub fn drop_nulls(value: &mut Value, schema: Option<&Schema>) {
    match value {
        Value::Map(map) => map.retain(|name, value| {
            let field = schema.and_then(|schema| schema.field(name));
            if value.is_null() && field.is_some_and(|field| !field.nullable && field.default.is_none()) {
                return false;
            }
            drop_nulls(value, field);
            true
        }),
        Value::List(list) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            list.iter_mut().for_each(|item| drop_nulls(item, items));
        }
        _ => {}
    }
}

/// The schema with its defaults pruned by itself: those of definitions accepted before they had to be.
pub fn pruned(schema: &Schema) -> Schema {
    let mut pruned = schema.clone();
    prune_below(&mut pruned, schema, &mut Vec::new());
    pruned
}

/// A step from the root of an object to a place in it.
pub(crate) enum Step {
    Name(String),
    Item,
}

fn prune_below(node: &mut Schema, root: &Schema, steps: &mut Vec<Step>) {
    if !node.has_defaults {
        return;
    }
    if let Some(default) = node.default.take() {
        let mut object = surrounded(default, steps);
        // Malformed metadata is dropped, which cannot fail.
        let _ = meta::coerce(&mut object, Some(root), true, Malformed::Drop);
        prune::prune(&mut object, Some(root), true);
        node.default = inside(object, steps);
    }
    if let Additional::Schema(other) = &mut node.additional {
        below(other, root, steps, Step::Name("*".into()));
    }
    if let Some(items) = &mut node.items {
        below(items, root, steps, Step::Item);
    }
    for (name, property) in node.properties.iter_mut() {
        below(property, root, steps, Step::Name(name.to_string()));
    }
}

fn below(node: &mut Arc<Schema>, root: &Schema, steps: &mut Vec<Step>, step: Step) {
    if node.has_defaults {
        steps.push(step);
        prune_below(Arc::make_mut(node), root, steps);
        steps.pop();
    }
}

/// The smallest object that has `value` at the end of the steps.
pub(crate) fn surrounded(value: Value, steps: &[Step]) -> Value {
    steps.iter().rev().fold(value, |value, step| match step {
        Step::Name(name) => Value::Map([(name.as_str().into(), value)].into_iter().collect()),
        Step::Item => Value::List(vec![value]),
    })
}

fn inside(value: Value, steps: &[Step]) -> Option<Value> {
    steps.iter().try_fold(value, |value, step| match (step, value) {
        (Step::Name(name), Value::Map(mut map)) => map.remove(name),
        (Step::Item, Value::List(list)) => list.into_iter().next(),
        _ => None,
    })
}
