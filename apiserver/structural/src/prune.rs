//! Pruning: fields that the schema does not know go away
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning/algorithm.go@v0.37.2).
//!
//! Invariant: apiVersion, kind and metadata of a resource stay; where unknown fields are preserved, named ones are still pruned inside.
//! Non-goal: metadata's own fields, which [`crate::meta`] coerces.

use api::value::Value;

use crate::schema::Schema;
use crate::trail::Trail;

/// Prunes a resource (`root`) or a value; returns the paths of what went, sorted: `spec.foo`, `spec.list[0].bar`.
pub fn prune(value: &mut Value, schema: Option<&Schema>, root: bool) -> Vec<String> {
    let mut pruning = Pruning { trail: Trail::default(), gone: Vec::new() };
    let embedded = root || schema.is_some_and(|schema| schema.embedded_resource);
    pruning.at_root(value, schema, embedded, root);
    pruning.gone.sort();
    pruning.gone
}

pub(crate) fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

struct Pruning {
    trail: Trail,
    gone: Vec<String>,
}

impl Pruning {
    fn at_root(&mut self, value: &mut Value, schema: Option<&Schema>, embedded: bool, root: bool) {
        match schema {
            // A resource without a schema keeps what every resource has.
            None if root => self.value(value, Some(&Schema { embedded_resource: true, ..Schema::default() })),
            Some(schema) if schema.preserve_unknown_fields => self.keep(value, schema, embedded),
            Some(schema) => self.known(value, schema, embedded),
            None => self.value(value, None),
        }
    }

    fn value(&mut self, value: &mut Value, schema: Option<&Schema>) {
        match schema {
            Some(schema) if schema.preserve_unknown_fields => self.keep(value, schema, schema.embedded_resource),
            Some(schema) => self.known(value, schema, schema.embedded_resource),
            None => self.unknown(value),
        }
    }

    /// No schema: objects lose all they have.
    fn unknown(&mut self, value: &mut Value) {
        match value {
            Value::Map(map) => map.retain(|name, _| {
                self.gone.push(self.trail.with(name));
                false
            }),
            Value::List(list) => {
                for (at, item) in list.iter_mut().enumerate() {
                    let mark = self.trail.index(at);
                    self.unknown(item);
                    self.trail.back(mark);
                }
            }
            _ => {}
        }
    }

    fn known(&mut self, value: &mut Value, schema: &Schema, embedded: bool) {
        match value {
            Value::Map(map) => map.retain(|name, value| {
                if embedded && is_meta(name) {
                    return true;
                }
                let property = schema.properties.get(name);
                if property.is_none() && schema.additional.is_absent() {
                    // At the root the caller puts what every resource has back.
                    if !is_meta(name) || !self.trail.is_empty() {
                        self.gone.push(self.trail.with(name));
                    }
                    return false;
                }
                let mark = self.trail.name(name);
                self.value(value, property.or_else(|| schema.additional.schema()));
                self.trail.back(mark);
                true
            }),
            Value::List(list) => self.items(list, |pruning, item| pruning.value(item, schema.items.as_deref())),
            _ => {}
        }
    }

    /// Unknown fields stay, and what is in them.
    fn keep(&mut self, value: &mut Value, schema: &Schema, embedded: bool) {
        match value {
            Value::Map(map) => {
                for (name, value) in map.iter_mut() {
                    let property = schema.properties.get(name);
                    if embedded && is_meta(name) || property.is_none() && schema.additional.is_absent() {
                        continue;
                    }
                    let mark = self.trail.name(name);
                    self.value(value, property.or_else(|| schema.additional.schema()));
                    self.trail.back(mark);
                }
            }
            Value::List(list) => {
                if let Some(item_schema) = schema.items.as_deref() {
                    self.items(list, |pruning, item| pruning.keep(item, item_schema, item_schema.embedded_resource));
                }
            }
            _ => {}
        }
    }

    fn items(&mut self, list: &mut [Value], mut each: impl FnMut(&mut Self, &mut Value)) {
        for (at, item) in list.iter_mut().enumerate() {
            let mark = self.trail.index(at);
            each(self, item);
            self.trail.back(mark);
        }
    }
}
