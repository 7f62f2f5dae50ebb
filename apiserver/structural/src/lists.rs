//! Lists of type set have no equal items, lists of type map no items with equal keys
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype/validation.go@v0.37.2).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use crate::schema::{List, Schema};

/// Everything wrong with lists in an object.
pub fn validate(path: &Path, object: &Map, schema: &Schema) -> Errors {
    let mut errors = Errors::new();
    if schema.has_keyed_lists {
        fields(path, object, schema, &mut errors);
    }
    errors
}

fn fields(path: &Path, object: &Map, schema: &Schema, errors: &mut Errors) {
    for (name, value) in object.iter() {
        if let Some(other) = schema.additional.schema() {
            walk(&path.key(name), value, other, errors);
        }
        if let Some(property) = schema.properties.get(name) {
            walk(&path.child(name), value, property, errors);
        }
    }
}

fn walk(path: &Path, value: &Value, schema: &Schema, errors: &mut Errors) {
    if !schema.has_keyed_lists {
        return;
    }
    match value {
        Value::List(list) => {
            match schema.list {
                List::Set => {
                    let repeats = repeats(list.iter().map(identity).collect());
                    errors.extend(repeats.into_iter().map(|at| field::duplicate(&path.index(at), shown(&list[at]))));
                }
                List::Map => map_list(path, list, schema, errors),
                _ => {}
            }
            let Some(items) = schema.items.as_deref() else { return };
            for (at, item) in list.iter().enumerate() {
                walk(&path.index(at), item, items, errors);
            }
        }
        Value::Map(map) => fields(path, map, schema, errors),
        _ => {}
    }
}

fn shown(value: &Value) -> Value {
    crate::go::sorted(value)
}

fn map_list(path: &Path, list: &[Value], schema: &Schema, errors: &mut Errors) {
    let strange = |item: &&Value| !matches!(item, Value::Null | Value::Map(_));
    if let Some((at, item)) = list.iter().enumerate().find(|(_, item)| strange(item)) {
        let why = "must be an object for an array of list-type map";
        errors.push(field::invalid(&path.index(at), shown(item), why));
        return;
    }
    let keys: Vec<Value> = list.iter().map(|item| Value::Map(key(item, schema))).collect();
    let identities = keys.iter().map(|key| match (&schema.map_keys[..], key.as_map()) {
        // A single key is compared as a value of its own, and to have none differs from null.
        ([name], Some(key)) => key.get(name).map(identity).unwrap_or_default(),
        _ => identity(key),
    });
    let repeats = repeats(identities.collect());
    errors.extend(repeats.into_iter().map(|at| field::duplicate(&path.index(at), shown(&keys[at]))));
}

/// The key fields that an item has.
fn key(item: &Value, schema: &Schema) -> Map {
    let item = item.as_map().unwrap_or(Map::EMPTY);
    schema.map_keys.iter().filter_map(|name| Some((name.clone(), item.get(name)?.clone()))).collect()
}

/// The second place of each value that is there more than once.
fn repeats(texts: Vec<String>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by(|a, b| texts[*a].cmp(&texts[*b]).then(a.cmp(b)));
    let groups = order.chunk_by(|a, b| texts[*a] == texts[*b]);
    let mut repeats: Vec<usize> = groups.filter_map(|group| group.get(1).copied()).collect();
    repeats.sort_unstable();
    repeats
}

/// Text that is the same for equal values: numbers at the top differ by their Go type, those inside by how JSON shows them.
fn identity(value: &Value) -> String {
    let json = crate::go::json(value);
    match value {
        Value::Float(_) => format!("f{json}"),
        Value::Int(_) => format!("i{json}"),
        _ => json,
    }
}
