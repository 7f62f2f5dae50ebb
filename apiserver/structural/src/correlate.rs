//! Which part of an old object a part of the new one was
//! (k8s.io/apiserver/pkg/cel/common/{equality,maplist}.go@v0.37.2).
//!
//! Invariant: fields correlate by name along the schema, items only in lists of type map, by their keys.

use api::field::go_quote;
use api::value::{Map, Value};

use crate::schema::{List, Schema, Type};

/// The schema and the old value of a field that both objects have and the schema knows.
pub(crate) fn field<'a, 'v>(
    schema: &'a Schema,
    new: &Value,
    old: &'v Value,
    name: &str,
) -> Option<(&'a Schema, &'v Value)> {
    let (new, old) = (new.as_map()?, old.as_map()?);
    let old = old.get(name).filter(|_| new.contains(name))?;
    Some((schema.field(name)?, old))
}

/// Whether nothing changed, as far as the parts correlate: what the schema does not know is taken as changed.
pub(crate) fn equal(schema: &Schema, new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::List(new), Value::List(items)) => {
            if new.len() != items.len() {
                return false;
            }
            if schema.list != List::Map || new.is_empty() {
                return new == items;
            }
            let Some(item_schema) = schema.items.as_deref() else { return false };
            let mut finder = Finder::new(schema, old);
            new.iter().all(|item| finder.find(item).is_some_and(|old| equal(item_schema, item, old)))
        }
        (Value::Map(map), Value::Map(old_map)) => {
            let same = |name: &str, value: &Value| {
                field(schema, new, old, name).is_some_and(|(below, old)| equal(below, value, old))
            };
            map.len() == old_map.len() && map.iter().all(|(name, value)| same(name, value))
        }
        (new, old) => new == old,
    }
}

/// Finds old items of a list by the keys of new ones; the first of equal keys counts.
pub(crate) struct Finder<'a, 'v> {
    keys: &'a [api::value::Str],
    items: Vec<(Key, &'v Value)>,
}

#[derive(Debug, PartialEq)]
enum Key {
    One(Value),
    Many(String),
}

impl<'a, 'v> Finder<'a, 'v> {
    /// For a list of another type, nothing is found.
    pub(crate) fn new(schema: &'a Schema, old: &'v Value) -> Self {
        let keyed = schema.ty == Type::Array && schema.list == List::Map;
        let keys = if keyed { &schema.map_keys[..] } else { &[] };
        let old = old.as_list().filter(|_| !keys.is_empty()).unwrap_or(&[]);
        let items = old.iter().filter_map(|item| Some((key(keys, item.as_map()?)?, item))).collect();
        Finder { keys, items }
    }

    pub(crate) fn find(&mut self, item: &Value) -> Option<&'v Value> {
        if self.items.is_empty() {
            return None;
        }
        let wanted = key(self.keys, item.as_map()?)?;
        self.items.iter().find(|(key, _)| *key == wanted).map(|(_, item)| *item)
    }
}

fn key(keys: &[api::value::Str], item: &Map) -> Option<Key> {
    let scalar =
        |name: &str| item.get(name).filter(|value| !matches!(value, Value::Null | Value::List(_) | Value::Map(_)));
    if let [name] = keys {
        return scalar(name).cloned().map(Key::One);
    }
    let mut all = String::new();
    for name in keys {
        all.push('\0');
        match scalar(name)? {
            Value::String(text) => all.push_str(&go_quote(text)),
            Value::Float(number) => all.push_str(&format!("{number:.6}")),
            other => all.push_str(&crate::go::print(other)),
        }
    }
    Some(Key::Many(all))
}
